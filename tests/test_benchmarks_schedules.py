"""What the benchmark of schedules counts, on paths whose integrals are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.dense import GRID, Dense, spread, trapezoidal
from benchmarks.schedules import Course
from edge.manifest import Schedule
from edge.refine import Goal
from export.schedule import RULES


def saturating() -> Dense:
    """f(a) = tanh(4 a) + a/2, of two features."""
    maps = np.stack([4 / np.cosh(4 * GRID) ** 2, np.full(len(GRID), 0.5)], 1)
    return Dense(maps @ maps.T, maps.sum(1), np.tanh(4 * GRID) + GRID / 2)


@pytest.mark.parametrize("steps", [1, 5, 30])
def test_a_rule_on_the_grid_is_the_rule(steps):
    path = saturating()
    nodes, weights = RULES["uniform midpoint"](steps)
    rule = spread(nodes, weights)
    assert rule.sum() == pytest.approx(1)
    found = (weights * (4 / np.cosh(4 * nodes) ** 2)).sum(), 0.5
    truth = np.tanh(4.0), 0.5
    assert path.residuals(rule[None])[0] == pytest.approx(abs(sum(truth) - sum(found)), abs=1e-3)
    cosine = np.dot(found, truth) / np.linalg.norm(found) / np.linalg.norm(truth)
    assert path.cosines(rule[None])[0] == pytest.approx(cosine, abs=1e-3)
    error = np.linalg.norm(np.subtract(found, truth)) / np.linalg.norm(truth)
    assert path.errors(rule[None])[0] == pytest.approx(error, abs=1e-3)


def test_the_devices_own_refinement_is_what_is_counted():
    path = saturating()
    schedule = Schedule(4, (0.125, 0.375, 0.625, 0.875), (0.25,) * 4)
    nodes = path.refined(schedule, Goal(0.01, 40))
    assert sorted(nodes[:4]) == list(schedule.nodes)
    assert nodes[4] < 0.25  # where it saturates
    assert 5 < len(nodes) < 40
    assert path.residuals(trapezoidal(nodes)[None])[0] <= 0.011 * path.change


def test_a_length_counts_that_is_good_and_stays_so():
    taken = np.arange(1.0, 41.0)
    residuals = np.where((taken >= 20) | (taken == 7), 0.01, 1.0)[:, None]
    cosines = np.where(taken >= 26, 1.0, 0.5)[:, None]
    one = Course("", taken, residuals, cosines, residuals)
    assert one.for_residual(0.02) == 20
    assert one.for_cosine() == 26
    assert one.for_both() == 26
    assert math.isinf(one.for_residual(0.001))
    half = Course("", taken, np.hstack([residuals, np.ones_like(residuals)]), np.hstack([cosines] * 2), residuals)
    assert half.for_residual(0.02, part=0.9) == math.inf
