"""The offset of a device's clock: whatever the delays are, the truth lies within what is stated."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.clock import MAX_DRIFT, WINDOW, DeviceClock, EndToEnd

SECOND = 1_000_000_000
MILLISECOND = 1_000_000


class Pair:
    """A host and a device in true (the host's) nanoseconds; the device's clock has an offset and a pace of its own."""

    def __init__(self, offset=0, ppm=0.0, hz=SECOND):
        self.now, self.offset, self.ppm, self.hz = 5 * 10**12, offset, ppm, hz
        self.origin = self.now
        self.clock = DeviceClock(hz)

    def ticks(self, at):
        """What the device's clock shows at the host's time ``at``."""
        device = (at - self.origin) * (1 + self.ppm * 1e-6) + self.offset
        return int(device * self.hz / SECOND)

    def ping(self, there, answering, back):
        left = self.now
        received = left + there
        sent = received + answering
        self.now = sent + back
        self.clock.add(left, self.ticks(received), self.ticks(sent), self.now)

    def check(self, at):
        instant = self.clock.host_time(self.ticks(at))
        assert abs(instant.time - at) <= instant.uncertainty + 1  # a nanosecond for float64
        return instant


delays = st.integers(0, 20 * MILLISECOND) | st.integers(0, 100_000) | st.integers(0, 5 * SECOND)
hertz = st.sampled_from([SECOND, 1_000_000, 32_768, 168_000_000, 1000])


@given(
    st.integers(0, 10**15),
    st.floats(-1e6 * MAX_DRIFT * 0.99, 1e6 * MAX_DRIFT * 0.99),
    hertz,
    st.lists(st.tuples(delays, delays, delays, st.integers(0, 3 * SECOND)), min_size=1, max_size=WINDOW + 20),
    st.lists(st.integers(-60 * SECOND, 60 * SECOND), max_size=5),
)
@settings(deadline=None)
def test_the_truth_lies_within_the_bounds(offset, ppm, hz, trips, moments):
    pair = Pair(offset + 60 * SECOND, ppm, hz)
    for there, answering, back, pause in trips:
        pair.ping(there, answering, back)
        pair.check(pair.now)
        pair.now += pause
    for moment in moments:
        pair.check(max(pair.origin, pair.now + moment))
    pair.check(pair.now + 24 * 3600 * SECOND)  # where the bounds of the drift tell most
    assert pair.clock.jumps == 0


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_a_drift_that_wanders_as_crystals_do_stays_within_the_bounds(seed):
    rng = random.Random(seed)
    pair = Pair(10 * SECOND, 40)
    base = ppm = 40.0
    for _ in range(120):
        pair.ping(rng.randrange(20_000), 50_000, rng.randrange(20_000))  # the wandering shows beside so little
        pair.check(pair.now)
        # a new pace from here on: the device's clock goes on from what it shows
        pair.offset += (pair.now - pair.origin) * (1 + ppm * 1e-6)
        pair.origin = pair.now
        ppm = min(base + 4.5, max(base - 4.5, ppm + rng.uniform(-0.5, 0.5)))
        pair.ppm = ppm
        pair.now += SECOND
    assert pair.clock.jumps == 0


def test_all_the_delay_on_one_way_is_as_much_as_the_bound_allows():
    pair = Pair()
    pair.ping(there=0, answering=0, back=10 * MILLISECOND)
    instant = pair.check(pair.now)
    assert abs(instant.time - pair.now) == pytest.approx(5 * MILLISECOND, rel=0.01)
    assert instant.uncertainty == pytest.approx(5 * MILLISECOND, rel=0.01)


def test_one_quick_round_trip_among_slow_ones_decides():
    rng = np.random.default_rng(0)
    pair = Pair(3 * SECOND, ppm=25)
    for turn in range(40):
        slow = 0 if turn == 30 else int(rng.exponential(20 * MILLISECOND))
        pair.ping(100_000 + slow, 1 * MILLISECOND, 100_000)
        pair.now += SECOND
    instant = pair.check(pair.now)
    assert instant.uncertainty < MILLISECOND  # half of the median round trip is 7 ms


def test_the_uncertainty_of_a_quiet_link_is_half_its_round_trip_and_a_little_drift():
    pair = Pair(SECOND, ppm=80)
    for _ in range(60):
        pair.ping(400_000, 20_000, 400_000)
        pair.now += SECOND
    assert pair.check(pair.now).uncertainty == pytest.approx(400_000, rel=0.15)
    assert pair.check(pair.now + 3600 * SECOND).uncertainty < 30e-6 * 3600 * SECOND + 480_000


def test_a_round_trip_is_told_without_what_answering_took():
    clock = DeviceClock(SECOND)
    assert clock.add(10**12, 500, 500 + 30_000, 10**12 + MILLISECOND) == MILLISECOND - 30_000


def test_what_is_not_known_grows_with_time():
    pair = Pair(SECOND, ppm=80)
    for _ in range(60):
        pair.ping(400_000, 20_000, 400_000)
        pair.now += SECOND
    soon = pair.check(pair.now).uncertainty
    assert pair.check(pair.now + 3600 * SECOND).uncertainty > 10 * soon


@pytest.mark.parametrize("jump", [-5 * SECOND, -20 * MILLISECOND, 20 * MILLISECOND, 10**14])
def test_a_clock_that_jumps_is_noticed_and_followed(jump):
    pair = Pair(10 * SECOND, ppm=10)
    for turn in range(20):
        if turn == 10:
            pair.offset += jump
        pair.ping(400_000, 20_000, 400_000)
        assert pair.clock.jumps == (turn >= 10)
        pair.check(pair.now)
        pair.now += SECOND


def test_a_clock_that_stands_still_is_noticed():
    pair = Pair(10 * SECOND)
    for turn in range(10):
        left = pair.now
        pair.clock.add(left, 77, 77, left + MILLISECOND)
        assert pair.clock.jumps == turn
        pair.now += SECOND


@pytest.mark.parametrize(
    ("received", "sent", "took"),
    [(100, 50, MILLISECOND), (100, 100 + 2 * MILLISECOND, MILLISECOND), (100, 2**64 - 1, MILLISECOND), (5, 5, -1)],
)
def test_what_no_pair_of_clocks_says_is_left_out(received, sent, took):
    clock = DeviceClock(SECOND)
    assert clock.add(10**12, received, sent, 10**12 + took) is None
    assert clock.host_time(100) is None


class Run:
    """Results and round trips of one simulated device, and how long each result truly took."""

    def __init__(self, pair):
        self.pair, self.kept, self.true = pair, EndToEnd(), []
        self.kept.begin(pair.hz)

    def result(self, took):
        captured = self.pair.ticks(self.pair.now)
        self.pair.now += took
        self.kept.result(captured, self.pair.now)
        self.true.append(took)

    def ping(self, there, back):
        left = self.pair.now
        self.pair.now += there + back
        ticks = self.pair.ticks(left + there)
        self.kept.round_trip(left, ticks, ticks, self.pair.now)


def test_the_end_to_end_quantiles_hold_the_true_ones():
    rng = np.random.default_rng(1)
    run = Run(Pair(SECOND, ppm=-60))
    for turn in range(2000):
        run.result(int(rng.lognormal(17, 0.4)))
        if turn % 10 == 9:
            run.ping(int(rng.exponential(MILLISECOND)), int(rng.exponential(MILLISECOND)))
    bounds = run.kept.bounds()
    assert bounds.middle.count == 2000
    for fraction, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"), (1.0, "max")):
        exact = np.quantile(run.true, fraction, method="inverted_cdf")
        middle, uncertainty = getattr(bounds.middle, name), getattr(bounds.uncertainty, name)
        assert abs(middle - exact) <= uncertainty + 1
        assert uncertainty < 3 * MILLISECOND


def test_a_result_counts_once_a_round_trip_has_confirmed_its_clock():
    run = Run(Pair(SECOND))
    run.result(7 * MILLISECOND)
    assert run.kept.bounds() is None
    run.ping(100_000, 100_000)
    assert run.kept.bounds().middle.p50 == pytest.approx(7 * MILLISECOND, rel=0.02)
    run.result(9 * MILLISECOND)
    assert run.kept.bounds().middle.count == 1
    run.kept.settle()  # the last there will be
    assert run.kept.bounds().middle.count == 2


def test_what_a_clock_timed_that_then_turns_out_to_have_jumped_is_rejected():
    run = Run(Pair(10 * SECOND))
    for _ in range(5):
        run.ping(100_000, 100_000)
        run.result(5 * MILLISECOND)
    run.pair.offset -= SECOND
    for _ in range(3):
        run.result(5 * MILLISECOND)
    run.ping(100_000, 100_000)
    assert (run.kept.jumps, run.kept.rejected) == (1, 4)
    run.result(5 * MILLISECOND)
    run.ping(100_000, 100_000)
    middle = run.kept.bounds().middle
    assert middle.count == 5
    assert middle.max == pytest.approx(5 * MILLISECOND, rel=0.05)


def test_a_result_that_was_here_before_its_window_is_rejected():
    run = Run(Pair(SECOND))
    run.ping(100_000, 100_000)
    run.result(-5 * MILLISECOND)
    run.kept.settle()
    assert run.kept.rejected == 1
    assert run.kept.bounds() is None


def test_a_new_session_has_a_clock_of_its_own_and_the_same_totals():
    run = Run(Pair(SECOND))
    run.ping(100_000, 100_000)
    run.result(5 * MILLISECOND)
    run.kept.settle()
    run.result(5 * MILLISECOND)
    run.kept.begin(1_000_000)
    run.kept.settle()
    assert run.kept.device.host_time(0) is None
    assert run.kept.bounds().middle.count == 1


def test_a_device_without_a_clock_to_speak_of_is_no_reason_to_fail():
    kept = EndToEnd()
    kept.begin(0)
    kept.result(5, 10**9)
    kept.round_trip(0, 1, 1, 10**6)
    kept.settle()
    assert kept.bounds() is None


def test_memory_is_bounded_while_no_pong_comes():
    run = Run(Pair(SECOND))
    for _ in range(5000):
        run.result(5)
    assert len(run.kept._waiting) == 4096
