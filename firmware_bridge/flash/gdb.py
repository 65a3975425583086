"""Way ``gdb``: any debug server (OpenOCD, pyOCD, J-Link, Black Magic Probe, QEMU), by GDB as a program."""

from __future__ import annotations

import ast
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from edge.errors import LinkError
from firmware_bridge.boards import Board
from firmware_bridge.errors import FlashError, WrongBoardError
from firmware_bridge.flash.cortex import CPUID, check_core, other
from firmware_bridge.flash.image import SETTLE, Image
from firmware_bridge.flash.way import Connection
from firmware_bridge.tools import GDB

PROGRAMS = GDB.programs
_SETTINGS = (
    "confirm off",
    "pagination off",
    "auto-load no",
    "tcp auto-retry off",
    "remotetimeout 10",
    "architecture arm",
)
_FOREIGN = re.compile(r"Cannot access memory|Unable to read memory|'g' packet reply|rchitecture rejected")
_SECTION = re.compile(r"Section (\S+), range .*: (matched|MIS-MATCHED)")
_GONE = re.compile(
    r"Remote connection closed|reset by peer|Broken pipe|timed out|[Tt]imeout|not being run|No such process|is closed"
)
_READ = 65536
_PATIENCE = 10.0  # seconds for GDB to end


class GdbWay:
    """A board behind a debug server that GDB connects to."""

    plan: ClassVar[Mapping[str, str]] = {
        "connect": "connect GDB to the debug server, which stops the processor; check the core by its CPUID register",
        "write": "GDB's load",
        "verify": "GDB's compare-sections",
        "reset": "the debug server's reset; detach",
    }

    def __init__(self, board: Board, connection: Connection) -> None:
        if connection.gdb is None or connection.port is None:
            raise FlashError(
                f"to flash {board.name} by gdb, its debug server and the port of its link must be known",
                "give --gdb HOST:PORT (OpenOCD listens at 3333, J-Link at 2331) and --port",
            )
        if not connection.gdb.isprintable() or not connection.gdb.strip():
            raise FlashError(f"{connection.gdb!r} is no debug server", "give --gdb HOST:PORT, or a serial port")
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            raise FlashError(f"there is neither {' nor '.join(PROGRAMS)}", GDB.install)
        self.url = connection.port
        self._board, self._server = board, connection.gdb
        self._program = program
        self._gdb: _Gdb | None = None

    def connect(self) -> str:
        """Start GDB, connect it, and ask the processor what it is."""
        self._gdb = _Gdb(self._program, self._server)
        for setting in _SETTINGS:
            self._gdb.ask(f"-gdb-set {setting}")
        try:
            self._gdb.ask(f"-target-select remote {self._server}")
            answer = self._gdb.ask(f"-data-read-memory-bytes {CPUID:#x} 4")
        except FlashError as error:
            if not _FOREIGN.search(error.cause):
                raise
            raise WrongBoardError(f"what is behind {self._server} is no Cortex-M", other(self._board)) from error
        contents = re.search(r'contents="([0-9a-f]{8})"', answer)
        if contents is None:
            raise FlashError(f"GDB does not say what is behind {self._server}: {answer[:200]}", "update GDB")
        core = check_core(int.from_bytes(bytes.fromhex(contents[1]), "little"), self._board)
        return f"{Path(self._program).name} is connected to {self._server}; the core there is {core}"

    def write(self, image: Image) -> str:
        """Load the ELF's sections to where they are stored."""
        self._debugger.ask(f"-file-exec-and-symbols {_quoted(str(image.elf))}")
        self._debugger.ask("-target-download", image.patience)
        return f"{len(image.data):,} bytes to {image.origin:#x}"

    def verify(self, image: Image) -> str:
        """Compare sections, by checksums that the server makes, or by reading them back where it makes none."""
        said = self._debugger.ask('-interpreter-exec console "compare-sections"', image.patience)
        sections = _SECTION.findall(said)
        wrong = [name for name, found in sections if found != "matched"]
        if wrong or not sections:
            raise FlashError(
                f"sections of the board are not those of {image.elf.name}: {', '.join(wrong) or said[:200]}",
                "flash again; if it fails at the same place, that memory is worn out, protected, or not there",
            )
        return f"{', '.join(name for name, _ in sections)}: equal"

    def reset(self) -> str:
        """Reset by the server's own command, which is QEMU's for a virtual board, and let go."""
        command = "system_reset" if self._board.virtual else "reset"
        said = self._debugger.ask(f'-interpreter-exec console "monitor {command}"')
        if "unknown command" in said.lower():
            raise FlashError(f"the debug server at {self._server} knows no {command!r}", "is it one for this board?")
        self._debugger.ask("-target-detach")
        self.close()
        return f"monitor {command}"

    def close(self) -> None:
        """End GDB, which lets the board run."""
        if self._gdb is not None:
            self._gdb.close()
            self._gdb = None

    @property
    def _debugger(self) -> _Gdb:
        assert self._gdb is not None
        return self._gdb


