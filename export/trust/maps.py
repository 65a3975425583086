"""The maps that sanity checks look at: of several classes, and of copies of the input with a little noise."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..shipped import Shipped
from .attribution import Explain
from .likeness import Array, likeness

Map = NDArray[Any]

FEWEST = 4
"""Inputs that can decide: below, a null distribution of different inputs has too few pairs."""
SEEDS = (0, 1, 2, 3, 4)
NOISE = 0.03
"""Of the inputs' standard deviation, 30 dB below them: a noisy sensor of the kind that small boards carry. Less would
ask less: copies without noise are alike whatever a method does."""


@dataclass(frozen=True)
class OfInputs:
    """One method's maps of several inputs.

    ``samples`` are where maps have their positions, ``by_class[i]`` the maps of input ``i``: of its most probable
    class and of its least probable one. ``noisy[i]`` are maps of its most probable class for noisy copies of it,
    none where noise on an input means nothing. ``fewest`` inputs must have maps for a check to be decided.
    """

    samples: Sequence[NDArray[np.float32]]
    by_class: Sequence[Sequence[Map]]
    noisy: Sequence[Sequence[Map]]
    fewest: int = FEWEST

    @classmethod
    def together(cls, parts: Iterable[OfInputs]) -> OfInputs:
        """Return the maps of all inputs of several."""
        held = list(parts)
        chain = itertools.chain.from_iterable
        return cls(
            list(chain(part.samples for part in held)),
            list(chain(part.by_class for part in held)),
            list(chain(part.noisy for part in held)),
        )

    @property
    def best(self) -> list[Map]:
        """The maps of the most probable class."""
        return [row[0] for row in self.by_class]


def classes_of(scores: NDArray[Any], logits: NDArray[Any]) -> list[int]:
    """Return the class with the highest score and, where there are two, that of the others with the lowest logit.

    Scores of 8 bits are mostly tied at zero; logits are not.
    """
    best = int(scores.argmax())
    others = [index for index in np.argsort(logits, kind="stable").tolist() if index != best]
    return [best, *others[:1]]


def noisy_copies(sample: NDArray[np.float32], level: float) -> list[NDArray[np.float32]]:
    """Return a copy of an input for each seed, with normal noise of a standard deviation of ``level``."""
    noise = (np.random.default_rng(seed).normal(0, level, sample.shape) for seed in SEEDS)
    return [(sample + each).astype(np.float32) for each in noise]


def maps_of(
    explain: Explain,
    shipped: Shipped,
    sample: NDArray[np.float32],
    classes: Sequence[int],
    noise: float,
) -> OfInputs:
    """Return a method's maps of one input for ``classes``, and of its noisy copies; ``noise`` is 0 for none."""
    by_class = [explain(sample, index) for index in classes]
    noisy = [explain(copy, classes[0]) for copy in noisy_copies(sample, noise)] if noise else []
    return OfInputs([_explained(shipped, sample)], [by_class], [noisy])


def _explained(shipped: Shipped, sample: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return where maps have their positions: the input, or the first tensor that can be reached."""
    moved = shipped.source.start is not shipped.source.head.input
    return np.asarray(shipped.entered(sample)["x"][0], np.float32) if moved else sample


def noise_likeness(maps: OfInputs, told: Sequence[int]) -> Array | None:
    """Return how alike noisy copies of one map are, over inputs and pairs of seeds; None where there are none."""
    if not maps.noisy or not maps.noisy[0]:
        return None
    tables = [likeness(maps.noisy[index], maps.noisy[index]) for index in told]
    upper = np.triu_indices(len(tables[0]), 1)
    return np.concatenate([table[upper] for table in tables])
