"""What a link's rate is measured to be, and how far ahead of it is written, on lines and buffers that are simulated."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.latency import NANOSECONDS
from edge.link.pacer import AHEAD, Pacer

PADDING = 128


class Line:
    """A line with a buffer before it, which takes more only once ``grain`` bytes of it are free, as ptys do."""

    def __init__(self, rate, capacity, grain=1):
        self.rate, self.capacity, self.grain = rate, capacity, grain
        self.now, self.fill, self.asleep, self.idle = 0, 0.0, False, 0.0
        self.full_since = None
        self.pacer = Pacer(0)

    def run(self, seconds, piece=200, every=0.0):
        """Write pieces whenever the pacer lets, or one in ``every`` seconds; return the worst and mean fill met."""
        end, due, fills = self.now + seconds * NANOSECONDS, self.now, []
        while self.now < end:
            wait = self.pacer.opens_in(self.now)
            if self.now < due and not wait and self.pacer.wants_padding(self.now):
                self.write(PADDING)
                continue
            if wait or self.now < due:
                if self.now < due:
                    self.pacer.idle(self.now)
                self.pass_time(max(0.0005, min(wait, 0.02)))
                continue
            due += int(every * NANOSECONDS)
            self.write(piece)
            fills.append(self.fill)
        return max(fills), sum(fills) / len(fills)

    def write(self, rest):
        """Write bytes, however long that takes."""
        while rest:
            free = self.capacity - self.fill
            taken = 0 if self.asleep and free < self.grain else min(rest, int(free))
            self.asleep = taken < rest
            self.fill, rest = self.fill + taken, rest - taken
            self.pacer.wrote(taken, self.now)
            if rest:
                if self.full_since is None:
                    self.full_since = self.now
                self.pacer.full(self.now)
                self.pass_time(0.002)

    def pass_time(self, seconds):
        self.now += int(seconds * NANOSECONDS)
        self.idle += max(0.0, seconds - self.fill / self.rate)
        self.fill = max(0.0, self.fill - seconds * self.rate)


@pytest.mark.parametrize("rate", [960, 11_520, 92_160])
@pytest.mark.parametrize(("capacity", "grain"), [(4096, 256), (20_480, 3584)])
def test_the_rate_is_that_of_the_line_and_not_of_the_buffer_before_it(rate, capacity, grain):
    line = Line(rate, capacity, grain)
    line.run(10 + 4 * capacity / rate)
    assert line.pacer.rate == pytest.approx(rate, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from([5_760, 11_520, 46_080, 92_160]),
    capacity=st.sampled_from([4096, 8192, 20_480]),
    grain=st.sampled_from([1, 256, 1024, 3584]),
    load=st.floats(0.8, 3.0),
    piece=st.sampled_from([500, 2_000, 9_000, 28_000]),
)
@example(rate=5_760, capacity=8192, grain=3584, load=1.0, piece=500)
def test_a_few_seconds_after_buffers_were_first_full_the_rate_is_known_whatever_comes(
    rate, capacity, grain, load, piece
):
    line = Line(rate, capacity, grain)
    end = 60 * NANOSECONDS
    while line.full_since is None and line.now < end:
        line.run(0.5, piece, every=piece / (load * rate))
    if line.full_since is None:
        assert line.pacer.rate is None
        return
    settled = 16_384 / rate
    line.run(settled + 3.5 + 4 * grain / rate + piece / rate, piece, every=piece / (load * rate))
    assert line.pacer.rate == pytest.approx(rate, rel=0.2)


def test_a_buffer_that_comes_to_hold_more_of_other_pieces_is_no_faster_line():
    line = Line(11_520, 18_000, 256)
    while line.full_since is None:
        line.run(0.1)
    for _ in range(16):  # while what it held leaves
        line.run(0.1)
        line.capacity += 160
    line.run(3)
    assert line.pacer.rate == pytest.approx(11_520, rel=0.04)


def test_what_is_sent_for_a_measurement_alone_is_bounded():
    pacer = Pacer(0)
    pacer.wrote(1000, 0)
    pacer.full(0)
    padded = 0
    while pacer.wants_padding(padded) and padded < 1_000_000:
        padded += PADDING
        pacer.wrote(PADDING, padded)  # a fast link, that was full for a moment only
    assert padded <= 300_000
    pacer.idle(padded)
    pacer.full(padded + 1)
    assert not pacer.wants_padding(padded + 1)


def test_a_buffer_that_is_never_full_says_nothing():
    line = Line(11_520, 20_000)
    line.run(60, piece=1000, every=0.2)
    assert line.pacer.rate is None
    assert line.pacer.opens_in(line.now) == 0


def test_once_the_rate_is_known_little_waits_in_the_buffer_and_the_line_is_never_idle():
    line = Line(11_520, 20_480, 3584)
    line.run(8)
    line.idle = 0.0
    _, mean = line.run(60)
    assert mean < 0.25 * line.capacity
    assert line.idle < 0.03 * 60


def test_between_probes_a_piece_waits_no_longer_than_a_few_of_its_kind():
    line = Line(11_520, 4096, 256)
    line.run(4)
    while line.pacer.probing:
        line.run(0.5)
    line.run(0.7)  # what the probe left in the buffer leaves
    most, _ = line.run(2)
    assert not line.pacer.probing
    assert most <= 11_520 * AHEAD * 1.5 + 200


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_a_link_that_changes_its_pace_is_followed(factor):
    line = Line(11_520, 4096, 256)
    line.run(10)
    line.rate *= factor
    line.run(60)
    assert line.pacer.rate == pytest.approx(line.rate, rel=0.1)


def test_a_link_that_has_become_faster_than_what_comes_is_not_slow_any_more():
    line = Line(11_520, 4096, 256)
    line.run(10)
    line.rate = 1e7
    line.run(60, piece=1000, every=0.01)
    assert line.pacer.rate is None or line.pacer.rate > 90_000


def test_a_host_that_pauses_is_no_slow_link():
    line = Line(92_160, 4096, 256)
    line.run(5)
    line.rate = 0.0001
    for _ in range(10):
        line.pacer.wrote(0, line.now)
        line.pacer.full(line.now)
        line.pass_time(0.1)
    line.rate = 92_160
    line.run(10)
    assert line.pacer.rate == pytest.approx(92_160, rel=0.1)
