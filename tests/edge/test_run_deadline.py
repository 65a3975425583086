"""The deadline under load: what is given up, in which order, and how late anything can be."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from edge.explainer import Explainer as RealExplainer
from edge.explanation import Flag
from edge.latency import clock
from edge.pace import Pace
from edge.run.bell import Bell
from edge.run.budget import Budget, Cost, Costs
from edge.run.loop import Run
from edge.wire.codes import Degraded, SourceFault
from tests.edge.run_fakes import Clock, Explainer, Live, SilentBell, Stored, Stream, settings
from tests.references import small_models

EVERY = ("ig", "saliency", "other")


def work(methods, deadline, *, allowed=EVERY, period=100.0, count=40, depth=1, slower=lambda: 1.0, **costs):
    """Run live windows with methods of certain costs, in milliseconds; ``allowed`` are those of the session."""
    clock = Clock()
    explainer = Explainer(clock, slower=slower, **costs)
    stream = Stream(clock)
    capture = Live(clock, period, count, depth)
    begin = settings(allowed, methods=tuple(map(allowed.index, methods)), deadline=deadline)
    run = Run(capture, explainer, stream, allowed, begin, SilentBell(clock), clock)
    run.learn(np.zeros(1, np.float32))
    clock.now, explainer.passes, explainer.calls = 0, [], []
    run.work()
    return run, explainer, stream, capture


def made(stream):
    return Counter(explanation.method for _, explanation in stream.maps)


def test_with_time_for_everything_nothing_is_given_up():
    _, _, stream, _ = work(EVERY, 60, predict=5, ig=1, saliency=10, other=20)
    assert made(stream) == {"ig": 40, "saliency": 40, "other": 40}
    assert not stream.status.degraded
    assert {explanation.steps for _, explanation in stream.maps if explanation.method == "ig"} == {16}


def test_first_steps_are_given_up():
    _, _, stream, _ = work(("ig",), 30, predict=5, ig=5)
    assert stream.status.degraded == {Degraded.FEWER_STEPS: 40}
    assert all(explanation.flags & Flag.DEADLINE and explanation.steps == 4 for _, explanation in stream.maps)


def test_then_the_method_for_the_first_that_fits_of_those_allowed_and_not_in_use():
    _, _, stream, _ = work(("ig",), 30, predict=5, ig=20, saliency=40, other=10)
    assert made(stream) == {"other": 40}
    assert stream.status.degraded == {Degraded.CHEAPER_METHOD: 40}
    assert all(Flag.DEADLINE in explanation.flags for _, explanation in stream.maps)
    _, _, stream, _ = work(("ig",), 30, predict=5, ig=20, saliency=20, other=10)
    assert made(stream) == {"saliency": 40}


def test_what_is_in_use_stands_in_for_nothing():
    _, _, stream, _ = work(("ig", "other"), 30, allowed=("ig", "other"), predict=5, ig=20, other=10)
    assert made(stream) == {"other": 40}
    assert stream.status.degraded == {Degraded.NO_EXPLANATION: 40}
    assert not any(Flag.DEADLINE in explanation.flags for _, explanation in stream.maps)


def test_a_method_stands_in_once_for_each_window():
    _, _, stream, _ = work(("ig", "saliency"), 50, predict=5, ig=30, saliency=60, other=10)
    assert made(stream) == {"other": 40}
    assert stream.status.degraded == {Degraded.CHEAPER_METHOD: 40, Degraded.NO_EXPLANATION: 40}


def test_what_comes_with_the_answer_is_left_no_time():
    _, _, stream, _ = work(("cam", "ig"), 45, allowed=("cam", "ig"), predict=20, ig=1)
    assert made(stream) == {"cam": 40, "ig": 40}
    assert not stream.status.degraded


def test_at_last_the_explanation_and_never_the_answer():
    _, explainer, stream, capture = work(EVERY, 30, predict=40, ig=1, saliency=1, other=1, period=50)
    assert not stream.maps
    assert stream.status.degraded == {Degraded.NO_EXPLANATION: 120}
    assert explainer.calls == ["predict"] * 40
    assert not capture.faults


def test_what_is_known_not_to_fit_is_not_started():
    _, explainer, stream, _ = work(("saliency",), 30, allowed=("saliency",), predict=5, saliency=28, period=31)
    assert explainer.calls == ["predict"] * 40
    assert stream.status.degraded == {Degraded.NO_EXPLANATION: 40}


def test_a_window_explained_too_late_is_counted_once():
    methods = ("saliency", "cam")
    odd = iter([1.0] * (8 + 2 * 20) + [2.0] * 2)  # both passes of the last window take twice as long
    _, _, stream, _ = work(methods, 20, allowed=methods, count=21, slower=odd.__next__, predict=5, saliency=10)
    assert made(stream) == {"cam": 21, "saliency": 21}
    assert [sequence for sequence, end in stream.ended.items() if end - sequence * 100e6 > 20e6] == [20]
    assert stream.status.degraded == {Degraded.LATE: 1}


def test_methods_that_fit_in_turn_have_their_turns():
    _, _, stream, _ = work(("saliency", "other"), 45, allowed=EVERY[1:], predict=5, saliency=25, other=30)
    assert made(stream) == {"saliency": 20, "other": 20}
    assert stream.status.degraded == {Degraded.NO_EXPLANATION: 40}


def test_a_method_that_can_take_less_leaves_the_others_what_they_need():
    _, _, stream, _ = work(EVERY, 60, predict=5, ig=5, saliency=10, other=10)
    assert made(stream) == {"ig": 40, "saliency": 40, "other": 40}
    assert stream.status.degraded == {Degraded.FEWER_STEPS: 40}
    assert {explanation.steps for _, explanation in stream.maps if explanation.method == "ig"} == {6}


def test_steps_leave_time_for_what_follows_them():
    clock = Clock()

    class Finishing(Explainer):
        def explain(self, *given, **named):
            explanation = super().explain(*given, **named)
            clock.spend(3)
            return explanation

    explainer, stream = Finishing(clock, predict=5, ig=2), Stream(clock)
    run = Run(
        Live(clock, 100, 40), explainer, stream, ("ig",), settings(("ig",), deadline=30), SilentBell(clock), clock
    )
    run.learn(np.zeros(1, np.float32))
    clock.now = 0
    run.work()
    assert stream.status.degraded == {Degraded.FEWER_STEPS: 40}
    assert {explanation.steps for _, explanation in stream.maps} == {10}  # with two more it would be 32 ms


def test_what_a_window_waited_counts():
    _, _, stream, _ = work(("saliency",), 40, allowed=("saliency",), predict=5, saliency=30, period=20, depth=4)
    assert len(made(stream)) == 1
    for sequence, _ in stream.maps:
        assert stream.ended[sequence] - sequence * 20e6 <= 40e6


def test_a_method_that_was_slow_for_a_while_is_tried_again_when_the_machine_has_recovered():
    clock_of = {}

    def slower():
        return 10.0 if 1e9 < clock_of["clock"]() < 2e9 else 1.0

    clock = clock_of["clock"] = Clock()
    explainer = Explainer(clock, slower=slower, predict=1, saliency=10)
    stream = Stream(clock)
    capture = Live(clock, 50, 1200)
    run = Run(capture, explainer, stream, ("saliency",), settings(("saliency",), deadline=30), SilentBell(clock), clock)
    run.work()
    explained = [sequence for sequence, _ in stream.maps]
    during = [sequence for sequence in explained if 1e9 <= sequence * 50e6 < 2e9]
    assert during == [20, 22, 25]  # which showed it
    assert explained[-1000:] == list(range(200, 1200))


@given(
    predict=st.floats(0.1, 30),
    costs=st.tuples(st.floats(0.1, 20), st.floats(0.1, 80), st.floats(0.1, 80)),
    deadline=st.floats(1, 100),
    period=st.floats(1, 60),
    depth=st.integers(1, 4),
    seed=st.integers(0, 1 << 30),
)
@hypothesis_settings(max_examples=150, deadline=None)
def test_whatever_calls_take_no_window_is_late_by_more_than_a_pass_and_none_waits_uncounted(
    predict, costs, deadline, period, depth, seed
):
    jitter = random.Random(seed)
    _, explainer, stream, capture = work(
        EVERY, deadline, predict=predict, period=period, count=60, depth=depth,
        slower=lambda: jitter.choice((1.0, 1.0, 1.2, 3.0)), **dict(zip(EVERY, costs, strict=True)),
    )  # fmt: skip
    answered = sorted(stream.ended)
    assert len(answered) + capture.faults[SourceFault.LOST_WINDOW] == 60
    assert len(stream.maps) + stream.status.degraded[Degraded.NO_EXPLANATION] == 3 * len(answered)
    passes = iter(explainer.passes)
    late = {
        sequence
        for sequence, _ in stream.maps
        if stream.ended[sequence] - sequence * round(period * 1e6) > deadline * 1e6
    }
    assert stream.status.degraded[Degraded.LATE] == len(late)
    for sequence, taken in zip(answered, capture.taken, strict=True):
        end = stream.ended[sequence]
        mine = [(begin, until) for begin, until in passes_of(passes, end)]
        answer = mine[0][1]
        due = max(sequence * round(period * 1e6) + deadline * 1e6, answer)
        assert mine[0][0] == taken  # answered as soon as it was taken
        assert all(begin < due for begin, _ in mine[1:])  # nothing is begun when time is up
        longest = max((until - begin for begin, until in mine[1:]), default=0)
        assert end <= due + longest
    for earlier, later in zip(answered, capture.taken[1:], strict=False):
        assert later >= stream.ended[earlier]  # one at a time


def passes_of(passes, end):
    """Yield the passes up to one that ends a window at ``end``."""
    for begin, until in passes:
        yield begin, until
        if until == end:
            return


def test_one_long_call_is_nothing_two_are_a_bound_and_three_are_typical():
    pace = Pace()
    for ns in (900.0, 100.0, 150.0):  # the first call prepares the graph, the third one met something else
        pace.note(ns)
    assert (pace.typical, pace.bound) == (100.0, 100.0)
    for ns in 16 * (300.0,):
        pace.note(ns)
    pace.note(5000.0)
    assert (pace.typical, pace.bound) == (300.0, 300.0)
    pace.note(4000.0)
    assert (pace.typical, pace.bound) == (300.0, 4000.0)
    pace.note(3000.0)
    assert (pace.typical, pace.bound) == (3000.0, 4000.0)
    for _ in range(3):
        pace.note(300.0)
    assert (pace.typical, pace.bound) == (300.0, 4000.0)
    for _ in range(12):
        pace.note(300.0)
    assert pace.bound == 300.0


def test_a_cost_is_the_bound_of_its_pace_up_to_twice_the_typical_and_believed_less_when_refused():
    cost = Cost()
    assert cost.expected(5) == 0.0
    for ns in (900.0, 100.0, *16 * (150.0,), 170.0, 170.0):
        cost.note(ns, 0)
    assert cost.expected(0) == 170.0
    for ns in (5000.0, 150.0, 5000.0, 150.0, 150.0):
        cost.note(ns, 0)
    assert cost.expected(0) == 300.0
    assert cost.expected(int(60e9)) == 250.0  # it has taken 100
    for _ in range(16):
        cost.refuse()
    assert cost.expected(0) == 200.0
    for _ in range(320):
        cost.refuse()
    assert cost.expected(0) == pytest.approx(100.0)
    cost.note(150.0, int(60e9))
    assert cost.expected(int(60e9)) == 300.0  # it is believed anew


def test_one_outlier_in_ten_does_not_starve_a_cheap_method():
    outliers = random.Random(1)
    _, _, stream, capture = work(
        ("saliency",), 20, allowed=("saliency",), count=400, predict=1, saliency=2,
        slower=lambda: outliers.choice([1.0] * 9 + [12.0]),
    )  # fmt: skip
    assert len(stream.maps) >= 370
    assert not capture.faults


def test_the_least_is_judged_by_longer_calls_until_it_is_measured():
    costs = Costs(lambda: 0)
    costs.note("ig", 16_000_000, steps=16, least=2)
    assert costs.least("ig") == 2.0
    assert costs.fits("ig", 2.1)
    costs.note("ig", 5_000_000, steps=2, least=2)
    assert costs.least("ig") == 5.0
    costs.note("ig", 16_000_000, steps=16, least=2)
    assert costs.least("ig") == 5.0
    assert costs.fits("ig", None)
    costs.note("ig", 160_000_000, steps=16, least=2)  # two of such steps take 20 ms
    assert costs.least("ig") > 5.0
    for _ in range(50):
        costs.note("ig", 6_000_000, steps=16, least=2)  # then two cannot take longer than that
    assert costs.least("ig") <= 6.0
    assert not costs.fits("never measured", 0.0)


def test_longer_calls_that_bear_out_what_is_known_keep_it_from_fading():
    clock = Clock()
    costs = Costs(clock)
    costs.note("ig", 5_000_000, steps=2, least=2)
    for _ in range(10):
        clock.spend(30e3)
        costs.note("ig", 16_000_000, steps=16, least=2)
    assert costs.least("ig") == 5.0
    clock.spend(60e3)
    assert costs.least("ig") == 2.5


def test_a_budget_that_is_overspent_leaves_nothing_rather_than_less():
    clock = Clock()
    budget = Budget(5, 0, clock)
    assert budget.remaining == 5
    clock.spend(3)
    assert budget.remaining == 2
    clock.spend(2)
    assert not budget.over  # what ends with it is in time
    clock.spend(30)
    assert budget.remaining == 0.0
    assert budget.over
    assert budget.limited
    assert Budget(None, 0, clock).remaining is None
    assert not Budget(None, 0, clock).over


def test_the_real_explainer_within_no_time_within_little_and_within_enough(bundle):
    explainer = RealExplainer(bundle)
    methods = tuple(sorted(explainer.methods))
    x = small_models.inputs(20)
    found = {}
    for deadline in (1e-4, 1e5):
        stream = Stream()
        capture = Stored(clock, x)
        run = Run(capture, explainer, stream, methods, settings(methods, deadline=deadline), Bell())
        run.learn(bundle.arrays()["x"][0])
        run.work()
        found[deadline] = stream
    assert made(found[1e5]) == dict.fromkeys(methods, 20)
    assert not found[1e5].status.degraded
    # the answer of GradCAM comes with the prediction; for nothing else there is time
    assert made(found[1e-4]) == {"gradcam": 20}
    assert found[1e-4].status.degraded == {Degraded.NO_EXPLANATION: 40, Degraded.LATE: 20}
    for stream in found.values():
        assert [said[1] for said in stream.said if said[0] == "result"] == list(range(20))
