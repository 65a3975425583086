"""Quadrature rules: from a number of steps to nodes on [0, 1] and weights that sum to 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rule = Callable[[int], tuple[Array, Array]]
Quantile = Callable[[Array], Array]
"""The inverse of a cumulative distribution on [0, 1]."""


def left(steps: int) -> tuple[Array, Array]:
    """Return the left Riemann sum."""
    return np.arange(steps) / steps, np.full(steps, 1 / steps)


def right(steps: int) -> tuple[Array, Array]:
    """Return the right Riemann sum, the rule of Sundararajan et al. 2017 (arXiv 1703.01365), eq. 3."""
    return np.arange(1, steps + 1) / steps, np.full(steps, 1 / steps)


def midpoint(steps: int) -> tuple[Array, Array]:
    """Return the midpoint rule: second order, and never evaluates the ends."""
    return (np.arange(steps) + 0.5) / steps, np.full(steps, 1 / steps)


def trapezoid(steps: int) -> tuple[Array, Array]:
    """Return the trapezoidal rule, whose weights sum to 1 (Captum's sum to (n - 1) / n)."""
    if steps == 1:
        return midpoint(1)
    weights = np.full(steps, 1 / (steps - 1))
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, steps), weights


def gauss_legendre(steps: int) -> tuple[Array, Array]:
    """Return Gauss-Legendre quadrature, Captum's default."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return (nodes + 1) / 2, weights / 2


def squared(steps: int) -> tuple[Array, Array]:
    """Return the midpoint rule in u where a = u**2: dense near the baseline, where most of the change tends to be."""
    return along(np.square)(steps)


def along(quantile: Quantile) -> Rule:
    """Return the rule whose nodes are the medians, and weights the lengths, of intervals of equal probability."""

    def rule(steps: int) -> tuple[Array, Array]:
        ends = quantile(np.arange(steps + 1) / steps)
        return quantile((np.arange(steps) + 0.5) / steps), np.diff(ends)

    return rule


def riemann_right(quantile: Quantile) -> Rule:
    """Return the right Riemann sum on intervals of equal probability (RiemannOpt, arXiv 2410.04118, in kind)."""

    def rule(steps: int) -> tuple[Array, Array]:
        ends = quantile(np.arange(steps + 1) / steps)
        return ends[1:], np.diff(ends)

    return rule


RULES: dict[str, Rule] = {
    "uniform left": left,
    "uniform right": right,
    "uniform midpoint": midpoint,
    "uniform trapezoid": trapezoid,
    "gauss-legendre": gauss_legendre,
    "squared midpoint": squared,
}
"""Rules that need no calibration."""