class _Gdb:
    """GDB as a process that is spoken to in its machine interface.

    https://sourceware.org/gdb/current/onlinedocs/gdb.html/GDB_002fMI.html
    """

    def __init__(self, program: str, server: str) -> None:
        self._server = server
        self._buffer = b""
        self._busy = False
        command = [program, "-nx", "-q", "--interpreter=mi2"]
        try:
            # a session of its own: Ctrl-C is for us
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            raise FlashError(f"cannot start {program}: {error.strerror}", "apt-get install gdb-multiarch") from error

    def ask(self, command: str, patience: float = SETTLE) -> str:
        """Return the answer to a command, behind what was written to the console meanwhile.

        FlashError with GDB's words, LinkError where it says that the server is gone, or nothing for so many seconds.
        """
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # then it has ended, which reading tells
            self._process.stdin.write(f"{command}\n".encode())
            self._process.stdin.flush()
        until = time.monotonic() + patience
        said = []
        self._busy = True
        while True:
            line = self._line(until, command)
            if line.startswith(("~", "@")):  # GDB's own words, and the server's
                said.append(_unquoted(line[1:]))
            elif line.startswith("^"):
                break
        self._busy = False
        if line.startswith("^error"):
            found = re.search(r'msg=("(?:[^"\\]|\\.)*")', line)
            raise self._failure(_unquoted(found[1]) if found else line)
        return "".join(said) + line

    def close(self) -> None:
        """End it, and wait for that; a board that it holds is let go, unless it is not done with a command."""
        if not self._busy and self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.write(b"-target-detach\n-gdb-exit\n")
                self._process.stdin.flush()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_PATIENCE)
        self._process.kill()
        self._process.wait(_PATIENCE)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _line(self, until: float, command: str) -> str:
        """Return the next line of its output."""
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                self._process.kill()
                raise LinkError(f"the debug server at {self._server} did not do {command!r} in time", "is it alive?")
            data = os.read(self._process.stdout.fileno(), _READ)
            if not data:
                raise FlashError(f"GDB has ended at {command!r}", "does it start by itself?")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode(errors="replace").rstrip("\r")

    def _failure(self, words: str) -> FlashError | LinkError:
        """Return what an error of GDB's is."""
        words = " ".join(words.split())
        if "refused" in words:
            return LinkError(f"no debug server listens at {self._server}: {words}", "start it, or correct --gdb")
        if _GONE.search(words):
            return LinkError(
                f"lost the debug server at {self._server}: {words}", "check the probe, its cable and power"
            )
        return FlashError(f"GDB: {words}", "what the debug server itself has printed says more")


def _quoted(path: str) -> str:
    """Return a path as a string of GDB's machine interface, which are those of C; FlashError where it would end it."""
    if not path.isprintable():  # GDB takes what is behind the end of a line for a command
        raise FlashError(f"GDB is not given the path {path!r}, which is not all printable", "name the file otherwise")
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquoted(text: str) -> str:
    """Return what a string of C says; as it is where it is none."""
    try:
        return str(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text
