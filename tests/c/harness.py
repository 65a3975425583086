"""Graphs compiled to C and run: many in one program, so that a compiler is started once for all of them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.c import Described, Sources, emit
from export.tflite import Graph

STRICT = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Werror")
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@dataclass(frozen=True)
class Case:
    """A graph and what to feed it: for each of its inputs ``[runs, ...]``."""

    graph: Graph
    inputs: tuple[np.ndarray, ...]

    @property
    def runs(self) -> int:
        return len(self.inputs[0])


def sources(cases: Sequence[Case], folder: Path) -> list[Path]:
    """Write the C of all cases, and a ``main.c`` that runs them and gives every output's bytes to ``put``."""
    folder.mkdir(parents=True, exist_ok=True)
    emitted = [
        emit(Described(f"case{i}", case.graph, case.graph.outputs[0], case.graph.outputs[0]))
        for i, case in enumerate(cases)
    ]
    files = {name: text for compiled in emitted for name, text in compiled.files.items()}
    files["main.c"] = _main(cases, emitted)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files if name.endswith(".c")]


def on_host(cases: Sequence[Case], folder: Path, compiler: str = "gcc") -> list[list[np.ndarray]]:
    """Return each case's outputs ``[runs, ...]``, run here under sanitizers."""
    files = sources(cases, folder)
    command = [compiler, *STRICT, *SANITIZED, "-DHOSTED", *map(str, files), "-o", str(folder / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    ran = subprocess.run([str(folder / "run")], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()[:4000]
    return split(cases, ran.stdout)


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


def _main(cases: Sequence[Case], emitted: Sequence[Sources]) -> str:
    size = max(compiled.arena for compiled in emitted)
    lines = ['#include "whylite.h"', "#include <string.h>"]
    lines += [f'#include "whylite_{compiled.identifier}.h"' for compiled in emitted]
    lines += ["#ifdef HOSTED", "#include <stdio.h>"]
    lines += ["static void put(const int8_t *from, uint32_t size) { fwrite(from, 1, size, stdout); }", "#else"]
    lines += ["void put(const int8_t *from, uint32_t size);", "#endif"]
    lines += [f"static int8_t arena[{size}] __attribute__((aligned(WHYLITE_ALIGNMENT)));"]
    body = []
    for case, compiled in zip(cases, emitted, strict=True):
        name, prefix = compiled.identifier, f"WHYLITE_{compiled.identifier.upper()}"
        for i, values in enumerate(case.inputs):
            listed = ",".join(map(str, np.ascontiguousarray(values).view(np.uint8).ravel().tolist()))
            lines.append(f"static const uint8_t {name}_x{i}[] = {{{listed}}};")
        body.append(f"  for (uint32_t run = 0; run < {case.runs}; run++) {{")
        body.append("    memset(arena, 85, sizeof arena);")
        for i, values in enumerate(case.inputs):
            size = values[0].nbytes
            body.append(f"    memcpy(arena + {prefix}_INPUT_{i}_OFFSET, {name}_x{i} + run * {size}u, {size});")
        body.append(f"    whylite_{name}.predict(arena);")
        for i, tensor in enumerate(case.graph.outputs):
            size = int(np.prod(tensor.shape)) * tensor.dtype.itemsize
            body.append(f"    put(arena + {prefix}_OUTPUT_{i}_OFFSET, {size});")
        body.append("  }")
    return "\n".join([*lines, "int main(void) {", *body, "  return 0;", "}", ""])
