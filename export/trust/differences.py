"""A gradient against difference quotients of the function it belongs to.

Rectifiers make a gradient jump, so a difference quotient over a segment is held against the *mean* of the gradient
along it (the fundamental theorem of calculus) instead of its value in the middle. Too wide a segment crosses many
kinks, too narrow a one drowns in float32's rounding; a wrong gradient is wrong at every width, so the best counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Function = Callable[[Array], float]
MeanGradient = Callable[[Array, Array], Array]
"""The mean of a gradient between two points."""

# Half-lengths of the segments, as parts of the scale of inputs; first what is mostly good enough.
_ALONG_WIDTHS = (1e-3, 3e-4, 1e-4, 3e-5)
# A random direction has only 1/√n of the gradient's slope, so float32's rounding asks for longer ones.
_RANDOM_WIDTHS = (3e-3, 1e-2, 1e-3)
LINEAR_WIDTHS = (1.0, 1e2, 1e4, 1e-2, 1e-3)
"""For a function that is linear but for few kinks: the wider, the less does rounding matter."""


def error_along(
    function: Function,
    gradient: MeanGradient,
    x: Array,
    scale: float,
    enough: float,
    widths: Sequence[float] = _ALONG_WIDTHS,
) -> float:
    """Return the relative error of a gradient along itself, which is where it claims the most.

    ``scale`` is the size of inputs (a norm), ``enough`` an error below which no other width is tried. A gradient that
    lacks entries passes here: what it has is right. :func:`errors_in_random_directions` finds those.
    """
    slope = gradient(x, x)
    length = float(np.linalg.norm(slope.astype(np.float64)))
    if not length:
        return 0.0
    if not np.isfinite(length):
        return np.inf
    direction = (slope / length).astype(np.float32)
    return _least(function, gradient, x, direction, length, [width * scale for width in widths], enough)


def errors_in_random_directions(
    function: Function,
    gradient: MeanGradient,
    x: Array,
    scale: float,
    enough: float,
    random: np.random.Generator,
    widths: Sequence[float] = _RANDOM_WIDTHS,
) -> list[float]:
    """Return the errors of a gradient along two random directions, relative to the slope to be expected there.

    That is the gradient's norm over the square root of the input's size, or the slope that is found, if larger: a
    gradient that is zero where the function is not has error 1.
    """
    typical = float(np.linalg.norm(gradient(x, x))) / np.sqrt(x.size)
    errors = []
    for _ in range(2):
        drawn = random.normal(size=x.shape)
        direction = (drawn / np.linalg.norm(drawn)).astype(np.float32)
        moves = [width * scale for width in widths]
        errors.append(_least(function, gradient, x, direction, typical, moves, enough))
    return errors


def _least(
    function: Function,
    gradient: MeanGradient,
    x: Array,
    direction: Array,
    size: float,
    widths: Sequence[float],
    enough: float,
) -> float:
    """Return the smallest error over ``widths``, relative to ``size`` or the slope found."""
    least = np.inf
    for width in widths:
        move = np.float32(width) * direction
        low, high = x - move, x + move
        # What float32 made of the two points is how far apart they are.
        apart = float(np.vdot(high.astype(np.float64) - low, direction)) / float(np.vdot(direction, direction))
        found = (function(high) - function(low)) / apart if apart else 0.0
        told = float(np.vdot(gradient(low, high), direction))
        least = min(least, abs(found - told) / max(size, abs(found), 1e-30))
        if least < enough:
            break
    return float(least)
