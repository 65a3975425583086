"""How far maps are from what they should be, and gradients from difference quotients: the verdicts of all checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.manifest import Check

from .differences import error_along, errors_in_random_directions
from .findings import Findings

Array = NDArray[np.float32]

GRADIENT_BOUND = 1e-3
RANDOM_BOUND = 0.05
ENOUGH = 0.25
"""Of a bound: time is better spent on another input than on a better figure."""
_WORST = 20.0  # how many bounds the worst input may take: a kink that a segment cannot avoid
_SEGMENT_POINTS = 32  # gradients whose mean is taken along a segment, or more where the batch of steps wants it


def distance(measured: NDArray[Any], expected: NDArray[Any]) -> float | None:
    """Return the Euclidean distance of a map to what it should be, over the size of that; None if both are zero."""
    return relative(float(np.linalg.norm(measured - expected)), float(np.linalg.norm(expected)))


def relative(error: float, size: float) -> float | None:
    """Return an error over a size; None where both are zero, which any map of zeros would come to."""
    return error / max(size, 1e-12) if error or size else None


def agreement(
    check: str, errors: Sequence[float | None], method: str, bound: float = GRADIENT_BOUND, of: str = " of the maps"
) -> Findings:
    """Return how maps did against what they should be; those that are zero, as they should, have no part in it.

    Where all are, nothing is decided: an entry that returned nothing but zeros would do as well.
    """
    told = [error for error in errors if error is not None]
    zero = len(errors) - len(told)
    if not told:
        return Findings(notes=(f"{check} was not decided: all {zero} maps are zero, as they should be",))
    median = float(np.median(told))
    detail = f"median relative error{of}; largest {max(told):.1e}"
    detail += f"; {zero} of {len(errors)} maps are zero, as they should be, and do not count" if zero else ""
    return Findings((Check(check, median, bound, median <= bound, len(told), detail, method),))


@dataclass(frozen=True)
class GradientErrors:
    """What difference quotients say of a gradient at one point."""

    along: float
    random: list[float]

    @classmethod
    def of(
        cls, function: Callable[[Array], float], gradient: Any, x: Array, scale: float, random: np.random.Generator
    ) -> GradientErrors:
        """Measure at ``x``."""
        along = error_along(function, gradient, x, scale, GRADIENT_BOUND * ENOUGH)
        return cls(along, errors_in_random_directions(function, gradient, x, scale, RANDOM_BOUND * ENOUGH, random))


def gradient_checks(what: str, gradients: Sequence[GradientErrors], method: str) -> Findings:
    """Return how a gradient did along itself, and in random directions."""
    rows = []
    for title, errors, bound in (
        (f"{what} against central differences", [g.along for g in gradients], GRADIENT_BOUND),
        (f"{what} in random directions", [error for g in gradients for error in g.random], RANDOM_BOUND),
    ):
        median, worst = float(np.median(errors)), max(errors)
        detail = f"median relative error; largest {worst:.1e} of {_WORST:g} bounds"
        passed = median <= bound and worst <= _WORST * bound
        rows.append(Check(title, median, bound, passed, len(gradients), detail, method))
    return Findings(tuple(rows))


def points(low: Array, high: Array, at_once: int = 1) -> Array:
    """Return where on a segment to take gradients, as parts of its length: enough for ``at_once`` if it has none."""
    count = at_once if low is high else -(-_SEGMENT_POINTS // at_once) * at_once
    return ((np.arange(count) + 0.5) / count).astype(np.float32)


def scale_of(samples: Array) -> float:
    """Return the size of inputs as a norm; that of unit noise where all are zero."""
    norm = float(np.median(np.linalg.norm(samples.reshape(len(samples), -1), axis=1)))
    return norm or float(np.sqrt(samples[0].size))


def entry_of(function: Callable[[Array], Array], index: int) -> Callable[[Array], float]:
    """Return one entry of what a function gives, as a function."""
    return lambda at: float(function(at)[index])
