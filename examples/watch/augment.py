"""Windows as another person could have moved: what the training sees instead of the same seven people again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.watch.data import WINDOW, Recording, to_input

# A watch on the other wrist is the mirror image: x runs along the forearm and turns round. Acceleration is a vector,
# angular velocity a pseudovector, hence the opposite signs.
OTHER_WRIST: NDArray[np.float32] = np.array([-1, 1, 1, 1, -1, -1], np.float32)


@dataclass(frozen=True)
class Augmentation:
    """How far a window may be bent; every figure was chosen on training subjects only."""

    turn_deg: float = 6.0  # standard deviation of how the watch sits on the wrist, about any axis
    tempo: float = 0.25  # the movement runs up to e^tempo quicker or slower
    vigour: float = 0.15  # rotation rates grow or shrink by up to e^vigour
    noise: float = 0.03  # standard deviation of white noise, in units of the model's input


class Augmenter:
    """Draws augmented windows, each exercise equally often; the same seed draws the same windows."""

    def __init__(self, recordings: Sequence[Recording], seed: int, how: Augmentation | None = None) -> None:
        self._how = how or Augmentation()
        self._random = np.random.default_rng(seed)
        self._signal = np.concatenate([to_input(recording.signal) for recording in recordings])
        self._length = np.array([len(recording.signal) for recording in recordings])
        self._start = np.cumsum(self._length) - self._length
        labels = np.array([recording.label for recording in recordings])
        self._by_label = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]

    def draw(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return windows ``[count, 200, 6]`` and their labels ``[count]``."""
        random, how = self._random, self._how
        labels = random.integers(0, len(self._by_label), count)
        recordings = np.array([random.choice(self._by_label[label]) for label in labels])
        tempo = np.exp(random.uniform(-how.tempo, how.tempo, count))
        x = self._stretch(recordings, tempo)
        x[..., 3:] *= tempo[:, None, None]  # who moves quicker turns quicker
        x *= np.where(random.random((count, 1, 1)) < 0.5, OTHER_WRIST, np.float32(1))
        turn = rotations(random, count, how.turn_deg).transpose(0, 2, 1)
        x[..., :3] = x[..., :3] @ turn
        x[..., 3:] = x[..., 3:] @ turn
        x[..., 3:] *= np.exp(random.uniform(-how.vigour, how.vigour, (count, 1, 1)))
        x += random.normal(scale=how.noise, size=x.shape)
        return x.astype(np.float32), labels

    def _stretch(self, recordings: NDArray[np.int64], tempo: NDArray[np.float64]) -> NDArray[np.float64]:
        """Cut a window at a random place of each recording, ``tempo`` times as long, and resample it linearly."""
        room = self._length[recordings] - 2
        span = np.minimum((WINDOW - 1) * tempo, room)
        start = self._random.uniform(0, room + 1 - span)
        position = start[:, None] + span[:, None] * np.linspace(0, 1, WINDOW)
        before = position.astype(np.int64)
        after_share = (position - before)[..., None]
        index = self._start[recordings][:, None] + before
        return np.asarray(self._signal[index] * (1 - after_share) + self._signal[index + 1] * after_share)


def rotations(random: np.random.Generator, count: int, deviation_deg: float) -> NDArray[np.float32]:
    """Return ``count`` rotation matrices about random axes (Rodrigues' formula), normal angles cut off at 2 sigma."""
    axis = random.normal(size=(count, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    angle = np.deg2rad(deviation_deg) * random.normal(size=(count, 1, 1)).clip(-2, 2)
    cross = np.zeros((count, 3, 3))
    cross[:, (2, 0, 1), (1, 2, 0)] = axis
    cross[:, (1, 2, 0), (2, 0, 1)] = -axis
    matrix = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
    return np.asarray(matrix, np.float32)
