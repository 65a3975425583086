"""Rules of poolings and reductions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, Value
from ..numerics.weights import Weights
from ..numerics.windows import Axis, axes_of, depthwise_transpose, gather_windows, scatter_windows, upsample
from ..tflite.graph import Op, Tensor
from ..tflite.ops import INT32, elements
from ..tflite.options import Activation, CumsumOptions, Pool2DOptions
from .backward import rule


def _kept(op: Op, emit: Emitter) -> tuple[int, ...]:
    """Return the shape of a reduction's result with the reduced dimensions still there, as 1."""
    source = op.input(0).shape
    axes = {int(axis) % len(source) for axis in np.ravel(emit.integers(op.input(1)))}
    return tuple(1 if position in axes else size for position, size in enumerate(source))


def _spread(op: Op, upstream: Value, emit: Emitter) -> Value:
    """Return the gradient of a reduction's result as that of its operand's rank: the same along what was reduced."""
    kept, source = _kept(op, emit), op.input(0).shape
    spread = emit.reshape(upstream, op.output.shape, kept)
    if kept[0] == source[0]:
        return spread
    gradient = emit.dense(spread)  # a first dimension that was reduced is no batch: write it out
    whole = (source[0], *gradient.tensor.shape[1:])
    return Gradient(emit.builder.broadcast_to(gradient.tensor, whole), gradient.factor)


