"""Rules of elementwise arithmetic. Operands may be broadcast; what is summed over then is the emitter's business."""

from __future__ import annotations

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, Value
from ..tflite.graph import Op, Tensor
from ..tflite.ops import FLOAT
from ..tflite.options import CosOptions, FloorDivOptions, PowOptions
from .backward import rule

# What a gradient is multiplied or divided by at most and at least: beside a SELECT, as converters write SELU and
# softplus, the branch that was not taken may be infinite, and 0 times that is no number.
_LARGEST, _SMALLEST = (float(limit) for limit in (np.finfo(np.float32).max, np.finfo(np.float32).tiny))

_SMALLEST_TO_CUBE = 2.1e-26  # x^(-3/2) is more than a float32 can be below


def _operand(op: Op, index: int, gradient: Value, emit: Emitter) -> Value:
    """Return the gradient of operand ``index``, summed over the dimensions in which it was broadcast."""
    return emit.reduce_to(gradient, op.output.shape, op.input(index).shape)


def _times(value: Value, other: Tensor, emit: Emitter) -> Gradient:
    """Return ``value * other`` for another operand, constant or not."""
    constant = emit.constant(other)
    return emit.times(value, emit.real(other)) if constant is None else emit.multiply(value, constant.real())


@rule("ADD", affine=2)
def add(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = a + b, hence ∂/∂a = ∂/∂b = ∂/∂y."""
    return [_operand(op, index, upstream, emit) for index in (0, 1)]


@rule("ADD_N", affine=99)
def add_n(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = the sum of all operands, hence each one's gradient is ∂/∂y."""
    del emit
    return [upstream for _ in op.inputs]


@rule("SUB", affine=2)
def sub(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = a - b, hence ∂/∂a = ∂/∂y, ∂/∂b = -∂/∂y."""
    return [_operand(op, 0, upstream, emit), _operand(op, 1, emit.scale(upstream, -1), emit)]


@rule("MUL", affine=1)
def mul(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = a b, hence ∂/∂a = ∂/∂y b, ∂/∂b = ∂/∂y a."""
    return [_operand(op, index, _times(upstream, op.input(1 - index), emit), emit) for index in (0, 1)]


@rule("DIV", affine=0)
def div(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = a / b, hence ∂/∂a = ∂/∂y / b, ∂/∂b = -∂/∂y y / b."""
    build = emit.builder
    constant = emit.constant(op.input(1))
    if constant is not None:
        return [_operand(op, 0, emit.multiply(upstream, 1 / constant.real()), emit), None]
    gradient = emit.dense(upstream)
    quotient = Gradient(build.div(gradient.tensor, emit.real(op.input(1))), gradient.factor)
    return [
        _operand(op, 0, quotient, emit),
        _operand(op, 1, emit.scale(emit.times(quotient, emit.real(op.output)), -1), emit),
    ]


@rule("SQUARED_DIFFERENCE")
def squared_difference(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = (a - b)², hence ∂/∂a = 2 (a - b) ∂/∂y, ∂/∂b = -∂/∂a."""
    difference = emit.builder.sub(emit.real(op.input(0)), emit.real(op.input(1)))
    gradient = emit.scale(emit.times(upstream, difference), 2)
    return [_operand(op, 0, gradient, emit), _operand(op, 1, emit.scale(gradient, -1), emit)]


@rule("MAXIMUM")
def maximum(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = max(a, b), hence ∂/∂b = ∂/∂y where b > a, and ∂/∂a gets the rest."""
    return _selected(op, upstream, emit, larger=1)


@rule("MINIMUM")
def minimum(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = min(a, b), hence ∂/∂b = ∂/∂y where a > b, and ∂/∂a gets the rest."""
    return _selected(op, upstream, emit, larger=0)


def _selected(op: Op, upstream: Value, emit: Emitter, larger: int) -> list[Contribution | None]:
    build = emit.builder
    lead = build.sub(emit.real(op.input(larger)), emit.real(op.input(1 - larger)))
    second = emit.gate(upstream, lead)
    first = emit.times(upstream, build.sub(build.number(1), emit.indicator(lead)))
    return [_operand(op, 0, first, emit), _operand(op, 1, second, emit)]


@rule("NEG", affine=1)
def neg(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = -x, hence ∂/∂x = -∂/∂y."""
    del op
    return [emit.scale(upstream, -1)]


@rule("ABS")
def abs_(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = |x|, hence ∂/∂x = ∂/∂y sign(x), and 0 at 0."""
    build, x = emit.builder, emit.real(op.input(0))
    steep = build.scaled(x, 1e30)
    sign = build.maximum(build.minimum(steep, build.number(1)), build.number(-1))
    return [emit.times(upstream, sign)]


@rule("EXP")
def exp(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = exp(x), hence ∂/∂x = ∂/∂y y."""
    build = emit.builder
    return [emit.times(upstream, build.minimum(emit.real(op.output), build.number(_LARGEST)))]


@rule("LOG")
def log(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = log(x), hence ∂/∂x = ∂/∂y / x."""
    build, gradient = emit.builder, emit.dense(upstream)
    x = build.maximum(emit.real(op.input(0)), build.number(_SMALLEST))
    return [Gradient(build.div(gradient.tensor, x), gradient.factor)]


@rule("SIN")
def sin(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = sin(x), hence ∂/∂x = ∂/∂y cos(x)."""
    x = emit.real(op.input(0))
    return [emit.times(upstream, emit.builder.op("COS", [x], x.shape, CosOptions()))]


@rule("COS")
def cos(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = cos(x), hence ∂/∂x = -∂/∂y sin(x)."""
    x = emit.real(op.input(0))
    return [emit.scale(emit.times(upstream, emit.builder.op("SIN", [x], x.shape)), -1)]


@rule("SQRT")
def sqrt(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = √x, hence ∂/∂x = ∂/∂y / (2 y)."""
    build, gradient = emit.builder, emit.scale(upstream, 0.5)
    x = build.maximum(emit.real(op.input(0)), build.number(_SMALLEST))
    return [Gradient(build.div(gradient.tensor, build.op("SQRT", [x], x.shape)), gradient.factor)]


@rule("RSQRT")
def rsqrt(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = 1/√x, hence ∂/∂x = -∂/∂y y³ / 2."""
    build = emit.builder
    y = build.rsqrt(build.maximum(emit.real(op.input(0)), build.number(_SMALLEST_TO_CUBE)))
    return [emit.scale(emit.times(upstream, build.mul(build.mul(y, y), y)), -0.5)]


@rule("SQUARE")
def square(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x², hence ∂/∂x = 2 x ∂/∂y."""
    return [emit.scale(emit.times(upstream, emit.real(op.input(0))), 2)]


@rule("POW")
def pow_(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = a^b, hence ∂/∂a = ∂/∂y b a^(b-1), ∂/∂b = ∂/∂y y log(a), and 0 where a is not positive."""
    build = emit.builder
    base, exponent = (emit.real(op.input(index)) for index in (0, 1))
    lower = build.sub(exponent, build.number(1))
    constant = emit.constant(op.input(1))
    if constant is not None:
        lower = build.constant(constant.real() - 1)
    power = build.minimum(build.op("POW", [base, lower], op.output.shape, PowOptions()), build.number(_LARGEST))
    for_base = emit.times(_times(upstream, op.input(1), emit), power)
    positive = build.maximum(base, build.number(_SMALLEST))
    logarithm = build.mul(build.op("LOG", [positive], base.shape), emit.indicator(base))
    for_exponent = emit.times(emit.times(upstream, emit.real(op.output)), logarithm)
    return [_operand(op, 0, for_base, emit), _operand(op, 1, for_exponent, emit)]


@rule("FLOOR_MOD")
def floor_mod(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = a - b floor(a / b), hence ∂/∂a = ∂/∂y, ∂/∂b = -∂/∂y floor(a / b)."""
    build = emit.builder
    operands = [emit.real(op.input(index)) for index in (0, 1)]
    times = build.op("FLOOR_DIV", operands, op.output.shape, FloorDivOptions())
    for_divisor = emit.scale(emit.times(upstream, times), -1)
    return [_operand(op, 0, upstream, emit), _operand(op, 1, for_divisor, emit)]


@rule("SELECT", "SELECT_V2")
def select(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = a where c, else b, hence ∂/∂a = ∂/∂y where c, ∂/∂b = ∂/∂y where not c."""
    build, gradient, nothing = emit.builder, emit.dense(upstream), emit.builder.number(0)
    chosen = op.input(0)
    if op.code == "SELECT" and len(chosen.shape) == 1 < len(op.output.shape):  # one decision per entry of the batch
        chosen = build.reshape(chosen, (*chosen.shape, *(1,) * (len(op.output.shape) - 1)))
    shape = np.broadcast_shapes(gradient.tensor.shape, chosen.shape)
    branches = [(gradient.tensor, nothing), (nothing, gradient.tensor)]
    kept = [Gradient(build.op("SELECT_V2", [chosen, *pair], shape, dtype=FLOAT), gradient.factor) for pair in branches]
    return [None, *(_operand(op, index, value, emit) for index, value in enumerate(kept, 1))]


@rule("FLOOR", "CEIL", "ROUND", "SIGN", "FLOOR_DIV", "ZEROS_LIKE", "ARG_MAX", "ARG_MIN", "ONE_HOT")
@rule("GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "EQUAL", "NOT_EQUAL")
@rule("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT", "REDUCE_ALL", "REDUCE_ANY")
def steps(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y is the same all around x but where it jumps, hence ∂/∂x = 0."""
    del upstream, emit
    return [None for _ in op.inputs]
