"""Convolutions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...tflite.graph import Op
from ...tflite.options import Conv2DOptions, DepthwiseConv2DOptions, Padding
from ..arithmetic import bounds, grid, multipliers, scales
from ..program import CMSIS_NN, Constant, Parameters
from . import cmsis_nn
from .packing import CHANNELS, MACRO, TAPS, Figures, filled_up, packed, packed_figures
from .registry import Unit, constant, expect, int8, lowering, one_image, refuse

_COLUMNS = 16
"""WHYLITE_COLUMNS: how many outputs of a row a depthwise kernel for DSP instructions reads the input for at once."""


@lowering("CONV_2D")
def conv_2d(op: Op, unit: Unit) -> None:
    """On int8, any stride, dilation and padding; weights constant, with a scale per tensor or per channel."""
    options = op.options
    assert isinstance(options, Conv2DOptions)
    x, y = op.input(0), op.output
    kernel = _kernel(op, options, 0)
    channels, _, _, depth = kernel.shape
    if depth != x.shape[3]:
        raise refuse(op, f"its {x.shape[3]} input channels are in groups of {depth}")
    down, along = _axes(op, options)
    # Taps that follow each other in the input, and how many runs of them a window has.
    run = along.taps * depth if along.dilation == 1 else depth
    rows = kernel.reshape(channels, -1, run)
    figures = _figures(op, rows.sum((1, 2), dtype=np.int64))
    quick = bool(kernel.min() >= -127)
    stored = unit.constant(kernel, np.int8, "weights", {MACRO: packed(rows)} if quick else None)
    special = packed_figures(kernel, figures) if quick else None
    taps = down.taps * along.taps * depth
    filled = rows.shape[1] * (-(-run // TAPS) * TAPS)
    unit.call(
        "conv",
        "whylite_conv_2d_fast" if quick else "whylite_conv_2d",
        _parameters(op, unit, stored, (down, along), figures, special, options),
        unit.value(x),
        unit.value(y),
        unit.scratch(2 * 2 * filled, cmsis_nn.window_bytes(taps)),
        macs=int(np.prod(y.shape)) * taps,
    )


@lowering("DEPTHWISE_CONV_2D")
def depthwise_conv_2d(op: Op, unit: Unit) -> None:
    """On int8, any stride, dilation, padding and multiplier; weights constant, a scale per tensor or per channel."""
    options = op.options
    assert isinstance(options, DepthwiseConv2DOptions)
    x, y = op.input(0), op.output
    kernel = _kernel(op, options, 3)
    down, along = _axes(op, options)
    figures = _figures(op, kernel.sum((0, 1, 2), dtype=np.int64))
    alike = x.shape[3] == y.shape[3]
    quick = alike and y.shape[3] >= CHANNELS and along.dilation == 1
    special = packed_figures(kernel, figures, 3) if quick else None
    taps = down.taps * along.taps
    plain = alike and (taps == 1 or options.padding == Padding.VALID)
    stored = unit.constant(kernel, np.int8, "weights")
    # A window as int16, rows in pairs, and what the windows of some outputs in a row cover together.
    columns = (min(along.out, _COLUMNS) - 1) * along.stride + 2 * along.taps
    spread = 2 * CHANNELS * columns * (down.taps + down.taps % 2)
    unit.call(
        "depthwise",
        "whylite_depthwise_conv_2d_fast" if quick else "whylite_depthwise_conv_2d",
        _parameters(op, unit, stored, (down, along), figures, special, options),
        unit.value(x),
        unit.value(y),
        unit.scratch(
            max(0 if plain else taps * y.shape[3], spread if quick else 0),
            cmsis_nn.depthwise_bytes(taps, y.shape[3]),
        ),
        macs=int(np.prod(y.shape)) * taps,
    )


@dataclass(frozen=True)
class _Axis:
    """How a window goes over one dimension; ``before`` is how far it reaches out before the first value."""

    size: int
    out: int
    taps: int
    stride: int
    dilation: int
    before: int


def _axes(op: Op, options: Conv2DOptions | DepthwiseConv2DOptions) -> tuple[_Axis, _Axis]:
    """Return the window's way over rows and over columns.

    What is one column wide is a single row in memory just as well, which kernels read faster.
    """
    x, weights, y = op.input(0), op.input(1), op.output
    strides, dilations = (options.stride_h, options.stride_w), (options.dilation_h_factor, options.dilation_w_factor)
    down, along = (
        _Axis(size, out, taps, stride, dilation, padding(size, out, taps, stride, dilation, options.padding))
        for size, out, taps, stride, dilation in zip(
            x.shape[1:3], y.shape[1:3], weights.shape[1:3], strides, dilations, strict=True
        )
    )
    return (along, down) if along.size == along.taps == 1 else (down, along)


def _kernel(op: Op, options: Conv2DOptions | DepthwiseConv2DOptions, axis: int) -> NDArray[np.int8]:
    """Return the weights, whose ``axis`` is the output's channels; refuses types and shapes that do not fit."""
    x, weights, y = op.input(0), op.input(1), op.output
    int8(op, x, weights, y)
    kernel = constant(op, weights)
    strides, dilations = (options.stride_h, options.stride_w), (options.dilation_h_factor, options.dilation_w_factor)
    if min(*strides, *dilations) < 1:
        raise refuse(op, f"its strides are {strides} and its dilations {dilations}")
    valid = options.padding == Padding.VALID
    reach = [(taps - 1) * d * valid for taps, d in zip(kernel.shape[1:3], dilations, strict=True)]
    sizes = [-(-(n - r) // s) for n, r, s in zip(one_image(op, x), reach, strides, strict=False)]
    expect(op, y, (1, *sizes, kernel.shape[axis]))
    return kernel


def _figures(op: Op, sums: NDArray[np.int64]) -> Figures:
    """Return the figures of a convolution; ``sums`` are its weights', for each output channel."""
    scale, zero = grid(op.input(0))
    return filled_up(folded_bias(op, sums, zero), *factors(op, len(sums), scale))


def constants(
    unit: Unit, figures: Figures, special: Figures | None = None, plain: NDArray[np.int32] | None = None
) -> dict[str, Constant]:
    """Return figures as fields of a struct.

    ``special`` are the same as DSP instructions want them, ``plain`` is the bias for CMSIS-NN, where that is another.
    """
    bias = {MACRO: special.bias} if special else {}
    shift = {MACRO: special.shift} if special else {}
    if plain is not None:
        bias |= {CMSIS_NN: plain}
    return {
        "bias": unit.constant(figures.bias, np.int32, "bias", bias),
        "multiplier": unit.constant(figures.multiplier, np.int32, "multiplier"),
        "shift": unit.constant(figures.shift, np.int8, "shift", shift | {CMSIS_NN: figures.shift.astype(np.int32)}),
    }


def _parameters(
    op: Op,
    unit: Unit,
    weights: Constant,
    axes: tuple[_Axis, _Axis],
    figures: Figures,
    special: Figures | None,
    options: Conv2DOptions | DepthwiseConv2DOptions,
) -> Parameters:
    """Return the struct ``whylite_conv``; ``special`` are figures as DSP instructions want them."""
    x, y = op.input(0), op.output
    lowest, highest = bounds(y, options.fused_activation_function)
    down, along = axes
    given = _given_bias(op, y.shape[3])
    return Parameters(
        "whylite_conv",
        {
            "weights": weights,
            **constants(unit, figures, special, np.pad(given, (0, len(figures.bias) - len(given)))),
            "in_height": down.size,
            "in_width": along.size,
            "in_channels": x.shape[3],
            "out_height": down.out,
            "out_width": along.out,
            "out_channels": y.shape[3],
            "kernel_height": down.taps,
            "kernel_width": along.taps,
            "stride_height": down.stride,
            "stride_width": along.stride,
            "dilation_height": down.dilation,
            "dilation_width": along.dilation,
            "pad_top": down.before,
            "pad_left": along.before,
            "in_zero": grid(x)[1],
            "out_zero": grid(y)[1],
            "lowest": lowest,
            "highest": highest,
        },
    )


def factors(op: Op, channels: int, scale: float) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Return what sums of products are multiplied by on the way to the output, for each output channel."""
    out, _ = grid(op.output)
    return multipliers(scale * own / out for own in scales(op.input(1), channels))


def folded_bias(op: Op, sums: NDArray[np.int64], zero: int) -> NDArray[np.int32]:
    """Return the bias with the input's zero point in it: ``sum(w (x - z)) + b = sum(w x) + (b - z sum(w))``.

    What lies beyond the edge is read as the zero point then, not left out.
    """
    return wrapped(_given_bias(op, len(sums)).astype(np.int64) - zero * sums)


def _given_bias(op: Op, channels: int) -> NDArray[np.int32]:
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    return np.zeros(channels, np.int32) if bias is None else constant(op, bias)


def wrapped(values: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return values as int32 as an accumulator holds them: modulo 2 ** 32."""
    return values.astype(np.uint32).view(np.int32) if values.size else values.astype(np.int32)


def padding(size: int, out: int, window: int, stride: int, dilation: int, scheme: Padding) -> int:
    """Return how far a window reaches out before the first row or column."""
    if scheme == Padding.VALID:
        return 0
    return max((out - 1) * stride + (window - 1) * dilation + 1 - size, 0) // 2
