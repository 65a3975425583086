"""Refinement of Integrated Gradients for one input: steps where those so far do not account for the logit's change."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .integrate import Given, Integral, Runner, mismatch, spread
from .manifest import ExplanationHead, Schedule
from .pace import Pace

Array = NDArray[np.float64]
Ends = Callable[[Given, int], tuple[float, float]]

_START = 12  # steps; with fewer, maps of some inputs end up worse (measured)
_IN_A_ROW = 2  # residuals within the tolerance: one alone may be a sum of errors that happen to cancel


@dataclass(frozen=True)
class Goal:
    """What part of the logit's change may be left unexplained, and how many steps that may take at the most."""

    tolerance: float
    max_steps: int = 64


class Refiner:
    """Takes the steps of a schedule, then one at a time; keeps the gradient of each, which is what it costs in memory.

    ``each`` gives the gradient and the logits at one step, ``ends`` the logit of a class at both ends of the path.
    """

    def __init__(self, head: ExplanationHead, baseline: NDArray[np.float32], each: Runner, ends: Ends) -> None:
        self._head = head
        self._baseline = np.asarray(baseline, np.float32)[None]
        self._run_each = each
        self._ends = ends
        self._start = first_nodes(head.schedules)
        self._pace = Pace()  # of a step, with choosing where it lies
        self._rest = Pace()  # of what follows the last one

    def refine(
        self,
        x: NDArray[np.float32],
        class_index: int,
        goal: Goal,
        *,
        time_left_ns: float | None = None,
        held: Mapping[str, NDArray[Any]] = MappingProxyType({}),
    ) -> Integral:
        """Integrate from the baseline to ``x`` (float32, input shape) until little is left unexplained.

        That is, until the raw residual is within the ``goal`` twice in a row, or there are as many steps as it allows,
        or ``time_left_ns`` is too little for another one, which makes the result ``shortened``. It takes one step at
        least. ``held`` are further inputs, the same all along the path.
        """
        if x.shape != self._baseline.shape[1:]:
            raise mismatch(self._head, "x", x, self._baseline)
        deadline = math.inf if time_left_ns is None else time.monotonic_ns() + time_left_ns
        given = {"x": x[None], **held}
        path = _Path(*self._ends(given, class_index), x[None] - self._baseline)
        waiting = [self._start[place] for place in spread(len(self._start))]
        kept, late = 0, False
        end = time.monotonic_ns()
        while len(path.nodes) < goal.max_steps and kept < _IN_A_ROW:
            late = bool(path.nodes) and end + self._pace.bound + self._rest.bound > deadline
            node = waiting.pop(0) if waiting else next_node(path, self._start)
            if node is None or late:
                break
            path.add(node, *self._step(given, node, class_index))
            if not waiting:
                kept = kept + 1 if abs(path.residual) <= goal.tolerance * abs(path.change) else 0
            begin, end = end, time.monotonic_ns()
            self._pace.note(end - begin)
        attribution = path.attribution()[0]
        residual = path.change - float(attribution.sum(dtype=np.float64))
        self._rest.note(time.monotonic_ns() - end)
        return Integral(attribution, residual, path.change, len(path.nodes), late)

    def _step(self, given: Given, node: float, class_index: int) -> tuple[NDArray[np.float32], float]:
        """Return the gradient and the logit at a node."""
        outputs = self._run_each(
            **given,
            baseline=self._baseline,
            alphas=np.asarray([node], np.float32),
            class_index=np.asarray([class_index], np.int32),
        )
        gradient, logits = outputs["map"], outputs["logits"].reshape(-1)
        if gradient.shape != self._baseline.shape:
            raise mismatch(self._head, "map", gradient, self._baseline)
        if class_index >= logits.size:
            raise mismatch(self._head, "logits", logits, self._baseline)
        return gradient * np.float32(self._head.each_unit), float(logits[class_index])


class _Path:
    """What is known of the path from baseline to input, at ``nodes`` in ascending order."""

    def __init__(self, low: float, high: float, difference: NDArray[np.float32]) -> None:
        self.low, self.high = low, high
        self.nodes: list[float] = []
        self.values: list[float] = []  # the logit
        self.slopes: list[float] = []  # its derivative along the path: the sum of the map that the step gives
        self._difference = difference
        self._gradients: list[NDArray[np.float32]] = []

    def add(self, node: float, gradient: NDArray[np.float32], value: float) -> None:
        place = bisect.bisect(self.nodes, node)
        self.nodes.insert(place, node)
        self.values.insert(place, value)
        self.slopes.insert(place, float(np.sum(gradient * self._difference, dtype=np.float64)))
        self._gradients.insert(place, gradient)

    @property
    def change(self) -> float:
        return self.high - self.low

    @property
    def residual(self) -> float:
        return self.change - float(weights(self.nodes) @ np.asarray(self.slopes))

    def attribution(self) -> NDArray[np.float32]:
        total = np.zeros_like(self._difference)
        for weight, gradient in zip(weights(self.nodes), self._gradients, strict=True):
            total += np.float32(weight) * gradient
        return total * self._difference


def weights(nodes: Sequence[float]) -> Array:
    """Return the weights of the trapezoidal rule on ascending nodes, the integrand constant beyond the outermost.

    They sum to 1 and are exact for what is linear between the nodes. (Linear beyond them too, residuals were larger.)
    """
    places = np.asarray(nodes, np.float64)
    return np.diff(np.concatenate([[0.0], (places[1:] + places[:-1]) / 2, [1.0]]))


def next_node(path: _Path, grain: Sequence[float]) -> float | None:
    """Return where to step next: in the middle of the gap whose part of the logit's change is accounted for worst.

    The middle is that of a path on which the nodes of ``grain`` lie evenly. None where no gap has room for a node, or
    what is known of them is not finite.
    """
    edges = np.asarray([0.0, *path.nodes, 1.0])
    slopes = np.asarray([path.slopes[0], *path.slopes, path.slopes[-1]])
    explained = np.diff(edges) * (slopes[1:] + slopes[:-1]) / 2
    errors = np.abs(np.diff([path.low, *path.values, path.high]) - explained)
    if not np.isfinite(errors).all():
        return None
    for gap in np.argsort(-errors, kind="stable"):
        low, high = edges[gap : gap + 2].tolist()
        for middle in (_middle(low, high, grain), float(np.float32((low + high) / 2))):
            if low < middle < high:
                return middle
    return None


def _middle(low: float, high: float, grain: Sequence[float]) -> float:
    places = [0.0, *grain, 1.0]
    levels = [0.0, *((np.arange(len(grain)) + 0.5) / len(grain)), 1.0]
    level = np.interp([low, high], places, levels).mean()
    return float(np.float32(np.interp(level, levels, places)))


def first_nodes(schedules: Sequence[Schedule]) -> list[float]:
    """Return the nodes, ascending, of the schedule that a refinement starts from."""
    schedule = min(schedules, key=lambda schedule: (schedule.intervals > 0, abs(schedule.steps - _START)))
    return sorted({float(np.float32(min(max(node, 0.0), 1.0))) for node in schedule.nodes})
