"""What a model does along the straight paths of calibration inputs, on a grid so dense that it stands for the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GRIDS = tuple(np.linspace(0, 1, count) ** 1.5 for count in (97, 65, 49, 33))
"""Places on the path, closest near the baseline, where most of the change tends to be; from fine to coarse."""
PLACES = np.linspace(0, 1, 17, dtype=np.float32)
"""Where the logit is looked at: the ends of 16 intervals, and of 8, 4 and 2."""


@dataclass(frozen=True)
class Path:
    """One input's path. ``g(a)``, the gradient at ``a`` times (input - baseline), is the map that a step there gives.

    ``gram`` ``[n, n]`` are the inner products of the maps on the grid, ``slopes`` ``[n]`` their sums; ``values`` are
    the logit at equal distances from baseline to input.
    """

    gram: Array
    slopes: Array
    values: Array
    grid: Array

    @property
    def change(self) -> float:
        """``f(x) - f(x')``."""
        return float(self.values[-1] - self.values[0])

    @property
    def truth(self) -> Array:
        """The weights of the trapezoidal rule on the whole grid: what other rules are held against."""
        weights = np.zeros(len(self.grid))
        lengths = np.diff(self.grid)
        weights[1:] += lengths / 2
        weights[:-1] += lengths / 2
        return weights

    @property
    def usable(self) -> bool:
        """Whether there is anything to integrate."""
        truth = self.truth
        return bool(self.change) and float(truth @ self.gram @ truth) > 0

    def on_grid(self, nodes: Array, weights: Array) -> Array:
        """Return a rule as weights of the grid, each node shared by the two places it lies between."""
        place: NDArray[np.intp] = np.clip(np.searchsorted(self.grid, nodes), 1, len(self.grid) - 1)
        low, high = (np.asarray(self.grid[index], np.float64) for index in (place - 1, place))
        part = (np.asarray(nodes, np.float64) - low) / (high - low)
        spread = np.zeros(len(self.grid))
        np.add.at(spread, place - 1, weights * (1 - part))
        np.add.at(spread, place, weights * part)
        return spread

    def residual(self, spread: Array) -> float:
        """Return the raw completeness residual of a rule, relative to the change of the logit."""
        return abs(self.change - float(spread @ self.slopes)) / abs(self.change)

    def map_error(self, spread: Array) -> float:
        """Return the Euclidean distance of a rule's map to the true one, relative to the size of that."""
        wrong, truth = spread - self.truth, self.truth
        squares = [float(weights @ self.gram @ weights) for weights in (wrong, truth)]
        return float(np.sqrt(max(squares[0], 0.0) / squares[1]))


def path(
    gradient: Callable[[float], NDArray[np.float32]],
    values: Array,
    difference: NDArray[np.float32],
    grid: Array,
) -> Path:
    """Return the path along which ``gradient(a)`` gives the gradient at ``a``, and ``values`` are the logit.

    ``difference`` is the input less the baseline.
    """
    maps = np.empty((len(grid), difference.size), np.float32)
    for place, alpha in enumerate(grid):
        maps[place] = gradient(float(alpha)).ravel() * difference.ravel()
    return Path((maps @ maps.T).astype(np.float64), maps.sum(1, dtype=np.float64), values, grid)
