"""A TFLite model as a list of ops and arrays that a program without any TFLite reader can run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import heads
from export.tflite.graph import Graph, Op, Tensor
from export.tflite.ops import fused_activation, same_padding
from export.tflite.options import Padding


def write_program(graph: Graph, folder: Path) -> None:
    """Write ``program.json`` and ``constants.npz``: the float twin of a graph up to its logits."""
    logits = heads.find(graph).logits
    names: dict[Tensor, str] = {}

    def name(tensor: Tensor) -> str:
        return names.setdefault(tensor, f"t{len(names)}")

    steps = []
    for op in graph.ops:
        steps.append(_step(op, [name(tensor) for tensor in op.inputs if tensor is not None], name(op.output)))
        if op.output is logits:
            break
    program = {"input": name(graph.inputs[0]), "logits": name(logits), "ops": steps}
    (folder / "program.json").write_text(json.dumps(program))
    np.savez(folder / "constants.npz", **{n: _real(tensor) for tensor, n in names.items() if tensor.is_constant})


def _real(tensor: Tensor) -> NDArray[Any]:
    assert tensor.data is not None
    if tensor.data.dtype.kind == "i" and not tensor.is_quantized:
        return tensor.data
    return np.asarray(tensor.real(), np.float32)


def _step(op: Op, inputs: list[str], output: str) -> dict[str, Any]:
    options: Any = op.options
    step: dict[str, Any] = {
        "code": op.code,
        "inputs": inputs,
        "output": output,
        "activation": fused_activation(op).name,
        "shape": list(op.output.shape[1:]),
        "keep_dims": bool(getattr(options, "keep_dims", False)),
    }
    if not hasattr(options, "stride_h"):
        return step
    pool = hasattr(options, "filter_height")
    window = (options.filter_height, options.filter_width) if pool else op.input(1).shape[1:3]
    strides = (options.stride_h, options.stride_w)
    dilations = (getattr(options, "dilation_h_factor", 1), getattr(options, "dilation_w_factor", 1))
    padding: list[int] = []
    for size, taps, stride, dilation in zip(op.input(0).shape[1:3], window, strides, dilations, strict=True):
        extent = (taps - 1) * dilation + 1
        padding += same_padding(size, extent, stride) if options.padding == Padding.SAME else (0, 0)
    return step | {"window": list(window), "strides": list(strides), "dilations": list(dilations), "padding": padding}
