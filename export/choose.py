"""Choosing numerics: the cheapest whose maps are still those of exact arithmetic, as measured on the user's model."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge.integrate import RESIDUAL_BOUND
from edge.manifest import Candidate, Check

from .alike import sign_agreement, top_overlap
from .clock import within
from .completeness import Left
from .methods import METHODS, WALKS, Entry, FullGrad, LayerwiseRelevance, Role
from .numerics import Numerics
from .schedule.rules import midpoint
from .shipped import Shipped

Array = NDArray[np.float32]
Explain = Callable[[Array, int | None], Array]
"""Explains an input, for a class or for the one that is predicted."""
Likeness = tuple[float, float, float]
"""Of two maps: rank correlation, sign agreement, overlap of the largest tenth."""

FIDELITY_BOUND = 0.9
"""Rank correlation with the map of exact arithmetic that half of the inputs must reach."""
TAIL_BOUND = 0.7
"""And that 19 in 20 must reach."""
LOST_BOUND = RESIDUAL_BOUND / 2
"""What numerics may leave of the logit's change: half of what may be left, the other half is the schedule's."""

_SAMPLES, _FIDELITY_SECONDS = 16, 4.0
_SAME: Likeness = (1.0, 1.0, 1.0)
_ROUNDS, _COST_SECONDS = 15, 4.0
_LOST_STEPS, _LOST_SECONDS = 16, 2.0
_NOISE = 1.03  # of two cost ratios measured side by side


def measure(candidates: Sequence[tuple[Numerics, Shipped]], x: Array, baseline: Array) -> tuple[Candidate, ...]:
    """Return what each method that computes gradients is worth under each candidate, and costs.

    The first candidate is exact and what the others are held against. ``cost_ratio`` is the time of a call (of one
    interpolation step, for Integrated Gradients) over that of a plain prediction, medians of interleaved calls.
    """
    exact = candidates[0][1]
    rows: list[Candidate] = []
    for name, method in exact.compiled.items():
        if len(candidates) == 1 or method.entry(*WALKS) is None:
            continue
        explain = [_explain(shipped, name, baseline) for _, shipped in candidates]
        steps = max(method.steps_per_call, 1)
        measured = zip(
            candidates,
            _costs(exact, explain, x),
            fidelities(explain, x, exact.source.head.classes),
            _lost(candidates, name, x, baseline),
            strict=True,
        )
        for (numerics, _), cost, alike, lost in measured:
            rows.append(_with_likeness(Candidate(numerics.name, name, cost / steps, 0.0, 0.0, lost), alike))
    return tuple(rows)


def with_fidelity_of(
    shipped: Shipped, numerics: Numerics, exact: Shipped, rows: Sequence[Candidate], x: Array, baseline: Array
) -> tuple[Candidate, ...]:
    """Return the rows with the fidelity of what ships in place of that of the candidate it was made from."""

    def again(row: Candidate) -> Candidate:
        if row.numerics != numerics.name or numerics.exact:
            return row
        both = (exact, shipped)
        steps = max(one.compiled[row.method].steps_per_call for one in both)
        explain = [_explain(one, row.method, baseline, steps) for one in both]
        return _with_likeness(row, fidelities(explain, x, exact.source.head.classes)[1])

    return tuple(again(row) for row in rows)


def _with_likeness(row: Candidate, alike: Sequence[Likeness | None]) -> Candidate:
    rho, signs, top = np.transpose([own or _SAME for own in alike])  # a candidate does not lose what is not there
    p50, p05 = np.quantile(rho, (0.5, 0.05)).tolist()
    return replace(
        row,
        fidelity=p50,
        fidelity_p05=p05,
        sign_agreement=float(np.median(signs)),
        top_overlap=float(np.median(top)),
    )


def is_faithful(row: Candidate) -> bool:
    """Whether a candidate's maps may stand for those of exact arithmetic."""
    return is_alike(row) and (row.lost is None or row.lost <= LOST_BOUND)


def is_alike(row: Candidate) -> bool:
    """Whether a candidate's maps rank values as those of exact arithmetic do."""
    return row.fidelity >= FIDELITY_BOUND and row.fidelity_p05 >= TAIL_BOUND


def lost(numerics: Numerics, rows: Sequence[Candidate]) -> float | None:
    """Return what the numerics that ship leave of the logit's change, where that is too much."""
    found = [row.lost for row in rows if row.numerics == numerics.name and row.lost is not None]
    return max((value for value in found if value > LOST_BOUND), default=None)


