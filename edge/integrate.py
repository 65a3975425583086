"""Integrated Gradients on the device: a schedule from the bundle, run a batch of steps at a time."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import nuig
from .errors import BundleError, InputError
from .manifest import ExplanationHead, Schedule
from .pace import Pace

RESIDUAL_BOUND = 0.05
"""The part of f(x) - f(baseline) that may be left unexplained: more marks a map, and stops an export."""

Runner = Callable[..., dict[str, NDArray[Any]]]
Given = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Integral:
    """An attribution (float32, the input's shape, logits) with its raw completeness residual, also in logits.

    ``change`` is ``f(x) - f(baseline)``, ``residual`` what of it the attribution does not account for; ``shortened``
    says that fewer steps were taken than asked for, to keep a deadline.
    """

    attribution: NDArray[np.float32]
    residual: float
    change: float
    steps: int
    shortened: bool


class Integrator:
    """Runs the interpolation steps of one head, and knows how long they take here."""

    def __init__(self, head: ExplanationHead, baseline: NDArray[np.float32], steps: Runner, logits: Runner) -> None:
        self._head = head
        self._baseline = np.asarray(baseline, np.float32)[None]
        self._run_steps = steps
        self._run_logits = logits
        self._schedules = sorted(head.schedules, key=lambda schedule: schedule.steps)
        self._baseline_logits: NDArray[np.float32] | None = None
        self._pace = Pace()
        self._rest = Pace()  # of what follows the last call
        self._probe_ns = 0.0  # the last time of one forward pass

    def integrate(
        self,
        x: NDArray[np.float32],
        class_index: int,
        *,
        steps: int | None = None,
        time_left_ns: float | None = None,
        held: Mapping[str, NDArray[Any]] = MappingProxyType({}),
    ) -> Integral:
        """Integrate from the baseline to ``x`` (float32, input shape) for one class.

        ``steps`` asks for a schedule of the bundle by its length; ``time_left_ns`` shortens it to one that fits, and
        cuts that off where calls take longer than they did: every call takes nodes from all over the path, so that
        those done, weighted to sum to 1, are a coarser rule. One call is made in any case. ``held`` are further inputs,
        the same all along the path, such as the state of a streaming model.
        Raises :class:`InputError` where the bundle has no schedule of that length.
        """
        wanted = self._schedule(steps)
        if x.shape != self._baseline.shape[1:]:
            raise mismatch(self._head, "x", x, self._baseline)
        deadline = math.inf if time_left_ns is None else time.monotonic_ns() + time_left_ns
        given = {"x": x[None], **held}
        low, high = self.ends(given, class_index)
        if time_left_ns is not None:
            self._learn_cost(given, class_index)
        schedule = self._fitting(wanted, deadline - time.monotonic_ns())
        rule: tuple[Sequence[float], Sequence[float]] = schedule.nodes, schedule.weights
        nodes, weights = self._probed(given, schedule, class_index, low, high) if schedule.intervals else rule
        total, taken, done = np.zeros_like(self._baseline), 0, 0.0
        calls = -(-schedule.steps // self._head.steps_per_call)
        last = deadline - self._pace.bound - self._rest.bound  # when a call may begin
        for first in spread(calls):
            if done and time.monotonic_ns() > last:
                total *= np.float32(sum(weights) / done)
                break
            total += self._call(given, nodes[first::calls], weights[first::calls], class_index)
            taken += len(nodes[first::calls])
            done += sum(weights[first::calls])
        called = time.monotonic_ns()
        attribution = (total * np.float32(self._head.unit) * (x[None] - self._baseline))[0]
        residual = high - low - float(attribution.sum(dtype=np.float64))
        self._rest.note(time.monotonic_ns() - called)
        return Integral(attribution, residual, high - low, taken, taken < wanted.steps)

    def _call(
        self, given: Given, nodes: Sequence[float], weights: Sequence[float], class_index: int
    ) -> NDArray[np.float32]:
        """Return the weighted sum of the gradients at nodes: as many as a call takes, or fewer."""
        size = self._head.steps_per_call
        start = time.monotonic_ns()
        outputs = self._run_steps(
            **given,
            baseline=self._baseline,
            alphas=_filled(nodes, size),
            weights=_filled(weights, size),
            class_index=np.asarray([class_index], np.int32),
        )
        self._pace.note(time.monotonic_ns() - start)
        if outputs["map"].shape != self._baseline.shape:
            raise mismatch(self._head, "map", outputs["map"], self._baseline)
        return outputs["map"]

    def _learn_cost(self, given: Given, class_index: int) -> None:
        """Time one call where none has been timed, after one that prepares the graph."""
        while self._pace.calls < 2:
            self._call(given, (), (), class_index)

    def ends(self, given: Given, class_index: int) -> tuple[float, float]:
        """Return f(baseline), whose logits are computed once where they depend on nothing else, and f(x)."""
        low = self._baseline_logits
        if low is None or len(given) > 1:
            low = self._run_logits(**{**given, "x": self._baseline})["logits"].reshape(-1)
            self._baseline_logits = low
        start = time.monotonic_ns()
        high = self._run_logits(**given)["logits"].reshape(-1)
        self._probe_ns = time.monotonic_ns() - start
        if class_index >= min(high.size, low.size):
            raise mismatch(self._head, "logits", high, self._baseline)
        return float(low[class_index]), float(high[class_index])

    def _probed(
        self, given: Given, schedule: Schedule, class_index: int, low: float, high: float
    ) -> tuple[Sequence[float], Sequence[float]]:
        """Return nodes and weights for this input, from its logit at the ends of the schedule's intervals."""
        places = np.linspace(0, 1, schedule.intervals + 1, dtype=np.float32)[1:-1]
        values = [low, *self.logit_along(given, places, class_index), high]
        nodes, weights = nuig.nodes_and_weights(np.asarray(values), schedule.steps, schedule.place)
        return nodes.tolist(), weights.tolist()

    def logit_along(self, given: Given, places: NDArray[np.float32], class_index: int) -> NDArray[np.float64]:
        """Return the class's logit at ``places`` of the path, of which 0 is the baseline and 1 the input."""
        change = given["x"] - self._baseline
        points = ({**given, "x": self._baseline + place * change} for place in places)
        return np.array([float(self._run_logits(**point)["logits"].reshape(-1)[class_index]) for point in points])

    def _schedule(self, steps: int | None) -> Schedule:
        if steps is None:
            return default_schedule(self._schedules)
        for schedule in self._schedules:
            if schedule.steps == steps:
                return schedule
        there = ", ".join(str(schedule.steps) for schedule in self._schedules)
        raise InputError(f"the bundle has no schedule of {steps} steps", f"it has schedules of {there}")

    def _fitting(self, wanted: Schedule, time_left_ns: float) -> Schedule:
        """Return the longest schedule up to ``wanted`` that fits the time left; the shortest where none does."""
        if time_left_ns == math.inf:
            return wanted
        fitting = self._schedules[0]
        for schedule in self._schedules:
            if schedule.steps <= wanted.steps and self._expected_ns(schedule) <= time_left_ns:
                fitting = schedule
        return fitting if fitting.steps <= wanted.steps else wanted

    def _expected_ns(self, schedule: Schedule) -> float:
        calls = -(-schedule.steps // self._head.steps_per_call)
        probing = schedule.probes * self._probe_ns
        return probing + (calls - 1) * self._pace.typical + self._pace.bound + self._rest.bound


def mismatch(head: ExplanationHead, what: str, found: NDArray[Any], baseline: NDArray[np.float32]) -> BundleError:
    """Return the error for an array whose shape is not what the manifest promises."""
    return BundleError(
        f"{head.method}: {what} is {list(found.shape)} for a baseline of {list(baseline.shape)}",
        "export the model again",
    )


def spread(count: int) -> Iterator[int]:
    """Yield 0 to ``count - 1`` so that the first few lie all over: the middle, then the middles of what is left."""
    ranges = deque([(0, count)])
    while ranges:
        low, high = ranges.popleft()
        if low < high:
            middle = (low + high) // 2
            yield middle
            ranges += [(low, middle), (middle + 1, high)]


def completed(integral: Integral) -> Integral:
    """Return the integral with a map that accounts for all of the logit's change: what is left, spread by magnitude.

    The residual stays the raw one. There is nothing to spread it over where the map is zero everywhere.
    """
    size = np.abs(integral.attribution)
    total = float(size.sum(dtype=np.float64))
    if not total:
        return integral
    part = np.multiply(size, integral.residual / total, dtype=np.float32)
    return replace(integral, attribution=integral.attribution + part)


def shortfall(schedule: Schedule) -> float:
    """Return how far a schedule fell short in 9 of 10 calibration inputs: residual times map error.

    Each counts for a hundredth at least, so that neither hides the other by being next to nothing by chance; what was
    not measured counts as all.
    """
    residual, error = (1.0 if part is None else part + 0.01 for part in (schedule.residual_p90, schedule.error_p90))
    return residual * error


def default_schedule(schedules: Sequence[Schedule]) -> Schedule:
    """Return the schedule that fell least short in calibration, of those that add up if any do.

    The longest if none was measured.
    """
    measured = [schedule for schedule in schedules if schedule.residual_p90 is not None]
    if not measured:
        return max(schedules, key=lambda schedule: schedule.steps)
    complete = [
        schedule
        for schedule in measured
        if schedule.completeness is not None and schedule.completeness <= RESIDUAL_BOUND
    ]
    return min(complete or measured, key=lambda schedule: (shortfall(schedule), schedule.steps))


def _filled(values: Sequence[float], size: int) -> NDArray[np.float32]:
    """Return values as an array of ``size``; what is left over weighs nothing."""
    array = np.zeros(size, np.float32)
    array[: len(values)] = values
    return array
