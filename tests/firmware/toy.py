"""The model of ``whylite_toy.c`` in numpy."""

from __future__ import annotations

import numpy as np

WEIGHTS = np.array(
    [
        [9, -3, 4, 7, -8, 2, 5, 1, -6, 3, 8, -2],
        [-4, 6, 1, -9, 7, 3, -2, 8, 5, -7, 2, 4],
        [2, 5, -7, 3, 1, -6, 9, -4, 3, 6, -5, 8],
    ]
)
NODES = np.array([2275, 10814, 21954, 30493])
STEP_WEIGHTS = np.array([5699, 10685, 10685, 5699])
BASELINE = -5
CAM_UNITS, GRADIENT_UNITS = (0.5, 2.0, 1.0), (1.5, 1.0, 0.25)
INPUT_SCALE, LOGIT_SCALE, SCORE_SCALE, GRADIENT_SCALE, CAM_SCALE = 2.0**-6, 2.0**-3, 2.0**-8, 2.0**-4, 2.0**-5


def windows(count, seed=0):
    """Return windows as the model stores them, int8 ``[count, 12]``."""
    return np.random.default_rng(seed).integers(-128, 128, (count, 12)).astype(np.int8)


def sums(x):
    x = x.astype(int)
    return WEIGHTS @ np.minimum(x * x >> 7, 127)


def scores(x):
    """Return the real scores, float ``[3]``."""
    return (np.clip((sums(x) >> 5) - 7, -128, 127) + 128) * SCORE_SCALE


def stored_logit(x, index):
    return np.clip(sums(x) >> 4, -128, 127)[index]


def logit(x, index):
    return (stored_logit(x, index) - 2) * LOGIT_SCALE


def cam(x, index):
    """Return the class activation map, float ``[6]``."""
    x = x.astype(int)
    parts = (WEIGHTS[index] * np.minimum(x * x >> 7, 127)).reshape(6, 2).sum(1)
    return np.minimum(np.maximum(parts, 0) >> 3, 255) * CAM_SCALE * CAM_UNITS[index]


def integrated_gradients(x, index):
    """Return the attribution, float ``[6, 2]``, exact but for the points and gradients, and its residual.

    That is None where the logit is at an end of its range: nobody knows how far it would have changed.
    """
    way = x.astype(int) - BASELINE
    total = np.zeros(12)
    for node, weight in zip(NODES, STEP_WEIGHTS, strict=True):
        point = BASELINE + (way * node + (1 << 14) >> 15)
        gradient = np.clip((WEIGHTS[index] * point >> 3) + 3, -128, 127) - 3
        total += weight / 32768 * gradient * GRADIENT_SCALE * GRADIENT_UNITS[index]
    attribution = total * way * INPUT_SCALE
    change = logit(x, index) - logit(np.full(12, BASELINE), index)
    cut_off = stored_logit(x, index) in {-128, 127}
    return attribution.reshape(6, 2), None if cut_off else change - attribution.sum()
