"""Rules of matrix products."""

from __future__ import annotations

from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, OneHot, Value
from ..tflite.graph import Op, Tensor
from ..tflite.options import BatchMatMulOptions
from .backward import rule


@rule("FULLY_CONNECTED", affine=1)
def fully_connected(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x Wᵀ + b, hence ∂/∂x = (∂/∂y) W; a one-hot ∂/∂y picks a row of W."""
    if isinstance(upstream, OneHot):
        row = emit.select_row(upstream, op.input(1))
        return [emit.reshape(row, row.tensor.shape, op.input(0).shape)]
    full = emit.expand(upstream, op.output.shape)
    return [emit.matmul(full, emit.weights(op.input(1)), op.input(0).shape)]


@rule("BATCH_MATMUL", affine=1)
def batch_matmul(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = a b, hence ∂/∂a = (∂/∂y) bᵀ and ∂/∂b = aᵀ (∂/∂y); an operand that is read transposed gets it transposed."""
    options = op.options
    assert isinstance(options, BatchMatMulOptions)
    gradient = emit.expand(emit.dense(upstream), op.output.shape)
    left, right = (emit.real(op.input(index)) for index in (0, 1))

    def product(a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool, operand: int) -> Value:
        tensor = emit.builder.batch_matmul(a, b, transpose_a, transpose_b)
        target = op.input(operand).shape
        whole = (*op.output.shape[: len(op.output.shape) - 2], *target[-2:])
        return emit.reduce_to(Gradient(tensor, gradient.factor), whole, target)

    g = gradient.tensor
    if options.adj_x:
        for_left = product(right, g, options.adj_y, True, 0)
    else:
        for_left = product(g, right, False, not options.adj_y, 0)
    if options.adj_y:
        for_right = product(g, left, True, options.adj_x, 1)
    else:
        for_right = product(left, g, not options.adj_x, False, 1)
    return [for_left, for_right]
