"""A network of two dense layers, inputs without channels, maps of them, and everything that is drawn at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FIGURES = Path(__file__).with_name("figures.npz")
SIDE, HIDDEN, CLASSES, SAMPLES, COPIES, SETS = 8, 12, 3, 6, 5, 64
_RANDOM = np.random.default_rng(11)


def _draw(*shape: int, scale: float = 1.0) -> NDArray[np.float32]:
    return (_RANDOM.normal(size=shape) * scale).astype(np.float32)


FIRST, SECOND = _draw(HIDDEN, SIDE * SIDE, scale=0.2), _draw(CLASSES, HIDDEN, scale=0.6)
X = _draw(SAMPLES, SIDE, SIDE)
BASELINE = np.full((SIDE, SIDE), 0.5, np.float32)
NOISE = _draw(COPIES, SAMPLES, SIDE, SIDE, scale=0.1)
SUBSETS = np.stack([_RANDOM.choice(SIDE * SIDE, 13, replace=False) for _ in range(SETS)])
"""The positions of each random set, ``[SETS, 13]``: a fifth of all."""


def logits(x: NDArray[np.floating]) -> Array:
    """Return the logits of inputs ``[N, ...]``."""
    hidden = np.maximum(x.reshape(len(x), -1).astype(np.float64) @ FIRST.T, 0)
    return np.asarray(hidden @ SECOND.T)


def scores(x: NDArray[np.floating]) -> Array:
    """Return their softmax."""
    powers = np.exp(logits(x))
    return np.asarray(powers / powers.sum(1, keepdims=True))


CLASS = logits(X).argmax(1)


def gradients(x: NDArray[np.floating], classes: NDArray[np.intp]) -> Array:
    """Return the gradient of each input's class, of the inputs' shape."""
    active = x.reshape(len(x), -1) @ FIRST.T > 0
    return np.asarray((SECOND[classes] * active) @ FIRST, np.float64).reshape(x.shape)


MAPS = {
    "gradient": gradients(X, CLASS),
    "gradient x difference": gradients(X, CLASS) * (X - BASELINE),
    "random": _draw(SAMPLES, SIDE, SIDE).astype(np.float64),
}
