"""The gradient of max pooling, of ops that microcontrollers have in int8."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, Value
from ..numerics.windows import Axis, axes_of
from ..tflite.graph import Op, Quantization, Tensor
from ..tflite.ops import INT8, Builder
from ..tflite.options import Activation, AddOptions, LeakyReluOptions, Padding, Pool2DOptions, SubOptions
from ..vjp.backward import GRADIENT
from .largest import can_share, shared

Axes = tuple[Axis, Axis]

_TOP = 127
"""What 1 is stored as, in masks and shares."""


def max_pool_2d(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = max of x over a window, hence ∂/∂x = ∂/∂y where x = y; ties share it.

    A window may be the whole map. Of others, those that overlap or leave gaps are left to the rule for floats, which
    divides.
    """
    options = op.options
    assert isinstance(options, Pool2DOptions)
    x, y, build = op.input(0), op.output, emit.builder
    axes = axes_of(op, (options.filter_height, options.filter_width))
    if all(axis.taps - axis.before >= axis.size for axis in axes) and y.shape[1:3] == (1, 1) and can_share(x, {1, 2}):
        return [shared(x, {1, 2}, emit.dense(upstream), emit)]
    if any(axis.stride != axis.taps for axis in axes) or x.quantization != y.quantization:
        return list(GRADIENT["MAX_POOL_2D"](op, upstream, emit))
    # What windows cover: not a rest that they leave at the end, nor where they reach over the edge.
    covered = (1, *(min(axis.size, axis.outputs * axis.taps - axis.before) for axis in axes), x.shape[3])
    equal = _equal(build, _covering(build, y, axes, covered), build.slice(x, (0, 0, 0, 0), covered))
    share = _share(build, equal, options, axes)
    gradient = emit.times(emit.expand(emit.dense(upstream), y.shape), emit.real(share))
    spread = build.mul(_covering(build, gradient.tensor, axes, covered), emit.real(equal))
    rest = [(0, whole - part) for whole, part in zip(x.shape, covered, strict=True)]
    return [Gradient(build.pad(spread, rest), gradient.factor * _one(share) * _one(equal))]


def _covering(build: Builder, x: Tensor, axes: Axes, covered: tuple[int, ...]) -> Tensor:
    """Return each value repeated over its window, cut to ``covered``."""
    rows, columns = axes
    # Axes that nothing is repeated along are one with the channels: the fewer there are, the longer the runs.
    kept = (columns.outputs, 1, x.shape[3]) if columns.taps > 1 else (columns.outputs * x.shape[3],)
    wide = (columns.outputs, columns.taps, x.shape[3]) if columns.taps > 1 else kept
    repeated = build.broadcast_to(build.reshape(x, (rows.outputs, 1, *kept)), (rows.outputs, rows.taps, *wide))
    whole = build.reshape(repeated, _tiled(axes, x.shape[3]))
    return build.slice(whole, (0, rows.before, columns.before, 0), covered)


def _tiled(axes: Axes, channels: int) -> tuple[int, ...]:
    """Return the shape of all windows side by side."""
    return (1, *(axis.outputs * axis.taps for axis in axes), channels)


def _equal(build: Builder, larger: Tensor, smaller: Tensor) -> Tensor:
    """Return 1 where two values of one grid are equal and 0 where the first is larger: one step of it saturates."""
    assert larger.quantization is not None
    grid = Quantization((float(np.float32(larger.quantization.scale[0] / 128)),), (0,))
    above = build.op("SUB", [larger, smaller], larger.shape, SubOptions(), quantization=grid)
    top = build.constant([_TOP], INT8, grid)
    return build.op("SUB", [top, above], above.shape, SubOptions(), quantization=grid)


def _share(build: Builder, equal: Tensor, options: Pool2DOptions, axes: Axes) -> Tensor:
    """Return 1 / k where k values of a window are its largest.

    Two straight lines, which LEAKY_RELU bends into one another: through 1 / k at 1 and 2, and at 3 and all. That is
    exact in windows of four or fewer; in others more than three ties, which are rare, are given too much.
    """
    taps, grid = axes[0].taps * axes[1].taps, equal.quantization
    assert grid is not None
    channels = equal.shape[3]
    before = (0, axes[0].before, axes[1].before, 0)
    sizes = zip(before, equal.shape, _tiled(axes, channels), strict=True)
    beyond = [(first, whole - first - part) for first, part, whole in sizes]
    plain = replace(options, padding=Padding.VALID, fused_activation_function=Activation.NONE)
    shape = (1, axes[0].outputs, axes[1].outputs, channels)
    mean = build.op("AVERAGE_POOL_2D", [build.pad(equal, beyond)], shape, plain, quantization=grid)
    # (3 - k) / 2 runs through 1 / k at 1 and 2, (a + b - k) / ab at a and b; both are the same at `bend`.
    a, b = min(3, max(2, taps - 1)), max(3, taps)
    bend = (3 * a * b - 2 * (a + b)) / (a * b - 2)
    tie = _one(equal) / taps  # what one of them adds to the mean
    left = build.op("SUB", [_number(build, bend * tie), mean], shape, SubOptions(), quantization=grid)
    bent = build.op("LEAKY_RELU", [left], shape, LeakyReluOptions(2 / (a * b)), quantization=grid)
    shares = Quantization((float(np.float32(2 * tie / _TOP)),), (0,))
    return build.op("ADD", [bent, _number(build, (3 - bend) * tie)], shape, AddOptions(), quantization=shares)


def _number(build: Builder, value: float) -> Tensor:
    return build.constant([_TOP], INT8, Quantization((float(np.float32(value / _TOP)),), (0,)))


def _one(tensor: Tensor) -> float:
    """Return the real value of what stands for 1."""
    assert tensor.quantization is not None
    return _TOP * tensor.quantization.scale[0]
