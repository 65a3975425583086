"""Whether a map is the input, or its edges, by another name: Adebayo et al. 2018 (arXiv 1810.03292), sec. 5.

Evidence for a class lies on the edges of its object, and evidence against it does too: a map with signs is as close to
the edges for one class as it is far from them for the opposite one. What draws the input is close to its edges whatever
class it is asked about. So the classes are shuffled: maps are of made-up classes, whose weights in the last layer are
drawn at random, and of the opposite of each. Over these, a map must be no closer to its input than to other inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .likeness import Verdict, band, is_dead, likeness, own_and_others
from .maps import Map

Array = NDArray[np.float64]


def edge_likeness(samples: Sequence[NDArray[np.float32]], made_up: Sequence[Sequence[Map]]) -> Verdict | None:
    """Return how close maps of made-up classes (``[class][input]``) are to the input or its derivative, if worse.

    The median rank correlation must lie in the band of those with other inputs. Over opposite classes it is 0 for
    whatever takes the sign of the logit, so its size must also be nearer to that with other inputs than to that of the
    input itself, which is 1. A zero map is like no input. None where most are zero, or where an input's positions are
    not those of its map.
    """
    shape = made_up[0][0].shape
    verdicts = []
    for name, picture in (("the input", raw), ("its derivative", edges)):
        pictures = [fitted(picture(sample), shape) for sample in samples]
        found = [each for each in pictures if each is not None]
        if len(found) < len(pictures):
            return None
        own, others, dead = [], [], 0
        for maps in made_up:
            alive = np.asarray([not is_dead(values) for values in maps])
            dead += int((~alive).sum())
            told = own_and_others(likeness(maps, found) * alive[:, None])
            own.append(told[0])
            others.append(told[1])
        if 2 * dead > len(made_up) * len(samples):
            return None
        both = np.concatenate(own), np.concatenate(others)
        verdicts += [_with_sign(*both, name), _either_sign(*both, name)]
    return max(verdicts, key=lambda verdict: (not verdict.passed, _excess(verdict)))


def _with_sign(own: Array, others: Array, name: str) -> Verdict:
    """Return whether the median of a likeness lies in the band of that with other inputs."""
    value, limits = float(np.median(own)), band(others)
    bound = limits[0] if value < sum(limits) / 2 else limits[1]
    detail = f"median rank correlation of maps of made-up classes with {name}; inside the band, that with others"
    return Verdict(value, bound, limits, limits[0] <= value <= limits[1], detail)


def _either_sign(own: Array, others: Array, name: str) -> Verdict:
    """Return whether the median size of a likeness is like that with other inputs, or nearer to it than to 1."""
    sizes = np.abs(others)
    value, limits = float(np.median(np.abs(own))), band(sizes)
    bound = max(limits[1], (float(np.median(sizes)) + 1) / 2)
    detail = f"median size of the rank correlation of maps of made-up classes with {name}; the band is that with others"
    return Verdict(value, bound, limits, value <= bound, detail)


def _excess(verdict: Verdict) -> float:
    """Return how far a value is from the middle of its band, in half widths."""
    low, high = verdict.band
    return abs(verdict.value - (low + high) / 2) / max((high - low) / 2, 1e-12)


def raw(sample: NDArray[np.float32]) -> Array:
    """Return the input itself."""
    return np.asarray(sample, np.float64)


def edges(sample: NDArray[np.float32]) -> Array:
    """Return the size of the input's derivative along its positions; its last axis counts as channels.

    That of an input with one axis, or with one channel, is along the others.
    """
    values = np.asarray(sample, np.float64)
    axes = range(max(values.ndim - 1, 1))
    slopes = [np.gradient(values, axis=axis) for axis in axes if values.shape[axis] > 1]
    return np.sqrt(np.sum(np.square(slopes), 0)) if slopes else np.zeros_like(values)


def fitted(picture: Array, shape: tuple[int, ...]) -> Array | None:
    """Return a picture at the positions of a map: as it is, or means over channels and blocks; None where neither is.

    Sizes of 1 are no positions: those of the map are matched with the picture's others, in order.
    """
    if picture.size == math.prod(shape):
        return picture.reshape(shape)
    sizes = [size for size in shape if size > 1]
    for values in (picture, picture.mean(-1)):
        squeezed = values.squeeze()
        if squeezed.ndim == len(sizes) and all(np.asarray(squeezed.shape) >= sizes):
            for axis, size in enumerate(sizes):
                parts = np.array_split(squeezed, size, axis)
                squeezed = np.stack([part.mean(axis) for part in parts], axis)
            return np.asarray(squeezed.reshape(shape))
    return None
