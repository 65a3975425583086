"""How many gradients Integrated Gradients needs: ``python -m benchmarks.schedules [--inputs N] [--json FILE]``.

Rules are held against a dense integration in exact arithmetic, on real inputs that no schedule was fitted to; the
refinement is the device's own code. Needed is the least number of gradients, the same for all inputs, at which the
median (or the 90th percentile) of the inputs is within a bound, and stays so up to a quarter more; probes count at what
they were timed to cost. 90 % intervals come from resampling the photographs or people that the inputs come from.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge import nuig
from edge.manifest import Schedule
from edge.refine import Goal
from export.schedule import PLACES, RULES, fit, static_rules
from export.schedule import Path as SeenPath

from . import captum_default
from .__main__ import describe_machine
from .dense import GRID, Dense, dense, spread, trapezoidal
from .figures import table
from .inputs import Inputs, inputs
from .models import MLPERF_TINY, OUT, RESNET, SHARED, VWW, WATCH, watch

Array = NDArray[np.float64]
Spreads = Callable[[Dense], tuple[Array, Array]]
"""What a method does on a path: gradients taken ``[k]``, and the rules it has then, as weights of the grid."""

MODELS = (RESNET, VWW, WATCH)
BOUNDS = (0.05, 0.02, 0.01)
BOTH, COSINE = 0.02, 0.99
GOALS = {"uniform right": 3.2, "gauss-legendre": 2.0}
REFINED = "static 12 + refinement"
PROBE_COST = 0.45  # a forward pass over a gradient, both exact: ResNet-8 and VWW
_LENGTHS = (*range(3, 65), *range(66, 129, 2), *range(132, 257, 4))
_MOST = 96  # steps of a refinement
_NEVER = math.inf
_RESAMPLED = 200


@dataclass(frozen=True)
class Course:
    """What one method leaves after ``taken`` ``[k]`` gradients: residuals, cosines and map errors ``[k, inputs]``."""

    method: str
    taken: Array
    residuals: Array
    cosines: Array
    errors: Array

    def needed(self, good: NDArray[np.bool_]) -> float:
        """Return the gradients from which on ``good`` holds, up to a quarter more; infinity where that never comes."""
        for place in np.flatnonzero(good):
            if good[(self.taken >= self.taken[place]) & (self.taken <= 1.25 * self.taken[place])].all():
                return float(self.taken[place])
        return _NEVER

    def for_residual(self, bound: float, part: float = 0.5) -> float:
        """Return the gradients for which ``part`` of the inputs have a residual within ``bound``."""
        return self.needed(np.quantile(self.residuals, part, axis=1) <= bound)

    def for_cosine(self, part: float = 0.5) -> float:
        """Return those for which ``part`` of the inputs have a map like the dense one."""
        return self.needed(np.quantile(self.cosines, 1 - part, axis=1) >= COSINE)

    def for_both(self) -> float:
        """Return those for which the medians of residual and cosine are within their bounds together."""
        alike = np.median(self.cosines, axis=1) >= COSINE
        return self.needed(alike & (np.median(self.residuals, axis=1) <= BOTH))

    def of(self, chosen: NDArray[np.intp]) -> Course:
        """Return the same for some of the inputs, or some of them twice."""
        return Course(
            self.method, self.taken, self.residuals[:, chosen], self.cosines[:, chosen], self.errors[:, chosen]
        )

    def as_good_as(self, other: Course, steps: int) -> float:
        """Return those for which the medians of residual and map error are no more than another's at ``steps``."""
        (place,) = np.flatnonzero(other.taken == steps)
        left, wrong = (float(np.median(values[place])) for values in (other.residuals, other.errors))
        return self.needed((np.median(self.residuals, 1) <= left) & (np.median(self.errors, 1) <= wrong))


