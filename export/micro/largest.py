"""The gradient of the largest of all, as global max pooling has it, of ops that microcontrollers have in int8."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import UnsupportedModelError
from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, Value
from ..tflite.graph import Op, Quantization, Tensor
from ..tflite.ops import INT32, Builder, elements
from ..tflite.options import SoftmaxOptions, TransposeOptions
from ..vjp.backward import GRADIENT

_STEP = 16.0
"""What the softmax is taken of falls by so much with a step of the grid: 511 times its exponential is nothing yet."""
_MOST = (1 << 9) - 1
"""TensorFlow Lite Micro's softmax stops at a row of which more values tie."""
_ONE = 255 / 256
"""As what a softmax stores 1."""
_SOFTMAX = Quantization((1 / 256,), (-128,))
_SYMMETRIC = Quantization((float(np.float32(_ONE / 127)),), (0,))  # as the grids of gradients are


def reduce_max(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = max of x over some dimensions, hence ∂/∂x = ∂/∂y where x = y; ties share it."""
    axes = {int(axis) % len(op.input(0).shape) for axis in np.ravel(emit.integers(op.input(1)))}
    if not can_share(op.input(0), axes):
        count = elements([op.input(0).shape[axis] for axis in axes])
        raise UnsupportedModelError(
            f"the gradient of REDUCE_MAX over {count:,} values, at tensor {op.output!r}: in int8 {_MOST} are the most",
            "GradCAM of the layer that it reads can be had; for gradients at the input, export it for --target pi",
        )
    (spread,) = GRADIENT["SUM"](op, emit.dense(upstream), emit)
    assert isinstance(spread, Gradient)
    return [shared(op.input(0), axes, spread, emit)]


def can_share(x: Tensor, axes: set[int]) -> bool:
    """Whether the values along ``axes`` are few enough for :func:`shared`."""
    return elements([x.shape[axis] for axis in axes]) <= _MOST


def shared(x: Tensor, axes: set[int], upstream: Gradient, emit: Emitter) -> Gradient:
    """Return ``upstream``, divided among the values of ``x`` that are the largest along ``axes``, and 0 elsewhere.

    The shares are a softmax so steep that what is a step of the grid below the largest has none.
    """
    build, grid = emit.builder, x.quantization
    assert grid is not None
    order = [axis for axis in range(len(x.shape)) if axis not in axes] + sorted(axes)
    first = _transposed(build, x, order)
    count = elements([x.shape[axis] for axis in axes])
    rows = build.reshape(first, (elements(x.shape) // count, count))
    options = SoftmaxOptions(_STEP / grid.scale[0])
    share = build.op("SOFTMAX", [rows], rows.shape, options, quantization=_SOFTMAX, version=2)
    share = _transposed(build, build.reshape(share, first.shape), np.argsort(order).tolist())
    product = emit.times(upstream, emit.real(build.quantize(share, _SYMMETRIC)))
    return Gradient(product.tensor, product.factor * _ONE)


def _transposed(build: Builder, x: Tensor, order: Sequence[int]) -> Tensor:
    if list(order) == sorted(order):
        return x
    shape = [x.shape[axis] for axis in order]
    operands = [x, build.constant(np.asarray(order), INT32)]
    return build.op("TRANSPOSE", operands, shape, TransposeOptions(), quantization=x.quantization)
