"""What a device does with each window, and in which order."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import closing

import numpy as np
import pytest

from edge.capture import Live as LiveCapture
from edge.latency import Phase
from edge.run import turns
from edge.run.bell import Bell
from edge.run.loop import Run
from edge.sources import Fault, Feed, Ready
from edge.wire.codes import SourceFault, When
from edge.wire.records import Map, Request
from tests.edge.run_fakes import Clock, Explainer, Live, SilentBell, Stored, Stream, settings, start

NAN = float("nan")


def kinds(stream):
    return [said[0] for said in stream.said]


def test_the_answer_goes_out_before_it_is_explained_and_latency_last():
    explainer, stream, tally = start([1, 2], ("ig", "saliency"))
    assert stream.said == [
        ("result", 0, 1), ("ig", 0), ("saliency", 0), ("latency", 0),
        ("result", 1, 2), ("ig", 1), ("saliency", 1), ("latency", 1),
    ]  # fmt: skip
    assert explainer.calls == ["predict", ("ig", None, None, None), ("saliency", None, None, None)] * 2
    assert (tally.windows, tally.failed) == (2, 0)


def test_an_explanation_that_comes_with_the_prediction_takes_no_pass_of_its_own():
    explainer, stream, _ = start([1], ("ig", "cam"))
    assert [call[0] for call in explainer.calls] == ["cam", "ig"]
    assert kinds(stream) == ["result", "ig", "cam", "latency"]
    lap = stream.laps[0]
    assert lap.methods["cam"] == 0
    assert lap.phases.keys() == {Phase.CAPTURE, Phase.QUANTIZE, Phase.PREDICT}
    assert lap.phases[Phase.CAPTURE] == 7


def test_without_methods_it_only_predicts():
    explainer, stream, _ = start([1], ())
    assert explainer.calls == ["predict"]
    assert kinds(stream) == ["result", "latency"]


def test_a_window_that_fails_is_reported_and_the_next_has_its_turn():
    _, stream, tally = start([1, NAN, 3], ("cam",))
    assert (tally.windows, tally.failed, tally.why) == (3, 1, "not finite")
    assert kinds(stream) == ["result", "cam", "latency", "failure", "latency", "result", "cam", "latency"]
    assert ("failure", 1, "not finite") in stream.said


def test_an_error_that_is_none_of_ours_is_not_hidden():
    class Broken(Explainer):
        def predict(self, x):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        start([1], (), explainer=Broken())


@pytest.mark.parametrize(
    ("explain", "alarms", "explained"),
    [
        (When.ALWAYS, (), [0, 1, 2, 3, 4, 5]),
        (When.ON_CHANGE, (), [0, 2, 4, 5]),
        (When.ON_ALARM, (2, 0), [0, 1, 4, 5]),
        (When.ON_REQUEST, (), []),
    ],
)
def test_only_the_answers_wanted_are_explained(explain, alarms, explained):
    explainer, stream, _ = start([0, 0, 1, 1, 0, 2], ("cam", "saliency"), explain=explain, alarms=alarms)
    assert [sequence for sequence, e in stream.maps if e.method == "saliency"] == explained
    assert [sequence for sequence, e in stream.maps if e.method == "cam"] == explained
    assert len([said for said in stream.said if said[0] == "result"]) == 6
    if explain != When.ALWAYS:  # whether to explain is known only after predicting
        assert explainer.calls.count("predict") == 6


def test_a_failed_window_is_no_change_of_the_answer():
    _, stream, _ = start([1, NAN, 1], ("saliency",), explain=When.ON_CHANGE)
    assert [sequence for sequence, _ in stream.maps] == [0]


def test_inputs_are_sent_of_windows_that_are_explained():
    _, stream, _ = start([1, 1, 2], ("saliency",), explain=When.ON_CHANGE, inputs=True)
    assert [(sequence, float(x[0])) for sequence, x in stream.inputs] == [(0, 1.0), (2, 2.0)]


def test_a_tolerance_goes_to_the_methods_that_can_meet_one():
    for tolerance in (0.02, None):
        explainer, _, _ = start([1, 2], ("ig", "saliency"), tolerance=tolerance)
        assert [call[3] for call in explainer.calls if call != "predict"] == [tolerance, None] * 2


def test_what_befalls_the_source_is_told_and_counted(caplog):
    told = [
        Fault(SourceFault.STALLED, "the sensor is silent", "check the cable"),
        Fault(SourceFault.REOPENED, "the sensor is back"),
    ]
    _, stream, tally = start([1], (), told=told)
    assert stream.said[0] == ("failure", None, "the sensor is silent")
    said = [(record.message, hasattr(record, "local")) for record in caplog.records]
    assert said == [("the sensor is silent; check the cable", True), ("the sensor is back", False)]
    assert tally.windows == 1
    clock = Clock()
    capture = Live(clock, 10, 5)
    Run(capture, Explainer(clock), stream, (), settings(()), SilentBell(clock), clock)
    assert stream.status.source is capture.faults


def test_stored_windows_wait_for_the_link_and_live_ones_do_not():
    for make, asked in ((lambda clock: Stored(clock, [1, 2]), True), (lambda clock: Live(clock, 10, 2), False)):
        clock = Clock()
        stream = Stream(clock)
        stream.crowded = 5
        Run(make(clock), Explainer(clock), stream, (), settings(()), SilentBell(clock), clock).work()
        assert (stream.crowded < 0) == asked
        assert kinds(stream).count("result") == 2


def test_windows_come_at_their_rate_and_a_late_one_does_not_hurry_the_next():
    clock = Clock()
    slow = iter([1, 1, 130, 1, 1, 1])
    explainer = Explainer(clock, predict=1.0, slower=lambda: next(slow))
    stream = Stream(clock)
    Run(Stored(clock, [0] * 6), explainer, stream, (), settings((), rate=20), SilentBell(clock), clock).work()
    assert [begin / 1e6 for begin, _ in explainer.passes] == pytest.approx([0, 50, 100, 230, 280, 330], abs=0.1)


def test_no_more_windows_than_were_asked_for_are_taken():
    clock = Clock()
    capture, stream = Stored(clock, [0] * 9), Stream(clock)
    assert Run(capture, Explainer(clock), stream, (), settings(()), SilentBell(clock), clock).work(4).windows == 4
    assert capture.take(0).sequence == 4


def test_told_to_stop_it_ends_after_the_explanation_at_work():
    clock = Clock()
    bell = SilentBell(clock)

    class Stopping(Explainer):
        def explain(self, *args, **more):
            bell.stop()
            return super().explain(*args, **more)

    stream = Stream(clock)
    run = Run(Stored(clock, [0] * 9), Stopping(clock), stream, ("ig", "other"), settings(("ig", "other")), bell, clock)
    assert run.work().windows == 1
    assert kinds(stream) == ["result", "ig", "latency"]


def test_a_stop_ends_the_wait_for_a_window_at_once():
    bell, stream = Bell(), Stream()
    stream.latency = lambda *_: threading.Timer(0.1, bell.stop).start()  # the first window is done with
    run = Run(Stored(Clock(), [0] * 9), Explainer(), stream, (), settings((), rate=0.01), bell)
    start = time.monotonic()
    assert run.work().windows == 1
    assert time.monotonic() - start < 50.0  # of 100 s


def test_a_stop_ends_the_wait_for_a_silent_sensor_at_once(monkeypatch):
    def silent():
        while True:
            yield None
            time.sleep(0.01)

    monkeypatch.setattr(turns, "_SLICE", 3600.0)
    with closing(LiveCapture("sensor", Feed(silent, live=True))) as capture:
        bell = Bell(capture.wake)
        before = signal.signal(signal.SIGALRM, lambda *_: bell.stop())
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            run = Run(capture, Explainer(), Stream(), (), settings(()), bell)
            assert run.work().windows == 0
        finally:
            signal.signal(signal.SIGALRM, before)


def test_a_request_is_done_while_the_sensor_is_silent(monkeypatch):
    def one_window():
        yield None
        yield Ready(np.zeros(1, np.float32))
        while True:
            yield None
            time.sleep(0.01)

    monkeypatch.setattr(turns, "_SLICE", 3600.0)
    with closing(LiveCapture("sensor", Feed(one_window, live=True))) as capture:
        bell = Bell(capture.wake)
        stream = Stream()
        stream.acknowledge = lambda *_: bell.stop()
        quiet = settings(("ig",), explain=When.ON_REQUEST)

        def ask():
            stream.asked.append((0, Request(what=Map.code)))
            stream.call()

        stream.latency = lambda *_: threading.Timer(0.2, ask).start()  # there is a window to ask about
        run = Run(capture, Explainer(), stream, ("ig",), quiet, bell)
        assert run.work().windows == 1
    assert [sequence for sequence, _ in stream.maps] == [0]


def test_a_bell_can_be_rung_inside_a_signal_handler_and_however_often():
    others = []
    bell = Bell(lambda: others.append(1))

    def ring(*_):
        for _ in range(10_000):
            bell.ring()

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        start = time.monotonic()
        bell.wait(60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 50.0
    assert len(others) == 10_000
    assert not bell.stopped


def test_maps_are_of_the_windows_they_belong_to():
    _, stream, _ = start([0, 1, 2], ("cam", "ig"))
    for sequence, explanation in stream.maps:
        np.testing.assert_array_equal(explanation.map, [sequence])
        assert explanation.class_index == sequence
