"""Which inputs a report shows: chosen by a rule, neither the prettiest nor the worst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.explainer import Explainer
from edge.explanation import Explanation, Prediction

from ..clock import within

Array = NDArray[np.float32]

MOST = 6
_LOOKED_AT, _SECONDS = 64, 1.0  # inputs that are chosen from
_EXPLAIN_SECONDS = 2.0
_AT_LEAST = 2
RULE = (
    "Chosen by a rule: the input answered with median certainty for each of the classes answered most often, the most "
    "and the least certain answer, and, where the true classes are known, the most certain mistake. Certainty is how "
    "far the best score is ahead of the next."
)


@dataclass(frozen=True)
class Sample:
    """One input that is shown: its place among the given ones, why it was chosen, and every method's explanation.

    ``truth`` is its true class where that is known.
    """

    index: int
    why: str
    x: Array
    truth: int | None
    explanations: tuple[Explanation, ...]

    @property
    def prediction(self) -> Prediction:
        """What the model says of it."""
        return self.explanations[0]


def explained(explainer: Explainer, x: Array, truth: NDArray[np.int64] | None) -> tuple[list[Sample], int]:
    """Return the inputs to show with their explanations, in their order, and how many they were chosen from.

    A streaming model takes the inputs one after the other, and each is explained in the state it came in.
    """
    answers = [explainer.predict(sample) for sample in within(_SECONDS, x[:_LOOKED_AT], at_least=_AT_LEAST)]
    known = None if truth is None else truth[: len(answers)]
    chosen = choose(np.stack([answer.scores for answer in answers]), known)

    def samples() -> Iterator[Sample]:
        for index, why in within(_EXPLAIN_SECONDS, chosen.items(), at_least=_AT_LEAST):
            found = tuple(
                explainer.explain(x[index], method, prediction=answers[index]) for method in explainer.methods
            )
            yield Sample(index, why, x[index], None if known is None else int(known[index]), found)

    return sorted(samples(), key=lambda sample: sample.index), len(answers)


def choose(scores: Array, truth: NDArray[np.int64] | None = None, most: int = MOST) -> dict[int, str]:
    """Return which rows of ``scores`` ``[N, classes]`` to show and why, the most telling first; ties go to the first.

    ``truth`` ``[N]`` are the true classes, where they are known.
    """
    answers = scores.argmax(axis=1)
    certainty = _certainty(scores)
    by_certainty: list[int] = np.argsort(-certainty, kind="stable").tolist()
    chosen: dict[int, list[str]] = {}

    def take(rows: Sequence[int], why: str) -> None:
        if rows and (rows[0] in chosen or len(chosen) < most):
            chosen.setdefault(rows[0], []).append(why)

    take(by_certainty, "the most certain")
    take(by_certainty[::-1], "the least certain")
    if truth is not None:
        take([row for row in by_certainty if answers[row] != truth[row]], "the most certain mistake")
    classes, counts = np.unique(answers, return_counts=True)
    for answer in classes[np.argsort(-counts, kind="stable")]:
        own = [row for row in by_certainty if answers[row] == answer]
        take(own[len(own) // 2 :], "median certainty of its class")
    rest = [row for row in by_certainty if row not in chosen]
    for place in np.linspace(0, len(rest) - 1, max(0, most - len(chosen)) if rest else 0):
        take([rest[round(place)]], "in between")
    return {row: ", ".join(reasons) for row, reasons in chosen.items()}


def _certainty(scores: Array) -> NDArray[np.float64]:
    """Return how far the best score is ahead of the next; the score itself where it is the only one."""
    ordered = np.sort(scores.astype(np.float64), axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2] if scores.shape[1] > 1 else ordered[:, -1])
