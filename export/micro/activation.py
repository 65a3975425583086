"""The gradient of hard swish, of ops that microcontrollers have in int8."""

from __future__ import annotations

import numpy as np

from ..errors import UnsupportedModelError
from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, Value
from ..tflite.graph import Op, Quantization, Tensor
from ..tflite.ops import INT8, Builder
from ..tflite.options import AddOptions, MaximumMinimumOptions, MulOptions, SubOptions

_LEVELS = 255


def hard_swish(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x min(max(x + 3, 0), 6) / 6, hence ∂/∂x = ∂/∂y (x/3 + 1/2) where -3 < x < 3, 0 below and ∂/∂y above."""
    gradient = emit.times(upstream, emit.real(_thrice_the_slope(emit.builder, op.input(0))))
    return [Gradient(gradient.tensor, 3 * gradient.factor)]


def _thrice_the_slope(build: Builder, x: Tensor) -> Tensor:
    """Return x + 1.5 between -3 and 3, 0 below and 3 above.

    That is x cut to the values between, plus 1.5, less a jump where it was cut.
    """
    grid = x.quantization
    assert grid is not None
    stored = np.arange(-128, 128)
    real = grid.dequantize(stored)
    inside = np.flatnonzero((real > -3) & (real < 3))
    low, high = inside[0], inside[-1]
    cut = x
    for code, end in (("MAXIMUM", low), ("MINIMUM", high)):
        operands = [cut, build.constant([stored[end]], INT8, grid)]
        cut = build.op(code, operands, x.shape, MaximumMinimumOptions(), quantization=grid)
    beyond = build.op("SUB", [x, cut], x.shape, SubOptions(), quantization=Quantization(grid.scale, (0,)))
    # One step beyond saturates at what brings the sum to 3 or 0. Where no value is beyond, any jump will do.
    up = real[high] - 1.5 if high < _LEVELS else 1.0
    down = -1.5 - real[low] if low > 0 else 1.0
    if min(up, down) <= 0:
        raise UnsupportedModelError(
            f"the gradient of HARD_SWISH needs smaller steps in int8 than {grid.scale[0]:.3g}, at tensor {x!r}",
            "calibrate the model with inputs like the device's when it is converted, or export it for --target pi",
        )
    step = (up + down) / _LEVELS
    jumps = Quantization((float(np.float32(step)),), (127 - round(up / step),))
    steep = _number(build, 2 * max(up, down) / grid.scale[0])
    jump = build.op("MUL", [beyond, steep], x.shape, MulOptions(), quantization=jumps)
    # From -3 to 0, all of it on one side of the zero.
    less = build.op("ADD", [jump, _number(build, -1.5)], x.shape, AddOptions(), quantization=_grid(3 / _LEVELS, 127))
    return build.op("SUB", [cut, less], x.shape, SubOptions(), quantization=_grid(4.5 / 127, 0))


def _number(build: Builder, value: float) -> Tensor:
    return build.constant([127 if value > 0 else -127], INT8, _grid(abs(value) / 127, 0))


def _grid(scale: float, zero_point: int) -> Quantization:
    return Quantization((float(np.float32(scale)),), (zero_point,))
