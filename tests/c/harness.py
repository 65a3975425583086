"""Graphs compiled to C and run: many in one program, so that a compiler is started once for all of them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import firmware_bridge
from export.c import Described, Sources, emit
from export.tflite import Graph
from tests.tools import GCC, QEMU, require

STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Werror")
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
BARE = ("-mthumb", "-ffreestanding", "-ffunction-sections", "-fdata-sections", "-nostdlib", "-Wl,--gc-sections")
VIRTUAL = Path(firmware_bridge.__file__).parent / "firmware" / "virtual"
BOARD = Path(__file__).parent / "board.c"
INSTRUCTION = 32e-9
"""Seconds that QEMU's clock goes on with each instruction, under ``-icount shift=5``."""


@dataclass(frozen=True)
class Core:
    """A processor, and the machine of QEMU that runs its code; memories as origin and size."""

    flags: tuple[str, ...]
    machine: str
    flash: tuple[str, str]
    ram: tuple[str, str]
    hertz: float


CORES = {
    # No machine with a Cortex-M0 has the RAM for a batch: a Cortex-M3 runs its code. That this reads no word where a
    # Cortex-M0 cannot is for the sanitizers on the host to see; QEMU lets every core do so.
    "m0": Core(("-mcpu=cortex-m0",), "mps2-an385", ("0x0", "4M"), ("0x20000000", "4M"), 25e6),
    "m3": Core(("-mcpu=cortex-m3",), "mps2-an385", ("0x0", "4M"), ("0x20000000", "4M"), 25e6),
    "m4": Core(
        ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
        "mps2-an386",
        ("0x0", "4M"),
        ("0x20000000", "4M"),
        25e6,
    ),
    "m33": Core(
        ("-mcpu=cortex-m33", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
        "mps2-an505",
        ("0x10000000", "4M"),
        ("0x38000000", "4M"),
        20e6,
    ),
    "m55": Core(
        ("-mcpu=cortex-m55", "-mfloat-abi=hard"), "mps3-an547", ("0x10000000", "512K"), ("0x30000000", "512K"), 32e6
    ),
}


@dataclass(frozen=True)
class Case:
    """A graph and what to feed it: for each of its inputs ``[runs, ...]``."""

    graph: Graph
    inputs: tuple[np.ndarray, ...]

    @property
    def runs(self) -> int:
        return len(self.inputs[0])


def emitted(cases: Sequence[Case]) -> list[Sources]:
    """Return the C of each case."""
    return [
        emit(Described(f"case{i}", case.graph, case.graph.outputs[0], case.graph.outputs[0]))
        for i, case in enumerate(cases)
    ]


def sources(cases: Sequence[Case], folder: Path) -> list[Path]:
    """Write the C of all cases, and a ``main.c`` that runs them and gives every output's bytes to ``put``."""
    folder.mkdir(parents=True, exist_ok=True)
    compiled = emitted(cases)
    files = {name: text for one in compiled for name, text in one.files.items()}
    files["main.c"] = _main(cases, compiled)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files if name.endswith(".c")]


def on_host(cases: Sequence[Case], folder: Path, compiler: str = "gcc") -> list[list[np.ndarray]]:
    """Return each case's outputs ``[runs, ...]``, run here under sanitizers."""
    return split(cases, host_output(sources(cases, folder), folder, compiler))