@rule("MEAN", affine=1)
def mean(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = mean of x over some dimensions, hence ∂/∂x = ∂/∂y divided by how many there were, the same along them."""
    return [emit.scale(_spread(op, upstream, emit), elements(_kept(op, emit)) / elements(op.input(0).shape))]


@rule("SUM", affine=1)
def sum_(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = sum of x over some dimensions, hence ∂/∂x = ∂/∂y, the same along them."""
    return [_spread(op, upstream, emit)]


@rule("REDUCE_MAX", "REDUCE_MIN")
def reduce_max(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = max (min) of x over some dimensions, hence ∂/∂x = ∂/∂y where x = y; ties share it."""
    build = emit.builder
    kept = _kept(op, emit)
    x, y = emit.real(op.input(0)), emit.real(op.output)
    y = build.reshape(y, (elements(y.shape) // elements(kept[1:]), *kept[1:]))
    equal = _where_equal(y, x, emit) if op.code == "REDUCE_MAX" else _where_equal(x, y, emit)
    reduced = [axis for axis, (one, size) in enumerate(zip(kept, op.input(0).shape, strict=True)) if one != size]
    count = build.sum(equal, reduced) if reduced else equal
    return [emit.times(_share(emit.dense(_spread(op, upstream, emit)), count, emit), equal)]


@rule("REDUCE_PROD")
def reduce_prod(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = product of x over some dimensions, hence ∂/∂x = ∂/∂y times the product of the others."""
    build, x = emit.builder, emit.real(op.input(0))
    kept = _kept(op, emit)
    reduced = [axis for axis, size in enumerate(x.shape) if kept[axis] != size]
    order = [axis for axis in range(len(x.shape)) if axis not in reduced] + reduced
    rows = build.transpose(x, order)
    count = elements([x.shape[axis] for axis in reduced])
    flat = build.reshape(rows, (elements(x.shape) // count, count))
    others = build.mul(_products(flat, emit, earlier=True), _products(flat, emit, earlier=False))
    placed = build.transpose(build.reshape(others, rows.shape), np.argsort(order).tolist())
    return [emit.times(_spread(op, upstream, emit), placed)]


def _products(rows: Tensor, emit: Emitter, *, earlier: bool) -> Tensor:
    """Return for each entry of a row the product of those before it (or behind it), with no division by any."""
    build, (_, count) = emit.builder, rows.shape

    def moved(values: Tensor, by: int) -> Tensor:
        padded = build.pad(values, [(0, 0), (by, 0) if earlier else (0, by)], value=1.0)
        return build.slice(padded, (0, 0 if earlier else by), rows.shape)

    products, reach = moved(rows, 1), 1
    while reach < count - 1:  # each round doubles how many neighbours are in the product
        products = build.mul(products, moved(products, reach))
        reach *= 2
    return products


@rule("CUMSUM", affine=1)
def cumsum(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = sums of x up to each position, hence ∂/∂x = sums of ∂/∂y from each position on."""
    options = op.options
    assert isinstance(options, CumsumOptions)
    gradient = emit.expand(emit.dense(upstream), op.output.shape)
    axis = emit.builder.constant(emit.integers(op.input(1)), INT32)
    opposite = CumsumOptions(options.exclusive, not options.reverse)
    sums = emit.builder.op("CUMSUM", [gradient.tensor, axis], gradient.tensor.shape, opposite)
    return [Gradient(sums, gradient.factor), None]


@rule("AVERAGE_POOL_2D", affine=1)
def average_pool_2d(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = mean of x over the part of a window inside the input, hence ∂/∂x = Σ ∂/∂y / count over its windows."""
    options = op.options
    assert isinstance(options, Pool2DOptions)
    axes = axes_of(op, (options.filter_height, options.filter_width))
    counts = np.multiply.outer(*(_window_counts(axis) for axis in axes))
    gradient = emit.dense(upstream)
    if op.output.shape[1:3] == (1, 1) and counts.item() == elements(op.input(0).shape[1:3]):
        return [emit.scale(gradient, 1 / counts.item())]
    gradient = emit.multiply(emit.expand(gradient, op.output.shape), 1 / counts[None, :, :, None])
    if all(axis.tiles for axis in axes):
        return [upsample(emit, gradient, axes)]
    ones = Weights(np.ones((1, axes[0].taps, axes[1].taps, op.output.shape[3]), np.float32), None)
    return [depthwise_transpose(emit, gradient, ones, axes)]


@rule("MAX_POOL_2D")
def max_pool_2d(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = max of x over a window, hence ∂/∂x = Σ ∂/∂y over its windows where x = y; ties share it."""
    options = op.options
    assert isinstance(options, Pool2DOptions)
    build = emit.builder
    axes = axes_of(op, (options.filter_height, options.filter_width))
    gradient = emit.expand(emit.dense(upstream), op.output.shape)
    x, y = emit.real(op.input(0)), emit.real(op.output)
    if all(axis.tiles for axis in axes):
        # Windows that tile the input: spread the output over them and compare in place.
        equal = _where_equal(upsample(emit, Gradient(y), axes).tensor, x, emit)
        mean = build.op("AVERAGE_POOL_2D", [equal], (x.shape[0], *op.output.shape[1:]), _plain(options))
        share = _share(gradient, build.scaled(mean, axes[0].taps * axes[1].taps), emit)
        return [emit.times(upsample(emit, share, axes), equal)]
    chosen = [_where_equal(y, window, emit) for window in gather_windows(emit, x, axes)]
    count = chosen[0]
    for equal in chosen[1:]:
        count = build.add(count, equal)
    share = _share(gradient, count, emit)
    return [scatter_windows(emit, [emit.times(share, equal) for equal in chosen], axes)]


def _where_equal(larger: Tensor, smaller: Tensor, emit: Emitter) -> Tensor:
    """Return 1 where two values are equal and 0 where the first is larger."""
    build = emit.builder
    return build.sub(build.number(1), emit.indicator(build.sub(larger, smaller)))


def _share(gradient: Gradient, count: Tensor, emit: Emitter) -> Gradient:
    """Return a gradient divided among the ``count`` values that tie.

    Values that tie mostly come of one value further up (overlapping poolings repeat their maximum, rectifiers and
    rounding make equal what was not): giving it to each would count that value several times. An activation may
    leave a result that none of the values is; its gradient is 0 then.
    """
    build = emit.builder
    return Gradient(build.div(gradient.tensor, build.maximum(count, build.number(1))), gradient.factor)


def _plain(options: Pool2DOptions) -> Pool2DOptions:
    return replace(options, fused_activation_function=Activation.NONE)


def _window_counts(axis: Axis) -> np.ndarray:
    """Return how many input positions each window along an axis covers."""
    start = np.arange(axis.outputs) * axis.stride - axis.before
    return np.minimum(start + axis.taps, axis.size) - np.maximum(start, 0)
