"""bakenn with CMSIS-NN on the same virtual board, counted in the same way: its C in the place of ours in the firmware.

It has no SOFTMAX and wants a static batch, so it is given the model up to the logits with its batch written down; they
must be TensorFlow Lite Micro's, byte for byte.
"""

from __future__ import annotations

import subprocess
import tempfile
import zlib
from importlib import resources
from pathlib import Path

import numpy as np

from edge.wire.port import Port
from export import tflite
from export.micro.reference import Reference
from export.tflite.options import ReshapeOptions
from firmware_bridge.boards import named
from firmware_bridge.build import BuildOptions, build_sources
from firmware_bridge.emulate import INSTRUCTION_NS, start
from firmware_bridge.profile.lines import Device

from .models import ROOT
from .peers import environment

_PATIENCE = 120.0
_COMPILE = ROOT / "benchmarks/compile_bakenn.py"
_SHIM = """#include "whylite_peer.h"
#include "bknn_m.h"
static const uint8_t digest[32] = {0};
static void predict(int8_t *arena) {
  bknn_m_infer((uint8_t *)arena, arena + INPUT_AT, arena + OUTPUT_AT);
  WHYLITE_OPERATION(0);
}
const whylite_model whylite_peer = {
    .name = "peer", .digest = digest, .arena_size = WHYLITE_PEER_ARENA_SIZE,
    .input = {.offset = INPUT_AT, .size = BKNN_M_INPUT_SIZE},
    .scores = {.offset = OUTPUT_AT, .size = BKNN_M_OUTPUT_SIZE},
    .logits = {.offset = OUTPUT_AT, .size = BKNN_M_OUTPUT_SIZE}, .predict = predict, .operations = 1};
"""
_HEADER = """#ifndef WHYLITE_PEER_H
#define WHYLITE_PEER_H
#include "whylite.h"
#include "bknn_m.h"
#define INPUT_AT ((BKNN_M_ARENA_SIZE + 15u) / 16u * 16u)
#define OUTPUT_AT (INPUT_AT + (BKNN_M_INPUT_SIZE + 15u) / 16u * 16u)
#define WHYLITE_PEER_ARENA_SIZE (OUTPUT_AT + (BKNN_M_OUTPUT_SIZE + 15u) / 16u * 16u)
#define WHYLITE_PEER_INPUT_SIZE BKNN_M_INPUT_SIZE
#define WHYLITE_PEER_SCORES_SIZE BKNN_M_OUTPUT_SIZE
#define WHYLITE_PEER_STEPS 0
extern const whylite_model whylite_peer;
#endif
"""


class AbsentError(Exception):
    """The peer cannot be had, or does something else."""


def instructions(path: Path, window: np.ndarray, board: str, options: BuildOptions) -> float:
    """Return what bakenn's code takes for a window, as the model stores it; AbsentError, saying why, for none."""
    python, why_not = environment("bakenn-venv", ROOT / "benchmarks/bakenn-requirements.txt")
    if why_not:
        raise AbsentError(why_not)
    model = _up_to_logits(path)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(model)
        command = [str(python), str(_COMPILE), str(folder / "model.tflite"), str(folder / "c")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise AbsentError((done.stderr.strip().splitlines() or ["no message"])[-1])
        made = build_sources(_sources(folder / "c"), "peer", named(board), folder / "firmware", options, profile=True)
        with start(made.elf, named(board)) as machine, Port(machine.url) as port:
            device = Device(port, _PATIENCE, lambda: machine.failure)
            sample = device.measure(window.tobytes())
    (logits,) = Reference(model).run([window], 1)
    if zlib.crc32(logits.tobytes()) != sample.parts[0].crc:
        raise AbsentError("its logits are not TensorFlow Lite Micro's")
    assert device.greeting is not None
    return sum(sample.counted(sample.parts[0]).values()) * 1e9 / device.greeting.clock_hz / INSTRUCTION_NS


def _sources(folder: Path) -> dict[str, bytes]:
    """Return all C that bakenn wrote and brought, flat, and what makes a model of it that the firmware can call."""
    defined = b"#define BAKENN_CMSIS_NN_BUILTIN_MEMORY\n"
    files = {path.name: defined + path.read_bytes() for path in folder.rglob("*.[ch]")}
    files["whylite.h"] = (resources.files("export.c") / "kernels" / "whylite.h").read_bytes()
    return files | {"whylite_peer.h": _HEADER.encode(), "whylite_peer.c": _SHIM.encode()}


def _up_to_logits(path: Path) -> bytes:
    model = tflite.read(path.read_bytes())
    graph = model.graphs[0]
    if graph.ops[-1].code == "SOFTMAX":
        graph.outputs = [graph.ops.pop().input(0)]
    model.signatures = []
    for tensor in graph.tensors:
        tensor.shape_signature = None
    for op in graph.ops:
        if op.code == "RESHAPE":
            op.options = ReshapeOptions(op.output.shape)
    return tflite.write(model)
