"""What an explanation is worth and what it costs, measured on the file that ships."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.explainer import Explainer

from . import choose, schedule
from .clock import within
from .methods import Role
from .schedule import GRIDS, Path
from .shipped import Shipped

Array = NDArray[np.float32]

PATH_SAMPLES, _PATH_SECONDS = 24, 10.0
_ENOUGH_PATHS = 12
_COST_ROUNDS, _COST_SECONDS = 15, 3.0
_PROBE_SECONDS = 1.0


def probe_cost(shipped: Shipped, x: Array, baseline: Array) -> float:
    """Return the time of a forward pass to the logits over that of a step, as they ship; medians of calls in turn."""
    method = next(method for method in shipped.compiled.values() if method.entry(Role.STEPS) is not None)
    entry, logits = method.entry(Role.STEPS), shipped.logits
    assert entry is not None
    assert logits is not None
    at = shipped.entered(x[0])
    (steps,) = choose.step_inputs(entry, baseline)
    calls: tuple[Callable[[], object], ...] = (
        lambda: shipped.runtime.call(logits, **at),
        lambda: shipped.runtime.call(entry.key, **at, **steps, class_index=np.zeros(1, np.int32)),
    )
    for call in calls:
        call()
    times: list[list[float]] = [[], []]
    for _ in within(_PROBE_SECONDS, range(_COST_ROUNDS)):
        for row, call in zip(times, calls, strict=True):
            begin = time.thread_time()
            call()
            row.append(time.thread_time() - begin)
    probe, together = np.median(times, axis=1)
    return float(probe / together * method.steps_per_call)


def paths(single: Shipped, x: Array, baseline: Array) -> list[Path]:
    """Return what a model that takes one step a call does along the paths of calibration inputs.

    As many as the time allows, on the finest grid with which that is enough of them.
    """
    method = next(method for method in single.compiled.values() if method.entry(Role.STEPS) is not None)
    entry = method.entry(Role.STEPS)
    assert entry is not None
    logits = single.logits
    assert logits is not None
    grid, found = GRIDS[0], []
    weights = np.ones(1, np.float32)
    deadline = time.monotonic() + _PATH_SECONDS
    for number, sample in enumerate(within(_PATH_SECONDS, x[:PATH_SAMPLES], at_least=1)):
        at = single.entered(sample)
        difference = at["x"] - baseline[None]
        points = [at | {"x": baseline[None] + place * difference} for place in schedule.PLACES]
        values = np.stack([single.runtime.call(logits, **point)["logits"].ravel() for point in points])
        class_index = values[-1].argmax(keepdims=True).astype(np.int32)
        given = at | {"baseline": baseline[None], "weights": weights, "class_index": class_index}

        def gradient(alpha: float, given: dict[str, Any] = given) -> Array:
            outputs = single.runtime.call(entry.key, **given, alphas=np.asarray([alpha], np.float32))
            return np.asarray(outputs["map"] * np.float32(entry.unit))

        if number == 0:
            grid = _grid(gradient, deadline)
        found.append(schedule.path(gradient, values[:, class_index[0]].astype(np.float64), difference, grid))
    return found


def _grid(gradient: Callable[[float], Array], deadline: float) -> NDArray[np.float64]:
    """Return the finest grid that leaves time for enough inputs."""
    gradient(0.5)  # prepares the graph
    begin = time.monotonic()
    gradient(0.5)
    step = time.monotonic() - begin
    left = deadline - time.monotonic()
    return next((grid for grid in GRIDS if step * len(grid) * _ENOUGH_PATHS <= left), GRIDS[-1])


def with_costs(bundle: Bundle, x: Array) -> Bundle:
    """Return the bundle with the time of each explanation over that of a prediction, medians of interleaved calls."""
    explainer = Explainer(bundle)
    times: dict[str, list[float]] = {method: [] for method in explainer.methods}
    for round_ in within(_COST_SECONDS, range(_COST_ROUNDS)):
        sample = x[round_ % len(x)]
        for method in explainer.methods:
            explainer.predict(sample)  # the method before has taken the caches
            begin = time.perf_counter()
            explainer.predict(sample)
            middle = time.perf_counter()
            explainer.explain(sample, method)
            times[method].append((time.perf_counter() - middle) / (middle - begin))
    heads = tuple(
        dataclasses.replace(head, cost_ratio=float(np.median(times[head.method]))) for head in bundle.manifest.heads
    )
    return Bundle(dataclasses.replace(bundle.manifest, heads=heads), bundle.members)
