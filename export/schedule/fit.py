"""Choosing schedules: for each number of steps the rule that was best on calibration inputs it was not made from."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge import nuig
from edge.integrate import shortfall
from edge.manifest import Schedule

from .paths import PLACES, Path
from .rules import RULES, Quantile, Rule, along, riemann_right, squared

Array = NDArray[np.float64]

LENGTHS = (6, 8, 12, 16, 24, 32)
LONGER = (48, 64, 96, 128, 192, 256)
"""Where none of :data:`LENGTHS` leaves little enough."""
NUIG, STATIC = "nuig", "static"
CHOICES = ("auto", STATIC, NUIG, *RULES)
"""What ``fit`` may be asked for."""

_INTERVALS = (2, 4, 8, 16)  # of NUIG
_PLACES = {NUIG: 1.0, f"{NUIG} midpoint": 0.5}
_FEWEST = 8  # inputs from which a density may be estimated
_UNIFORM_PART = 0.05  # of the density, so that no stretch of the path is left out
_SMOOTHING = 2  # places of the grid to either side


@dataclass(frozen=True)
class Fit:
    """The schedules of a model, and what is to be said of how they came about."""

    schedules: tuple[Schedule, ...]
    notes: tuple[str, ...] = ()


def fit(
    paths: Sequence[Path],
    rule: str = "auto",
    lengths: Sequence[int] = LENGTHS,
    *,
    probe_cost: float = 1.0,
    given: int | None = None,
) -> Fit:
    """Return a schedule per length, with the residual and map error it had on held-back inputs.

    Half of the paths make the density from which the static rules are built, the other half decides. ``rule`` is one of
    :data:`CHOICES`: "auto" for the best at each length, or one of them for all. ``probe_cost`` is the time of a forward
    pass over that of a step: NUIG, which looks before it steps, is held against rules of as many more steps as its
    probes cost. With fewer than 8 usable paths there is no density, and the rule is the midpoint rule in the square
    root of the path, unless another was asked for. ``given`` is how many inputs there were paths to be made of.
    """
    seen, held_back = _halves(paths)
    usable = [path for path in paths if path.usable]
    if rule == NUIG or rule in RULES:
        judges = held_back or usable  # these rules are made from no input
        notes = () if held_back else (_not_held_back(rule, len(usable)),)
        if rule == NUIG:
            return Fit(tuple(min(_nuig(NUIG, steps, judges), key=shortfall) for steps in lengths), notes)
        return Fit(tuple(_measured(rule, RULES[rule], steps, judges) for steps in lengths), notes)
    if len(usable) < _FEWEST or not seen or not held_back:
        note = f"{_few(paths, given)} too few to fit schedules to: steps lie as the squares of evenly spread numbers"
        return Fit(tuple(_measured("squared midpoint", squared, steps, usable) for steps in lengths), (note,))
    static = static_rules(seen)
    if rule == STATIC:
        return Fit(tuple(_best(static, steps, held_back) for steps in lengths))
    return Fit(tuple(_best_at_its_price(RULES | static, steps, held_back, probe_cost) for steps in lengths))


def _few(paths: Sequence[Path], given: int | None) -> str:
    """Return how many inputs a fit has, as the subject of what there is to say of them."""
    count = sum(path.usable for path in paths)
    if given is not None and len(paths) < given:
        return f"time ended after {len(paths)} of {given} calibration inputs: {count} usable {_are('one', count)}"
    return f"{count} usable calibration {_are('input', count)}"


def _are(noun: str, count: int) -> str:
    return f"{noun} is" if count == 1 else f"{noun}s are"


def _not_held_back(rule: str, usable: int) -> str:
    if usable:
        return f"{rule}: map errors are those of {usable} calibration input{'s' * (usable > 1)}, none held back"
    probed = " and each length has the fewest intervals" if rule == NUIG else ""
    return f"{rule}: no calibration input is usable: map errors are not known{probed}"


def lengthened(schedule: Schedule, paths: Sequence[Path], steps: int) -> Schedule:
    """Return the rule of a fitted ``schedule``, of the same ``paths``, at a length whose steps are as dense as a grid.

    A path's grid cannot tell such a rule from the truth it gives itself, so residual and map error stay unknown.
    """
    rules = dict(RULES)
    if schedule.rule not in RULES and not schedule.intervals:
        rules |= static_rules(_halves(paths)[0])
    nodes, weights = rules["uniform right" if schedule.intervals else schedule.rule](steps)
    every = tuple(nodes.tolist()), tuple(weights.tolist())
    return Schedule(steps, *every, rule=schedule.rule, intervals=schedule.intervals, place=schedule.place)


def static_rules(paths: Sequence[Path]) -> dict[str, Rule]:
    """Return the rules that put steps where the maps of ``paths`` change.

    The density is proportional to the cube root of the mean squared change of the map per length of path: what
    minimises the midpoint rule's error where kinks are many, and more robust than other powers (measured).
    """
    roughness = _roughness(paths)
    return {
        "static midpoint": along(_quantile(paths[0].grid, np.cbrt(roughness))),
        "static right": riemann_right(_quantile(paths[0].grid, roughness**0.25)),
    }


def _halves(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return the usable paths that rules are made from, and those that decide: every other one."""
    seen, held_back = ([path for path in paths[first::2] if path.usable] for first in (0, 1))
    return seen, held_back


