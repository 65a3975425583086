"""How an input and the maps on it are laid out for the eye: as curves, an image, a grid, a table or tokens."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..manifest import Port

Array = NDArray[np.floating]

_MOST_FEATURES = 32  # of a vector that is read as a table of features; longer ones are a curve
_MOST_TOKENS = 256
_MOST_CHANNELS = 16  # that are drawn as a curve each
_MOST_COLUMNS = 4  # the same, where they come as columns of one plane, such as three axes of a sensor
_SMALLEST_IMAGE = 8
_LONGEST_IMAGE = 2.5  # its sides' ratio; what is longer is a grid, such as a spectrogram, stretched to be seen


class Kind(enum.Enum):
    """What an input looks like; the value is what a reader calls it."""

    CURVES = "signal"
    IMAGE = "image"
    GRID = "grid of values"
    TABLE = "table of features"
    TOKENS = "sequence of ids"


@dataclass(frozen=True)
class Layout:
    """How one input of ``shape`` (without the batch) is drawn.

    ``axes`` are those of ``shape`` that are drawn, in this order: curves (channel, time) or (time,); images (row,
    column) and perhaps (colour); grids (row, column); tables and tokens (place,). Others are averaged over.
    """

    kind: Kind
    shape: tuple[int, ...]
    axes: tuple[int, ...]

    def of_input(self, values: Array) -> Array:
        """Return an input as it is drawn.

        Curves ``[channels, time]``, images ``[h, w]`` or ``[h, w, 3]``, grids ``[h, w]``, tables and tokens ``[n]``.
        """
        drawn = self._folded(values, self.axes, np.mean)
        if self.kind is Kind.CURVES and drawn.ndim == 1:
            return drawn[None]
        return drawn[..., :3] if self.kind is Kind.IMAGE and drawn.ndim == 3 else drawn

    def of_map(self, attribution: Array) -> Array | None:
        """Return a map as it is drawn on the input, in the same order of axes and perhaps coarser; None if it is not.

        Attributions of the values of a pixel, and of an id's embedding, are summed. Curves ``[1, time]`` where the map
        does not tell channels apart.
        """
        places = self.axes[:2]
        if attribution.shape == self.shape:
            drawn = self._folded(attribution, places, np.sum)
            return drawn[None] if drawn.ndim == 1 and self.kind is Kind.CURVES else drawn
        if self.kind in {Kind.TABLE, Kind.TOKENS}:
            same = attribution.ndim > 0 and attribution.shape[0] == math.prod(self.shape)
            return np.asarray(attribution.reshape(len(attribution), -1).sum(1)) if same else None
        if self.kind is Kind.CURVES and attribution.ndim == 1:
            return attribution[None]
        if len(places) == 2 and attribution.ndim == 1:  # along the first axis of a plane, whichever way that is drawn
            return attribution[None] if places[0] > places[1] else attribution[:, None]
        if len(places) != 2 or attribution.ndim != 2:
            return None
        drawn = attribution.T if places[0] > places[1] else attribution
        coarser = all(own <= self.shape[axis] for own, axis in zip(drawn.shape, places, strict=True))
        return drawn if coarser else None

    def _folded(self, values: Array, axes: Sequence[int], fold: Callable[..., Array]) -> Array:
        """Return ``values`` with ``axes`` in this order, the others folded."""
        others = tuple(axis for axis in range(values.ndim) if axis not in axes)
        order = [sorted(axes).index(axis) for axis in axes]
        return np.atleast_1d(np.asarray(fold(values, axis=others) if others else values).transpose(order))


def layout_of(port: Port) -> Layout:
    """Return how inputs of a model are drawn: decided by shape and type, as nothing in a model says what it is fed."""
    shape = port.shape
    long = tuple(axis for axis, size in enumerate(shape) if size > 1) or (0,)[: len(shape)]
    sizes = [shape[axis] for axis in long]
    if len(long) <= 1:
        return Layout(_of_vector(port, math.prod(shape)), shape, long)
    by_size = sorted(long, key=lambda axis: shape[axis])
    if len(long) == 2:
        short, other = by_size
        columns = _MOST_COLUMNS if shape[-1] == 1 and len(shape) > 2 else _MOST_CHANNELS
        if shape[short] <= columns and shape[other] >= 2 * shape[short]:
            return Layout(Kind.CURVES, shape, (short, other))
    elif len(long) == 3 and min(sizes) in {3, 4} and sorted(sizes)[1] >= _SMALLEST_IMAGE and by_size[0] != long[1]:
        rows, columns = (axis for axis in long if axis != by_size[0])
        return Layout(Kind.IMAGE, shape, (rows, columns, by_size[0]))
    rows, columns = sorted(by_size[-2:])
    height, width = shape[rows], shape[columns]
    if min(height, width) >= _SMALLEST_IMAGE and max(height, width) <= _LONGEST_IMAGE * min(height, width):
        return Layout(Kind.IMAGE, shape, (rows, columns))
    return Layout(Kind.GRID, shape, (rows, columns) if width >= height else (columns, rows))


def _of_vector(port: Port, size: int) -> Kind:
    ids = port.limits is not None or (port.scale is None and np.dtype(port.dtype).kind in "iu")
    if ids and size <= _MOST_TOKENS:
        return Kind.TOKENS
    return Kind.TABLE if size <= _MOST_FEATURES else Kind.CURVES


def standalone(attribution: Array) -> Array:
    """Return a map that fits no input as a plane ``[h, w]``: summed over all but its two longest axes."""
    if attribution.ndim < 2:
        return attribution.reshape(1, -1)
    kept = sorted(np.argsort(attribution.shape, kind="stable")[-2:].tolist())
    others = tuple(axis for axis in range(attribution.ndim) if axis not in kept)
    return np.asarray(attribution.sum(axis=others))


def binned(values: Array, most: Sequence[int], fold: Callable[..., Array] = np.sum) -> Array:
    """Return values in blocks of one size, at most so many along each of the first axes, each block summed.

    Attributions are additive: nothing is lost but detail. The last block may be smaller; ``fold`` replaces the sum.
    """
    for axis, limit in enumerate(most):
        size = -(-values.shape[axis] // limit)
        if size > 1:
            starts = range(0, values.shape[axis], size)
            last = values.shape[axis]
            parts = [fold(values.take(range(a, min(a + size, last)), axis), axis=axis) for a in starts]
            values = np.stack(parts, axis)
    return values
