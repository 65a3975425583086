"""C compilers for microcontrollers: GCC where it is installed, or Zig's Clang, which comes from PyPI."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from firmware_bridge.cores import Core
from firmware_bridge.errors import BuildError

GCC, ZIG = "gcc", "zig"
TOOLCHAINS = (GCC, ZIG)
_INSTALL = "apt-get install gcc-arm-none-eabi, or pip install 'whylite[micro]', which brings ziglang"
_PATIENCE = 600  # seconds for one file; Zig builds its runtime library for a core the first time it links for that
_ERRORS = 12  # lines of a compiler's complaint that are shown
_COMMON = (
    *("-std=c11", "-ffreestanding", "-ffunction-sections", "-fdata-sections", "-fno-common", "-g"),
    *("-fomit-frame-pointer", "-fno-unwind-tables", "-fno-asynchronous-unwind-tables"),
    *("-Wall", "-Wextra", "-ffile-prefix-map=.=whylite"),
)


@dataclass(frozen=True)
class Toolchain:
    """A C compiler and linker: its ``kind``, ``version`` for people, and how it is called."""

    kind: str
    version: str
    command: tuple[str, ...]

    def __str__(self) -> str:
        return self.version

    def compile(
        self,
        sources: Sequence[str],
        folder: Path,
        core: Core,
        *,
        optimize: str = "-O2",
        defines: Mapping[str, str] | None = None,
        builtins: bool = False,
    ) -> list[str]:
        """Compile C files of ``folder``, named relative to it, to an object beside each; return the objects' names.

        Headers are looked for in ``folder`` and beside each source. ``builtins`` lets the compiler know what memcpy
        does. BuildError with the compiler's words.
        """
        flags = [*self._target(core), *_COMMON, *(["-fbuiltin"] if builtins else []), optimize, "-I."]
        flags += [f"-D{name}={value}" for name, value in sorted((defines or {}).items())]
        objects = [f"{source.removesuffix('.c')}.o" for source in sources]
        calls = {name: [*flags, "-c", name, "-o", made] for name, made in zip(sources, objects, strict=True)}
        self._call(calls, folder)
        return objects

    def link(self, objects: Sequence[str], script: str, folder: Path, core: Core, program: str) -> None:
        """Link objects to an ELF as a linker script of ``folder`` says, with what compilers call but no libc.

        That is arithmetic which the core has no instructions for: GCC's libgcc, Clang's compiler-rt.
        """
        library = ["-lgcc"] if self.kind == GCC else ["-rtlib=compiler-rt"]
        flags = [*self._target(core), "-nostdlib", "-Wl,--gc-sections", "-T", script]
        self._call({program: [*flags, *objects, *library, "-o", program]}, folder)

    def _target(self, core: Core) -> list[str]:
        if self.kind == GCC:
            return [*core.gcc, "-mthumb"]
        target, cpu = core.zig
        # Zig traps undefined behaviour unless told not to, for which there is no room
        return ["-target", target, f"-mcpu={cpu}", "-fno-sanitize=all"]

    def _call(self, calls: Mapping[str, Sequence[str]], folder: Path) -> None:
        """Call it with each of these arguments, by what they are for, as many at a time as there are processors."""
        with ThreadPoolExecutor(os.cpu_count()) as pool, _Children() as children:
            list(pool.map(lambda what: self._call_one(children, calls[what], folder, what), calls))

    def _call_one(self, children: _Children, arguments: Sequence[str], folder: Path, what: str) -> None:
        command = [*self.command, *arguments]
        try:
            code, said = children.run(command, folder)
        except OSError as error:
            raise BuildError(f"cannot call {self.command[0]}: {error.strerror}", _INSTALL) from error
        except subprocess.TimeoutExpired as error:
            raise BuildError(f"{self.version} took over {_PATIENCE} s for {what}", "is the machine busy?") from error
        if code:
            raise BuildError(
                f"{self.version} refuses {what}:\n{complaint(said)}",
                f"in {folder}, this repeats it: {shlex.join(command)}",
            )


class _Children:
    """Compilers that run; leaving the ``with`` block ends those that still do, with what they have started."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._ended = True
            for process in self._running:
                _signal(process, signal.SIGTERM)  # at which GCC takes its temporary files with it

    def run(self, command: Sequence[str], folder: Path) -> tuple[int, str]:
        """Run one in ``folder``; return its exit code and what it complains of."""
        with self._lock:
            if self._ended:
                raise CancelledError
            # in a group of its own: a driver's death alone leaves the compiler proper at work
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                text=True, errors="replace", process_group=0,
            )  # fmt: skip
            self._running.add(process)
        try:
            _, said = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            _signal(process, signal.SIGKILL)
            process.communicate()
            raise
        finally:
            with self._lock:
                self._running.discard(process)
        return process.returncode, said


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a process that leads a group, and to all of that."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def complaint(output: str) -> str:
    """Return the first errors of a compiler's or linker's output, and all of a short one without any."""
    lines = [line for line in output.splitlines() if line.strip()]
    found = [line for line in lines if re.search(r"error:|undefined|overflowed|do not fit", line)]
    found = [line for line in found if not line.startswith("collect2:")]  # that the linker failed, which is known
    return "\n".join((found or lines or ["it says nothing"])[:_ERRORS])


def find(kind: str | None = None) -> Toolchain:
    """Return a toolchain that is installed: of ``kind`` ("gcc" or "zig"), or else GCC before Zig.

    BuildError with both ways to get one where there is none, or not the one asked for.
    """
    if kind is not None and kind not in TOOLCHAINS:
        raise BuildError(f"there is no toolchain {kind!r}", f"choose {' or '.join(TOOLCHAINS)}")
    gcc = shutil.which("arm-none-eabi-gcc") if kind in {None, GCC} else None
    if gcc is not None:
        return Toolchain(GCC, f"arm-none-eabi-gcc {_version(gcc, '-dumpfullversion')}", (gcc,))
    if kind != GCC and importlib.util.find_spec("ziglang") is not None:
        zig = (sys.executable, "-m", "ziglang")
        return Toolchain(ZIG, f"zig {_version(*zig, 'version')}", (*zig, "cc"))
    wanted = {GCC: "no arm-none-eabi-gcc", ZIG: "no ziglang", None: "neither arm-none-eabi-gcc nor ziglang"}[kind]
    raise BuildError(f"there is {wanted} to compile firmware with", _INSTALL)


def _version(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{command[0]} does not work: {error}", _INSTALL) from error
    return done.stdout.strip()
