"""What a run's windows took: warm-up apart, wrong clocks apart, the rest in bounded memory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.clocks import Fault, Watch
from edge.latency import Histogram, Lap, Phase
from edge.timekeeper import Timekeeper, WarmUp, account

WARM = 3  # calls that a steady phase takes to be known for steady


class Clock:
    """A clock that tests turn."""

    def __init__(self):
        self.now, self.stuck = 0, False

    def read(self):
        self.now += 0 if self.stuck else 1000
        return self.now

    def watch(self):
        return Watch(self.read, {Fault.PACE: lambda: self.now}, lambda: 0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def keeper(clock):
    return Timekeeper(clock.watch())


def warm_ups(durations):
    phase = WarmUp()
    return [phase.add(duration) for duration in durations]


def test_calls_that_still_get_faster_are_warm_up():
    assert warm_ups([900, 300, 100, 50, 49, 50, 51, 48]) == [True] * 6 + [False] * 2


def test_a_hiccup_amid_the_first_calls_does_not_end_them():
    assert warm_ups([900, 300, 5000, 100, 99, 101, 100]) == [True] * 6 + [False]


def test_steady_calls_are_believed_after_three():
    assert warm_ups([50, 50, 50, 50, 50]) == [True] * WARM + [False] * 2


def test_what_gets_faster_and_faster_is_believed_after_twenty():
    assert warm_ups([10**12 // 2**i for i in range(30)]) == [True] * 20 + [False] * 10


def test_a_call_that_got_faster_later_on_is_no_warm_up():
    assert warm_ups([50, 50, 50, 50, 5, 5])[WARM:] == [False] * 3


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=100))
def test_warm_up_is_one_run_at_the_beginning_of_at_most_twenty(durations):
    marks = warm_ups(durations)
    runs = [mark for mark, _ in itertools.groupby(marks)]
    assert runs in ([True], [True, False])
    assert min(len(marks), WARM) <= sum(marks) <= 20


def lap(predict, **methods):
    return Lap({Phase.CAPTURE: 5, Phase.PREDICT: predict}, methods)


def test_warm_up_and_the_rest_are_counted_apart(keeper):
    laps = [lap(10_000 // (1 + i) if i < 3 else 1000, gradcam=2000) for i in range(100)]
    for one in laps:
        keeper.lap(one)
    times = keeper.times()
    warm = sum(one.warm_up for one in laps)
    assert [one.warm_up for one in laps] == [True] * warm + [False] * (100 - warm)
    assert warm < 10
    assert times.warm_up == warm
    assert times.rejected == 0
    assert times.phases[Phase.PREDICT].count == times.methods["gradcam"].count == 100 - warm
    assert times.phases[Phase.PREDICT].max == 1000
    assert list(times.phases) == [Phase.CAPTURE, Phase.PREDICT]


def test_a_method_that_comes_late_has_a_warm_up_of_its_own(keeper):
    for _ in range(10):
        keeper.lap(lap(1000))
    late = [lap(1000, ig=9000 - i) for i in range(6)]
    for one in late:
        keeper.lap(one)
    assert [one.warm_up for one in late] == [True] * WARM + [False] * 3
    assert keeper.times().methods["ig"].count == 3


def test_waiting_for_a_sensor_or_the_link_is_no_warming_up(keeper):
    laps = [Lap({Phase.CAPTURE: 10**9 // (1 + i), Phase.PREDICT: 1000}) for i in range(10)]
    for one in laps:
        keeper.lap(one)
    assert sum(one.warm_up for one in laps) == WARM
    keeper.link(Phase.QUEUE, 700)
    keeper.link(Phase.SEND, 70)
    times = keeper.times()
    assert (times.phases[Phase.QUEUE].count, times.phases[Phase.SEND].max) == (1, 70)


def test_a_window_that_failed_says_nothing_of_warming_up(keeper):
    for _ in range(5):
        keeper.lap(Lap({Phase.CAPTURE: 5}))
    laps = [lap(9000 // (1 + i)) for i in range(6)]
    for one in laps:
        keeper.lap(one)
    assert all(one.warm_up for one in laps)


def test_a_stalled_clock_makes_every_later_lap_invalid(keeper, clock):
    for _ in range(10):
        keeper.lap(lap(1000))
    counted = keeper.times().phases[Phase.PREDICT].count
    clock.stuck = True
    stalled = [lap(0) for _ in range(5)]
    for one in stalled:
        keeper.lap(one)
    clock.stuck = False
    stalled += [lap(1000)]
    keeper.lap(stalled[-1])
    keeper.link(Phase.QUEUE, 0)
    assert not any(one.valid for one in stalled[1:])
    times = keeper.times()
    assert times.rejected >= 5
    assert times.phases[Phase.PREDICT].count == counted + (6 - times.rejected)
    assert Phase.QUEUE not in times.phases


def test_a_clock_that_fails_its_test_makes_every_lap_invalid(keeper, clock):
    clock.stuck = True
    assert keeper.watch.self_test().faults == (Fault.STALLED,)
    clock.stuck = False
    one = lap(1000)
    keeper.lap(one)
    assert not one.valid
    assert keeper.times().rejected == 1


def test_a_jump_costs_one_lap(keeper, clock):
    for _ in range(10):
        keeper.lap(lap(1000))
    skewed, after = lap(10**9), lap(1000)
    others = keeper.watch._others
    true = clock.now
    others[Fault.PACE] = lambda: clock.now - (clock.now > true) * 10**9
    clock.now += 10**9
    keeper.lap(skewed)
    keeper.lap(after)
    assert (skewed.valid, after.valid) == (False, True)
    assert keeper.times().rejected == 1


def test_the_quantiles_are_those_of_all_windows_and_memory_does_not_grow(keeper):
    durations = np.random.default_rng(0).lognormal(13, 0.5, 20_000).astype(int)
    for _ in range(WARM):
        keeper.lap(lap(int(1e6)))
    for duration in durations:
        keeper.lap(lap(int(duration)))
    spread = keeper.times().phases[Phase.PREDICT]
    assert spread.count == len(durations)
    for fraction, figure in ((0.5, spread.p50), (0.95, spread.p95), (0.99, spread.p99)):
        assert figure == pytest.approx(np.quantile(durations, fraction), rel=0.01)
    assert sum(len(histogram._buckets) for histogram in keeper._histograms.values()) < 2000


def test_nobody_writes_while_another_thread_reads(keeper, monkeypatch):
    guarded = []

    def watched(name):
        plain = getattr(Histogram, name)

        def call(histogram, *arguments):
            guarded.append((name, keeper._guard.locked()))
            return plain(histogram, *arguments)

        monkeypatch.setattr(Histogram, name, call)

    watched("add")
    watched("quantiles")
    for _ in range(5):
        keeper.lap(lap(1000))
    keeper.link(Phase.SEND, 1)
    keeper.times()
    assert set(guarded) == {("add", True), ("quantiles", True)}


def test_a_table_for_people(keeper):
    for _ in range(10):
        keeper.lap(lap(1_500_000, gradcam=0))
    times = keeper.times()
    assert [line.split() for line in account(times)] == [
        ["p50", "p95", "p99", "max"],
        ["capture", *["0.005", "µs"] * 4],
        ["predict", *["1.5", "ms"] * 4],
        ["gradcam", *"----"],
        ["3", "windows", "of", "warm-up", "left", "out"],
    ]
