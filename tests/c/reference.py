"""TensorFlow Lite Micro, the reference of int8 arithmetic."""

from __future__ import annotations

import numpy as np
from tflite_micro.python.tflite_micro import runtime

from .graphs import file_of
from .harness import Case

_ARENA = 1 << 22
"""Bytes; by itself the interpreter asks for ten times the model's file, which is too few for some graphs of one op."""


def tflm(case: Case) -> list[np.ndarray]:
    """Return a case's outputs ``[runs, ...]`` by TensorFlow Lite Micro."""
    interpreter = runtime.Interpreter.from_bytes(file_of(case.graph), arena_size=_ARENA)
    rows: list[list[np.ndarray]] = [[] for _ in case.graph.outputs]
    for run in range(case.runs):
        for place, values in enumerate(case.inputs):
            interpreter.set_input(values[run], place)
        interpreter.invoke()
        for place, row in enumerate(rows):
            row.append(np.array(interpreter.get_output(place)))
    return [np.stack(row) for row in rows]
