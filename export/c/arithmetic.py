"""The fixed-point figures of TensorFlow Lite's int8 kernels, as its own preparation computes them.

Source: tensorflow/lite/kernels/internal/quantization_util.cc and tensorflow/lite/kernels/kernel_util.cc. All is in
double precision unless a comment says where TensorFlow Lite rounds to single.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedModelError
from ..tflite.graph import Tensor
from ..tflite.options import Activation

LOWEST, HIGHEST = -128, 127


def grid(tensor: Tensor) -> tuple[float, int]:
    """Return the scale and the zero point of a tensor that is quantised as a whole."""
    quantization = tensor.quantization
    if quantization is None or len(quantization.scale) != 1:
        raise UnsupportedModelError(
            f"tensor {tensor!r} has no scale of its own", "convert the model with full integer quantisation"
        )
    return float(np.float32(quantization.scale[0])), int((quantization.zero_point or (0,))[0])


def scales(tensor: Tensor, channels: int) -> list[float]:
    """Return the scale of each channel of a kernel's weights."""
    quantization = tensor.quantization
    if quantization is None or len(quantization.scale) not in (1, channels):
        raise UnsupportedModelError(
            f"weights {tensor!r} do not have one scale, or one for each of {channels} channels",
            "convert the model with full integer quantisation",
        )
    own = [float(np.float32(scale)) for scale in quantization.scale]
    return own * channels if len(own) == 1 else own


def multiplier(real: float) -> tuple[int, int]:
    """Return a factor as a mantissa in Q31 and a power of two: ``real ~ mantissa * 2 ** (shift - 31)``."""
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    mantissa = math.floor(fraction * (1 << 31) + 0.5)
    if mantissa == 1 << 31:
        mantissa //= 2
        shift += 1
    if shift < -31:
        return 0, 0
    if shift > 30:  # what TensorFlow Lite saturates to
        return (1 << 31) - 1, 30
    return mantissa, shift


def multipliers(reals: Iterable[float]) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
    """Return several factors as arrays of mantissas and of powers of two."""
    pairs = [multiplier(real) for real in reals]
    return np.asarray([m for m, _ in pairs], np.int32), np.asarray([s for _, s in pairs], np.int8)


def bounds(output: Tensor, activation: Activation) -> tuple[int, int]:
    """Return the smallest and the largest stored value that a fused activation leaves."""
    scale, zero = grid(output)

    def stored(real: float) -> int:
        # TfLiteRound on a float32 quotient: half away from zero.
        quotient = float(np.float32(np.float32(real) / np.float32(scale)))
        return zero + int(math.copysign(math.floor(abs(quotient) + 0.5), quotient))

    lowest, highest = LOWEST, HIGHEST
    if activation in (Activation.RELU, Activation.RELU6):
        lowest = max(lowest, stored(0.0))
    if activation == Activation.RELU6:
        highest = min(highest, stored(6.0))
    if activation == Activation.RELU_N1_TO_1:
        lowest, highest = max(lowest, stored(-1.0)), min(highest, stored(1.0))
    if activation in (Activation.TANH, Activation.SIGN_BIT):
        raise UnsupportedModelError(
            f"a fused {activation.name} at {output!r} has no int8 kernel", "use the op of its own instead"
        )
    return lowest, highest
