"""Non-uniform interpolation of Integrated Gradients as published: steps where the output was seen to change."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def nodes_and_weights(values: Array, steps: int, place: float = 1.0) -> tuple[Array, Array]:
    """Return the rule of Bhat & Raychowdhury 2023 (arXiv 2302.11107), sec. 3, for one input.

    ``values`` ``[intervals + 1]`` are the outputs at the ends of equal intervals of the path. The ``steps`` are dealt
    out in proportion to the square root of the output's change over an interval, at least one each, and lie uniformly
    inside it: each at the end of its part, as published, or at another ``place`` in it (0.5, the middle).
    """
    intervals = len(values) - 1
    if steps < intervals:
        raise ValueError(f"{steps} steps are fewer than {intervals} intervals")
    share = np.sqrt(np.abs(np.diff(values)))
    share = share / share.sum() if share.any() else np.full(intervals, 1 / intervals)
    counts = np.maximum(1, np.floor(share * steps)).astype(int)
    while counts.sum() > steps:
        counts[np.argmax(np.where(counts > 1, counts - share * steps, -np.inf))] -= 1
    while counts.sum() < steps:
        counts[np.argmax(share * steps - counts)] += 1
    nodes = [(start + (np.arange(count) + place) / count) / intervals for start, count in enumerate(counts)]
    weights = [np.full(count, 1 / (count * intervals)) for count in counts]
    return np.concatenate(nodes), np.concatenate(weights)
