"""The loop: answer a window, say so, explain the answer as time allows, say how long it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from edge.capture import Capture
from edge.errors import EdgeError
from edge.explanation import Prediction
from edge.latency import Lap, Phase, clock
from edge.link.stream import Stream
from edge.run.bell import Bell
from edge.run.budget import Budget, Clock
from edge.run.desk import Desk
from edge.run.explaining import Explaining, Explains
from edge.run.recent import Recent
from edge.run.turns import Turns
from edge.sources import Window
from edge.wire.codes import Degraded, When
from edge.wire.records import Settings


@dataclass
class Tally:
    """How many windows a run answered, how many of them it could not, and why not the last of these."""

    windows: int = 0
    failed: int = 0
    why: str = ""


class Run:
    """Answers every window, explains the answer as settings and deadline allow, and does what the host asks.

    ``methods`` are those of the SESSION, ``settings`` how the run begins. A window that cannot be answered or explained
    is reported to the host, and the next one has its turn.
    """

    def __init__(
        self,
        capture: Capture,
        explainer: Explains,
        stream: Stream,
        methods: Sequence[str],
        settings: Settings,
        bell: Bell,
        clock: Clock = clock,
    ) -> None:
        self.tally = Tally()
        self.explaining = Explaining(explainer, methods, settings.tolerance, stream.status.degraded, clock)
        self._recent = Recent(settings.kept)
        self._desk = Desk(stream, explainer.manifest, methods, settings, self._recent, self.explaining, clock)
        self._turns = Turns(capture, stream, self._desk, bell, clock)
        self._explainer, self._stream, self._bell = explainer, stream, bell
        self._before: int | None = None  # the last answer

    def learn(self, x: NDArray[np.float32]) -> None:
        """Measure on some input what explaining takes at the least, so that the first windows keep the deadline."""
        self.explaining.learn(x, len(self._explainer.manifest.labels) - 1)

    def work(self, count: int | None = None) -> Tally:
        """Go on until the source ends, ``count`` windows are answered, or the bell asks for the end."""
        for window, budget in islice(self._turns, count):
            lap = Lap({Phase.CAPTURE: window.capture})
            self.tally.windows += 1
            try:
                answer = self._answer(window)
                lap.add(answer.latency)
                self._stream.result(window.sequence, answer, window.truth, window.at)
                self._recent.keep(window, answer)
                if self._wants(answer):
                    self._explain(window, answer, budget, lap)
            except EdgeError as error:
                self.tally.failed += 1
                self.tally.why = error.cause
                self._stream.failure(error, window.sequence)
            self._stream.latency(window.sequence, lap)
        self._finish()
        return self.tally

    def _answer(self, window: Window) -> Prediction:
        """Return what the model says of a window, with an explanation where that comes in the same pass."""
        methods = self._desk.methods if self._desk.settings.explain == When.ALWAYS else []
        included = next(filter(self._explainer.answers_too, methods), None)
        return self._explainer.explain(window.x, included) if included else self._explainer.predict(window.x)

    def _wants(self, answer: Prediction) -> bool:
        """Whether an answer is to be explained unasked."""
        settings, before, self._before = self._desk.settings, self._before, answer.predicted
        match settings.explain:
            case When.ALWAYS:
                return True
            case When.ON_CHANGE:
                return answer.predicted != before
            case When.ON_ALARM:
                return answer.predicted in settings.alarms
        return False

    def _explain(self, window: Window, answer: Prediction, budget: Budget, lap: Lap) -> None:
        """Explain an answer by the methods in use; told to stop, only by the one that is at work."""
        if self._desk.settings.inputs:
            self._stream.input(window.sequence, window.x)
        late = False
        for explanation in self.explaining.explanations(window.x, answer, self._desk.methods, budget, lap):
            if budget.over and not late:
                late = True
                self._stream.status.degraded[Degraded.LATE] += 1
            self._stream.explanation(window.sequence, explanation)
            if self._bell.stopped:
                return

    def _finish(self) -> None:
        """Do what the host has asked for and still waits; told to stop, refuse it."""
        self._desk.settle()
        while not self._bell.stopped and self._desk.work(None):
            continue
        self._desk.close()
