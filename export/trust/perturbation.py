"""Inputs whose positions are set to the baseline by what a map says of them, and figures of the scores that remain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.manifest import Port
from edge.view.layout import Kind, layout_of

Array = NDArray[np.float32]
Real = NDArray[np.float64]
Mask = NDArray[np.bool_]

POINTS = 16
"""Parts in which a curve removes all positions: it has as many points and one."""
SUBSETS, SUBSET = 64, 0.2
"""Random sets of cells, and how many of all cells each has (Xplique's default)."""
_CELLS = 81  # of an image 9x9, as Xplique's default


@dataclass(frozen=True)
class Positions:
    """Where an input of ``shape`` has its positions: pixels, time steps, features. Others of its axes are channels."""

    shape: tuple[int, ...]
    axes: tuple[int, ...]

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Positions:
        """Return those of inputs of a shape (without the batch), laid out as the report draws them."""
        layout = layout_of(Port("x", shape, "float32"))
        signal = layout.kind is Kind.CURVES and len(layout.axes) > 1
        return cls(shape, tuple(sorted(layout.axes[1:] if signal else layout.axes[:2])))

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many positions there are along each axis that has them."""
        return tuple(self.shape[axis] for axis in self.axes)

    @property
    def count(self) -> int:
        """How many positions there are."""
        return int(np.prod(self.sizes))

    def laid(self, attribution: NDArray[Any]) -> Real | None:
        """Return a map with one value per position; None for one that cannot be laid over the input.

        Channels of a position are summed. A coarser map, of a layer, is interpolated linearly, along the axes that it
        has: its own positions lie at the middle of what they cover.
        """
        values = np.asarray(attribution, np.float64)
        long = [axis for axis, size in enumerate(self.shape) if size > 1]
        if values.shape != self.shape:
            along = self.axes if values.ndim == len(self.axes) else tuple(long[: values.ndim])
            covered = [self.shape[axis] for axis in along]
            if len(along) != values.ndim or any(np.greater(values.shape, covered)):
                return None
            for place, axis in enumerate(along):
                values = _interpolated(values, place, self.shape[axis])
            others = tuple(axis for axis in range(len(self.shape)) if axis not in along)
            values = np.broadcast_to(np.expand_dims(values, others), self.shape)
        channels = tuple(axis for axis in range(len(self.shape)) if axis not in self.axes)
        return np.asarray(values.sum(axis=channels))

    def without(self, x: Array, baseline: Array, removed: Mask) -> Array:
        """Return an input with the positions set to the baseline that ``removed``, of their shape or flat, says."""
        channels = tuple(axis for axis in range(len(self.shape)) if axis not in self.axes)
        return np.where(np.expand_dims(removed.reshape(self.sizes), channels), baseline, x)

    @property
    def cells(self) -> NDArray[np.intp]:
        """The cell of each position, flat: blocks of them, about as many along each axis."""
        most = max(round(_CELLS ** (1 / max(len(self.sizes), 1))), 1)
        counts = [min(size, most) for size in self.sizes]
        blocks = [np.arange(size) * count // size for size, count in zip(self.sizes, counts, strict=True)]
        return np.ravel_multi_index(np.meshgrid(*blocks, indexing="ij"), counts).ravel()


def _interpolated(values: Real, axis: int, size: int) -> Real:
    own = values.shape[axis]
    places = np.clip((np.arange(size) + 0.5) * own / size - 0.5, 0, own - 1)
    below = places.astype(int)
    share = np.expand_dims(places - below, tuple(range(1, values.ndim - axis)))
    above = values.take(np.minimum(below + 1, own - 1), axis)
    return np.asarray(values.take(below, axis) * (1 - share) + above * share)


def order(values: Real, random: np.random.Generator) -> NDArray[np.intp]:
    """Return positions, those of the largest values first, those of equal values in random order."""
    shuffled = random.permutation(values.size)
    return shuffled[np.argsort(-values.ravel()[shuffled], kind="stable")]


def removals(first: NDArray[np.intp]) -> Mask:
    """Return which positions are removed at the points of a curve, ``[points - 1, positions]``.

    All points but that of nothing and that of everything, which no order changes.
    """
    parts = min(POINTS, len(first))
    rank = np.empty(len(first), int)
    rank[first] = np.arange(len(first))
    return rank < np.round(np.arange(1, parts) * len(first) / parts)[:, None]


def area(scores: Sequence[float] | Real) -> float:
    """Return the area under a curve at places of equal distance from 0 to 1 (trapezoids)."""
    values = np.asarray(scores, np.float64)
    return float((values[1:] + values[:-1]).mean() / 2)


def subsets(cells: int, random: np.random.Generator) -> Mask:
    """Return random sets of cells, ``[SUBSETS, cells]``, a fifth of all in each."""
    size = max(round(SUBSET * cells), 1)
    return np.argsort(random.random((SUBSETS, cells)), 1) < size


def mu_fidelity(values: Real, cells: NDArray[np.intp], chosen: Mask, drops: Real) -> float:
    """Return the correlation of what a map says of sets of cells with how far the score drops without them.

    Pearson's, over sets (Bhatt et al. 2020, arXiv 2005.00631); 0 where the map tells no set from another, or the score
    does not.
    """
    sums = chosen @ np.bincount(cells, values.ravel(), chosen.shape[1])
    centred = [sums - sums.mean(), drops - drops.mean()]
    lengths = [float(np.linalg.norm(each)) for each in centred]
    # What is left of equal sums by rounding is no difference.
    scales = [float(np.abs(each).max()) for each in (sums, drops)]
    if any(length <= 1e-9 * scale for length, scale in zip(lengths, scales, strict=True)):
        return 0.0
    return float(centred[0] @ centred[1] / np.prod(lengths))


def gini(values: NDArray[Any]) -> float:
    """Return the Gini index of magnitudes: 0 where all are equal, almost 1 where one has it all.

    Hurley & Rickard 2009; of maps, Chalasani et al. 2020 (arXiv 1810.06583). Values must not all be 0.
    """
    sizes = np.sort(np.abs(np.asarray(values, np.float64)).ravel())
    weights = 2 * np.arange(1, len(sizes) + 1) - len(sizes) - 1
    return float((weights * sizes).sum() / (len(sizes) * sizes.sum()))


def change(values: NDArray[Any], other: NDArray[Any]) -> float:
    """Return how far a map is from another, over its own length (Yeh et al. 2019, arXiv 1901.09392)."""
    own = np.asarray(values, np.float64)
    # Not by BLAS: on a busy machine its threads wait for each other, a hundred times as long as this takes.
    return float(np.sqrt(np.square(other - own).sum() / np.square(own).sum()))
