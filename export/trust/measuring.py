"""Figures of every method that are reported and decide nothing: deletion, insertion, MuFidelity, noise, sparseness.

None has a bound that would mean the same for all models, so each comes with what it is where there is nothing to
explain, and with a confidence interval over inputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from edge.errors import InterpreterError
from edge.manifest import Measure

from ..clock import within
from ..shipped import Shipped
from .answers import Answers
from .likeness import is_dead
from .maps import FEWEST, SEEDS, Map, OfInputs, classes_of
from .perturbation import (
    POINTS,
    SUBSETS,
    Mask,
    Positions,
    Real,
    area,
    change,
    gini,
    mu_fidelity,
    order,
    removals,
    subsets,
)

Array = NDArray[np.float32]
Progress = Callable[[str], None]

SECONDS = 5.0
"""In which models are asked about perturbed inputs, as far as the time of one answer tells."""
DELETION, INSERTION, MU_FIDELITY = "deletion", "insertion", "MuFidelity"
NOISE_SENSITIVITY, SPARSENESS = "sensitivity to noise", "sparseness"
_NAMES = (DELETION, INSERTION, MU_FIDELITY, NOISE_SENSITIVITY, SPARSENESS)
_DRAWS = 1000  # of the bootstrap


@dataclass(frozen=True)
class Measures:
    """What was measured, and what is to be said of what was not."""

    rows: tuple[Measure, ...] = ()
    notes: tuple[str, ...] = ()


def measures(
    shipped: Shipped,
    maps: Mapping[str, OfInputs],
    baseline: Array,
    *,
    seconds: float = SECONDS,
    progress: Progress = lambda stage: None,
) -> Measures:
    """Return the measures of each method by its ``maps``, those of the sanity checks, on what ships.

    Where maps are of a later layer than the input, as where inputs are ids, nothing can be removed from the input by
    them, which a note says. Equal inputs give equal figures, as long as they fit into the time.
    """
    if not maps:
        return Measures()
    progress("measuring deletion, insertion, MuFidelity, sensitivity to noise and sparseness")
    faithful, notes = _faithfulness(shipped, maps, baseline, seconds)
    others = [row for name, own in maps.items() for row in (_noise_sensitivity(name, own), _sparseness(name, own))]
    rows = sorted((*faithful, *(row for row in others if row is not None)), key=lambda row: _NAMES.index(row.name))
    told = tuple(row for row in rows if np.isfinite([row.value, row.reference or 0.0]).all())
    notes += [f"{row.method}: {row.name} was not measured: not all of it is finite" for row in rows if row not in told]
    return Measures(told, tuple(notes))


def _noise_sensitivity(name: str, own: OfInputs) -> Measure | None:
    """Return how far noisy copies move a map; the reference is how far other inputs do."""
    told = [i for i, (best, copies) in enumerate(zip(own.best, own.noisy, strict=True)) if copies and not is_dead(best)]
    if not told:
        return None
    moves = np.asarray([[change(own.best[i], copy) for copy in own.noisy[i]] for i in told])
    best = own.best
    others = [np.mean([change(best[i], best[j]) for j in range(len(best)) if j != i]) for i in told]
    said = f"change of the map over its length, mean of {len(SEEDS)} noisy copies; largest {moves.max():.3g}"
    return _measure(NOISE_SENSITIVITY, name, moves.mean(1), float(np.mean(others)), said)


def _sparseness(name: str, own: OfInputs) -> Measure | None:
    told = [values for values in own.best if not is_dead(values)]
    if not told:
        return None
    noise = (np.random.default_rng(seed).normal(size=told[0].shape) for seed in SEEDS)
    reference = float(np.mean([gini(each) for each in noise]))
    return _measure(
        SPARSENESS, name, np.asarray([gini(values) for values in told]), reference, "Gini index of magnitudes"
    )


def _faithfulness(
    shipped: Shipped, maps: Mapping[str, OfInputs], baseline: Array, seconds: float
) -> tuple[list[Measure], list[str]]:
    """Return deletion, insertion and MuFidelity of each method whose maps can be laid over the input, and notes."""
    source, not_measured = shipped.source, f"{DELETION}, {INSERTION} and {MU_FIDELITY} were not measured"
    positions = Positions.of(source.head.sample_shape)
    if source.start is not source.head.input:
        return [], [f"{not_measured}: maps are of {source.start!r}, not of the input"]
    if positions.count < 2:
        return [], [f"{not_measured}: the input has one position"]
    known = {name: own for name, own in maps.items() if positions.laid(own.best[0]) is not None}
    notes = [f"{name}: {not_measured}: its map cannot be laid over the input" for name in maps if name not in known]
    samples = next(iter(maps.values())).samples
    shapes = {own.best[0].shape for own in known.values()}
    calls = (2 * len(known) + len(SEEDS) * len(shapes)) * min(POINTS, positions.count) + SUBSETS
    try:
        answers = Answers(shipped)
        each = _seconds_of_an_answer(answers, samples[0])
    except InterpreterError as error:
        return [], [*notes, f"{not_measured}: {error.cause}"]
    count = min(len(samples), int(seconds / (calls * each)))
    if count < FEWEST:
        return [], [*notes, f"{not_measured}: {FEWEST} inputs take more than {seconds:g} s"]
    found: dict[str, list[_Figures]] = {name: [] for name in known}
    for place, x in within(seconds, enumerate(samples[:count]), at_least=FEWEST):
        trial = _Trial(answers, positions, x, baseline, place)
        for name, own in known.items():
            found[name].append(trial.figures(own.best[place]))
    return [row for name, figures in found.items() for row in _rows(name, figures)], notes


def _seconds_of_an_answer(answers: Answers, x: Array) -> float:
    times = []
    for _ in range(3):
        begin = time.monotonic()
        answers([x])
        times.append(time.monotonic() - begin)
    return max(min(times), 1e-6)


@dataclass(frozen=True)
class _Figures:
    """Of one map: areas under the score, and MuFidelity with what it is for the same values at random places."""

    deleted: float
    inserted: float
    random: float
    fidelity: float
    fidelity_of_nothing: float


class _Trial:
    """One input, and what the model says of it with positions set to the baseline; of its most probable class.

    What is random is so for each input anew, by its number: chance shared by all of them would not average out.
    """

    def __init__(self, answers: Answers, positions: Positions, x: Array, baseline: Array, number: int) -> None:
        self._number = number
        self._answers, self._positions, self._x, self._baseline = answers, positions, x, baseline
        scores, logits = answers([x, np.broadcast_to(baseline, x.shape)])
        self._class = classes_of(scores[0], logits[0])[0]
        self._whole, self._nothing = (float(score) for score in scores[:, self._class])
        self._cells = positions.cells
        self._sets = subsets(int(self._cells.max()) + 1, self._draw(0))
        self._drops = logits[0, self._class] - self._ask(self._sets[:, self._cells])[1]
        self._random: dict[tuple[int, ...], float] = {}

    def figures(self, attribution: Map) -> _Figures:
        """Return the figures of a map of this input."""
        values = self._laid(attribution)
        removed = removals(order(values, self._draw(len(SEEDS))))
        inserted = self._ask(~removed)[0]
        randoms = (self._draw(seed) for seed in SEEDS)
        shuffled = [random.permutation(attribution.ravel()).reshape(attribution.shape) for random in randoms]
        return _Figures(
            area([self._whole, *self._ask(removed)[0], self._nothing]),
            area([self._nothing, *inserted, self._whole]),
            self._area_of_random_orders(attribution.shape),
            self._fidelity(values),
            float(np.mean([self._fidelity(self._laid(each)) for each in shuffled])),
        )

    def _area_of_random_orders(self, shape: tuple[int, ...]) -> float:
        """Return the mean area for random maps of a shape, of both curves: each is the other in the opposite order."""
        if shape not in self._random:
            areas = []
            for seed in SEEDS:
                random = self._draw(seed)
                values = self._laid(random.permutation(int(np.prod(shape))).reshape(shape))
                areas.append(area([self._whole, *self._ask(removals(order(values, random)))[0], self._nothing]))
            self._random[shape] = float(np.mean(areas))
        return self._random[shape]

    def _draw(self, seed: int) -> np.random.Generator:
        return np.random.default_rng((self._number, seed))

    def _fidelity(self, values: Real) -> float:
        return mu_fidelity(values, self._cells, self._sets, self._drops)

    def _laid(self, attribution: Map) -> Real:
        values = self._positions.laid(attribution)
        assert values is not None
        return values

    def _ask(self, removed: Mask) -> tuple[Real, Real]:
        """Return score and logit of the class without each set of positions."""
        inputs = [self._positions.without(self._x, self._baseline, each) for each in removed]
        scores, logits = self._answers(inputs)
        return scores[:, self._class].astype(np.float64), logits[:, self._class].astype(np.float64)


def _rows(name: str, figures: Sequence[_Figures]) -> list[Measure]:
    deleted, inserted, random, fidelity, of_nothing = np.asarray([astuple(each) for each in figures]).T
    deletion = f"area under the score, {random.mean():.3g} in random orders, less {deleted.mean():.3g} in the map's"
    insertion = (
        f"area under the score, {inserted.mean():.3g} in the map's order, less {random.mean():.3g} in random ones"
    )
    correlation = f"correlation of attributions with drops of the logit over {SUBSETS} random sets of the input's cells"
    return [
        _measure(DELETION, name, random - deleted, 0.0, deletion),
        _measure(INSERTION, name, inserted - random, 0.0, insertion),
        _measure(MU_FIDELITY, name, fidelity, float(of_nothing.mean()), correlation),
    ]


def _measure(name: str, method: str, values: Real, reference: float, detail: str) -> Measure:
    """Return the mean over inputs with the bootstrap's percentile interval for it."""
    drawn = np.random.default_rng(0).integers(len(values), size=(_DRAWS, len(values)))
    low, high = np.quantile(values[drawn].mean(1), (0.025, 0.975))
    return Measure(name, method, float(values.mean()), len(values), (float(low), float(high)), reference, detail)
