"""What a link's rate is measured to be, and how far ahead of it is written, on lines and buffers that are simulated."""

from __future__ import annotations

import pytest

from edge.latency import NANOSECONDS
from edge.link.pacer import AHEAD, Pacer


class Line:
    """A line with a buffer before it, which takes more only once ``grain`` bytes of it are free, as ptys do."""

    def __init__(self, rate, capacity, grain=1):
        self.rate, self.capacity, self.grain = rate, capacity, grain
        self.now, self.fill, self.asleep, self.idle = 0, 0.0, False, 0.0
        self.pacer = Pacer(0)

    def run(self, seconds, piece=200, every=0.0):
        """Write pieces whenever the pacer lets, or one in ``every`` seconds; return the worst and mean fill met."""
        end, due, fills = self.now + seconds * NANOSECONDS, self.now, []
        while self.now < end:
            wait = self.pacer.opens_in(self.now)
            if wait or self.now < due:
                if self.now < due:
                    self.pacer.idle(self.now)
                self.pass_time(max(0.0005, min(wait, 0.02)))
                continue
            due += int(every * NANOSECONDS)
            rest = piece
            while rest:
                free = self.capacity - self.fill
                taken = 0 if self.asleep and free < self.grain else min(rest, int(free))
                self.asleep = taken < rest
                self.fill, rest = self.fill + taken, rest - taken
                self.pacer.wrote(taken, self.now)
                if rest:
                    self.pacer.full(self.now)
                    self.pass_time(0.002)
            fills.append(self.fill)
        return max(fills), sum(fills) / len(fills)

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
