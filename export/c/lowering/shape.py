"""Ops that move values and leave them as they are."""

from __future__ import annotations

from ...tflite.graph import Op
from ..program import size_of
from .registry import Unit, lowering


@lowering("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(op: Op, unit: Unit) -> None:
    """Any type; costs nothing."""
    if not unit.view(op.output, op.input(0)):
        unit.call("shape", "whylite_copy", unit.value(op.input(0)), unit.value(op.output), size_of(op.output))
