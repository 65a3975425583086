"""C compilers for microcontrollers: GCC where it is installed, or Zig's Clang, which comes from PyPI."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

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

        def one(names: tuple[str, str]) -> None:
            self._call([*flags, "-c", names[0], "-o", names[1]], folder, names[0])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(one, zip(sources, objects, strict=True)))
        return objects

    def link(self, objects: Sequence[str], script: str, folder: Path, core: Core, program: str) -> None:
        """Link objects to an ELF as a linker script of ``folder`` says, with what compilers call but no libc.

        That is arithmetic which the core has no instructions for: GCC's libgcc, Clang's compiler-rt.
        """
        library = ["-lgcc"] if self.kind == GCC else ["-rtlib=compiler-rt"]
        flags = [*self._target(core), "-nostdlib", "-Wl,--gc-sections", "-T", script]
        self._call([*flags, *objects, *library, "-o", program], folder, program)

    def _target(self, core: Core) -> list[str]:
        if self.kind == GCC:
            return [*core.gcc, "-mthumb"]
        target, cpu = core.zig
        # Zig traps undefined behaviour unless told not to, for which there is no room
        return ["-target", target, f"-mcpu={cpu}", "-fno-sanitize=all"]

    def _call(self, arguments: Sequence[str], folder: Path, what: str) -> None:
        command = [*self.command, *arguments]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace",
                                  timeout=_PATIENCE, check=False)  # fmt: skip
        except OSError as error:
            raise BuildError(f"cannot call {self.command[0]}: {error.strerror}", _INSTALL) from error
        except subprocess.TimeoutExpired as error:
            raise BuildError(f"{self.version} took over {_PATIENCE} s for {what}", "is the machine busy?") from error
        if done.returncode:
            raise BuildError(
                f"{self.version} refuses {what}:\n{complaint(done.stderr)}",
                f"in {folder}, this repeats it: {shlex.join(command)}",
            )


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
