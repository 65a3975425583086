"""Rules of the activations. A mask is read off the op's output where that decides it, so fused ones share the rule."""

from __future__ import annotations

import math

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, Value
from ..tflite.graph import Op, Tensor
from ..tflite.options import GeluOptions, LeakyReluOptions
from .backward import rule

_TANH_GELU = 0.044715  # Hendrycks & Gimpel 2016 (arXiv 1606.08415), sec. 2


@rule("RELU")
def relu(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = max(x, 0), hence ∂/∂x = ∂/∂y where y > 0."""
    return [emit.gate(upstream, op.output)]


@rule("RELU6")
def relu6(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = min(max(x, 0), 6), hence ∂/∂x = ∂/∂y where 0 < y < 6."""
    return [emit.gate(upstream, op.output, ceiling=6.0)]


@rule("RELU_N1_TO_1")
def relu_n1_to_1(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = min(max(x, -1), 1), hence ∂/∂x = ∂/∂y where -1 < y < 1."""
    return [emit.gate(upstream, op.output, floor=-1.0, ceiling=1.0)]


@rule("RELU_0_TO_1")
def relu_0_to_1(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = min(max(x, 0), 1), hence ∂/∂x = ∂/∂y where 0 < y < 1."""
    return [emit.gate(upstream, op.output, ceiling=1.0)]


@rule("LEAKY_RELU")
def leaky_relu(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x where x > 0, else alpha x, hence ∂/∂x = ∂/∂y (alpha + (1 - alpha) [x > 0])."""
    assert isinstance(op.options, LeakyReluOptions)
    return [_leak(op.input(0), upstream, emit, np.full(1, op.options.alpha))]


@rule("PRELU")
def prelu(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x where x > 0, else alpha x with constant alphas, hence ∂/∂x = ∂/∂y (alpha + (1 - alpha) [x > 0])."""
    return [_leak(op.input(0), upstream, emit, emit.weights(op.input(1)).values), None]


def _leak(x: Tensor, upstream: Value, emit: Emitter, alpha: np.ndarray) -> Gradient:
    build = emit.builder
    positive = emit.mask(x)
    bend = build.mul(positive.tensor, build.constant((1 - alpha) / positive.factor))
    return emit.times(upstream, build.add(bend, build.constant(alpha)))


@rule("ELU")
def elu(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x where x > 0, else exp(x) - 1, hence ∂/∂x = ∂/∂y (min(y, 0) + 1)."""
    build = emit.builder
    below = build.minimum(emit.real(op.output), build.number(0))
    return [emit.times(upstream, build.shifted(below, 1))]


@rule("LOGISTIC")
def logistic(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = 1 / (1 + exp(-x)), hence ∂/∂x = ∂/∂y y (1 - y)."""
    build, y = emit.builder, emit.real(op.output)
    return [emit.times(upstream, build.mul(y, build.sub(build.number(1), y)))]


@rule("TANH")
def tanh(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = tanh(x), hence ∂/∂x = ∂/∂y (1 - y²)."""
    build, y = emit.builder, emit.real(op.output)
    return [emit.times(upstream, build.sub(build.number(1), build.mul(y, y)))]


@rule("HARD_SWISH")
def hard_swish(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x r(x) with r = min(max(x + 3, 0), 6) / 6, hence ∂/∂x = ∂/∂y (r + x/6 where -3 < x < 3)."""
    build, x = emit.builder, emit.real(op.input(0))
    ramp = build.scaled(build.op("RELU6", [build.shifted(x, 3)], x.shape), 1 / 6)
    inside = emit.mask(x, -3.0, 3.0)
    slope = build.scaled(build.mul(x, inside.tensor), 1 / (6 * inside.factor))
    return [emit.times(upstream, build.add(ramp, slope))]


@rule("GELU")
def gelu(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x Φ(x), hence ∂/∂x = ∂/∂y (Φ + x φ); Φ and φ are the normal distribution's functions, or tanh's for both."""
    build, x = emit.builder, emit.real(op.input(0))
    squared = build.mul(x, x)
    if isinstance(op.options, GeluOptions) and op.options.approximate:
        slope = math.sqrt(2 / math.pi)
        inner = build.mul(x, build.shifted(build.scaled(squared, slope * _TANH_GELU), slope))
        t = build.op("TANH", [inner], x.shape)
        inner_slope = build.shifted(build.scaled(squared, 3 * slope * _TANH_GELU), slope)
        bell = build.mul(build.sub(build.number(1), build.mul(t, t)), inner_slope)
        derivative = build.scaled(build.add(build.shifted(t, 1), build.mul(x, bell)), 0.5)
        return [emit.times(upstream, derivative)]
    # There is no builtin for Φ, but GELU(a)/a is Φ(a) for a > 0, and Φ - 1/2 is odd.
    size = build.maximum(build.op("ABS", [x], x.shape), build.number(1e-6))
    half = build.shifted(build.div(build.op("GELU", [size], x.shape, GeluOptions(False)), size), -0.5)
    odd = build.shifted(build.mul(build.div(x, size), half), 0.5)
    bell = build.scaled(build.exp(build.scaled(squared, -0.5)), 1 / math.sqrt(2 * math.pi))
    return [emit.times(upstream, build.add(odd, build.mul(x, bell)))]
