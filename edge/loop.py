"""What a device does all day: takes a window, answers, explains the answer, and tells the host."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.capture import Capture
from edge.errors import EdgeError, InputError
from edge.explanation import Explanation, Prediction
from edge.latency import Lap, Phase, clock
from edge.sources import Fault, Window
from edge.stream import Stream

_SLICE = 0.2  # seconds between looks at whether to stop


class Explains(Protocol):
    """The part of ``edge.explainer.Explainer`` that the loop needs."""

    def answers_too(self, method: str) -> bool:
        """Whether one pass gives the scores and this method's explanation of the best of them."""
        ...

    def refines(self, method: str) -> bool:
        """Whether a method can take steps until a tolerance is met."""
        ...

    def predict(self, x: NDArray[np.float32]) -> Prediction:
        """Return the scores of one input."""
        ...

    def explain(
        self,
        x: NDArray[np.float32],
        method: str | None = None,
        *,
        deadline_ms: float | None = None,
        prediction: Prediction | None = None,
        tolerance: float | None = None,
    ) -> Explanation:
        """Return the scores and why."""
        ...


@dataclass
class Tally:
    """How many windows a run answered, and how many of them it could not."""

    windows: int = 0
    failed: int = 0


def run(
    windows: Iterable[Window],
    explainer: Explains,
    stream: Stream,
    methods: Sequence[str],
    deadline_ms: float | None = None,
    tolerance: float | None = None,
) -> Tally:
    """Answer every window and explain the answer with each of ``methods``.

    ``deadline_ms`` is the time for one window; explanations share what the prediction leaves of it. A method that can
    takes steps until ``tolerance`` is met; one whose explanation comes with the prediction takes no pass of its own. A
    window that cannot be answered is reported to the host, and the next one has its turn.
    """
    included = next((method for method in methods if explainer.answers_too(method)), None)
    asked = {method: tolerance if tolerance and explainer.refines(method) else None for method in methods}
    tally = Tally()
    for window in windows:
        lap = Lap({Phase.CAPTURE: window.capture})
        budget = Budget(deadline_ms)
        tally.windows += 1
        try:
            answer = explainer.explain(window.x, method=included) if included else explainer.predict(window.x)
            lap.add(answer.latency)
            stream.result(window.sequence, answer, window.truth, window.at)
            for explanation in _explanations(explainer, window.x, answer, asked=asked, budget=budget, lap=lap):
                with lap.phase(Phase.ENCODE):
                    stream.explanation(window.sequence, explanation)
            for _ in range(len(methods) - len(lap.methods)):
                stream.no_explanation()
        except EdgeError as error:
            tally.failed += 1
            stream.failure(error, window.sequence)
        stream.latency(window.sequence, lap)
    return tally


def _explanations(
    explainer: Explains,
    x: NDArray[np.float32],
    answer: Prediction,
    *,
    asked: Mapping[str, float | None],
    budget: Budget,
    lap: Lap,
) -> Iterator[Explanation]:
    """Explain an answer with each method asked for, within its tolerance if any, that the budget has time for."""
    for method, tolerance in asked.items():
        if isinstance(answer, Explanation) and method == answer.method:
            lap.methods[method] = 0  # it came with the prediction
            yield answer
        elif not budget.spent:
            with lap.method(method):
                explanation = explainer.explain(
                    x, method=method, deadline_ms=budget.remaining, prediction=answer, tolerance=tolerance
                )
            yield explanation


class Budget:
    """The time that is left for one window, in milliseconds; None is all the time there is."""

    def __init__(self, milliseconds: float | None) -> None:
        self._end = None if milliseconds is None else clock() + milliseconds * 1e6

    @property
    def remaining(self) -> float | None:
        """What is left, 0 where more than all of it is spent."""
        return None if self._end is None else max(0.0, (self._end - clock()) / 1e6)

    @property
    def spent(self) -> bool:
        """Whether nothing is left."""
        return self.remaining is not None and self.remaining <= 0


class Stop:
    """An end that a signal handler can ask for: unlike a lock, it never waits for what the handler interrupted."""

    def __init__(self) -> None:
        self._asked, self._ask = socket.socketpair()

    def set(self) -> None:
        """Ask for the end."""
        self._ask.send(b"\x00")

    def wait(self, seconds: float = 0.0) -> bool:
        """Return whether the end is asked for, after at most ``seconds``."""
        return bool(select.select([self._asked], [], [], seconds)[0])


def taken(source: Capture, stream: Stream, stop: Stop) -> Iterator[Window]:
    """Give the windows of a source as they come, and tell the host what befalls it."""
    stream.status.source = source.faults
    while not source.ended and not stop.wait():
        item = source.take(_SLICE)
        if isinstance(item, Fault):
            stream.failure(InputError(item.cause, item.hint))
        elif item is not None:
            yield item


def as_taken(windows: Iterable[Window], stream: Stream, stop: Stop) -> Iterator[Window]:
    """Give windows as fast as the link takes what comes of them."""
    for window in windows:
        while not stop.wait() and not stream.wait_for_room(_SLICE):
            continue
        if stop.wait():
            return
        yield window


def paced(windows: Iterable[Window], rate: float, stop: Stop) -> Iterator[Window]:
    """Give ``rate`` windows per second, or as many as are taken; a late window does not hurry the next ones."""
    period = 1 / rate
    due = clock() / 1e9
    for window in windows:
        if stop.wait(max(0.0, due - clock() / 1e9)):
            return
        yield window
        due = max(due + period, clock() / 1e9)
