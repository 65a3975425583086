"""The plain model, without WhyLite: what its answers are compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import interpreter
from edge.manifest import Port


def scores(model: bytes, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what a ``.tflite`` answers to ``x`` ``[N, 200, 6]``: probabilities ``[N, 7]``, dequantised."""
    runner, _ = interpreter.load(model)
    runner.allocate_tensors()
    (source,), (sink,) = runner.get_input_details(), runner.get_output_details()
    answers = []
    for window in x:
        runner.set_tensor(source["index"], _port(source).quantize(window))
        runner.invoke()
        answers.append(_port(sink).dequantize(runner.get_tensor(sink["index"])[0]))
    return np.stack(answers)


def _port(details: dict[str, Any]) -> Port:
    """Return how the interpreter says that an input or output stores its numbers; float32 has scale 0."""
    scale, zero_point = details["quantization"]
    return Port(
        details["name"], tuple(details["shape"][1:]), np.dtype(details["dtype"]).name, scale or None, zero_point
    )
