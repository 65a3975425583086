"""Asks Quantus, with the problem's own sets and noise in place of what it would draw."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import quantus

from .problem import BASELINE, CLASS, COPIES, MAPS, NOISE, SETS, SIDE, SUBSETS, Array, X, gradients, logits, scores

_STEP = SIDE * SIDE // 16
_QUIET = {"disable_warnings": True, "display_progressbar": False, "normalise": False, "abs": False}


class _Model:
    """What Quantus asks of a model."""

    def __init__(self, answer: Any) -> None:
        self.predict = answer

    def shape_input(self, x: Array, *_: Any, **__: Any) -> Array:
        """Return an input as the model takes it."""
        return x


def answers() -> dict[str, Array]:
    """Return each figure by measure and map, ``[SAMPLES]``; curves without their first point, ``[SAMPLES, 16]``."""
    found = {}
    for name, values in MAPS.items():
        found[f"deletion {name}"] = _curve(X, BASELINE[None], values)
        found[f"insertion {name}"] = _curve(np.broadcast_to(BASELINE, X.shape), X, values)
        found[f"MuFidelity {name}"] = _fidelity(values)
        found[f"sparseness {name}"] = quantus.Sparseness(**_QUIET | {"abs": True}).evaluate_batch(
            x_batch=X, a_batch=np.abs(values)
        )
    found["average sensitivity"] = _sensitivity(quantus.AvgSensitivity)
    found["largest sensitivity"] = _sensitivity(quantus.MaxSensitivity)
    return {name: np.asarray(values, np.float64) for name, values in found.items()}


def _curve(start: Array, end: Array, values: Array) -> Any:
    """Return the scores on the way from one input to another, as pixels are flipped."""
    target = np.broadcast_to(end, X.shape).reshape(len(X), -1)

    def flip(arr: Array, indices: Any, **_: Any) -> Array:
        flipped, rows = arr.copy(), np.arange(len(arr))[:, None]
        flipped[rows, indices] = target[rows, indices]
        return flipped

    metric = quantus.PixelFlipping(features_in_step=_STEP, perturb_func=flip, **_QUIET)
    return metric.evaluate_batch(model=_Model(scores), x_batch=start, y_batch=CLASS, a_batch=values)


def _fidelity(values: Array) -> list[float]:
    def to_baseline(arr: Array, indices: Any, **_: Any) -> Array:
        changed = arr.copy()
        changed[np.arange(len(arr))[:, None], indices] = BASELINE.ravel()[indices]
        return changed

    metric = quantus.FaithfulnessCorrelation(
        nr_runs=SETS, subset_size=SUBSETS.shape[1], perturb_func=to_baseline, return_aggregate=False, **_QUIET
    )
    drawn = iter(np.repeat(SUBSETS, len(X), 0))  # a set for all inputs, one after the other
    with mock.patch("numpy.random.choice", lambda *_, **__: next(drawn)):
        found = metric.evaluate_batch(model=_Model(logits), x_batch=X, y_batch=CLASS, a_batch=values)
    return [float(value) for value in found]


def _sensitivity(kind: Any) -> list[float]:
    """Return what a measure makes of the changes of the gradient from one noisy copy to the next, input by input."""
    found = []
    for place, x in enumerate(X):
        drawn = iter(NOISE[:, place])

        def with_noise(arr: Array, drawn: Any = drawn, **_: Any) -> Array:
            return arr + next(drawn).reshape(arr.shape)

        metric = kind(nr_samples=COPIES, perturb_func=with_noise, **_QUIET)
        own, classes = MAPS["gradient"][place : place + 1], CLASS[place : place + 1]
        with mock.patch.object(metric, "explain_batch", lambda _, inputs, targets: gradients(inputs, targets)):
            found += list(metric.evaluate_batch(_Model(logits), x_batch=x[None], y_batch=classes, a_batch=own))
    return found
