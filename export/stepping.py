"""The schedules that ship: fitted, run as a device would, and lengthened until they leave little enough."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge.integrate import RESIDUAL_BOUND, Integrator, default_schedule
from edge.manifest import ExplanationHead, Schedule

from . import calibration, measure, schedule, trust
from .clock import within
from .completeness import FEWEST, Left, held_back
from .methods import IntegratedGradients, Role
from .schedule import LONGER, RULES
from .shipped import Shipped
from .trust import Findings

Array = NDArray[np.float32]

_SECONDS, _MOST_SECONDS = 5.0, 60.0


def schedules(
    shipped: Shipped, compile_at: Callable[[int], Shipped], x: Array, baseline: Array, rule: str, *, real_data: bool
) -> tuple[tuple[Schedule, ...], Findings]:
    """Return the schedules of a ``rule`` with what each leaves unexplained as it runs, and whether that is too much.

    Empty where no method takes steps. Where none of :data:`export.schedule.LENGTHS` is enough, longer ones are added
    until one is, as long as inputs and time can decide it. On inputs that are not ``real_data`` nothing is.
    """
    if shipped.logits is None:
        return (), Findings()
    x = calibration.different(x)  # or what made a rule would judge it too
    paths = measure.paths(compile_at(1), x, baseline)
    cost = measure.probe_cost(shipped, x, baseline)
    fitted = schedule.fit(paths, rule, probe_cost=cost, given=min(len(x), measure.PATH_SAMPLES))
    trial = _Trial(shipped, held_back(x), baseline)
    left = trial.left(fitted.schedules)
    found = [_with(own, one) for own, one in zip(fitted.schedules, left, strict=True)]
    findings = Findings(notes=fitted.notes)
    name = f"{IntegratedGradients.name} completeness"
    if not real_data:
        undecided = tuple(dataclasses.replace(own, completeness=None) for own in found)
        fitted_to = ("schedules were fitted to random inputs",) * (rule not in RULES and not fitted.notes)
        return undecided, findings + Findings(notes=(*fitted_to, f"{name} was not decided: inputs are random"))
    usual = default_schedule(found)
    place = found.index(usual)
    deadline = time.monotonic() + _MOST_SECONDS
    if len(left[place].residuals) < FEWEST and trial.allows(usual, deadline):  # there is no time for more of them all
        (left[place],) = trial.left([usual], FEWEST)
        found[place] = usual = _with(usual, left[place])
    known = {usual.steps: left[place]}
    longest = max(fitted.schedules, key=lambda own: own.steps)
    said = ""
    for steps in LONGER:
        if usual.completeness is None or usual.completeness <= RESIDUAL_BOUND:
            break
        longer = schedule.lengthened(longest, paths, steps)
        if not trial.allows(longer, deadline):
            said = f"; {steps} steps take longer than is spent on it"
            break
        (known[steps],) = trial.left([longer], FEWEST)
        found.append(_with(longer, known[steps]))
        usual = default_schedule(found)
    if usual.steps not in known:  # none is enough: of those measured, the one that fell least short
        known[usual.steps] = left[found.index(usual)]
    told = [own for own in found if own.completeness is not None]
    best = min(told, key=lambda own: own.completeness or 0.0, default=usual)
    said += "" if best is usual else f"; the best of all, {best.steps} steps: {best.completeness:.1%}"
    return tuple(found), findings + trust.completeness(IntegratedGradients.name, usual, known[usual.steps], said)


class _Trial:
    """Runs schedules of what ships on inputs, as a device would, for the class that it predicts."""

    def __init__(self, shipped: Shipped, samples: Array, baseline: Array) -> None:
        method = shipped.compiled[IntegratedGradients.name]
        entry, logits = method.entry(Role.STEPS), shipped.logits
        assert entry is not None
        assert logits is not None
        self._shipped, self._samples, self._baseline = shipped, samples, baseline
        self._head = ExplanationHead(
            IntegratedGradients.name,
            method.layer.name,
            method.map_shape,
            entry.key,
            unit=entry.unit,
            steps_per_call=method.steps_per_call,
        )
        self._steps: Callable[..., dict[str, Array]] = lambda **given: shipped.runtime.call(entry.key, **given)
        self._logits: Callable[..., dict[str, Array]] = lambda **given: shipped.runtime.call(logits, **given)
        self._step_seconds = 0.0

    def left(self, asked: Sequence[Schedule], at_least: int = 2) -> list[Left]:
        """Return what each schedule leaves, all on the same inputs: as many as the time allows, or ``at_least``."""
        head = dataclasses.replace(self._head, schedules=tuple(asked))
        integrator = Integrator(head, self._baseline, self._steps, self._logits)
        found = [Left() for _ in asked]
        begin = time.monotonic()
        for count, sample in enumerate(within(_SECONDS, self._samples, at_least), 1):
            at = self._shipped.entered(sample)
            class_index = int(self._shipped.scores(self._shipped.stored(sample)).argmax())
            held = {key: value for key, value in at.items() if key != "x"}
            for own, left in zip(asked, found, strict=True):
                result = integrator.integrate(at["x"][0], class_index, steps=own.steps, held=held)
                left.add(result.residual, result.change)
            self._step_seconds = (time.monotonic() - begin) / count / sum(own.steps for own in asked)
        return found

    def allows(self, asked: Schedule, deadline: float) -> bool:
        """Whether enough inputs for a decision can be run by a schedule until then."""
        return time.monotonic() + FEWEST * asked.steps * self._step_seconds <= deadline


def _with(own: Schedule, left: Left) -> Schedule:
    """Return a schedule with what it left; completeness where there are enough inputs."""
    p50, p90 = (float(value) for value in np.quantile(left.of_own, (0.5, 0.9)))
    completeness = left.completeness if len(left.residuals) >= FEWEST else None
    return dataclasses.replace(own, residual_p50=p50, residual_p90=p90, completeness=completeness)
