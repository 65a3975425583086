"""How alike maps are: Spearman's correlation, and what null distributions of it say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.manifest import Check

from ..choose import ranks

Maps = Sequence[NDArray[Any]]
Array = NDArray[np.float64]


def likeness(left: Maps, right: Maps) -> Array:
    """Return Spearman's correlation of each map in ``left`` with each in ``right``, ``[len(left), len(right)]``.

    Two maps that are constant are alike (1), one that is and one that is not are unlike (0).
    """
    first, second = _standardized(left), _standardized(right)
    correlation = first @ second.T
    first_constant, second_constant = (np.abs(rows).sum(1) == 0 for rows in (first, second))
    return np.where(np.logical_and.outer(first_constant, second_constant), 1.0, correlation)


def _standardized(maps: Maps) -> Array:
    """Return each map's ranks less their mean, of unit length; zeros for a constant one."""
    rows = np.stack([ranks(np.asarray(values).ravel()) for values in maps])
    rows -= rows.mean(1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths, lengths, 1), np.float64)


def own_and_others(table: Array) -> tuple[Array, Array]:
    """Return a square table's diagonal (maps of the same input) and everything else (of different inputs)."""
    same = np.eye(len(table), dtype=bool)
    return table[same], table[~same]


def shifted(maps: Maps, random: np.random.Generator) -> list[NDArray[Any]]:
    """Return each map moved around by a random offset: the same structure, at places that mean nothing."""
    moved = []
    for values in maps:
        offset = random.integers(0, max(values.size - 1, 1)) + 1  # not back to where it was
        places = np.unravel_index(offset % values.size, values.shape)
        moved.append(np.roll(values, [int(place) for place in places], range(values.ndim)))
    return moved


def is_dead(values: NDArray[Any]) -> bool:
    """Whether a map says nothing: it is zero everywhere, or not finite."""
    return not values.any() or not bool(np.isfinite(values).all())


def band(null: Array) -> tuple[float, float]:
    """Return the 5th and 95th percentiles of a null distribution."""
    low, high = np.quantile(null, (0.05, 0.95))
    return float(low), float(high)


@dataclass(frozen=True)
class Verdict:
    """A likeness, the bound it must not exceed, and the band of the null distribution that the bound comes from."""

    value: float
    bound: float
    band: tuple[float, float]
    passed: bool
    detail: str = ""

    @property
    def margin(self) -> float:
        """How far the value stays below its bound."""
        return self.bound - self.value

    def as_check(self, name: str, method: str, samples: int, seeds: Sequence[int], gating: bool) -> Check:
        """Return the verdict as an entry of the manifest."""
        return Check(
            f"{method} {name}",
            self.value,
            self.bound,
            self.passed,
            samples,
            self.detail,
            method=method,
            band=self.band,
            seeds=tuple(seeds),
            gating=gating,
        )


def unrelated(own: Array, *nulls: Array) -> Verdict:
    """Return whether the median of ``own`` lies in the band of each null distribution of unrelated maps, or below."""
    value, bands = float(np.median(own)), [band(null) for null in nulls]
    tightest = min(bands, key=lambda limits: limits[1])
    return Verdict(value, tightest[1], tightest, value <= tightest[1])
