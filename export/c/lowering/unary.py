"""Functions of one value: on 8 bits all of them are tables.

A table takes 256 bytes of flash and three instructions a value whatever the function is. Arithmetic would take from 10
(RELU between grids) to over 100 (TANH) a value, and a kernel of 60 to 500 bytes for each function. Equal tables are
kept once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...tflite.graph import Op, Tensor
from ...tflite.options import Activation, LeakyReluOptions
from .. import fixed_point
from ..arithmetic import bounds, grid, multiplier
from ..fixed_point import Values
from ..program import size_of
from .registry import Unit, expect, int8, lowering, on_grid, refuse

INT8 = np.dtype(np.int8)


def stored(dtype: np.dtype[Any] = INT8) -> Values:
    """Return every value of an 8-bit type, in the order of its bytes taken as unsigned."""
    return np.arange(256, dtype=np.uint8).view(dtype).astype(np.int64)


def look_up(op: Op, unit: Unit, x: Tensor, values: Values) -> None:
    """Write the op's output as a function of ``x``, by its value at each of :func:`stored`."""
    y = op.output
    expect(op, y, x.shape)
    table = saturated(values, y).view(np.int8)
    identity = x.dtype == y.dtype and np.array_equal(table, stored(x.dtype))
    if identity and unit.view(y, x):
        return
    source = unit.value(x)
    unit.in_place(y, x)
    unit.call("lookup", "whylite_lookup", unit.constant(table, np.int8, "table"), source, unit.value(y), size_of(y))


def saturated(values: Values, y: Tensor) -> NDArray[Any]:
    """Return values as a tensor of 8 bits holds them."""
    limits = np.iinfo(y.dtype)
    return np.clip(values, limits.min, limits.max).astype(y.dtype)


def rescaled(x: Tensor, y: Tensor) -> Values:
    """Return each stored value of ``x`` on the grid of ``y``, not yet clamped."""
    (scale, zero), (out, out_zero) = grid(x), grid(y)
    return fixed_point.scale(stored(x.dtype) - zero, *multiplier(scale / out)) + out_zero


@lowering("RELU")
def relu(op: Op, unit: Unit) -> None:
    """On int8, between any two grids."""
    int8(op, op.input(0), op.output)
    lowest, highest = bounds(op.output, Activation.RELU)
    look_up(op, unit, op.input(0), np.clip(rescaled(op.input(0), op.output), lowest, highest))


@lowering("RELU6")
def relu6(op: Op, unit: Unit) -> None:
    """On int8, input and output on one grid."""
    int8(op, op.input(0), op.output)
    if grid(op.input(0)) != grid(op.output):
        raise refuse(op, "its output is on another grid than its input", "convert the model again")
    look_up(op, unit, op.input(0), np.clip(stored(), *bounds(op.input(0), Activation.RELU6)))


@lowering("LEAKY_RELU")
def leaky_relu(op: Op, unit: Unit) -> None:
    """On int8, between any two grids."""
    options = op.options
    assert isinstance(options, LeakyReluOptions)
    x, y = op.input(0), op.output
    int8(op, x, y)
    (scale, zero), (out, out_zero) = grid(x), grid(y)
    above = stored() - zero
    kept = fixed_point.scale(above, *multiplier(scale / out))
    leaked = fixed_point.scale(above, *multiplier(scale * options.alpha / out))
    look_up(op, unit, x, np.where(above >= 0, kept, leaked) + out_zero)


@lowering("LOGISTIC")
def logistic(op: Op, unit: Unit) -> None:
    """On int8; the output on the grid 1/256, -128."""
    int8(op, op.input(0), op.output)
    on_grid(op, op.output, 1 / 256, -128)
    look_up(op, unit, op.input(0), _sigmoidal(op.input(0), fixed_point.logistic, 8, 0, -128))


@lowering("TANH")
def tanh(op: Op, unit: Unit) -> None:
    """On int8; the output on the grid 1/128, 0."""
    int8(op, op.input(0), op.output)
    on_grid(op, op.output, 1 / 128, 0)
    look_up(op, unit, op.input(0), _sigmoidal(op.input(0), fixed_point.tanh, 7, -128, 0))


def _sigmoidal(x: Tensor, function: Callable[[Values], Values], bits: int, lowest: int, zero: int) -> Values:
    """Return a function of values with 4 integer bits to ``bits`` fractional ones; it saturates beyond +-15."""
    scale, in_zero = grid(x)
    fraction, shift = math.frexp(scale * (1 << 27))
    radius = math.floor(15 * (1 << 27) / 2.0**shift)
    values = stored() - in_zero
    within = np.clip(values, -radius, radius)
    result = fixed_point.halve(function(fixed_point.scale(within, round(fraction * (1 << 31)), shift)), 31 - bits)
    result = np.where(values <= -radius, lowest, np.where(values >= radius, 1 << bits, result))
    return result + zero


@lowering("HARD_SWISH")
def hard_swish(op: Op, unit: Unit) -> None:
    """On int8, between any two grids of which the output's is not 128 times finer."""
    x, y = op.input(0), op.output
    int8(op, x, y)
    (scale, zero), (out, out_zero) = grid(x), grid(y)
    mantissa, shift = multiplier(scale / 128 / out)
    slope, slope_shift = multiplier(scale / 128 / (3 / 32768))
    if shift > 0:
        raise refuse(op, f"the grid of {y!r} is too fine for that of {x!r}", "convert the model again")
    values = (stored() - zero) << 7
    ramp = values
    if slope_shift > 0:
        ramp = _int16(ramp << (slope_shift - 1))
    ramp = _high_product16(ramp, slope)
    ramp = _int16(ramp << 1) if slope_shift > 0 else fixed_point.halve(ramp, -slope_shift)
    ramp = (ramp + (1 << 15)) >> 1
    product = ramp * _high_product16(values, mantissa)
    towards_zero = np.sign(product) * (np.abs(product) >> 15)
    look_up(op, unit, x, fixed_point.halve(towards_zero, -shift) + out_zero)


def _high_product16(a: Values, mantissa: int) -> Values:
    """Return ``a * mantissa / 2 ** 31``, the mantissa cut to 16 bits, rounded to nearest."""
    return fixed_point.high_product(a, min((mantissa + (1 << 15)) >> 16, (1 << 15) - 1), 15)


def _int16(x: Values) -> Values:
    return np.clip(x, -(1 << 15), (1 << 15) - 1)


@lowering("ABS")
def absolute(op: Op, unit: Unit) -> None:
    """On int8, between any two grids."""
    x, y = op.input(0), op.output
    int8(op, x, y)
    (scale, zero), (out, out_zero) = grid(x), grid(y)
    look_up(op, unit, x, fixed_point.scale(np.abs(stored() - zero), *multiplier(scale / out)) + out_zero)
