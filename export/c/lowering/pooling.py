"""Pooling of windows, reduction of axes, and the position of a maximum."""

from __future__ import annotations

import itertools
import math

import numpy as np

from ...tflite.graph import Op, Tensor
from ...tflite.options import ArgMaxOptions, Padding, Pool2DOptions, ReducerOptions
from ..arithmetic import bounds, grid, multiplier
from ..program import Parameters
from .convolution import padding
from .registry import Unit, axis_of, expect, int8, integers, lowering, one_image, refuse

_AXES = 2


@lowering("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool(op: Op, unit: Unit) -> None:
    """On int8, any window, stride, padding and activation; a batch of one, input and output on one grid."""
    options = op.options
    assert isinstance(options, Pool2DOptions)
    x, y = op.input(0), op.output
    int8(op, x, y)
    height, width, channels = one_image(op, x)
    windows = (options.filter_height, options.filter_width)
    strides = (options.stride_h, options.stride_w)
    if min(*windows, *strides) < 1:
        raise refuse(op, f"a window of {windows} every {strides} is none")
    if abs(grid(x)[0] - grid(y)[0]) > 1e-6 or grid(x)[1] != grid(y)[1]:
        raise refuse(op, f"{x!r} and {y!r} are on two grids", "convert the model again: a QUANTIZE is missing")
    reach = [0 if options.padding == Padding.SAME else window - 1 for window in windows]
    sizes = [-(-(n - r) // s) for n, r, s in zip((height, width), reach, strides, strict=True)]
    expect(op, y, (1, *sizes, channels))
    pads = [
        padding(n, out, window, stride, 1, options.padding)
        for n, out, window, stride in zip((height, width), sizes, windows, strides, strict=True)
    ]
    firsts = [np.maximum(np.arange(out) * s - pad, 0) for out, s, pad in zip(sizes, strides, pads, strict=True)]
    # No window may begin before what those before it have written.
    if ((firsts[0][:, None] * width + firsts[1]).ravel() >= np.arange(math.prod(sizes))).all():
        unit.in_place(y, x)
    lowest, highest = bounds(y, options.fused_activation_function)
    parameters = Parameters(
        "whylite_pool",
        {
            "in_height": height,
            "in_width": width,
            "channels": channels,
            "out_height": sizes[0],
            "out_width": sizes[1],
            "window_height": windows[0],
            "window_width": windows[1],
            "stride_height": strides[0],
            "stride_width": strides[1],
            "pad_top": pads[0],
            "pad_left": pads[1],
            "lowest": lowest,
            "highest": highest,
        },
    )
    kernel = "whylite_average_pool" if op.code == "AVERAGE_POOL_2D" else "whylite_max_pool"
    unit.call("pool", kernel, parameters, unit.value(x), unit.value(y))


@lowering("MEAN", "SUM")
def mean_or_sum(op: Op, unit: Unit) -> None:
    """On int8, any axes, from and to any grid; the axes constant."""
    x, y = op.input(0), op.output
    int8(op, x, y)
    axes = _axes(op)
    count = math.prod(x.shape[axis] for axis in axes)
    (scale, zero), (out, out_zero) = grid(x), grid(y)
    mantissa, shift = multiplier(scale / out)
    if op.code == "MEAN":
        # The division is put into the multiplier, with as many bits as fit.
        bits = min(count.bit_length() - 1, 32, 31 + shift)
        mantissa, shift = (mantissa << bits) // count, shift - bits
    fields = {"zeros": zero * count, "multiplier": mantissa, "shift": shift, "out_zero": out_zero}
    _reduce(op, unit, "whylite_reduce_sum", axes, fields)


@lowering("REDUCE_MAX")
def reduce_max(op: Op, unit: Unit) -> None:
    """On int8, any axes, input and output on one grid; the axes constant."""
    x, y = op.input(0), op.output
    int8(op, x, y)
    if grid(x) != grid(y):
        raise refuse(op, f"{x!r} and {y!r} are on two grids", "convert the model again: a QUANTIZE is missing")
    _reduce(op, unit, "whylite_reduce_max", _axes(op), {})


@lowering("ARG_MAX")
def arg_max(op: Op, unit: Unit) -> None:
    """On int8, to int32; the axis constant. The first of several that are the highest."""
    options = op.options
    assert isinstance(options, ArgMaxOptions)
    x, y = op.input(0), op.output
    int8(op, x)
    if y.dtype != np.int32:
        raise refuse(op, f"{y!r} is not int32")
    axis = axis_of(op, integers(op, 1)[0], len(x.shape))
    expect(op, y, (*x.shape[:axis], *x.shape[axis + 1 :]))
    outer, size, inner = math.prod(x.shape[:axis]), x.shape[axis], math.prod(x.shape[axis + 1 :])
    unit.call("reduce", "whylite_arg_max", unit.value(x), unit.value(y), outer, size, inner)


def _axes(op: Op) -> list[int]:
    """Return the axes that go, each once."""
    return sorted({axis_of(op, axis, len(op.input(0).shape)) for axis in integers(op, 1)})


def _reduce(op: Op, unit: Unit, kernel: str, axes: list[int], fields: dict[str, int]) -> None:
    options = op.options
    assert isinstance(options, ReducerOptions)
    x, y = op.input(0), op.output
    left = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    if not options.keep_dims:
        left = [size for axis, size in enumerate(x.shape) if axis not in axes]
    expect(op, y, left)
    unit.in_place(y, x)
    loops = {"kept": _loops(x, axes, False), "gone": _loops(x, axes, True)}
    for name, found in loops.items():
        if len(found) > _AXES:
            raise refuse(op, f"the axes {axes} of {x!r} are too much apart")
        for place, (size, step) in enumerate([*([(1, 0)] * (_AXES - len(found))), *found]):
            fields |= {f"{name}[{place}]": size, f"{name}_step[{place}]": step}
    unit.call("reduce", kernel, Parameters("whylite_axes", fields), unit.value(x), unit.value(y))


def _loops(x: Tensor, axes: list[int], gone: bool) -> list[tuple[int, int]]:
    """Return how many entries there are along the axes that go, or that stay, and how far apart; outermost first."""
    steps = [math.prod(x.shape[axis + 1 :]) for axis in range(len(x.shape))]
    alike = itertools.groupby((axis for axis, size in enumerate(x.shape) if size > 1), lambda axis: axis in axes)
    runs = [list(run) for goes, run in alike if goes == gone]
    return [(math.prod(x.shape[axis] for axis in run), steps[run[-1]]) for run in runs]
