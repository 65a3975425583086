"""TensorFlow Lite's fixed-point functions on whole arrays, bit for bit, for tables that are worked out at compile time.

Values are int64 that stand for what an int32 would hold. Source: gemmlowp's fixedpoint.h, and TensorFlow Lite's
MultiplyByQuantizedMultiplier (tensorflow/lite/kernels/internal/common.cc) as it is built without single rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.int64]

_HIGHEST = (1 << 31) - 1
# exp(-2 ** e) in Q31, for e from -2 on.
_EXPONENTIALS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)


def high_product(a: Values, b: Values | int, bits: int = 31) -> Values:
    """Return ``a * b / 2 ** bits``, rounded to nearest, halves up."""
    return (a * np.int64(b) + (1 << (bits - 1))) >> bits


def halve(x: Values, exponent: int) -> Values:
    """Return ``x / 2 ** exponent``, rounded to nearest, halves away from zero."""
    mask = (1 << exponent) - 1
    return (x >> exponent) + ((x & mask) > (mask >> 1) + (x < 0))


def scale(x: Values, mantissa: int, shift: int) -> Values:
    """Return ``x * mantissa * 2 ** (shift - 31)``, rounded twice."""
    lifted = (x << max(shift, 0)).astype(np.int32).astype(np.int64)  # wraps, as the C does
    return halve(high_product(lifted, mantissa), max(-shift, 0))


def exponential(a: Values, integer_bits: int) -> Values:
    """Return ``exp(a)`` in Q31 for ``a <= 0`` with that many integer bits, up to 5."""
    fraction = 31 - integer_bits
    quarter = 1 << (fraction - 2)
    rest = (a & (quarter - 1)) - quarter
    result = _exponential_near_zero(rest << integer_bits)
    remainder = rest - a
    for place, factor in enumerate(_EXPONENTIALS[: integer_bits + 2]):
        bit = (remainder >> (fraction - 2 + place)) & 1
        result = np.where(bit, high_product(result, factor), result)
    return np.where(a == 0, _HIGHEST, result)


def _exponential_near_zero(a: Values) -> Values:
    """Return ``exp(a)`` in Q31 for ``a`` in Q31 from -1/4 up to 0: the Taylor series around -1/8."""
    x = a + (1 << 28)
    x2 = high_product(x, x)
    x3, x4 = high_product(x2, x), high_product(x2, x2)
    series = halve(high_product(halve(x4, 2) + x3, 715827883) + x2, 1)  # 1/3
    return 1895147668 + high_product(x + series, 1895147668)  # exp(-1/8)


def logistic(a: Values) -> Values:
    """Return ``1 / (1 + exp(-a))`` in Q31 for ``a`` with 4 integer bits."""
    positive = _saturated(_twice_inverse(exponential(-np.abs(a), 4)) << 1)
    return np.where(a == 0, 1 << 30, np.where(a > 0, positive, _HIGHEST - positive))


def tanh(a: Values) -> Values:
    """Return the hyperbolic tangent in Q31 for ``a`` with 4 integer bits."""
    # (1 - x) / (1 + x) for x = exp(-2 |a|); twice a is a with one integer bit more.
    positive = _saturated((_twice_inverse(exponential(-np.abs(a), 5)) - (1 << 29)) << 2)
    return np.where(a == 0, 0, np.where(a < 0, -positive, positive))


def _twice_inverse(a: Values) -> Values:
    """Return ``2 / (1 + a)`` with 2 integer bits for ``a`` in Q31 from 0 to 1: three steps of Newton and Raphson."""
    half_denominator = (a + _HIGHEST + 1) >> 1
    x = 1515870810 + high_product(half_denominator, -1010580540)  # 48/17 - 32/17 d
    for _ in range(3):
        x = x + _saturated(high_product(x, (1 << 29) - high_product(half_denominator, x)) << 2)
    return x


def _saturated(x: Values) -> Values:
    return np.clip(x, -_HIGHEST - 1, _HIGHEST)
