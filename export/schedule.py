"""Interpolation schedules of Integrated Gradients: nodes and weights on [0, 1]."""

from __future__ import annotations

import numpy as np

from edge.bundle import Schedule

LENGTHS = (8, 16, 32, 64)


def uniform_midpoint(steps: int) -> Schedule:
    """Return the midpoint rule on ``steps`` equal intervals: second order, and never evaluates the ends."""
    nodes = (np.arange(steps) + 0.5) / steps
    return Schedule(steps, tuple(nodes.tolist()), (1 / steps,) * steps)
