"""Between real numbers and grids, and from one grid to another."""

from __future__ import annotations

from ...tflite.graph import Op, Tensor
from ..arithmetic import grid
from ..program import Parameters, size_of
from .registry import Unit, expect, lowering, refuse
from .unary import look_up, rescaled

_BYTES = {("int8", "int8"), ("int8", "uint8"), ("uint8", "int8")}


@lowering("QUANTIZE")
def quantize(op: Op, unit: Unit) -> None:
    """From float32 to int8, and from int8 or uint8 to either, int8 on one side; costs nothing on the same grid."""
    x, y = op.input(0), op.output
    expect(op, y, x.shape)
    kinds = x.dtype.name, y.dtype.name
    if kinds in _BYTES:
        look_up(op, unit, x, rescaled(x, y))
    elif kinds == ("float32", "int8"):
        unit.call("quantize", "whylite_quantize", _affine(y), unit.value(x), unit.value(y), size_of(y))
    else:
        raise refuse(op, f"it goes from {x!r} to {y!r}", "use int8, and float32 or uint8 at the edges")


@lowering("DEQUANTIZE")
def dequantize(op: Op, unit: Unit) -> None:
    """From int8 to float32."""
    x, y = op.input(0), op.output
    expect(op, y, x.shape)
    if (x.dtype.name, y.dtype.name) != ("int8", "float32"):
        raise refuse(op, f"it goes from {x!r} to {y!r}", "use int8")
    unit.call("quantize", "whylite_dequantize", _affine(x), unit.value(x), unit.value(y), size_of(x))


def _affine(tensor: Tensor) -> Parameters:
    scale, zero = grid(tensor)
    return Parameters("whylite_affine", {"scale": scale, "zero": zero})