def ranking(candidates: Sequence[tuple[Numerics, Shipped]], rows: Sequence[Candidate]) -> list[int]:
    """Return the candidates all of whose methods are faithful, cheapest first; exact ones always are.

    Where several cost as little as the cheapest but for noise, the most faithful of them comes first.
    """
    costs, fidelities = {}, {}
    for index, (numerics, _) in enumerate(candidates):
        own = [row for row in rows if row.numerics == numerics.name]
        if numerics.exact or all(is_faithful(row) for row in own):
            costs[index] = sum(row.cost_ratio for row in own)
            fidelities[index] = min((row.fidelity for row in own), default=1.0)
    ranked = sorted(costs, key=lambda index: costs[index])
    level = [index for index in ranked if costs[index] <= costs[ranked[0]] * _NOISE]
    best = max(level, key=lambda index: fidelities[index])
    return [best, *(index for index in ranked if index != best)]


def check_runs(candidate: Shipped, x: Array, baseline: Array) -> None:
    """Raise :class:`InterpreterError` where the interpreter will not run a candidate's gradients."""
    for name, method in candidate.compiled.items():
        if method.entry(*WALKS) is not None:
            _explain(candidate, name, baseline)(x[0], None)


def checks(numerics: Numerics, rows: Sequence[Candidate], samples: int) -> list[Check]:
    """Return the fidelity of the numerics that ship, where they are not exact, as checks."""
    return [
        Check(
            f"{row.method} fidelity to float32 arithmetic",
            row.fidelity,
            FIDELITY_BOUND,
            is_alike(row),
            min(samples, _SAMPLES),
            f"median rank correlation, at least the bound; 5th percentile {row.fidelity_p05:.3f} of {TAIL_BOUND}"
            + _beside(row),
            row.method,
        )
        for row in rows
        if row.numerics == numerics.name and not numerics.exact
    ]


def _beside(row: Candidate) -> str:
    if row.sign_agreement is None or row.top_overlap is None:
        return ""
    return f"; beside it, signs agree in {row.sign_agreement:.1%} of values, largest tenths in {row.top_overlap:.1%}"


def notes(numerics: Numerics, rows: Sequence[Candidate]) -> list[str]:
    """Return what an integer forward pass costs the maps, where it ships: small activations round to 0 and mute theirs.

    Integer gradients on top of it are told apart from it where float gradients along the same pass were measured too.
    """
    if not numerics.integer_forward:
        return []
    forward_only = {row.method: row for row in rows if row.numerics == "mixed"}
    found = []
    for row in rows:
        if row.numerics != numerics.name:
            continue
        if issubclass(METHODS[row.method], FullGrad):
            found.append(
                f"{row.method}: gradients are those along a float forward pass, in numerics {row.numerics} too"
            )
        elif issubclass(METHODS[row.method], LayerwiseRelevance):
            found.append(f"{row.method}: shares are those along a float forward pass, in numerics {row.numerics} too")
        else:
            forward = forward_only.get(row.method, row)
            found.append(
                f"{row.method}: the integer forward pass rounds small activations to 0, where no gradient passes: "
                f"rank correlation with exact arithmetic {forward.fidelity:.3f}"
                + ("" if forward is row else f", with integer gradients {row.fidelity:.3f}")
            )
    return found


def _explain(shipped: Shipped, name: str, baseline: Array, steps: int | None = None) -> Explain:
    """Return one method as a function: for Integrated Gradients of ``steps`` steps, or of those of one call."""
    entry = shipped.compiled[name].entry(*WALKS)
    assert entry is not None
    calls = step_inputs(entry, baseline, steps)

    def explain(sample: Array, class_index: int | None = None) -> Array:
        if class_index is None:
            class_index = int(shipped.scores(shipped.stored(sample)).argmax())
        chosen = np.asarray([class_index], np.int32)
        entered = shipped.entered(sample)
        maps = [shipped.runtime.call(entry.key, **entered, class_index=chosen, **extra)["map"] for extra in calls]
        return np.asarray(sum(maps[1:], maps[0]))

    return explain


