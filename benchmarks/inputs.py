"""Real inputs for real models: to fit schedules to, and others, from other photographs or people, to judge them by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from examples.watch import data as watch
from tests.references.crops import square_crops

from .models import RESNET, SHARED, VWW, WATCH

# Both pictures of a cat on one side.
CALIBRATION_PHOTOGRAPHS = ("bird.bmp", "dragonfly.bmp", "hot_dog.jpg", "owl.jpg")
EVALUATION_PHOTOGRAPHS = ("cat.bmp", "cat_720p.jpg", "grace_hopper.bmp", "parrot.jpg")
_SIZES = {RESNET: (32, 1.0), VWW: (96, 1 / 255)}


@dataclass(frozen=True)
class Inputs:
    """``x`` float32 ``[N, ...]``, and ``source`` ``[N]``, the number of the photograph or person each came from."""

    x: NDArray[np.float32]
    source: NDArray[np.int64]


def inputs(model: str, calibration: int, evaluation: int) -> tuple[Inputs, Inputs]:
    """Return inputs to calibrate with and inputs to evaluate on, which have no photograph and no person in common."""
    if model == WATCH:
        recordings = watch.load()
        people = (watch.TRAIN_SUBJECTS, watch.TEST_SUBJECTS)
        return _windows(recordings, people[0], calibration, 0), _windows(recordings, people[1], evaluation, 1)
    size, scale = _SIZES[model]
    return (
        _crops(CALIBRATION_PHOTOGRAPHS, size, calibration, scale, 0),
        _crops(EVALUATION_PHOTOGRAPHS, size, evaluation, scale, 1),
    )


def _windows(recordings: Sequence[watch.Recording], people: Sequence[int], count: int, seed: int) -> Inputs:
    windows = watch.cut(watch.of_subjects(recordings, people))
    chosen = np.random.default_rng(seed).permutation(len(windows))[:count]
    return Inputs(windows.x[chosen], windows.subject[chosen])


def _crops(names: Sequence[str], size: int, count: int, scale: float, seed: int) -> Inputs:
    paths = [SHARED / "data/images" / name for name in names]
    return Inputs(square_crops(paths, size, count, scale, seed), np.arange(count) % len(paths))
