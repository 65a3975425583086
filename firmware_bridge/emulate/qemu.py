"""Firmware in QEMU, a process of its own that does not outlive whoever started it, even where that was killed."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from firmware_bridge.boards import Board
from firmware_bridge.emulate import Machine
from firmware_bridge.emulate.ports import listener, url
from firmware_bridge.emulate.seed import seed
from firmware_bridge.errors import EmulatorError

COUNTED = ("-icount", "shift=5,sleep=off")
_SERVED = "server=on,nodelay=on"  # or every short message waits for an acknowledgement, 40 ms
_PATIENCE = 10.0  # seconds for a killed process to be gone


class Qemu(Machine):
    """A virtual board in QEMU.

    ``halted`` has the processor wait for a debugger before the first instruction, for which ``debug`` opens a port:
    ``debugger`` is its address, ``HOST:PORT`` for gdb's ``target remote``. With either the program does not wait until
    the serial port is opened. ``elf`` may be None then: memory is what the debugger loads.
    """

    def __init__(self, elf: Path | None, board: Board, *, halted: bool = False, debug: bool = False) -> None:
        assert board.emulator is not None
        self._stopped = False
        self._failure: str | None = None
        waiting = "wait=off" if halted or debug else "wait=on"
        with ExitStack() as opened:
            # listening sockets of ours, handed on: no port can be taken by another between choosing and using it
            serial = opened.enter_context(listener())
            self.url = url(serial)
            command = ["qemu-system-arm", "-M", board.emulator.machine, "-display", "none", "-monitor", "none"]
            command += ["-nodefaults", *COUNTED]
            command += [
                "-chardev",
                f"socket,id=link,fd={serial.fileno()},{_SERVED},{waiting}",
                "-serial",
                "chardev:link",
            ]
            passed = [serial.fileno()]
            self.debugger = ""
            if debug:
                port = opened.enter_context(listener())
                self.debugger = f"127.0.0.1:{port.getsockname()[1]}"
                command += ["-chardev", f"socket,id=gdb,fd={port.fileno()},{_SERVED},wait=off", "-gdb", "chardev:gdb"]
                passed.append(port.fileno())
            command += ["-S"] if halted else []
            command += ["-kernel", str(elf)] if elf is not None else []
            if elf is not None and (word := seed(elf)):
                command += ["-device", f"loader,addr={word[0]:#x},data={word[1]:#x},data-len=4"]
            self._process, self._complaints = _started(command, passed)
            try:
                self._guard = _guard(self._process.pid)
            except BaseException:
                self._end()
                raise

    @property
    def failure(self) -> str | None:
        """Why it died of itself; None as long as it lives, and where ``stop`` ended it."""
        if self._stopped:
            return self._failure
        status = self._process.poll()
        if status is None:
            return None
        self._dismiss_guard()
        self._complaints.seek(0)
        words = self._complaints.read(2000).decode(errors="replace").strip()
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        return f"QEMU ended with {how}: {words or 'it says nothing'}"

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, for at most so long; return whether it has."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._dismiss_guard()
        return True

    def stop(self) -> None:
        """Kill it and wait for that; EmulatorError where it stays."""
        if not self._stopped:
            self._failure = self.failure
            self._stopped = True
            self._dismiss_guard()
            self._end()

    def _dismiss_guard(self) -> None:
        """End the guard: the number that it is to kill may be another's once QEMU was waited for."""
        self._guard.kill()
        self._guard.communicate()

    def _end(self) -> None:
        try:
            self._process.kill()  # which does nothing to one that has ended
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise EmulatorError(
                f"QEMU, process {self._process.pid}, was killed and is still there", "what does it wait for? See ps"
            ) from error
        finally:
            self._complaints.close()


def _started(command: Sequence[str], descriptors: Sequence[int]) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Start QEMU, which keeps these descriptors; return it, and the file that it complains into."""
    complaints = tempfile.TemporaryFile()  # noqa: SIM115 - it is read when the process has died; a pipe could fill
    try:
        process = subprocess.Popen(
            command, pass_fds=descriptors, stdin=subprocess.DEVNULL, stdout=complaints, stderr=complaints
        )
    except OSError as error:
        complaints.close()
        raise EmulatorError(f"cannot start QEMU: {error.strerror}", "apt-get install qemu-system-arm") from error
    return process, complaints


def _guard(process: int) -> subprocess.Popen[bytes]:
    """Start a shell that kills a process as soon as ours is gone: the pipe that it reads from ends then."""
    command = ["/bin/sh", "-c", 'read -r _; kill -9 "$0"', str(process)]
    try:
        # in a session of its own: what a terminal sends to all of us, such as Ctrl-C, is not to end it
        return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        raise EmulatorError(f"cannot start a shell beside QEMU: {error.strerror}", "is there a /bin/sh?") from error