def step_inputs(entry: Entry, baseline: Array, steps: int | None = None) -> list[dict[str, Array]]:
    """Return what calls want beside the input and the class: nothing, or an equal part each of ``steps``.

    Without ``steps`` it is one call; else these are a multiple of what a call takes.
    """
    if entry.role is Role.SAMPLES:
        shape = entry.inputs["noise"].shape
        size = entry.inputs["weights"].shape[0]
        drawn = np.random.default_rng(0).normal(size=((steps or size) // size, *shape)).astype(np.float32)
        return [{"noise": noise, "weights": np.full(size, 1 / (steps or size), np.float32)} for noise in drawn]
    if entry.role is not Role.STEPS:
        return [{}]
    size = entry.inputs["alphas"].shape[0]
    nodes, weights = (np.asarray(values, np.float32).reshape(-1, size) for values in midpoint(steps or size))
    return [{"baseline": baseline[None], "alphas": a, "weights": w} for a, w in zip(nodes, weights, strict=True)]


def fidelities(
    explain: Sequence[Explain], x: Array, classes: int, seconds: float = _FIDELITY_SECONDS, at_least: int = 2
) -> list[list[Likeness | None]]:
    """Return how alike each candidate's maps are to the first's: each input's predicted class, and another in turn.

    None where both maps are constant: there is nothing to rank. Maps are as many as the time allows, or ``at_least``.
    """
    found: list[list[Likeness | None]] = [[] for _ in explain]
    others = itertools.cycle(np.random.default_rng(1).permutation(classes).tolist())
    asked = [(sample, other) for sample in x[:_SAMPLES] for other in (None, next(others))]
    for sample, class_index in within(seconds, asked, at_least):
        maps = [call(sample, class_index) for call in explain]
        for row, own in zip(found, maps, strict=True):
            row.append(_likeness(maps[0], own))
    return found


def _likeness(exact: NDArray[np.floating], other: NDArray[np.floating]) -> Likeness | None:
    if not np.ptp(exact) and not np.ptp(other):
        return None
    return rank_correlation(exact, other), sign_agreement(exact, other), top_overlap(exact, other)


def rank_correlation(left: NDArray[np.floating], right: NDArray[np.floating]) -> float:
    """Return Spearman's correlation of two maps; 1 for two constant ones, 0 where only one is."""
    centred = [rank - rank.mean() for rank in (ranks(left.ravel()), ranks(right.ravel()))]
    sizes = [float(np.linalg.norm(rank)) for rank in centred]
    if not all(sizes):
        return float(sizes[0] == sizes[1])
    return float(centred[0] @ centred[1] / (sizes[0] * sizes[1]))


def ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return ranks, ties sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse.ravel()], np.float64)


def _lost(candidates: Sequence[tuple[Numerics, Shipped]], name: str, x: Array, baseline: Array) -> list[float | None]:
    """Return what numerics leave of the logit's change: how far sums of maps are from exact ones, at the same steps."""
    exact = candidates[0][1]
    entry, logits = exact.compiled[name].entry(Role.STEPS), exact.logits
    if entry is None or logits is None:
        return [None] * len(candidates)
    at_once = exact.compiled[name].steps_per_call
    explain = [_explain(shipped, name, baseline, -(-_LOST_STEPS // at_once) * at_once) for _, shipped in candidates]
    entries = [shipped.compiled[name].entry(Role.STEPS) for _, shipped in candidates]
    found = [Left() for _ in candidates]
    for sample in within(_LOST_SECONDS, x[:_SAMPLES]):
        at = exact.entered(sample)
        class_index = int(exact.scores(exact.stored(sample)).argmax())
        ends = (exact.runtime.call(logits, **at | {"x": point}) for point in (baseline[None], at["x"]))
        low, high = (float(end["logits"].reshape(-1)[class_index]) for end in ends)
        sums = [
            float((call(sample, class_index) * np.float32(steps.unit) * (at["x"] - baseline)).sum(dtype=np.float64))
            for call, steps in zip(explain, entries, strict=True)
            if steps is not None
        ]
        for left, total in zip(found, sums, strict=True):
            left.add(total - sums[0], high - low)
    return [left.completeness for left in found]


def _costs(shipped: Shipped, explain: Sequence[Explain], x: Array) -> list[float]:
    """Return the median time of each candidate's call over that of a prediction, timed in turn."""
    times: list[list[float]] = [[] for _ in explain]
    for round_ in within(_COST_SECONDS, range(_ROUNDS)):
        sample = x[round_ % len(x)]
        stored = shipped.stored(sample)
        begin = time.thread_time()
        shipped.scores(stored)
        predict = time.thread_time() - begin
        for row, call in zip(times, explain, strict=True):
            begin = time.thread_time()
            call(sample, None)
            row.append((time.thread_time() - begin) / predict - 1)  # each call predicts first
    return [float(np.median(row)) for row in times]
