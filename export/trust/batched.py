"""Entries of which several inputs share a call, noisy copies or interpolation steps; and steps that do not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ..clock import within
from ..methods.base import Entry, Role
from ..shipped import Runtime
from .agreement import agreement, distance, points
from .findings import Findings
from .input_gradients import MeanGradient, against_differences
from .subject import SECONDS, Subject, class_argument, predicted

Array = NDArray[np.float32]

STEP_BOUND = 1e-2  # the order of sums decides the masks of activations that are 0 but for rounding


def steps_together(subject: Subject) -> Findings:
    """Hold steps that share a call against differences."""
    entry = subject.exact_entry(Role.STEPS)
    return against_differences(subject, partial(_mean_of_steps, subject.exact.runtime, entry))


def noisy_copies(subject: Subject) -> Findings:
    """Hold noisy copies of an input against differences, their mean against that of copies made in numpy."""
    entry, noise = subject.exact_entry(Role.SAMPLES), subject.own.noise
    assert noise is not None
    found = against_differences(subject, partial(_mean_of_samples, subject.exact.runtime, entry, noise.level))
    return found + _smoothed(subject, entry, noise.level)


def _mean_of_steps(runtime: Runtime, entry: Entry, held: Mapping[str, Array]) -> MeanGradient:
    """Ask an entry that integrates for the integral over the segment itself."""
    size = entry.inputs["alphas"].shape[0]

    def mean(low: Array, high: Array, class_index: int) -> Array:
        fixed = {**held, **class_argument(entry, class_index)}
        places = points(low, high, size)
        weights = np.full(size, 1 / len(places), np.float32)
        maps = [
            runtime.call(entry.key, x=high, baseline=low, alphas=alphas, weights=weights, **fixed)["map"]
            for alphas in places.reshape(-1, size)
        ]
        return np.asarray(np.sum(maps, 0) * entry.unit, np.float32)

    return mean


def _mean_of_samples(runtime: Runtime, entry: Entry, level: float, held: Mapping[str, Array]) -> MeanGradient:
    """Ask for noisy copies that lie along the segment: of its middle, noise in units of its deviation there."""
    size = entry.inputs["weights"].shape[0]

    def mean(low: Array, high: Array, class_index: int) -> Array:
        fixed = {**held, **class_argument(entry, class_index)}
        middle = (low + high) / 2
        deviation = level * (middle.max() - middle.min())
        places = points(low, high, size)
        weights = np.full(size, 1 / len(places), np.float32)
        total = np.zeros(low.shape, np.float64)
        for fractions in places.reshape(-1, size):
            away = [low + fraction * (high - low) - middle for fraction in fractions]
            noise = np.concatenate(away) / (deviation or 1.0)
            total += runtime.call(entry.key, x=middle, noise=noise, weights=weights, **fixed)["map"]
        return np.asarray(total * entry.unit, np.float32)

    return mean


def _smoothed(subject: Subject, entry: Entry, level: float) -> Findings:
    """Hold the mean over noisy copies against that of gradients at copies made in numpy, which get no more noise."""
    size, errors, exact = entry.inputs["weights"].shape[0], [], subject.exact
    random = np.random.default_rng(0)
    for sample in within(SECONDS, subject.samples, at_least=1):
        given = exact.entered(sample) | class_argument(entry, predicted(exact, sample))
        x = given.pop("x")
        noise = random.normal(size=(size, *x.shape)).astype(np.float32)
        weights = np.full(size, 1 / size, np.float32)
        joined = noise.reshape(size * len(x), *x.shape[1:])
        measured = exact.runtime.call(entry.key, x=x, noise=joined, weights=weights, **given)["map"]
        none = {"noise": np.zeros_like(joined), "weights": weights}
        copies = [x + np.float32(level) * (x.max() - x.min()) * one for one in noise]
        expected = np.mean([exact.runtime.call(entry.key, x=copy, **none, **given)["map"] for copy in copies], 0)
        errors.append(distance(measured, expected))
    return agreement(f"{subject.name} against its formula", errors, subject.name)


def steps_one_by_one(subject: Subject) -> Findings:
    """Hold steps one by one, which are exact in any numerics, against exact steps in a batch, checked already."""
    entry, together = subject.method.entry(Role.EACH), subject.exact_entry(Role.STEPS)
    assert entry is not None
    size = together.inputs["alphas"].shape[0]
    alphas = ((np.arange(size) + 0.5) / size).astype(np.float32)
    weights = np.full(size, 1 / size, np.float32)
    errors, shipped = [], subject.shipped
    for sample in within(SECONDS, subject.samples, at_least=1):
        chosen = np.asarray([predicted(shipped, sample)], np.int32)
        given = {**shipped.entered(sample), "class_index": chosen}
        given["baseline"] = np.zeros_like(given["x"])
        steps = [shipped.runtime.call(entry.key, **given, alphas=alphas[[place]])["map"] for place in range(size)]
        batch = subject.exact.runtime.call(together.key, **given, alphas=alphas, weights=weights)["map"]
        errors.append(distance(np.mean(steps, 0) * entry.unit, batch * together.unit))
    return agreement(f"{subject.name} step by step", errors, subject.name, STEP_BOUND, of="")