def _best(rules: dict[str, Rule], steps: int, held_back: Sequence[Path]) -> Schedule:
    """Return the schedule of the rule that falls least short."""
    measured = [_measured(name, rule, steps, held_back) for name, rule in rules.items()]
    return min(measured, key=shortfall)


def _best_at_its_price(rules: dict[str, Rule], steps: int, held_back: Sequence[Path], probe_cost: float) -> Schedule:
    """Return the best rule, or NUIG where it falls less short than any rule that costs no more than it and its probes.

    Rules of all lengths between are asked, for one that is a step longer may do worse.
    """
    best_of = functools.cache(lambda length: _best(rules, length, held_back))
    chosen: Schedule = best_of(steps)
    for candidate in (schedule for name in _PLACES for schedule in _nuig(name, steps, held_back)):
        price = steps + math.ceil(candidate.probes * probe_cost)
        found, lengths = shortfall(candidate), range(steps, price + 1)
        if found < shortfall(chosen) and all(found < shortfall(best_of(length)) for length in lengths):
            chosen = candidate
    return chosen


def _nuig(name: str, steps: int, paths: Sequence[Path]) -> Iterator[Schedule]:
    """Yield NUIG with each number of intervals that leaves a step for all of them."""
    place = _PLACES[name]
    for intervals in (number for number in _INTERVALS if number <= steps):
        plain = replace(_measured(name, RULES["uniform right"], steps, []), intervals=intervals, place=place)
        ends = [path.values[:: (len(PLACES) - 1) // intervals] for path in paths]
        spreads = [
            path.on_grid(*nuig.nodes_and_weights(values, steps, place))
            for path, values in zip(paths, ends, strict=True)
        ]
        yield _with_errors(plain, paths, spreads)


def _measured(name: str, rule: Rule, steps: int, paths: Sequence[Path]) -> Schedule:
    nodes, weights = rule(steps)
    schedule = Schedule(steps, tuple(nodes.tolist()), tuple(weights.tolist()), rule=name)
    return _with_errors(schedule, paths, [path.on_grid(nodes, weights) for path in paths])


def _with_errors(schedule: Schedule, paths: Sequence[Path], spreads: Sequence[Array]) -> Schedule:
    """Return a schedule with the errors that it has on paths, as weights of their grids."""
    if not paths:
        return schedule
    residuals = [path.residual(spread) for path, spread in zip(paths, spreads, strict=True)]
    errors = [path.map_error(spread) for path, spread in zip(paths, spreads, strict=True)]
    (r50, r90), (e50, e90) = (np.quantile(found, (0.5, 0.9)).tolist() for found in (residuals, errors))
    return replace(schedule, residual_p50=r50, residual_p90=r90, error_p50=e50, error_p90=e90)


def _roughness(paths: Sequence[Path]) -> Array:
    """Return at each place of the grid the squared change of the map per length, over its size, mean of all paths."""
    grid = paths[0].grid
    lengths, middles = np.diff(grid), (grid[1:] + grid[:-1]) / 2
    found = []
    for path in paths:
        own = np.diag(path.gram)
        squares = np.maximum(own[1:] + own[:-1] - 2 * np.diag(path.gram, 1), 0)
        size = path.truth @ path.gram @ path.truth
        found.append(np.interp(grid, middles, _smooth(squares / (lengths * size))))
    return np.asarray(np.mean(found, 0))


def _quantile(grid: Array, density: Array) -> Quantile:
    """Return the inverse of the distribution with this density on the grid, smoothed and mixed with a uniform one."""
    smooth = _smooth(density)
    total = np.trapezoid(smooth, grid)
    mixed = (1 - _UNIFORM_PART) * smooth / total + _UNIFORM_PART if total else np.ones(len(grid))
    cumulated = np.concatenate([[0.0], np.cumsum((mixed[1:] + mixed[:-1]) / 2 * np.diff(grid))])
    cumulated /= cumulated[-1]
    return lambda u: np.interp(u, cumulated, grid)


def _smooth(values: Array) -> Array:
    padded = np.pad(values, _SMOOTHING, mode="edge")
    width = 2 * _SMOOTHING + 1
    return np.convolve(padded, np.full(width, 1 / width), mode="valid")
