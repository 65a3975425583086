"""How alike a map in coarser numerics is to that of exact arithmetic, beside the rank correlation that decides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP = 0.1
"""The part of a map's values that counts as its top, by magnitude; one value at the least."""


def sign_agreement(exact: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> float:
    """Return which part of the exact map's non-zero values have the same sign in the other; 1 where both are zero."""
    told = exact != 0
    return float(np.mean(np.sign(exact[told]) == np.sign(other[told]))) if told.any() else float(not other.any())


def top_overlap(exact: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> float:
    """Return which part of the exact map's largest tenth of values, by magnitude, is in the other's."""
    if not exact.any() or not other.any():
        return float(exact.any() == other.any())
    count = max(1, round(TOP * exact.size))
    first, second = (
        set(np.argsort(-np.abs(values.ravel()), kind="stable")[:count].tolist()) for values in (exact, other)
    )
    return len(first & second) / count
