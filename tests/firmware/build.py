"""The firmware's C compiled for this machine, under sanitizers, and for the cores it is meant for."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.tools import require

ROOT = Path(__file__).parents[2]
FIRMWARE = ROOT / "firmware_bridge" / "firmware"
HERE = Path(__file__).parent
SOURCES = sorted(FIRMWARE.glob("*.c"))
LINK = tuple(FIRMWARE / f"whylite_{name}.c" for name in ("link", "fields", "records", "message", "scores"))
"""All that records take, both ways."""
INCLUDES = tuple(f"-I{folder}" for folder in (FIRMWARE, FIRMWARE / "virtual", ROOT / "export/c/kernels", HERE))
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Werror")
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CORES = {
    "m0": ("-mcpu=cortex-m0",),
    "m4": ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    "m33": ("-mcpu=cortex-m33", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
    "m55": ("-mcpu=cortex-m55", "-mfloat-abi=hard"),
}


def compiled(program: Path, *sources: Path, flags: Iterable[str] = ()) -> Path:
    """Compile for this machine, with what a test adds; every warning is an error, and every fault ends the program."""
    run("gcc", "-std=gnu11", *STRICT, *SANITIZED, *flags, *INCLUDES, *map(str, sources), "-o", str(program))
    return program


def run(*command: str) -> str:
    """Run a compiler or one of its tools and return what it says; fail with its complaints."""
    require(command[0])
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[:4000]}"
    return done.stdout
