"""Walks by modified backward rules: relevance, and rectifiers that select. Such a map is the gradient of no model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.manifest import Check

from ..clock import within
from ..methods import METHODS, LayerwiseRelevance
from ..methods.base import Role
from ..methods.rectified import RectifiedBackward
from .agreement import (
    ENOUGH,
    GRADIENT_BOUND,
    RANDOM_BOUND,
    GradientErrors,
    agreement,
    distance,
    entry_of,
    gradient_checks,
    points,
    scale_of,
)
from .differences import LINEAR_WIDTHS, Function, error_along, errors_in_random_directions
from .findings import Findings
from .frozen import Frozen
from .pieces import Pieces, Walk
from .subject import SECONDS, Subject, class_argument, predicted

Array = NDArray[np.float32]

SUM_BOUND = 0.05


def relevance(subject: Subject) -> Findings:
    """Hold relevance against the network whose shares are held fixed, which it is input times gradient of."""
    name, exact, entry, kind = subject.name, subject.exact, subject.exact_entry(Role.MODIFIED), METHODS[subject.name]
    assert issubclass(kind, LayerwiseRelevance)
    frozen = Frozen(exact.source, kind.parts)
    entered = [exact.entered(sample) for sample in subject.samples]
    random, scale = np.random.default_rng(0), scale_of(np.concatenate([point["x"] for point in entered]))
    errors, gaps = [], []
    for sample, point in within(SECONDS, list(zip(subject.samples, entered, strict=True)), at_least=1):
        x, chosen = np.asarray(point["x"], np.float32), predicted(exact, sample)
        outputs = exact.runtime.call(entry.key, **point, **class_argument(entry, chosen))
        share = np.asarray(outputs["share"] * entry.unit, np.float32)

        def constantly(low: Array, high: Array, share: Array = share) -> Array:
            del low, high  # the network is linear
            return share

        function = entry_of(frozen.at(point), chosen)
        errors.append(
            GradientErrors(
                error_along(function, constantly, x, scale, GRADIENT_BOUND * ENOUGH, LINEAR_WIDTHS),
                errors_in_random_directions(
                    function, constantly, x, scale, RANDOM_BOUND * ENOUGH, random, LINEAR_WIDTHS
                ),
            )
        )
        total = float((outputs["map"] * entry.unit).sum(dtype=np.float64))
        size = float(np.linalg.norm(share) * np.linalg.norm(x)) / np.sqrt(x.size)
        gaps.append(min(_gap(function, x, width, total, size) for width in LINEAR_WIDTHS))
    error = float(np.median(gaps))
    detail = (
        f"median of the map's sum less what neither biases nor epsilon absorb of the logit; largest {max(gaps):.1e}"
    )
    adds_up = Check(f"{name} adds up", error, SUM_BOUND, error <= SUM_BOUND, len(gaps), detail, name)
    return gradient_checks(f"{name} with shares held fixed", errors, name) + Findings((adds_up,))


def _gap(function: Function, x: Array, width: float, total: float, size: float) -> float:
    """Return how far a map's sum is from what all of the input adds, biases and what epsilon absorbs left alone."""
    owed = (function(x + np.float32(width) * x) - function(x - np.float32(width) * x)) / (2 * width)
    return abs(total - owed) / max(abs(owed), size, 1e-30)


def rectified(subject: Subject) -> Findings:
    """Hold a map against its rule in numpy between pieces of the model, the pieces' gradients against differences."""
    name, exact, entry, kind = subject.name, subject.exact, subject.exact_entry(Role.MODIFIED), METHODS[subject.name]
    formula = subject.own.formula
    assert issubclass(kind, RectifiedBackward)
    assert formula is not None
    pieces, random = Pieces(exact.source, sloped=kind.sloped), np.random.default_rng(0)
    gradients, errors = [], []
    for sample in within(SECONDS, subject.samples, at_least=1):
        point, chosen = exact.entered(sample), predicted(exact, sample)
        walk = pieces.at(point, chosen, formula)
        measured = exact.runtime.call(entry.key, **point, **class_argument(entry, chosen))["map"] * entry.unit
        errors.append(distance(measured, walk.map))

        def mean(low: Array, high: Array, walk: Walk = walk) -> Array:
            places = (low + fraction * (high - low) for fraction in points(low, high))
            return np.asarray(np.mean([walk.gradient(place) for place in places], 0), np.float32)

        at = walk.point
        gradients.append(GradientErrors.of(walk.value, mean, at, float(np.linalg.norm(at)) or 1.0, random))
    return gradient_checks(f"{name} between rectifiers", gradients, name) + agreement(
        f"{name} against its rule", errors, name
    )
