"""What a device does with each window, in which order, and what it leaves undone when time is short."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from edge import loop
from edge.errors import InputError
from edge.explanation import Explanation, Prediction
from edge.latency import Phase
from edge.sources import Fault, Window
from edge.wire.codes import SourceFault

SCORES = np.array([0.2, 0.8], np.float32)


class Explainer:
    """Answers at once or after ``seconds``; "cam" comes with the prediction."""

    def __init__(self, seconds=0.0):
        self.calls = []
        self.tolerances = []
        self._seconds = seconds

    def answers_too(self, method):
        return method == "cam"

    def predict(self, x):
        self.calls.append("predict")
        return Prediction(SCORES, 1, {"quantize": 3, "predict": 50})

    def refines(self, method):
        return method == "ig"

    def explain(self, x, method=None, *, deadline_ms=None, prediction=None, tolerance=None):
        self.calls.append((method, prediction and prediction.class_index, deadline_ms))
        self.tolerances.append((method, tolerance))
        if not np.isfinite(x).all():
            raise InputError("not finite", "look at the sensor")
        time.sleep(self._seconds)
        return Explanation(SCORES, 1, {"quantize": 3, "predict": 60, "explain": 0}, method=method, map=x)


class Stream:
    """Writes down what it is given."""

    def __init__(self):
        self.said = []
        self.status = SimpleNamespace()

    def result(self, sequence, prediction, truth, captured):
        self.said.append(("result", sequence, truth))

    def explanation(self, sequence, explanation):
        self.said.append((explanation.method, sequence))

    def no_explanation(self):
        self.said.append(("no explanation",))

    def latency(self, sequence, lap):
        self.said.append(("latency", sequence))
        self.lap = lap

    def failure(self, error, sequence=None):
        self.said.append(("failure", sequence, error.cause))

    def wait_for_room(self, seconds):
        self.said.append(("room",))
        return len(self.said) % 3 == 0


def windows(*values):
    return [Window(i, np.array([value], np.float32), 7, truth=i % 2) for i, value in enumerate(values)]


def test_the_answer_goes_out_before_it_is_explained_and_latency_last():
    explainer, stream = Explainer(), Stream()
    tally = loop.run(windows(1, 2), explainer, stream, ("ig", "saliency"))
    assert stream.said == [
        ("result", 0, 0), ("ig", 0), ("saliency", 0), ("latency", 0),
        ("result", 1, 1), ("ig", 1), ("saliency", 1), ("latency", 1),
    ]  # fmt: skip
    assert explainer.calls == ["predict", ("ig", 1, None), ("saliency", 1, None)] * 2
    assert (tally.windows, tally.failed) == (2, 0)


def test_the_class_that_was_answered_is_the_one_explained():
    explainer = Explainer()
    loop.run(windows(1), explainer, Stream(), ("ig",))
    assert explainer.calls[-1] == ("ig", 1, None)


def test_an_explanation_that_comes_with_the_prediction_takes_no_pass_of_its_own():
    explainer, stream = Explainer(), Stream()
    loop.run(windows(1), explainer, stream, ("ig", "cam"))
    assert explainer.calls == [("cam", None, None), ("ig", 1, None)]
    assert [said[0] for said in stream.said] == ["result", "ig", "cam", "latency"]
    assert stream.lap.methods["cam"] == 0
    assert stream.lap.methods["ig"] > 0
    assert stream.lap.phases.keys() == {Phase.CAPTURE, Phase.QUANTIZE, Phase.PREDICT, Phase.ENCODE}
    assert stream.lap.phases[Phase.CAPTURE] == 7


def test_without_methods_it_only_predicts():
    explainer, stream = Explainer(), Stream()
    loop.run(windows(1), explainer, stream, ())
    assert explainer.calls == ["predict"]
    assert stream.said == [("result", 0, 0), ("latency", 0)]


def test_explanations_share_the_time_that_the_prediction_leaves():
    explainer, stream = Explainer(seconds=0.03), Stream()
    loop.run(windows(1), explainer, stream, ("ig", "saliency", "other"), deadline_ms=50)
    remaining = [deadline for method, _, deadline in explainer.calls[1:]]
    assert len(remaining) == 2
    assert 40 < remaining[0] <= 50
    assert 0 < remaining[1] <= 20
    assert stream.said == [("result", 0, 0), ("ig", 0), ("saliency", 0), ("no explanation",), ("latency", 0)]


def test_a_window_that_fails_is_reported_and_the_next_has_its_turn():
    stream = Stream()
    tally = loop.run(windows(1, np.nan, 3), Explainer(), stream, ("cam",))
    assert (tally.windows, tally.failed) == (3, 1)
    assert [said[0] for said in stream.said] == [
        "result", "cam", "latency", "failure", "latency", "result", "cam", "latency",
    ]  # fmt: skip
    assert ("failure", 1, "not finite") in stream.said


def test_an_error_that_is_none_of_ours_is_not_hidden():
    class Broken(Explainer):
        def predict(self, x):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop.run(windows(1), Broken(), Stream(), ())


def test_what_befalls_a_source_is_told_and_counted():
    class Source:
        def __init__(self):
            self.faults = Counter({SourceFault.BAD_INPUT: 3})
            self.items = [Fault(SourceFault.BAD_INPUT, "line 3 is no number", "look"), None, *windows(7)]

        @property
        def ended(self):
            return not self.items

        def take(self, seconds):
            return self.items.pop(0)

    stream = Stream()
    (window,) = loop.taken(Source(), stream, loop.Stop())
    assert float(window.x[0]) == 7
    assert stream.said == [("failure", None, "line 3 is no number")]
    assert stream.status.source == {SourceFault.BAD_INPUT: 3}


def test_windows_come_at_their_rate():
    start = time.monotonic()
    times = [time.monotonic() - start for _ in loop.paced(windows(*range(11)), 50, loop.Stop())]
    assert times[0] < 0.02
    assert times[-1] == pytest.approx(0.2, abs=0.05)


def test_a_late_window_does_not_hurry_those_after_it():
    times = []
    for window in loop.paced(windows(1, 2, 3), 20, loop.Stop()):
        times.append(time.monotonic())
        if window.sequence == 0:
            time.sleep(0.12)
    assert times[2] - times[1] == pytest.approx(0.05, abs=0.03)


def test_a_stop_ends_the_wait_for_a_window_at_once():
    stop = loop.Stop()
    threading.Timer(0.1, stop.set).start()
    start = time.monotonic()
    assert [window.sequence for window in loop.paced(windows(1, 2, 3), 0.1, stop)] == [0]
    assert time.monotonic() - start < 1.0
    assert list(loop.as_taken(windows(1), Stream(), stop)) == []


def test_a_stop_can_be_asked_for_inside_a_signal_handler():
    stop = loop.Stop()
    before = signal.signal(signal.SIGALRM, lambda *_: stop.set())
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        assert stop.wait(2.0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert stop.wait()


def test_stored_windows_wait_for_the_link():
    stream = Stream()
    assert len(list(loop.as_taken(windows(1, 2), stream, loop.Stop()))) == 2
    assert stream.said == [("room",)] * 6  # asked until there was room


def test_a_budget_that_is_overspent_leaves_nothing_rather_than_less():
    budget = loop.Budget(1e-6)
    while not budget.spent:
        pass
    assert budget.remaining == 0.0
    assert loop.Budget(None).remaining is None


def test_a_tolerance_goes_to_the_methods_that_can_meet_one():
    for tolerance, expected in ((0.02, {"ig": 0.02, "saliency": None}), (None, {"ig": None, "saliency": None})):
        explainer = Explainer()
        loop.run(windows(1, 2), explainer, Stream(), ("ig", "saliency"), tolerance=tolerance)
        assert dict(explainer.tolerances) == expected
        assert len(explainer.tolerances) == 4