Figure = Callable[[Course], float]
FIGURES: tuple[Figure, ...] = (
    *(partial(Course.for_residual, bound=bound) for bound in BOUNDS),
    partial(Course.for_residual, bound=0.05, part=0.9),
    Course.for_cosine,
    partial(Course.for_cosine, part=0.9),
    Course.for_both,
)
NAMES = (*(f"residual <= {bound}" for bound in BOUNDS), "p90 of residual <= 0.05", "cosine", "p90 of cosine", "both")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables and write the JSON; 0 whatever the goals say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedules", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)} (default: all)")
    parser.add_argument("--inputs", type=int, default=24, help="to evaluate on, of each model (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=OUT / "schedules.json", help="default: %(default)s")
    parser.add_argument("--probability", action="store_true", help="integrate the softmax's output as well")
    parser.add_argument("--captum", action="store_true", help="time Captum's default too, which needs torch")
    options = parser.parse_args(argv)
    begin = time.monotonic()
    rows = []
    for model in (name for name in MODELS if name in options.models or not options.models):
        path = watch() if model == WATCH else SHARED / "models/mlperf_tiny" / MLPERF_TINY[model]
        if not path.is_file():
            print(f"\n{model}: absent, {path} is not there (set WHYLITE_SHARED)")
            continue
        for probability in (False, True)[: 1 + options.probability]:
            calibration, evaluation = inputs(model, 24, options.inputs)
            rows += measure(model, path.read_bytes(), calibration, evaluation, probability=probability)
        if options.captum:
            static = next(row for row in rows if (row["model"], row["method"]) == (model, "static"))
            figure = captum_default.compare(model, path, round(float(str(static["as gauss-legendre 50"]))))
            print(table(f"{model}: wall-clock time, {describe_machine()['processor']}", [figure]))
            rows.append(asdict(figure) | {"verdict": figure.verdict})
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(rows, indent=1))
    print(f"\n{time.monotonic() - begin:.0f} s; written to {options.json}")
    return 0


def measure(
    model: str, file: bytes, calibration: Inputs, evaluation: Inputs, *, probability: bool
) -> list[dict[str, object]]:
    """Print one model's table and what became of the goals; return its rows."""
    seen = [path for path in (one.path() for one in dense(file, calibration.x, probability=probability)) if path.usable]
    paths = dense(file, evaluation.x, probability=probability)
    kept = [number for number, one in enumerate(paths) if one.change]
    paths, sources = [paths[number] for number in kept], evaluation.source[kept]
    found = [course(name, spreads, paths, probability=probability) for name, spreads in methods(seen).items()]
    target = "probability, residual absolute" if probability else "logit, residual relative to its change"
    print(f"\n{model}: {target}; {len(kept)} inputs from {len(set(sources.tolist()))} sources")
    titles = [*(f"<= {bound:g}" for bound in BOUNDS), "p90 <= 0.05", "cosine", "p90", f"both, <= {BOTH:g}"]
    print(f"  {'gradients for a median residual':<32}" + "".join(f"{title:>18}" for title in titles))
    for one in found:
        print(f"  {one.method:<32}" + "".join(f"{_with_interval(one, figure, sources):>18}" for figure in FIGURES))
    _print_stops(seen, paths, probability=probability)
    refined = next(one for one in found if one.method == REFINED)
    theirs = next(one for one in found if one.method == "gauss-legendre")
    equal = {one.method: one.as_good_as(theirs, captum_default.STEPS) for one in found}
    told = ", ".join(f"{name} {_shown(count)}" for name, count in equal.items())
    print(f"  as good in residual and map error as 50 steps of gauss-legendre: {told}")
    for name, goal in GOALS.items():
        other = next(one for one in found if one.method == name)
        _print_goal(other, refined, goal if model in (RESNET, VWW) else None, sources)
    return [
        {"model": model, "target": target, "method": one.method}
        | {"as gauss-legendre 50": equal[one.method] if equal[one.method] < _NEVER else None}
        | {name: figure(one) if figure(one) < _NEVER else None for name, figure in zip(NAMES, FIGURES, strict=True)}
        for one in found
    ]


def methods(seen: Sequence[SeenPath]) -> dict[str, Spreads]:
    """Return every method by name, the fitted ones fitted to the paths ``seen``."""
    fitted = static_rules(seen)["static midpoint"]
    rules = {name: RULES[name] for name in ("uniform right", "uniform midpoint", "gauss-legendre")} | {"static": fitted}
    cached = {
        name: (np.asarray(_LENGTHS, np.float64), np.stack([spread(*rule(steps)) for steps in _LENGTHS]))
        for name, rule in rules.items()
    }
    found: dict[str, Spreads] = {name: _always(both) for name, both in cached.items()}
    found["nuig 4, right"] = _nuig(4, 1.0)
    found["nuig 8, midpoint"] = _nuig(8, 0.5)
    found[REFINED] = _refined(_schedule(*fitted(12)))
    shipped = fit(seen, probe_cost=PROBE_COST).schedules
    found["fitted 12 + refinement"] = _refined(next(one for one in shipped if one.steps == 12))
    return found


def _schedule(nodes: Array, shares: Array) -> Schedule:
    return Schedule(len(nodes), tuple(nodes.tolist()), tuple(shares.tolist()))


