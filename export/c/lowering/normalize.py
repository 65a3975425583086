"""Normalising along the innermost axis."""

from __future__ import annotations

import math

import numpy as np

from ...tflite.graph import Op
from ...tflite.options import Activation, L2NormOptions, SoftmaxOptions
from .. import fixed_point
from ..arithmetic import grid, multiplier
from ..fixed_point import Values
from .registry import Unit, expect, int8, lowering, on_grid, refuse

_LONGEST = 1 << 15
"""A sum of so many squares, each below 2 ** 16, fits in 31 bits."""


@lowering("SOFTMAX")
def softmax(op: Op, unit: Unit) -> None:
    """On int8, rows of up to 4095 values; the output on the grid 1/256, -128.

    TensorFlow Lite Micro stops at rows of 512 and more values that are nearly equal; here they give the grid's zero.
    Exponentials are a table by the distance to the largest value of a row, 1 KB at the most and much less on coarse
    grids: two loads a value where the series takes some 200 instructions, and less code.
    """
    options = op.options
    assert isinstance(options, SoftmaxOptions)
    x, y = op.input(0), op.output
    int8(op, x, y)
    expect(op, y, x.shape)
    on_grid(op, y, 1 / 256, -128)
    depth = x.shape[-1] if x.shape else 1
    if depth >= 1 << 12:
        raise refuse(op, f"{x!r} has rows of {depth} values, and their sum has 12 bits", "split it")
    exponentials = _exponentials(op, options.beta)
    source = unit.value(x)
    unit.in_place(y, x)
    table = unit.constant(exponentials, np.int32, "exponentials")
    rows = int(np.prod(x.shape)) // depth
    unit.call("normalize", "whylite_softmax", table, len(exponentials), source, unit.value(y), rows, depth)


def _exponentials(op: Op, beta: float) -> Values:
    """Return the exponentials of 0, -1, -2 ... steps of the input's grid, as far as TensorFlow Lite regards them."""
    real = min(beta * grid(op.input(0))[0] * (1 << 26), (1 << 31) - 1.0)
    if real <= 1:
        raise refuse(op, f"the grid of {op.input(0)!r} is too fine", "convert the model again")
    mantissa, shift = multiplier(real)
    radius = math.floor(31 * (1 << 26) / (1 << shift))
    steps = -np.arange(min(radius, 255) + 1, dtype=np.int64)
    return fixed_point.exponential(fixed_point.high_product(steps << shift, mantissa), 5)


@lowering("L2_NORMALIZATION")
def l2_normalization(op: Op, unit: Unit) -> None:
    """On int8; the output on the grid 1/128, 0."""
    options = op.options
    x, y = op.input(0), op.output
    int8(op, x, y)
    expect(op, y, x.shape)
    on_grid(op, y, 1 / 128, 0)
    if isinstance(options, L2NormOptions) and options.fused_activation_function != Activation.NONE:
        raise refuse(op, "it has a fused activation", "use the op of its own instead")
    depth = x.shape[-1] if x.shape else 1
    if depth >= _LONGEST:
        raise refuse(op, f"{x!r} has rows of {depth} values", "split it")
    source = unit.value(x)
    unit.in_place(y, x)
    rows = int(np.prod(x.shape)) // depth
    unit.call("normalize", "whylite_l2_normalize", grid(x)[1], source, unit.value(y), rows, depth)
