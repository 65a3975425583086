"""Rules of the convolutions."""

from __future__ import annotations

from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Deferred, Gradient, OneHot, Value
from ..numerics.windows import axes_of, conv_transpose, depthwise_transpose
from ..tflite.graph import Op
from ..tflite.options import Conv2DOptions, TransposeConvOptions
from .backward import rule


@rule("CONV_2D", affine=1)
def conv_2d(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = K * x + b (correlation), hence ∂/∂x = the transposed convolution of ∂/∂y with K."""
    kernel = emit.weights(op.input(1))
    _, height, width, inputs = kernel.stored.shape
    if isinstance(upstream, OneHot) and op.input(0).shape[1:] == (1, 1, inputs) and height == width == 1:
        row = emit.select_row(upstream, op.input(1))
        return [emit.reshape(row, (1, inputs), op.input(0).shape)]
    gradient = emit.expand(emit.dense(upstream), op.output.shape)
    groups = op.input(0).shape[3] // inputs
    return [conv_transpose(emit, gradient, kernel, axes_of(op, (height, width)), groups)]


@rule("TRANSPOSE_CONV", affine=1)
def transpose_conv(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = the transposed convolution of x with K, hence ∂/∂x = K * ∂/∂y, an ordinary convolution."""
    options = op.options
    assert isinstance(options, TransposeConvOptions)
    kernel = emit.weights(op.input(1))
    gradient = emit.expand(emit.dense(upstream), op.output.shape)

    def settle(factor: float) -> Gradient:
        turned = kernel.transposed((3, 1, 2, 0))
        stored = emit.store(emit.builder, turned, lambda values: values, 3, factor / gradient.factor)
        window = Conv2DOptions(options.padding, options.stride_w, options.stride_h)
        return Gradient(emit.builder.conv2d(gradient.tensor, stored, options=window), factor)

    return [None, None, Deferred(settle)]


@rule("DEPTHWISE_CONV_2D", affine=1)
def depthwise_conv_2d(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y_c = K_c * x_c + b_c for each channel, hence ∂/∂x_c = the transposed convolution of ∂/∂y_c with K_c."""
    kernel = emit.weights(op.input(1))
    _, height, width, outputs = kernel.stored.shape
    gradient = emit.expand(emit.dense(upstream), op.output.shape)
    axes = axes_of(op, (height, width))
    inputs = op.input(0).shape[3]
    if inputs == outputs:
        return [depthwise_transpose(emit, gradient, kernel, axes)]
    # Several outputs per channel are a convolution with as many groups as there are input channels.
    return [conv_transpose(emit, gradient, kernel.transposed((3, 1, 2, 0)), axes, groups=inputs)]
