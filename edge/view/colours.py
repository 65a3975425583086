"""The colours of attributions: orange speaks for the class, blue against it, and nothing is left uncoloured."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

# Told apart by every kind of colour vision, and readable on light and on dark ground.
FOR, AGAINST = (232, 89, 12), (47, 126, 216)
SHADES = 31
"""Shades of each of the two colours, as many as eyes tell apart."""
_STRONGEST = 235  # of 255: what is under the strongest colour shows through still
_MANY = 1000  # values of which the largest few may lie beyond the end of the scale
_END = 0.995

PALETTE: NDArray[np.uint8] = np.array(
    [
        (*(FOR if shade > 0 else AGAINST), round(abs(shade) / SHADES * _STRONGEST))
        for shade in range(-SHADES, SHADES + 1)
    ],
    np.uint8,
)
"""Red, green, blue and opacity, ``[2 SHADES + 1, 4]``: from against over nothing to for."""


def shades(values: Array, limit: float) -> NDArray[np.uint8]:
    """Return places in the palette; the scale ends at ``limit`` to both sides. What is no number has no colour."""
    relative = np.clip(np.nan_to_num(values / (limit or 1.0), nan=0.0), -1, 1)
    return np.asarray(np.rint(relative * SHADES) + SHADES, np.uint8)


def limit(maps: Iterable[Array]) -> float:
    """Return where the scale of these maps ends: at the largest value, or, of many, where 5 in 1000 lie beyond."""
    sizes = np.concatenate([np.abs(values[np.isfinite(values)]).ravel() for values in maps])
    if not sizes.size:
        return 0.0
    largest = float(sizes.max())
    return (float(np.quantile(sizes, _END)) or largest) if sizes.size >= _MANY else largest
