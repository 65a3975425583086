"""TensorFlow Lite Micro, the reference of int8 arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tflite_micro.python.tflite_micro import runtime

from .graphs import file_of
from .harness import Case, on_host

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


def assert_as_reference(cases: Sequence[Case], folder: Path) -> None:
    """Compare every output's bytes on the host with TensorFlow Lite Micro's."""
    for place, (case, got) in enumerate(zip(cases, on_host(cases, folder), strict=True)):
        for ours, theirs in zip(got, tflm(case), strict=True):
            np.testing.assert_array_equal(ours, theirs, f"case {place}: {case.graph.ops}")
