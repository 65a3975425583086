"""The sanity checks of an export: class sensitivity, parameter randomisation, and whether a map is an edge detector.

There are no universal thresholds: every likeness is held against a null distribution of maps that share nothing but
how they were made. They run on what ships, on inputs of the user's, in bounded time; what could not be decided in that
time is said, and not passed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge.errors import InterpreterError

from ..calibration import different
from ..errors import UnsupportedModelError
from ..methods import METHODS
from ..shipped import Shipped
from .answers import Answers
from .attribution import attribution
from .cascade import Cascade
from .class_sensitivity import class_sensitivity
from .edges import edge_likeness
from .findings import Findings
from .likeness import Verdict
from .maps import FEWEST, NOISE, SEEDS, Map, OfInputs, classes_of, maps_of
from .randomization import DRAWS, depths, randomization

Array = NDArray[np.float32]
Progress = Callable[[str], None]

SECONDS = 20.0
"""In which all sanity checks of an export end, but for the one step that is under way."""
CLASS, RANDOMIZATION, EDGES = "class sensitivity", "parameter randomisation", "no edge detector"
_MOST_INPUTS = 8
_FIRST_PART = 0.4  # of the time: maps of the model itself; the rest is for randomised ones


@dataclass(frozen=True)
class Sanity(Findings):
    """What sanity checks found, and the maps that they looked at, by method."""

    maps: Mapping[str, OfInputs] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Deadline:
    """When to have finished."""

    end: float

    @classmethod
    def of(cls, seconds: float) -> Deadline:
        """Return the deadline so many seconds from now."""
        return cls(time.monotonic() + seconds)

    def allows(self, seconds: float) -> bool:
        """Whether something that takes so long ends before."""
        return time.monotonic() + seconds <= self.end


def sanity_checks(
    shipped: Shipped,
    recompile: Callable[[bytes], Shipped],
    x: Array,
    baseline: Array,
    *,
    cascade: Callable[[], Cascade],
    noise: bool = True,
    seconds: float = SECONDS,
    progress: Progress = lambda stage: None,
) -> Sanity:
    """Return the sanity checks of what ships on inputs ``x`` ``[N, ...]`` of the user's (float).

    ``recompile`` makes from another file of the same graph what ships; ``cascade`` gives those files. ``noise`` says
    whether a little noise on an input leaves it what it is, which it does not where inputs are ids. Equal inputs give
    equal checks, as long as time does not run out.
    """
    samples = _chosen(x)
    if len(samples) < FEWEST:
        return Sanity(
            notes=(f"sanity checks and measures were not made: too few different inputs, {len(samples)} of {FEWEST}",)
        )
    deadline = Deadline.of(seconds)
    progress(f"sanity checks: maps of several classes of up to {len(samples)} inputs")
    level = NOISE * float(np.std(x)) if noise else 0.0
    classes, how = _classes(shipped, samples)
    found_maps = _maps(shipped, samples, classes, baseline, level, seconds)
    if found_maps is None:
        return Sanity(
            notes=(f"sanity checks and measures were not made: {FEWEST} inputs take more than {seconds:g} s",)
        )
    maps, cheapest = found_maps
    checks, notes = [], list(how)

    def enter(check: str, method: str, verdict: Verdict | None, otherwise: str) -> None:
        count = len(maps[method].by_class)
        if verdict is None:
            notes.append(f"{method}: {check} was not decided: {otherwise}")
        else:
            checks.append(verdict.as_check(check, method, count, SEEDS, METHODS[method].signed))

    for method, own in maps.items():
        if shipped.source.head.classes < 2:
            notes.append(f"{method}: {CLASS} was not decided: there is one score")
        else:
            enter(CLASS, method, class_sensitivity(own), "most maps are zero")
    try:
        layers = cascade()
        found = _randomized(shipped, recompile, layers, samples, maps, cheapest, baseline, deadline, progress)
    except (InterpreterError, UnsupportedModelError) as error:
        said = f"{RANDOMIZATION} and {EDGES} were not decided: {error.cause}"
        return Sanity(tuple(checks), (*notes, said), maps)
    late = f"{len(DRAWS)} randomised models take more than the time left of {seconds:g} s"
    for method, own in maps.items():
        each = {depth: models[method] for depth, models in found.items() if method in models}
        skipped = [str(depth) for depth in depths(len(layers)) if depth not in each]
        if skipped:
            notes.append(f"{method}: not randomised: last {', '.join(skipped)} of {len(layers)} layers: {late}")
        edges = edge_likeness(own.samples, each[1]) if 1 in each else None
        enter(EDGES, method, edges, "maps are zero, or have other positions" if 1 in each else late)
        enter(RANDOMIZATION, method, *(randomization(own, each, len(layers)) if each else (None, late)))
    return Sanity(tuple(checks), tuple(notes), maps)


def _chosen(x: Array) -> list[Array]:
    """Return up to so many different inputs, from all over."""
    samples = different(x)
    places = np.unique(np.linspace(0, len(samples) - 1, _MOST_INPUTS).astype(int))
    return [samples[place] for place in places]


def _classes(shipped: Shipped, samples: Sequence[Array]) -> tuple[list[list[int]], tuple[str, ...]]:
    """Return the most and the least probable class of each input, and what is to be said of how they were told."""
    try:
        answers = Answers(shipped)(samples)
    except InterpreterError as error:
        scores = [shipped.scores(shipped.stored(sample)).ravel() for sample in samples]
        said = f"the least probable class was told by scores, which may be tied: {error.cause}"
        return [classes_of(each, each) for each in scores], (said,)
    return [classes_of(*each) for each in zip(*answers, strict=True)], ()


def _maps(
    shipped: Shipped,
    samples: Sequence[Array],
    classes: Sequence[Sequence[int]],
    baseline: Array,
    noise: float,
    seconds: float,
) -> tuple[dict[str, OfInputs], list[str]] | None:
    """Return each method's maps of as many inputs as part of the time allows, and methods by their cost.

    None if the inputs are too few.
    """
    first, whole = Deadline.of(_FIRST_PART * seconds), Deadline.of(seconds)
    explain = {name: attribution(shipped, name, baseline) for name in shipped.compiled}
    rows: dict[str, list[OfInputs]] = {name: [] for name in explain}
    cost = dict.fromkeys(explain, 0.0)
    for count, (sample, two) in enumerate(zip(samples, classes, strict=True), 1):
        begin = time.monotonic()
        for name, method in explain.items():
            start = time.monotonic()
            rows[name].append(maps_of(method, shipped, sample, two, noise))
            cost[name] += time.monotonic() - start
        took = time.monotonic() - begin
        if not whole.allows(took * max(FEWEST - count, 0)):
            return None
        if count >= FEWEST and not first.allows(took):
            break
    return {name: OfInputs.together(parts) for name, parts in rows.items()}, sorted(cost, key=lambda name: cost[name])


def _randomized(
    shipped: Shipped,
    recompile: Callable[[bytes], Shipped],
    cascade: Cascade,
    samples: Sequence[Array],
    maps: dict[str, OfInputs],
    cheapest: Sequence[str],
    baseline: Array,
    deadline: Deadline,
    progress: Progress,
) -> dict[int, dict[str, list[list[Map]]]]:
    """Return each method's maps ``[model][input]`` in randomised models, by how many of their layers are.

    A method whose maps of all models would not end in time is left out, so the cheapest ones are decided first.
    """
    if not len(cascade):
        raise UnsupportedModelError("the model has no weights that could be drawn anew", "look at its ops")
    classes = _best_classes(shipped, samples)
    count = min(len(own.by_class) for own in maps.values())
    found: dict[int, dict[str, list[list[Map]]]] = {}
    for depth in depths(len(cascade)):
        progress(f"sanity checks: maps with the last {depth} of {len(cascade)} layers randomised")
        each: dict[str, list[list[Map]]] = {name: [] for name in cheapest}
        for number, draw in enumerate(DRAWS):
            begin = time.monotonic()
            model = recompile(cascade.randomized(depth, draw))
            for name in list(each):
                explain = attribution(model, name, baseline)
                start = time.monotonic()
                rows = [explain(x, index) for x, index in zip(samples[:count], classes[:count], strict=True)]
                each[name].append(rows)
                took = time.monotonic() - start
                if not deadline.allows((time.monotonic() - begin) * (len(DRAWS) - number - 1)):
                    del each[name]
                    begin += took  # what is left out costs the models to come nothing
        if each:
            found[depth] = each
    return found


def _best_classes(shipped: Shipped, samples: Sequence[Array]) -> list[int]:
    return [int(shipped.scores(shipped.stored(sample)).argmax()) for sample in samples]
