"""Explaining within what is left of a window's time, and what is given up, in which order, where that is too little."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.explanation import Explanation, Flag, Prediction
from edge.latency import Lap
from edge.manifest import Manifest
from edge.pace import Pace
from edge.run.budget import Budget, Clock, Costs
from edge.wire.codes import Degraded


class Explains(Protocol):
    """The part of ``edge.explainer.Explainer`` that a run needs."""

    manifest: Manifest

    def answers_too(self, method: str) -> bool:
        """Whether one pass gives the scores and this method's explanation of the best of them."""
        ...

    def refines(self, method: str) -> bool:
        """Whether a method can take steps until a tolerance is met."""
        ...

    def fewest_steps(self, method: str) -> int:
        """Return how many steps of a method's cost the least that a deadline can leave of it."""
        ...

    def predict(self, x: NDArray[np.float32]) -> Prediction:
        """Return the scores of one input."""
        ...

    def explain(
        self,
        x: NDArray[np.float32],
        method: str | None = None,
        class_index: int | None = None,
        deadline_ms: float | None = None,
        *,
        prediction: Prediction | None = None,
        tolerance: float | None = None,
    ) -> Explanation:
        """Return the scores and why."""
        ...


class Explaining:
    """Explains answers as time allows.

    A method takes fewer steps where it can; where even its fewest are known to take longer than there is, the first of
    the methods that are allowed and not asked for takes its place, if that fits; or else there is no explanation. What
    was given up is counted in ``degraded``, by ``edge.wire.codes.Degraded``, and marked ``Flag.DEADLINE`` on the map.
    """

    def __init__(
        self, explainer: Explains, allowed: Sequence[str], tolerance: float | None, degraded: Counter[int], clock: Clock
    ) -> None:
        self.costs = Costs(clock)
        self.made: Counter[str] = Counter()  # explanations by method
        self._explainer = explainer
        self._allowed = allowed
        self._tolerance = {method: tolerance if explainer.refines(method) else None for method in allowed}
        self._fewest = {m: 1 if self._tolerance[m] else explainer.fewest_steps(m) for m in allowed}
        self._rest: defaultdict[str, Pace] = defaultdict(Pace)  # by method: what a call takes beside explaining
        self._degraded = degraded
        self._clock = clock
        self._first = 0  # whose turn it is to be explained with first

    def learn(self, x: NDArray[np.float32], class_index: int) -> None:
        """Explain an input as briefly as possible by every method, as often as a ``Cost`` needs to settle."""
        for method in self._allowed:
            answer = self._explainer.explain(x, method, class_index, 0.0, tolerance=self._tolerance[method])
            for _ in range(3):
                self._measured(x, answer, method, class_index, 0.0)

    def explanations(
        self, x: NDArray[np.float32], answer: Prediction, methods: Sequence[str], budget: Budget, lap: Lap
    ) -> Iterator[Explanation]:
        """Explain an answer with each of ``methods``, as far as the budget goes.

        Under a deadline each method leaves the others the least that they need, if that is there, and the first one to
        be made changes from window to window, so that none is always the one for which there is no time.
        """
        waiting = deque(methods)
        if budget.limited:
            waiting.rotate(-self._first)
            self._first = (self._first + 1) % max(len(methods), 1)
        included = answer.method if isinstance(answer, Explanation) else None
        spare = [method for method in self._allowed if method not in methods]
        while waiting:
            wanted = waiting.popleft()
            if isinstance(answer, Explanation) and wanted == included:
                lap.methods[wanted] = 0  # it came with the prediction
                self.made[wanted] += 1
                yield answer
                continue
            left = self._share(wanted, [each for each in waiting if each != included], budget.remaining)
            method = self._fitting((wanted, *spare), left)
            if method is None:
                self._degraded[Degraded.NO_EXPLANATION] += 1
                continue
            if method != wanted:
                spare.remove(method)
            start = self._clock()
            explanation = self.explain(x, answer, method, wanted=wanted, deadline_ms=left)
            lap.methods[method] = self._clock() - start
            yield explanation

    def explain(
        self,
        x: NDArray[np.float32],
        answer: Prediction,
        method: str,
        class_index: int | None = None,
        *,
        wanted: str | None = None,
        deadline_ms: float | None = None,
    ) -> Explanation:
        """Explain one class by one method, in the place of ``wanted`` if that is another, and count what it lacks."""
        explanation = self._measured(x, answer, method, class_index, deadline_ms)
        self.made[method] += 1
        if wanted not in {None, method}:
            self._degraded[Degraded.CHEAPER_METHOD] += 1
            return replace(explanation, flags=explanation.flags | Flag.DEADLINE)
        if Flag.DEADLINE in explanation.flags:
            self._degraded[Degraded.FEWER_STEPS] += 1
        return explanation

    def _measured(
        self, x: NDArray[np.float32], answer: Prediction, method: str, index: int | None, deadline_ms: float | None
    ) -> Explanation:
        """Explain, and learn what that takes; what follows the steps has its part of the time."""
        start = self._clock()
        rest = self._rest[method]
        within = None if deadline_ms is None else max(0.0, deadline_ms - rest.bound / 1e6)
        explanation = self._explainer.explain(
            x, method, index, within, prediction=answer, tolerance=self._tolerance[method]
        )
        end = self._clock()
        rest.note(end - start - explanation.latency.get("explain", 0))
        self.costs.note(method, end - start, explanation.steps, self._fewest[method])
        return explanation

    def _fitting(self, methods: Sequence[str], left: float | None) -> str | None:
        """Return the first method that fits into the milliseconds left, None where none does."""
        for method in methods:
            if self.costs.fits(method, left):
                return method
            self.costs.refuse(method)
        return None

    def _share(self, method: str, others: Sequence[str], left: float | None) -> float | None:
        """Return what of the milliseconds left a method may take."""
        if left is None:
            return None
        share = left - sum(map(self.costs.least, others))
        return share if self.costs.fits(method, share) else left
