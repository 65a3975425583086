"""Completeness: what a map leaves of the logit's change (Sundararajan et al. 2017, arXiv 1703.01365, sec. 3)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

FEWEST = 8
"""Inputs that decide: if all of them are within the bound, so are 69 % of inputs like them, with 95 % confidence."""
_MOST = 24


@dataclass(frozen=True)
class Left:
    """What the map leaves of the logit's change for each of some inputs, both in logits."""

    residuals: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)

    def add(self, residual: float, change: float) -> None:
        """Note one input."""
        self.residuals.append(abs(residual))
        self.changes.append(abs(change))

    @property
    def of_own(self) -> NDArray[np.float64]:
        """What is left of each input's own change."""
        return np.asarray(self.residuals) / np.maximum(self.changes, 1e-9)

    @property
    def completeness(self) -> float:
        """The 95th percentile of what is left of the change, of the median change where an input's own is smaller.

        A logit that happens to be next to that of the baseline makes any residual a multiple of its change.
        """
        sizes = np.maximum(self.changes, max(float(np.median(self.changes)), 1e-9))
        return float(np.quantile(np.asarray(self.residuals) / sizes, 0.95))


def held_back(x: Array) -> Array:
    """Return the inputs that completeness is measured on: every other one, which had no part in making schedules."""
    return x[1::2][:_MOST] if len(x) > 1 else x