def host_output(files: Sequence[Path], folder: Path, compiler: str = "gcc", flags: Sequence[str] = SANITIZED) -> bytes:
    """Return what a program of these files writes, run here, under sanitizers if nothing else is asked for."""
    require(compiler)
    command = [compiler, *STRICT, *flags, "-DHOSTED", *map(str, files), "-o", str(folder / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    ran = subprocess.run([str(folder / "run")], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()[:4000]
    return ran.stdout


def on_board(
    cases: Sequence[Case], folder: Path, core: str, optimize: str = "-O2", *flags: str
) -> list[list[np.ndarray]]:
    """Return each case's outputs ``[runs, ...]``, compiled for a processor (see ``CORES``) and run in QEMU."""
    return split(cases, _emulate(build(cases, folder, core, optimize, *flags), CORES[core].machine))


def instructions(case: Case, folder: Path, core: str, optimize: str = "-O2", *flags: str) -> list[tuple[str, int]]:
    """Return each kernel call of a prediction, and how many instructions it takes with its arguments.

    Exact to the resolution of SysTick, which counts every one to two instructions.
    """
    calls = emitted([case])[0].operations
    program = build([case], folder, core, optimize, "-DWHYLITE_PROFILE", *flags)
    data = _emulate(program, CORES[core].machine)
    ticks = np.frombuffer(data, np.uint32, len(calls))
    assert ticks.all(), "SysTick stands still"
    counts = np.rint(ticks / CORES[core].hertz / INSTRUCTION).astype(int).tolist()
    return [(call.kernel, count) for call, count in zip(calls, counts, strict=True)]


def build(cases: Sequence[Case], folder: Path, core: str, optimize: str = "-O2", *flags: str) -> Path:
    """Return the program of all cases for a processor."""
    require(GCC)
    target = CORES[core]
    script = (VIRTUAL / "link.ld.in").read_text()
    for name, (origin, size) in (("FLASH", target.flash), ("RAM", target.ram)):
        script = script.replace(f"@{name}_ORIGIN@", origin).replace(f"@{name}_SIZE@", size)
    files = [*sources(cases, folder), BOARD, VIRTUAL / "startup.c"]
    (folder / "link.ld").write_text(script)
    program = folder / f"{core}.elf"
    command = [GCC, *target.flags, *BARE, *STRICT, optimize, *flags, f"-I{folder}", f"-I{VIRTUAL}"]
    command += ["-T", str(folder / "link.ld"), *map(str, files), "-lgcc", "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    return program


def _emulate(program: Path, machine: str) -> bytes:
    """Return what a program writes until it ends; it is killed after two minutes."""
    require(QEMU)
    command = [QEMU, "-M", machine, "-display", "none", "-monitor", "none", "-serial", "none"]
    command += ["-icount", "shift=5,sleep=off", "-semihosting-config", "enable=on,target=native"]
    ran = subprocess.run([*command, "-kernel", str(program)], capture_output=True, check=False, timeout=280)
    assert ran.returncode == 0, ran.stderr.decode()[:4000]
    return ran.stdout


def split(cases: Sequence[Case], data: bytes) -> list[list[np.ndarray]]:
    """Return what a program wrote as each case's outputs."""
    found, place = [], 0
    for case in cases:
        rows: list[list[np.ndarray]] = [[] for _ in case.graph.outputs]
        for _ in range(case.runs):
            for row, tensor in zip(rows, case.graph.outputs, strict=True):
                count = int(np.prod(tensor.shape))
                row.append(np.frombuffer(data, tensor.dtype, count, place).reshape(tensor.shape))
                place += count * tensor.dtype.itemsize
        found.append([np.stack(row) for row in rows])
    assert place == len(data), f"{len(data)} bytes where {place} were due"
    return found


def _main(cases: Sequence[Case], compiled: Sequence[Sources]) -> str:
    lines = ['#include "whylite.h"']
    lines += [f'#include "whylite_{one.identifier}.h"' for one in compiled]
    lines += ["#ifdef HOSTED", "#include <stdio.h>"]
    lines += ["static void put(const int8_t *from, uint32_t size) { fwrite(from, 1, size, stdout); }"]
    lines += ["static void start(void) {}", "static int finish(void) { return 0; }", "#else"]
    lines += ["void put(const int8_t *from, uint32_t size);", "void start(void);", "int finish(void);", "#endif"]
    arenas = "\n".join(f"  int8_t {n}[WHYLITE_{n.upper()}_ARENA_SIZE];" for n in (one.identifier for one in compiled))
    lines += ["static union {", arenas, "} memory __attribute__((aligned(WHYLITE_ALIGNMENT)));"]
    lines += ["static int8_t *const arena = (int8_t *)&memory;"]
    body = []
    for case, one in zip(cases, compiled, strict=True):
        name, prefix = one.identifier, f"WHYLITE_{one.identifier.upper()}"
        for i, values in enumerate(case.inputs):
            listed = ",".join(map(str, np.ascontiguousarray(values).view(np.uint8).ravel().tolist()))
            lines.append(f"static const uint8_t {name}_x{i}[] = {{{listed}}};")
        body.append(f"  for (uint32_t run = 0; run < {case.runs}; run++) {{")
        body.append("    __builtin_memset(arena, 85, sizeof memory);")
        for i, values in enumerate(case.inputs):
            size = values[0].nbytes
            source = f"{name}_x{i} + run * {size}u"
            body.append(f"    __builtin_memcpy(arena + {prefix}_INPUT_{i}_OFFSET, {source}, {size});")
        body.append(f"    start();\n    whylite_{name}.predict(arena);")
        for i, tensor in enumerate(case.graph.outputs):
            size = int(np.prod(tensor.shape)) * tensor.dtype.itemsize
            body.append(f"    put(arena + {prefix}_OUTPUT_{i}_OFFSET, {size});")
        body.append("  }")
    return "\n".join([*lines, "int main(void) {", *body, "  return finish();", "}", ""])