def _always(both: tuple[Array, Array]) -> Spreads:
    return lambda path: both


def _nuig(intervals: int, place: float) -> Spreads:
    lengths = [steps for steps in _LENGTHS if steps >= intervals]
    taken = np.asarray(lengths) + PROBE_COST * (intervals - 1)

    def spreads(path: Dense) -> tuple[Array, Array]:
        values = np.interp(PLACES[:: (len(PLACES) - 1) // intervals], GRID, path.values)
        return taken, np.stack([spread(*nuig.nodes_and_weights(values, steps, place)) for steps in lengths])

    return spreads


def _refined(schedule: Schedule) -> Spreads:
    def spreads(path: Dense) -> tuple[Array, Array]:
        nodes = path.refined(schedule, Goal(1e-9, _MOST))
        counts = range(schedule.steps, _MOST + 1)
        return np.asarray(counts, np.float64), np.stack([trapezoidal(nodes[:count]) for count in counts])

    return spreads


def course(method: str, spreads: Spreads, paths: Sequence[Dense], *, probability: bool) -> Course:
    """Return what a method does on paths."""
    residuals, cosines, errors = [], [], []
    for path in paths:
        taken, rules = spreads(path)
        residuals.append(path.residuals(rules) / (1.0 if probability else abs(path.change)))
        cosines.append(path.cosines(rules))
        errors.append(path.errors(rules))
    return Course(method, taken, *(np.stack(values, 1) for values in (residuals, cosines, errors)))


def _print_stops(seen: Sequence[SeenPath], paths: Sequence[Dense], *, probability: bool) -> None:
    """Say what the device ends with at a tolerance of 0.02: its rule asks for two residuals in a row."""
    schedule = _schedule(*static_rules(seen)["static midpoint"](12))
    steps, left, errors = [], [], []
    for path in paths:
        scale = 1.0 if probability else abs(path.change)
        nodes = path.refined(schedule, Goal(0.02 * scale / abs(path.change)))
        rule = trapezoidal(nodes)[None]
        steps.append(len(nodes))
        left.append(float(path.residuals(rule)[0]) / scale)
        errors.append(float(path.errors(rule)[0]))
    within = np.mean(np.asarray(left) <= 0.02)
    print(
        f"  the device's own stop at 0.02, 64 steps at the most: median {np.median(steps):.0f} steps, p90 "
        f"{np.quantile(steps, 0.9):.0f}; {within:.0%} within it, map error {np.median(errors):.3f}"
    )


def _print_goal(other: Course, refined: Course, goal: float | None, sources: NDArray[np.int64]) -> None:
    low, high = _interval(lambda chosen: _ratio(other.of(chosen), refined.of(chosen)), sources)
    ratio = _ratio(other, refined)
    bound = "at least " if math.isinf(other.for_both()) else ""
    verdict = "" if goal is None else f", goal >= {goal:g}: {'MET' if ratio >= goal else 'NOT MET'}"
    what = f"{refined.method} against {other.method}, both bounds"
    print(f"  {what}: {bound}{ratio:.2f} times fewer ({low:.2f} .. {high:.2f}){verdict}")


def _ratio(other: Course, refined: Course) -> float:
    """Return how many times more gradients another method needs; its longest, where that is not enough."""
    return min(other.for_both(), float(_LENGTHS[-1])) / min(refined.for_both(), float(_LENGTHS[-1]))


def _interval(statistic: Callable[[NDArray[np.intp]], float], sources: NDArray[np.int64]) -> tuple[float, float]:
    """Return the 5th and 95th percentile of a statistic over resampled sources, all inputs of each."""
    random = np.random.default_rng(0)
    groups = [np.flatnonzero(sources == source) for source in np.unique(sources)]
    found = []
    for _ in range(_RESAMPLED):
        chosen = random.integers(0, len(groups), len(groups))
        found.append(statistic(np.concatenate([groups[group] for group in chosen])))
    low, high = np.quantile(found, (0.05, 0.95), method="nearest")
    return float(low), float(high)


def _with_interval(one: Course, figure: Figure, sources: NDArray[np.int64]) -> str:
    low, high = _interval(lambda chosen: figure(one.of(chosen)), sources)
    return f"{_shown(figure(one))} ({_shown(low)}..{_shown(high)})"


def _shown(count: float) -> str:
    return f">{_LENGTHS[-1]}" if math.isinf(count) else f"{count:.0f}"


if __name__ == "__main__":
    sys.exit(main())
