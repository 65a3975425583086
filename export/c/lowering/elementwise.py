"""Two operands, value by value. With one value as a constant operand they are functions of the other: tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...tflite.graph import Op, Tensor
from ...tflite.options import AddOptions, MulOptions, SubOptions
from .. import fixed_point
from ..arithmetic import bounds, grid, multiplier
from ..fixed_point import Values
from ..program import Parameters, size_of
from .broadcast import axes
from .registry import Unit, int8, lowering, refuse
from .unary import look_up, stored

_HINT = "convert the model again"


@lowering("ADD", "SUB")
def add(op: Op, unit: Unit) -> None:
    """On int8, between any grids; broadcast in any way that takes 4 axes or fewer to say."""
    options = op.options
    assert isinstance(options, AddOptions | SubOptions)
    left, right, y = op.input(0), op.input(1), op.output
    int8(op, left, right, y)
    zeros = [grid(tensor)[1] for tensor in (left, right, y)]
    factors = _sum_factors(op)
    lowest, highest = bounds(y, options.fused_activation_function)
    sign = 1 if op.code == "ADD" else -1

    def together(a: Values, b: Values) -> Values:
        parts = [fixed_point.scale((v - z) << 20, *f) for v, z, f in zip((a, b), zeros[:2], factors[:2], strict=True)]
        return np.clip(fixed_point.scale(parts[0] + sign * parts[1], *factors[2]) + zeros[2], lowest, highest)

    fields: dict[str, int] = {}
    for name, (mantissa, shift) in zip(("left", "right"), factors, strict=False):
        # Only a half, 2 ** 30 without a shift, comes without one: it is exact, so it may as well be halved last.
        fields |= {f"{name}_multiplier": mantissa, f"{name}_lift": 22 if shift == 0 else 21}
        fields |= {f"{name}_shift": max(-shift, 1)}
    fields |= {"out_multiplier": factors[2][0], "out_shift": max(-factors[2][1], 1)}
    fields |= {"left_zero": zeros[0], "right_zero": zeros[1], "out_zero": zeros[2]}
    parameters = Parameters("whylite_addition", fields | {"lowest": lowest, "highest": highest})
    _combine(op, unit, "whylite_add" if sign > 0 else "whylite_subtract", parameters, together)


def _sum_factors(op: Op) -> list[tuple[int, int]]:
    """Return what the operands of a sum and the sum itself are multiplied by, 20 bits finer in between."""
    left, right, out = (grid(tensor)[0] for tensor in (op.input(0), op.input(1), op.output))
    twice = 2 * max(left, right)
    reals = [left / twice, right / twice, twice / ((1 << 20) * out)]
    if reals[2] >= 0.5:
        raise refuse(op, f"the grid of {op.output!r} is too fine for those of its operands", _HINT)
    return [multiplier(real) for real in reals]


@lowering("MUL")
def multiply(op: Op, unit: Unit) -> None:
    """On int8, between any grids; broadcast in any way that takes 4 axes or fewer to say."""
    together, fields = product(op)
    _combine(op, unit, "whylite_multiply", Parameters("whylite_product", fields), together)


def product(op: Op) -> tuple[Callable[[Values, Values], Values], dict[str, int]]:
    """Return what a MUL makes of two stored values, and the fields of ``whylite_product``."""
    options = op.options
    assert isinstance(options, MulOptions)
    left, right, y = op.input(0), op.input(1), op.output
    int8(op, left, right, y)
    (a_scale, a_zero), (b_scale, b_zero), (out, out_zero) = grid(left), grid(right), grid(y)
    mantissa, shift = multiplier(a_scale * b_scale / out)
    lowest, highest = bounds(y, options.fused_activation_function)
    if shift > 13:
        raise refuse(op, f"the grid of {y!r} is too fine for those of its operands", _HINT)

    def together(a: Values, b: Values) -> Values:
        scaled = fixed_point.scale((a - a_zero) * (b - b_zero), mantissa, shift)
        return np.clip(scaled + out_zero, lowest, highest)

    fields = {"multiplier": mantissa, "lift": max(shift, 0) + 1, "shift": max(-shift, 0)}
    fields |= {"left_zero": a_zero, "right_zero": b_zero, "out_zero": out_zero, "lowest": lowest, "highest": highest}
    return together, fields


@lowering("PRELU")
def prelu(op: Op, unit: Unit) -> None:
    """On int8, between any grids; slopes constant or not, broadcast in any way that takes 4 axes or fewer to say."""
    x, slope, y = op.input(0), op.input(1), op.output
    int8(op, x, slope, y)
    (x_scale, x_zero), (slope_scale, slope_zero), (out, out_zero) = grid(x), grid(slope), grid(y)
    kept, leaked = multiplier(x_scale / out), multiplier(x_scale * slope_scale / out)

    def together(a: Values, b: Values) -> Values:
        above = a - x_zero
        below = fixed_point.scale(above * (b - slope_zero), *leaked)
        return np.where(above >= 0, fixed_point.scale(above, *kept), below) + out_zero

    fields = {"multiplier": kept[0], "shift": kept[1], "slope_multiplier": leaked[0], "slope_shift": leaked[1]}
    fields |= {"left_zero": x_zero, "right_zero": slope_zero, "out_zero": out_zero}
    _combine(op, unit, "whylite_prelu", Parameters("whylite_slope", fields), together)


@lowering("MAXIMUM", "MINIMUM")
def extreme(op: Op, unit: Unit) -> None:
    """On int8, all on one grid; broadcast in any way that takes 4 axes or fewer to say."""
    int8(op, op.input(0), op.input(1), op.output)
    if len({grid(tensor) for tensor in (op.input(0), op.input(1), op.output)}) > 1:
        raise refuse(op, "its operands and its output are on different grids", _HINT)
    together = np.maximum if op.code == "MAXIMUM" else np.minimum
    _combine(op, unit, f"whylite_{op.code.lower()}", None, together)


def _combine(
    op: Op, unit: Unit, kernel: str, parameters: Parameters | None, together: Callable[[Values, Values], Values]
) -> None:
    """Call a kernel of two operands, or look ``together`` of them up where one is a constant of one value."""
    left, right, y = op.input(0), op.input(1), op.output
    runs = axes(op, left.shape, right.shape, y.shape)
    if right.data is not None and right.data.size == 1 and left.data is None and left.shape == y.shape:
        look_up(op, unit, left, together(stored(), right.data.astype(np.int64).ravel()))
        return
    if left.data is not None and left.data.size == 1 and right.data is None and right.shape == y.shape:
        look_up(op, unit, right, together(left.data.astype(np.int64).ravel(), stored()))
        return
    operands = unit.value(left), unit.value(right)
    overwrite(unit, y, [left, right])
    given = () if parameters is None else (parameters,)
    unit.call("elementwise", kernel, *given, unit.constant(runs, np.int32, "axes"), *operands, unit.value(y))


def overwrite(unit: Unit, y: Tensor, operands: Sequence[Tensor]) -> None:
    """Let an output be written over an operand of its size, if that can be."""
    any(unit.in_place(y, tensor) for tensor in operands if size_of(tensor) == size_of(y))
