"""Maps over a layer: their gradient against differences of what is behind it, and what shipped against a formula."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..clock import within
from ..methods.base import Role
from ..shipped import store_input
from .agreement import GRADIENT_BOUND, GradientErrors, agreement, gradient_checks, relative
from .findings import Findings
from .subject import SECONDS, Subject, class_argument
from .tail import Tail

Array = NDArray[np.float32]

# Where rounded activations decide the masks behind the layer, those that became 0 are masked unlike the float ones.
ROUNDED_MASK_BOUND = 0.3
_POSITIONS = 16  # of a layer, tried one by one
_SMALLEST_TOLD = 1e-4  # part of a logit that float32 tells differences of


def layer_map(subject: Subject) -> Findings:
    """Hold a map over a layer against the model behind that: its gradient, or single positions if it has none."""
    return _positions(subject) if subject.method.formula is None else _gradient(subject)


def _gradient(subject: Subject) -> Findings:
    """Hold the gradient at a class activation map's layer against differences, shipped maps against its formula."""
    name, shipped, method = subject.name, subject.shipped, subject.method
    entry, chosen_entry = method.entry(Role.PREDICTED, Role.CHOSEN), method.entry(Role.CHOSEN)
    assert entry is not None
    assert method.formula is not None
    runtime = shipped.runtime
    tail = Tail(shipped.source, method.layer, entry)
    random = np.random.default_rng(0)
    gradients, errors = [], []
    for sample in within(SECONDS, subject.samples):
        stored = store_input(shipped.source.head.input, sample)
        given = shipped.step(entry, stored)
        chosen = np.asarray([shipped.scores(stored).argmax()], np.int32)
        outputs = runtime.call(entry.key, **given, **class_argument(entry, int(chosen[0])))
        at = tail.enter(given, int(chosen[0]))
        scale = float(np.linalg.norm(at)) or 1.0  # a layer may be dead all over, and has a slope all the same
        gradients.append(GradientErrors.of(tail.logit, tail.mean_gradient, at, scale, random))
        rows = (-1, at.shape[-1])
        parts = method.formula(*(values.reshape(rows).astype(np.float64) for values in (at, tail.gradient(at))))
        expected = np.maximum(parts.sum(1), 0) if method.rectified else parts.sum(1)
        maps = [outputs["map"] * entry.unit]
        if chosen_entry is not None:
            maps.append(runtime.call(chosen_entry.key, **given, class_index=chosen)["map"] * chosen_entry.unit)
        wrong = max(float(np.linalg.norm(expected - measured.reshape(-1))) for measured in maps)
        # Where the relu leaves little, what went into it says how large an error would be.
        size = max(float(np.linalg.norm(expected)), float(np.abs(parts).max())) if expected.any() or wrong else 0.0
        errors.append(relative(wrong, size))
    bound = ROUNDED_MASK_BOUND if tail.rounds and tail.has_kinks else GRADIENT_BOUND
    return gradient_checks(f"{name} at its layer", gradients, name) + agreement(
        f"{name} against its formula", errors, name, bound
    )


def _positions(subject: Subject) -> Findings:
    """Hold a map of what single positions of a layer give against the model behind it, one of them at a time."""
    shipped, method = subject.shipped, subject.method
    entries = [known for role in (Role.PREDICTED, Role.CHOSEN) if (known := method.entry(role)) is not None]
    tail, errors = Tail(shipped.source, method.layer, entries[0]), []
    for sample in within(SECONDS, subject.samples):
        stored = store_input(shipped.source.head.input, sample)
        given, chosen = shipped.step(entries[0], stored), int(shipped.scores(stored).argmax())
        at = tail.enter(given, chosen)
        places = np.random.default_rng(0).permutation(at[0, ..., 0].size)[:_POSITIONS]
        nothing, expected = tail.logit(np.zeros_like(at)), []
        for place in places:
            alone = np.zeros_like(at)
            where = np.unravel_index(place, at.shape[1:-1])
            alone[0][where] = at[0][where]
            expected.append(tail.logit(alone) - nothing)
        for one in entries:
            found = shipped.runtime.call(one.key, **given, **class_argument(one, chosen))["map"].reshape(-1) * one.unit
            largest = max(float(np.abs(found).max()), float(np.abs(expected).max()))
            size = max(largest, _SMALLEST_TOLD * abs(nothing)) if largest else 0.0
            errors.append(relative(float(np.abs(found[places] - expected).max()), size))
    return agreement(f"{subject.name} against its formula", errors, subject.name)
