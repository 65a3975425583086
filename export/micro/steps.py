"""Where a device takes its steps: of several schedules the one that does best in the device's own arithmetic.

A step in int8 is another than a workstation's. Points close to the baseline round to one and the same, and each point
costs a prediction: many steps where the exact gradient changes most may be worth less than few that are spread out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge.integrate import default_schedule
from edge.manifest import Schedule

from ..c import Explained, Steps
from ..clock import within
from ..schedule import LENGTHS
from ..schedule.rules import midpoint
from ..shipped import Shipped
from .fidelity import exactly, real
from .model import ONE, MicroModel, Stored, in_fixed_point, interpolated, stored
from .reference import Reference

Array = NDArray[np.float32]

_UNIFORM = (16, 8, 32)
_DENSE = 64  # steps of what stands for the truth
_SAMPLES, _FEWEST, _FIRST_SECONDS, _SECONDS = 8, 4, 5.0, 30.0
_AS_GOOD = 1.03  # of two errors: the fewer steps are taken


def choose_steps(
    built: MicroModel,
    own: Explained,
    schedules: Sequence[Schedule],
    start: Stored,
    logits: tuple[float, ...],
    exact: Shipped,
    baseline: Array,
    x: Array,
    *,
    uniform: bool,
) -> Steps:
    """Return the steps with which a device's maps of inputs ``x`` ``[N, ...]`` are next to those of exact arithmetic.

    Candidates are ``schedules`` that need no probes: all lengths of a rule that was asked for, else up to 32 steps, and
    ``uniform`` midpoints beside them. As many are judged as the time allows, two at least, one of them that which the
    workstation would take. ``start`` is the baseline as it is stored, ``logits`` are those there. Maps of the predicted
    class are held against those of ``exact`` at many steps.
    """
    candidates = [Steps(*own, start, logits) for own in _candidates(schedules, uniform=uniform)]
    trial = _Trial(built, own, exact, baseline, candidates[0], x)
    judged = [(trial.error(steps), steps) for steps in within(_SECONDS, candidates)]
    best = min(error for error, _ in judged)
    return min((steps for error, steps in judged if error <= best * _AS_GOOD), key=lambda own: len(own.nodes))


def _candidates(schedules: Sequence[Schedule], *, uniform: bool) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return nodes and weights that differ, in 1/32768, the few that must be judged first."""
    static = [own for own in schedules if not own.intervals] or list(schedules)
    if uniform:  # int8 loses more than a longer schedule wins
        static = [own for own in static if own.steps <= max(LENGTHS)] or static
    rules = [(own.nodes, own.weights) for own in (default_schedule(static), *static)]
    if uniform:
        first, *more = ((tuple(nodes.tolist()), tuple(weights.tolist())) for nodes, weights in map(midpoint, _UNIFORM))
        rules = [first, rules[0], *more, *rules[1:]]
    return list(dict.fromkeys(merged(*in_fixed_point(*rule)) for rule in rules))


def merged(nodes: Sequence[int], weights: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return steps in 1/32768 as fewer with the same sum: those that round alike whatever the input are one."""
    ways = np.arange(-255, 256)[:, None]
    rounded = (ways * np.asarray(nodes) + ONE // 2) >> 15
    found: dict[bytes, list[int]] = {}
    for place, (node, weight) in enumerate(zip(nodes, weights, strict=True)):
        if weight:
            found.setdefault(rounded[:, place].tobytes(), [node, 0])[1] += weight
    kept = tuple(zip(*found.values(), strict=True))
    return kept[0], kept[1]


class _Trial:
    """Takes steps as a device does, each point of an input once, and holds maps against those of exact arithmetic."""

    def __init__(
        self, built: MicroModel, own: Explained, exact: Shipped, baseline: Array, first: Steps, x: Array
    ) -> None:
        self._built, self._own, self._place = built, own, built.outputs_of_classes.index(own.map)
        self._device = Reference(built.file_of_classes())
        self._gradients: dict[tuple[int, bytes], NDArray[np.float64]] = {}
        nodes, weights = in_fixed_point(*(values.tolist() for values in midpoint(_DENSE)))
        truth = exactly(exact, baseline, replace(own, steps=replace(first, nodes=nodes, weights=weights)))
        self._inputs: list[tuple[Stored, int, Array]] = []
        for place, sample in enumerate(within(_FIRST_SECONDS, x[:_SAMPLES], _FEWEST)):
            value = stored(built.input, sample)
            chosen = int(self._run(value, 0)[0].argmax())
            entered = real(built.input, value).reshape(sample.shape).astype(np.float32)
            self._inputs.append((value, chosen, truth(entered, chosen)))
            self._mapped(place, first)  # what takes most of the time

    def error(self, steps: Steps) -> float:
        """Return how far maps are from those of exact arithmetic over their size, root mean squares of all inputs."""
        wrong = sum(np.sum((self._mapped(place, steps) - own[2]) ** 2) for place, own in enumerate(self._inputs))
        size = sum(np.sum(truth.astype(np.float64) ** 2) for *_, truth in self._inputs)
        return float(np.sqrt(wrong / max(size, 1e-30)))

    def _mapped(self, place: int, steps: Steps) -> NDArray[np.float64]:
        value, chosen, truth = self._inputs[place]
        total = np.zeros(truth.shape)
        for node, weight in zip(steps.nodes, steps.weights, strict=True):
            point = interpolated(value, steps.baseline, node)
            key = place, point.tobytes()
            if key not in self._gradients:
                found = real(self._own.map, self._run(point, chosen)[self._place])
                self._gradients[key] = found.reshape(truth.shape) * self._own.units[chosen]
            total += self._gradients[key] * weight / ONE
        way = real(self._built.input, value) - real(self._built.input, steps.baseline)
        return np.asarray(total * way.reshape(truth.shape))

    def _run(self, x: Stored, class_index: int) -> list[NDArray[np.int8]]:
        return self._device.run([x, np.asarray([class_index], np.int32)], self._place + 1)
