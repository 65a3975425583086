"""Rules of ops that weigh each value by its neighbours: softmax and the normalisations."""

from __future__ import annotations

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, Value
from ..tflite.graph import Op, Tensor
from ..tflite.options import LocalResponseNormalizationOptions, SoftmaxOptions
from .backward import rule


@rule("SOFTMAX")
def softmax(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = softmax(β x) along the last dimension, hence ∂/∂x = β y (g - Σ g y) with g = ∂/∂y."""
    assert isinstance(op.options, SoftmaxOptions)
    gradient, y, last = emit.dense(upstream), emit.real(op.output), len(op.output.shape) - 1
    total = emit.builder.sum(emit.times(gradient, y).tensor, [last])
    centred = emit.builder.sub(emit.expand(gradient, op.output.shape).tensor, total)
    return [emit.scale(emit.times(Gradient(centred, gradient.factor), y), op.options.beta)]


@rule("LOG_SOFTMAX")
def log_softmax(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = log softmax(x) along the last dimension, hence ∂/∂x = g - exp(y) Σ g with g = ∂/∂y."""
    build = emit.builder
    gradient = emit.expand(emit.dense(upstream), op.output.shape)
    total = build.sum(gradient.tensor, [len(op.output.shape) - 1])
    share = build.mul(build.exp(emit.real(op.output)), total)
    return [Gradient(build.sub(gradient.tensor, share), gradient.factor)]


@rule("L2_NORMALIZATION")
def l2_normalization(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x / |x| along the last dimension, hence ∂/∂x = (g - y Σ g y) / |x| with g = ∂/∂y."""
    build, x, y = emit.builder, emit.real(op.input(0)), emit.real(op.output)
    last = len(op.output.shape) - 1
    gradient = emit.dense(upstream)
    along = build.mul(y, build.sum(emit.times(gradient, y).tensor, [last]))
    across = Gradient(build.sub(gradient.tensor, along), gradient.factor)
    # The forward kernel keeps |x| above 1e-6 as well.
    squares = build.maximum(build.sum(build.mul(x, x), [last]), build.number(1e-12))
    return [emit.times(across, build.rsqrt(squares))]


@rule("LOCAL_RESPONSE_NORMALIZATION")
def local_response_normalization(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x s^-β, s = b + α Σ x² over near channels, hence ∂/∂x = g s^-β - 2αβ x Σ (g y / s) with g = ∂/∂y."""
    options = op.options
    assert isinstance(options, LocalResponseNormalizationOptions)
    build, x = emit.builder, emit.real(op.input(0))
    channels = x.shape[-1]
    distance = np.abs(np.subtract.outer(np.arange(channels), np.arange(channels)))
    near = build.constant((distance <= options.radius).astype(np.float32))

    def neighbours(values: Tensor) -> Tensor:
        return build.reshape(build.fully_connected(values, near), values.shape)

    s = build.shifted(build.scaled(neighbours(build.mul(x, x)), options.alpha), options.bias)
    gradient = emit.dense(upstream)
    direct = emit.times(gradient, build.pow(s, -options.beta))
    shared = neighbours(build.div(emit.times(gradient, emit.real(op.output)).tensor, s))
    indirect = build.scaled(build.mul(x, shared), 2 * options.alpha * options.beta)
    return [emit.minus(direct, Gradient(indirect, gradient.factor))]
