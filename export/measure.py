"""What an explanation is worth and what it costs, measured on the file that ships."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle, ExplanationHead, Schedule
from edge.explainer import Explainer
from edge.integrate import Integrator

from . import schedule
from .clock import within
from .shipped import Shipped

Array = NDArray[np.float32]

_SCHEDULE_SAMPLES, _SCHEDULE_SECONDS = 16, 6.0
_COST_ROUNDS, _COST_SECONDS = 15, 3.0


def schedules(
    head: ExplanationHead, logits_key: str, x: Array, baseline: Array, shipped: Shipped
) -> tuple[Schedule, ...]:
    """Return the schedules of Integrated Gradients with the completeness residual each leaves, on the same inputs."""
    candidates = [schedule.uniform_midpoint(steps) for steps in schedule.LENGTHS]
    trial = dataclasses.replace(head, schedules=tuple(candidates))

    def steps(**inputs: Array) -> dict[str, Array]:
        return shipped.runtime.call(head.chosen, **inputs)

    def logits(**inputs: Array) -> dict[str, Array]:
        return shipped.runtime.call(logits_key, **inputs)

    integrator = Integrator(trial, baseline, steps, logits)
    relative: list[list[float]] = [[] for _ in candidates]
    for sample in within(_SCHEDULE_SECONDS, x[:_SCHEDULE_SAMPLES]):
        at = shipped.entered(sample)
        class_index = int(logits(**at)["logits"].argmax())
        held = {key: value for key, value in at.items() if key != "x"}
        for candidate, row in zip(candidates, relative, strict=True):
            result = integrator.integrate(at["x"][0], class_index, steps=candidate.steps, held=held)
            row.append(abs(result.residual) / max(abs(result.change), 1e-9))
    quantiles = np.quantile(relative, (0.5, 0.9), axis=1)
    return tuple(
        dataclasses.replace(candidate, residual_p50=float(p50), residual_p90=float(p90))
        for candidate, p50, p90 in zip(candidates, *quantiles, strict=True)
    )


def with_costs(bundle: Bundle, x: Array) -> Bundle:
    """Return the bundle with the time of each explanation over that of a prediction, medians of interleaved calls."""
    explainer = Explainer(bundle)
    times: dict[str, list[float]] = {method: [] for method in explainer.methods}
    for round_ in within(_COST_SECONDS, range(_COST_ROUNDS)):
        sample = x[round_ % len(x)]
        for method in explainer.methods:
            begin = time.perf_counter()
            explainer.predict(sample)
            middle = time.perf_counter()
            explainer.explain(sample, method)
            times[method].append((time.perf_counter() - middle) / (middle - begin))
    heads = tuple(
        dataclasses.replace(head, cost_ratio=float(np.median(times[head.method]))) for head in bundle.manifest.heads
    )
    return Bundle(dataclasses.replace(bundle.manifest, heads=heads), bundle.members)
