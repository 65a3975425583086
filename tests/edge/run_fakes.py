"""A run without a model, a link or a sensor: everything happens on a clock that only they move."""

from __future__ import annotations

from collections import Counter, deque
from types import SimpleNamespace

import numpy as np

from edge.errors import InputError
from edge.explanation import Explanation, Flag, Prediction
from edge.run.bell import Bell
from edge.run.loop import Run
from edge.sources import Fault, Window
from edge.wire.codes import SourceFault, When
from edge.wire.records import Settings

LABELS = ("rest", "walk", "fall")


class Clock:
    """Nanoseconds that pass when somebody spends them."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now

    def spend(self, milliseconds):
        self.now += round(milliseconds * 1e6)


class Stored:
    """Windows, of one value or a whole array, that wait until they are asked for. Faults are told before them."""

    live = False

    def __init__(self, clock, classes, told=()):
        self.faults = Counter()
        self._clock = clock
        self._items = deque([*told, *classes])
        self._count = 0
        self.ended = False

    def take(self, seconds):
        if not self._items:
            self.ended = True
            return None
        item = self._items.popleft()
        if isinstance(item, Fault):
            return item
        self._count += 1
        x = item if isinstance(item, np.ndarray) else np.array([item], np.float32)
        return Window(self._count - 1, x, 7, truth=0, at=self._clock())

    def wake(self):
        pass


class Live:
    """A window every ``period`` milliseconds, of which ``depth`` are kept until somebody takes them, the newest."""

    live = True

    def __init__(self, clock, period, count, depth=1):
        self.faults = Counter()
        self.taken = []
        self._clock, self._period, self._count, self._depth = clock, round(period * 1e6), count, depth
        self._arrived = 0
        self._waiting = deque()

    @property
    def ended(self):
        return self._arrived == self._count and not self._waiting

    def take(self, seconds):
        self._arrive()
        if not self._waiting and self._arrived < self._count:
            self._clock.now = min(self._clock.now + round(seconds * 1e9), self._arrived * self._period)
            self._arrive()
        if not self._waiting:
            return None
        self.taken.append(self._clock.now)
        return self._waiting.popleft()

    def _arrive(self):
        while self._arrived < self._count and self._arrived * self._period <= self._clock.now:
            at = self._arrived * self._period
            self._waiting.append(Window(self._arrived, np.zeros(1, np.float32), 0, at=at))
            self._arrived += 1
            if len(self._waiting) > self._depth:
                self._waiting.popleft()
                self.faults[SourceFault.LOST_WINDOW] += 1

    def wake(self):
        pass


class Explainer:
    """Answers with the class that the window holds. ``costs`` are milliseconds: of predicting, and by method.

    "cam" comes with the prediction. "ig" takes 16 steps of its cost each, or down to 2 where there is a deadline.
    ``slower`` gives what a call's cost is multiplied by.
    """

    manifest = SimpleNamespace(name="fake", labels=LABELS, yes_no=False)

    def __init__(self, clock=None, predict=0.0, slower=lambda: 1.0, **costs):
        self.calls = []
        self.passes = []  # (beginning, end) of each call that could not be cut short
        self._clock = clock or Clock()
        self._costs = {"predict": predict, "cam": predict, "saliency": 0.0, "other": 0.0, "ig": 0.0} | costs
        self._slower = slower

    def answers_too(self, method):
        return method == "cam"

    def refines(self, method):
        return method == "ig"

    def fewest_steps(self, method):
        return 2 if method == "ig" else 1

    def predict(self, x):
        self.calls.append("predict")
        self._pass("predict")
        return self._answer(x, Prediction)

    def explain(self, x, method=None, class_index=None, deadline_ms=None, *, prediction=None, tolerance=None):
        self.calls.append((method, class_index, deadline_ms, tolerance))
        begin = self._clock()
        steps = 0
        while not steps or (method == "ig" and steps < 16 and self._another(begin, deadline_ms)):
            self._pass(method, times=2 if method == "ig" else 1)
            steps += 2 if method == "ig" else 1
        flags = Flag.DEADLINE if method == "ig" and steps < 16 else Flag.NONE
        answer = self._answer(x, Explanation, method=method, map=x, steps=steps, flags=flags)
        answer.latency["explain"] = self._clock() - begin
        return answer

    def _another(self, begin, deadline_ms):
        spent = (self._clock() - begin) / 1e6
        return deadline_ms is None or spent + 2 * self._costs["ig"] <= deadline_ms

    def _pass(self, method, times=1):
        begin = self._clock()
        self._clock.spend(times * self._costs[method] * self._slower())
        self.passes.append((begin, self._clock()))

    def _answer(self, x, kind, **more):
        if not np.isfinite(x).all():
            raise InputError("not finite", "look at the sensor")
        index = int(x[0]) % len(LABELS)
        scores = np.eye(len(LABELS), dtype=np.float32)[index]
        return kind(scores, index, {"quantize": 3, "predict": 50}, **more)


class Stream:
    """Writes down what it is given; ``requests`` are what the host asks, by how many windows were answered before."""

    def __init__(self, clock=None, requests=None):
        self.said = []
        self.maps = []
        self.inputs = []
        self.settled = []
        self.acks = []
        self.laps = {}
        self.ended = {}  # when the last word on a window was said
        self.explained = {}  # flags by window and method
        self.status = SimpleNamespace(degraded=Counter(), source=Counter())
        self.crowded = 0
        self._clock = clock or Clock()
        self._requests = requests or {}
        self._answered = 0
        self.asked = deque(enumerate(self._requests.pop(0, [])))

    def result(self, sequence, prediction, truth, captured):
        self.said.append(("result", sequence, prediction.predicted))
        self._answered += 1
        self.asked += enumerate(self._requests.pop(self._answered, []), 100 * self._answered)

    def explanation(self, sequence, explanation):
        self.said.append((explanation.method, sequence))
        self.maps.append((sequence, explanation))

    def input(self, sequence, x):
        self.said.append(("input", sequence))
        self.inputs.append((sequence, x))

    def latency(self, sequence, lap):
        self.said.append(("latency", sequence))
        self.laps[sequence] = lap
        self.ended[sequence] = self._clock()

    def failure(self, error, sequence=None):
        self.said.append(("failure", sequence, error.cause))

    def settings(self, settings):
        self.settled.append(settings)

    def take_request(self):
        return self.asked.popleft() if self.asked else None

    def acknowledge(self, number, request, error=None):
        self.acks.append((number, error.cause if error else "", self._answered))

    def on_request(self, call):
        self.call = call

    def wait_for_room(self, seconds):
        self.crowded -= 1
        return self.crowded < 0


class SilentBell(Bell):
    """A bell on whose clock waiting takes time."""

    def __init__(self, clock):
        super().__init__()
        self._clock = clock

    def wait(self, seconds):
        self._clock.spend(1e3 * seconds)


def settings(session, **more):
    """Return settings with which every method of a session is in use."""
    return Settings(**({"methods": tuple(range(len(session))), "explain": When.ALWAYS, "kept": 4} | more))


def start(classes, methods, *, explainer=None, requests=None, told=(), **more):
    """Run stored windows on a clock of their own; return explainer, stream and tally."""
    clock = Clock()
    explainer = explainer or Explainer(clock)
    stream = Stream(clock, requests)
    capture = Stored(clock, classes, told)
    run = Run(capture, explainer, stream, methods, settings(methods, **more), SilentBell(clock), clock)
    return explainer, stream, run.work()
