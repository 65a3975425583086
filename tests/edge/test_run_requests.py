"""What the host can ask of a run: why, of a past window; that window itself; and to work otherwise."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from edge.errors import InputError
from edge.explanation import Explanation, Flag, Prediction
from edge.manifest import Port
from edge.run.loop import Run
from edge.run.recent import Recent, capacity
from edge.sources import Window
from edge.wire.codes import Degraded, When
from edge.wire.records import Input, Map, Request
from tests.edge.run_fakes import LABELS, Clock, Explainer, Live, SilentBell, Stored, Stream, settings, start

BOTH = ("ig", "saliency")
QUIET = {"explain": When.ON_REQUEST}


def refusal(request, methods=BOTH, before=3, **more):
    """Return why a request after so many windows was refused, having checked that it changed nothing."""
    _, stream, _ = start([0, 1, 2, 0, 1, 2, 0], methods, requests={before: [request]}, **(QUIET | more))
    ((_, cause, _),) = stream.acks
    assert cause
    assert not stream.maps
    assert not stream.inputs
    assert len(stream.settled) == 1
    return cause


@pytest.mark.parametrize(
    ("request_", "made"),
    [
        (Request(what=Map.code), [(2, "ig", None), (2, "saliency", None)]),  # the latest, by every method in use
        (Request(what=Map.code, sequence=1), [(1, "ig", None), (1, "saliency", None)]),
        (Request(what=Map.code, sequence=0, method=1), [(0, "saliency", None)]),
        (Request(what=Map.code, sequence=2, method=0, class_index=1), [(2, "ig", 1)]),
    ],
)
def test_a_past_window_is_explained_when_the_host_asks(request_, made):
    explainer, stream, _ = start([5, 6, 7, 8, 9], BOTH, requests={3: [request_]}, **QUIET)
    assert [(sequence, e.method) for sequence, e in stream.maps] == [each[:2] for each in made]
    assert [call[1] for call in explainer.calls if call != "predict"] == [each[2] for each in made]
    for sequence, explanation in stream.maps:
        assert explanation.map == [5 + sequence]
    # one explanation between two windows, and the host is told when the last of them is there
    answered = [said for said in stream.said if said[0] in {"result", "ig", "saliency"}]
    places = [place for place, said in enumerate(answered) if said[0] != "result"]
    assert all(later - earlier >= 2 for earlier, later in pairwise(places))
    assert stream.acks == [(300, "", 2 + len(made))]


def test_a_past_window_can_be_had():
    _, stream, _ = start([5, 6, 7, 8], BOTH, requests={3: [Request(what=Input.code, sequence=1)]}, **QUIET)
    ((sequence, x),) = stream.inputs
    assert (sequence, float(x[0])) == (1, 6.0)
    assert stream.acks == [(300, "", 3)]
    assert not stream.maps


def test_with_inputs_on_an_explanation_on_request_has_its_input_too():
    request = Request(what=Map.code, sequence=1, method=1, inputs=True)
    _, stream, _ = start([5, 6, 7, 8], BOTH, requests={3: [request]}, **QUIET)
    assert [sequence for sequence, _ in stream.inputs] == [1]


def test_what_is_not_there_is_refused():
    assert "window 0 is not among the last 4, from 1 to 4" in refusal(Request(what=Map.code, sequence=0), before=5)
    assert "window 9 is not" in refusal(Request(what=Input.code, sequence=9))
    assert "no window has been answered" in refusal(Request(what=Map.code), before=0)
    assert "no method 2" in refusal(Request(what=Map.code, method=2))
    assert "no method 7" in refusal(Request(methods=(0, 7)))
    assert "no class 3" in refusal(Request(what=Map.code, class_index=3))
    assert "no method is in use" in refusal(Request(what=Map.code), methods=())
    assert "no rate" in refusal(Request(rate=-1.0))
    for rate in (float("inf"), float("nan"), 1e-45, 1e38):
        assert "no rate" in refusal(Request(rate=rate))
    assert "no rule 9" in refusal(Request(explain=9))
    assert "on-alarm" in refusal(Request(explain=When.ON_ALARM))


def test_the_no_of_a_yes_no_model_has_no_map():
    explainer = Explainer()
    explainer.manifest = SimpleNamespace(name="fall", labels=("no", "yes"), yes_no=True)
    assert "no map of 'no'" in refusal(Request(what=Map.code, class_index=0), explainer=explainer)


def test_a_request_of_which_one_part_is_wrong_changes_nothing():
    refusal(Request(rate=5.0, inputs=True, explain=When.ALWAYS, methods=(1,), what=Map.code, sequence=99))
    refusal(Request(what=Map.code, sequence=1, rate=5.0, methods=(3,)))


def test_who_does_not_want_to_be_told_is_told_by_the_log(caplog):
    start([0, 1], BOTH, requests={1: [Request(what=Map.code, sequence=99)]}, **QUIET)
    assert "window 99" in caplog.text
    caplog.clear()
    start([0, 1], BOTH, requests={1: [Request(what=Map.code, sequence=99, acknowledge=True)]}, **QUIET)
    assert not caplog.records


def test_settings_apply_from_the_next_window_on_and_are_told():
    request = Request(explain=When.ON_CHANGE, methods=(1, 1), inputs=True, rate=50.0)
    _, stream, _ = start([0, 0, 0, 1, 1], BOTH, requests={2: [request]})
    assert [(sequence, e.method) for sequence, e in stream.maps] == [
        (0, "ig"), (0, "saliency"), (1, "ig"), (1, "saliency"), (3, "saliency"),
    ]  # fmt: skip
    assert [sequence for sequence, _ in stream.inputs] == [3]
    first, second = stream.settled
    assert (second.methods, second.explain, second.inputs, second.rate) == ((1,), When.ON_CHANGE, True, 50.0)
    assert (first.kept, first.alarms) == (second.kept, second.alarms)
    assert stream.acks == [(200, "", 2)]
    assert stream.ended[4] - stream.ended[3] == pytest.approx(20e6, rel=0.01)


def test_a_rate_of_nothing_is_none_and_a_raised_one_takes_effect_at_once():
    _, stream, _ = start([0] * 4, (), requests={1: [Request(rate=100.0)], 3: [Request(rate=0.0)]}, rate=0.001)
    assert [each.rate for each in stream.settled] == [0.001, 100.0, None]
    assert [stream.ended[k] / 1e6 for k in range(4)] == pytest.approx([0, 10, 20, 20], abs=0.1)


def test_what_changes_nothing_is_not_told_again():
    _, stream, _ = start([0] * 3, BOTH, requests={1: [Request(methods=(0, 1), inputs=False)]})
    assert len(stream.settled) == 1
    assert stream.acks == [(100, "", 1)]


def test_a_window_asked_about_is_kept_until_it_is_explained():
    _, stream, _ = start(
        [5, 6, 7, 8, 9, 10], ("saliency",), requests={3: [Request(what=Map.code)] * 9}, **QUIET, kept=1
    )
    assert [sequence for sequence, _ in stream.maps] == [2] * 9
    assert len(stream.acks) == 9


def test_what_is_asked_for_at_the_end_is_still_done():
    _, stream, _ = start([5, 6], BOTH, requests={2: [Request(what=Map.code, sequence=0)]}, **QUIET)
    assert [(sequence, e.method) for sequence, e in stream.maps] == [(0, "ig"), (0, "saliency")]
    assert stream.acks == [(200, "", 2)]


def test_told_to_stop_it_refuses_what_waits():
    clock = Clock()
    bell = SilentBell(clock)

    class Stopping(Explainer):
        def predict(self, x):
            if len(self.calls) == 2:
                bell.stop()
            return super().predict(x)

    stream = Stream(clock, {3: [Request(what=Map.code)] * 2})
    Run(Stored(clock, [0] * 9), Stopping(clock), stream, BOTH, settings(BOTH, **QUIET), bell, clock).work()
    assert [cause for _, cause, _ in stream.acks] == ["the run is ending"] * 2
    assert not stream.maps


def test_no_more_than_so_many_wait():
    _, stream, _ = start([0] * 3, ("ig",), requests={1: [Request(what=Map.code)] * 20}, **QUIET)
    assert [bool(cause) for _, cause, _ in stream.acks].count(True) == 4
    assert len(stream.maps) == 16


def test_an_explanation_that_fails_is_refused_and_the_next_is_made():
    class Failing(Explainer):
        def explain(self, x, method=None, *arguments, **more):
            if method == "ig":
                raise InputError("it does not work", "try another")
            return super().explain(x, method, *arguments, **more)

    requests = {1: [Request(what=Map.code), Request(what=Map.code, method=1)]}
    _, stream, tally = start([0] * 4, BOTH, explainer=Failing(), requests=requests, **QUIET)
    assert [cause for _, cause, _ in stream.acks] == ["it does not work", ""]
    assert [e.method for _, e in stream.maps] == ["saliency"]
    assert tally.failed == 0


def live(requests, *, deadline=None, period=100.0, count=60, depth=1, rate=None, methods=("ig", "saliency"), **costs):
    clock = Clock()
    explainer, stream, capture = Explainer(clock, **costs), Stream(clock, requests), Live(clock, period, count, depth)
    begin = settings(methods, deadline=deadline, rate=rate, kept=64, **QUIET)
    run = Run(capture, explainer, stream, methods, begin, SilentBell(clock), clock)
    run.learn(np.zeros(1, np.float32))
    clock.now = 0
    run.work()
    return explainer, stream, capture


def test_without_a_deadline_each_window_waits_for_one_explanation_at_the_most():
    _, stream, capture = live({5: [Request(what=Map.code)] * 10}, predict=5, ig=10, saliency=50)
    assert len(stream.maps) == 20
    waits = [taken - (sequence * 100e6) for sequence, taken in zip(sorted(stream.ended), capture.taken, strict=True)]
    assert max(waits) <= 160e6


def test_under_a_deadline_an_explanation_is_made_in_what_a_window_leaves_of_it():
    _, stream, capture = live({5: [Request(what=Map.code)]}, deadline=40, predict=5, ig=5, saliency=20)
    assert [e.method for _, e in stream.maps] == ["ig", "saliency"]
    assert stream.maps[0][1].steps == 6  # in 35 ms
    assert stream.maps[0][1].flags == Flag.DEADLINE
    assert stream.status.degraded == {Degraded.FEWER_STEPS: 1}
    assert np.diff(capture.taken) == pytest.approx(100e6)  # no window waited
    assert not capture.faults


def test_what_never_fits_is_made_after_two_seconds_all_the_same():
    _, stream, _ = live({5: [Request(what=Map.code, method=1)]}, deadline=40, predict=5, saliency=60)
    assert [e.method for _, e in stream.maps] == ["saliency"]
    ((_, cause, answered),) = stream.acks
    assert not cause
    assert 24 <= answered <= 26
    _, stream, _ = live({5: [Request(what=Map.code, method=0)]}, deadline=40, predict=5, ig=18)
    ((_, explanation),) = stream.maps
    assert explanation.steps == 2  # given the 40 ms of a window


def test_a_window_is_kept_whatever_becomes_of_the_memory_it_came_in():
    recent = Recent(2)
    x = np.ones(4, np.float32)
    recent.keep(Window(0, x, 0), Prediction(np.ones(2, np.float32), 0))
    x[:] = 7
    assert recent.find(0).x.tolist() == [1, 1, 1, 1]


def test_where_there_is_a_rate_the_time_until_the_next_window_is_free():
    _, stream, capture = live(
        {5: [Request(what=Map.code, method=1)]}, deadline=40, rate=5.0, period=1.0, count=4000, predict=5, saliency=150
    )
    ((_, _, answered),) = stream.acks
    assert answered == 5
    assert np.diff(capture.taken) == pytest.approx(200e6, rel=0.02)


def test_a_streaming_model_is_explained_in_the_state_in_which_it_answered():
    class Streaming(Explainer):
        """Counts steps in its state, and explains by it."""

        steps = 0

        def predict(self, x):
            self.steps += 1
            answer = super().predict(x)
            return Prediction(
                answer.scores, answer.class_index, answer.latency, state={"steps": np.array([self.steps])}
            )

        def explain(self, x, method=None, class_index=None, deadline_ms=None, *, prediction=None, tolerance=None):
            return Explanation(prediction.scores, 0, {}, method=method, map=prediction.state["steps"], steps=1)

    requests = {4: [Request(what=Map.code, sequence=1), Request(what=Map.code, sequence=3)]}
    _, stream, _ = start([0] * 8, ("saliency",), explainer=Streaming(), requests=requests, **QUIET)
    assert [(sequence, int(e.map[0])) for sequence, e in stream.maps] == [(1, 2), (3, 4)]


def test_of_an_explanation_only_the_answer_is_kept():
    recent = Recent(2)
    scores = np.array([0.9, 0.1], np.float32)
    explanation = Explanation(scores, 1, {"predict": 5}, method="cam", map=np.zeros(1000))
    recent.keep(Window(3, np.zeros(1, np.float32), 0), explanation)
    kept = recent.find(3)
    assert type(kept.prediction) is Prediction
    assert kept.prediction.class_index == 0  # what was answered, not what was explained


def test_as_many_windows_are_kept_as_fit():
    def manifest(*shape, states=()):
        return SimpleNamespace(input_shape=shape, labels=LABELS, states=states)

    assert capacity(None, manifest(10)) == 64
    assert capacity(None, manifest(1024, 1024)) == 7  # of 4 MiB and a little each
    assert capacity(None, manifest(8192, 8192)) == 1
    state = Port("state", (1, 1024, 1024), "float32")
    assert capacity(None, manifest(1024, 1024, states=(state,))) == 3
    assert capacity(500, manifest(10)) == 500
    with pytest.raises(InputError, match="1000 windows of 4,194,316 bytes") as caught:
        capacity(1000, manifest(1024, 1024))
    assert "127 at the most" in caught.value.hint
