"""Transposed convolution."""

from __future__ import annotations

import numpy as np

from ...tflite.graph import Op
from ...tflite.options import TransposeConvOptions
from ..arithmetic import bounds, grid
from ..program import Parameters
from .convolution import constants, factors, padding
from .packing import Figures
from .registry import Unit, constant, int8, lowering, one_image, refuse


@lowering("TRANSPOSE_CONV")
def transpose_conv(op: Op, unit: Unit) -> None:
    """On int8, any stride and padding, bias or none; weights constant, with a scale per tensor or per channel."""
    options = op.options
    assert isinstance(options, TransposeConvOptions)
    weights, x, y = op.input(1), op.input(2), op.output
    int8(op, weights, x, y)
    kernel = constant(op, weights)
    (height, width, depth), (*sizes, channels) = one_image(op, x), one_image(op, y)
    if kernel.ndim != 4 or (kernel.shape[0], kernel.shape[3]) != (channels, depth):
        raise refuse(op, f"weights {weights!r} do not lead from {depth} channels to {channels}")
    taps, strides = kernel.shape[1:3], (options.stride_h, options.stride_w)
    if min(strides) < 1:
        raise refuse(op, f"its stride is {strides}")
    pads = [
        padding(size, -(-size // stride), window, stride, 1, options.padding)
        for size, window, stride in zip(sizes, taps, strides, strict=True)
    ]
    bias = op.inputs[3] if len(op.inputs) > 3 else None
    scale, zero = grid(x)
    lowest, highest = bounds(y, options.fused_activation_function)
    given = np.zeros(channels, np.int32) if bias is None else constant(op, bias)
    figures = Figures(given, *factors(op, channels, scale))
    parameters = Parameters(
        "whylite_conv",
        {
            "weights": unit.constant(kernel, np.int8, "weights"),
            **constants(unit, figures),
            "in_height": height,
            "in_width": width,
            "in_channels": depth,
            "out_height": sizes[0],
            "out_width": sizes[1],
            "out_channels": channels,
            "kernel_height": taps[0],
            "kernel_width": taps[1],
            "stride_height": strides[0],
            "stride_width": strides[1],
            "pad_top": pads[0],
            "pad_left": pads[1],
            "in_zero": zero,
            "out_zero": grid(y)[1],
            "lowest": lowest,
            "highest": highest,
        },
    )
    macs = height * width * kernel.size
    unit.call("deconv", "whylite_transpose_conv", parameters, unit.value(x), unit.value(y), macs=macs)
