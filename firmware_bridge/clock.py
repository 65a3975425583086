"""A device's clock as the host knows it: bounds on its offset from PING and PONG, and the times that follow from them.

A PING leaves the host at t1 and reaches the device at t2, the PONG leaves it at t3 and is here at t4; t2 and t3 are on
the device's clock. Nothing arrives before it leaves, so the device's clock is ahead of the host's by at most t2 - t1
and at least t3 - t4, however unequal the two ways are: the quicker the round trip, the narrower the bounds. Between
round trips the offset drifts; two of them bound the drift, and all of them together the offset at any time, so that the
quickest decide (compare Zhang, Liu and Xia, "Clock synchronization algorithms for network measurements", INFOCOM 2002).
What is stated is a bound, not an estimate of an error, as long as the drift changes by no more than ``WANDER``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

from edge.latency import COARSENESS, NANOSECONDS, Histogram, Quantiles

MAX_DRIFT = 2e-3  # of one clock against the other: 1e-4 for each crystal, 5e-4 for an NTP client that slews each clock
WANDER = 1e-5  # by which the drift may change within the window, as crystals do when they grow warm
WINDOW = 64  # round trips that are remembered: about a minute of them
_WAITING = 4096  # results


@dataclass(frozen=True)
class Instant:
    """When something happened on the host's clock, in nanoseconds: at ``time``, give or take ``uncertainty``."""

    time: float
    uncertainty: float


@dataclass(frozen=True)
class _Trip:
    """By how much the device's clock was ahead, at least and at most, in nanoseconds, at the host's ``time``."""

    time: float
    low: float
    high: float


class DeviceClock:
    """Follows the clock of one session, of ``hz`` ticks a second.

    ``jumps`` counts how often it broke its own bounds: was set, stood still, or drifted more than clocks do.
    """

    def __init__(self, hz: int) -> None:
        self.jumps = 0
        self._tick = NANOSECONDS / hz
        self._drift = -MAX_DRIFT, MAX_DRIFT  # by what part it runs faster than the host's, at least and at most
        self._trips: deque[_Trip] = deque(maxlen=WINDOW)

    def add(self, left: int, received: int, sent: int, back: int) -> int | None:
        """Take in a round trip: when it began and ended in the host's nanoseconds, and the device's ticks in between.

        Returns its nanoseconds without what the device took to answer. What no pair of clocks gives is left out, and
        None returned: an answer from before the question, or one that took longer to make than to come.
        """
        slack = (back - left) / 2 * MAX_DRIFT  # what is known at either end is entered for the middle
        high = (received + 1) * self._tick - left + slack  # a time cut off to whole ticks is up to one too early
        low = sent * self._tick - back - slack
        if not left <= back or not received <= sent or low > high:
            return None
        self._trips.append(_Trip((left + back) / 2, low, high))
        bounds = self._fitted()
        if bounds is None:  # not the clock it was: the past says nothing of what is to come
            self.jumps += 1
            self._trips = deque([self._trips[-1]], maxlen=WINDOW)
            bounds = -MAX_DRIFT, MAX_DRIFT
        self._drift = bounds
        return max(0, round(back - left - (sent - received) * self._tick))

    def host_time(self, ticks: int) -> Instant | None:
        """Return when the device's clock showed ``ticks``; None before the first round trip."""
        if not self._trips:
            return None
        slow, fast = (1 + part for part in self._drift)
        # A host's time h is possible where h plus the offset's bounds at h holds the device's time.
        earliest, latest = [], []
        for trip in self._trips:
            least = ticks * self._tick - trip.time - trip.high
            most = (ticks + 1) * self._tick - trip.time - trip.low
            earliest.append(trip.time + (least / fast if least > 0 else least / slow))
            latest.append(trip.time + (most / slow if most > 0 else most / fast))
        first, last = max(earliest), min(latest)
        return Instant((first + last) / 2, abs(last - first) / 2)

    def _fitted(self) -> tuple[float, float] | None:
        """Return bounds on the drift that no two round trips contradict; None where there are none."""
        least, most = -MAX_DRIFT, MAX_DRIFT
        for earlier, later in combinations(self._trips, 2):
            apart = later.time - earlier.time
            if apart > 0:
                least = max(least, (later.low - earlier.high) / apart - WANDER / 2)
                most = min(most, (later.high - earlier.low) / apart + WANDER / 2)
        if least > most:
            return None
        return max(least - WANDER / 2, -MAX_DRIFT), min(most + WANDER / 2, MAX_DRIFT)


@dataclass(frozen=True)
class Bounds:
    """A distribution of durations each of which is known within bounds: that of the least ones and of the most.

    Every quantile of the true durations lies between the same quantile of the two; the lower one is put down by what a
    histogram may have put it up.
    """

    least: Quantiles
    most: Quantiles

    @property
    def middle(self) -> Quantiles:
        """Half-way between the bounds."""
        return self._between(lambda least, most: (least + most) / 2)

    @property
    def uncertainty(self) -> Quantiles:
        """How far each figure of ``middle`` may be from the true one, either way."""
        return self._between(lambda least, most: (most - least) / 2)

    def _between(self, mix: Callable[[float, float], float]) -> Quantiles:
        least, most = self.least, self.most

        def mixed(low: int, high: int) -> int:
            return math.ceil(mix(low * (1 - COARSENESS), high))

        return Quantiles(
            most.count,
            mix(least.mean, most.mean),
            mixed(least.p50, most.p50),
            mixed(least.p95, most.p95),
            mixed(least.p99, most.p99),
            math.ceil(mix(least.max, most.max)),
            most.rejected,
        )


class EndToEnd:
    """How long it took from a window being complete on the device to its result being here, over all sessions.

    A result counts when a later round trip has confirmed the clock that timed it, hence about a second later, and is
    ``rejected`` where that shows a jump. ``quickest`` is the shortest round trip in nanoseconds. Memory is bounded.
    """

    def __init__(self) -> None:
        self.device: DeviceClock | None = None  # of the session that is on
        self.quickest: int | None = None
        self.jumps = self.rejected = 0
        self._least, self._most = Histogram(), Histogram()
        self._waiting: deque[tuple[int, int]] = deque(maxlen=_WAITING)

    def begin(self, hz: int) -> None:
        """Begin a session whose clock has ``hz`` ticks a second; 0 for one that keeps no time."""
        self._waiting.clear()
        self.device = DeviceClock(hz) if hz else None

    def round_trip(self, left: int, received: int, sent: int, back: int) -> None:
        """Take in a round trip as ``DeviceClock.add`` does."""
        if self.device is None:
            return
        before = self.device.jumps
        taken = self.device.add(left, received, sent, back)
        if taken is None:
            return
        self.quickest = taken if self.quickest is None else min(taken, self.quickest)
        if self.device.jumps == before:
            self.settle()
        else:
            self.jumps += 1
            self.rejected += len(self._waiting)
            self._waiting.clear()

    def result(self, captured: int, heard: int) -> None:
        """Take in a window, complete at ``captured`` ticks, whose result was here at ``heard`` nanoseconds."""
        self._waiting.append((captured, heard))

    def settle(self) -> None:
        """Count what waits for a round trip: one has come, or none will any more."""
        while self._waiting and self.device is not None:
            instant = self.device.host_time(self._waiting[0][0])
            if instant is None:
                return
            _, heard = self._waiting.popleft()
            took = heard - instant.time
            most = round(took + instant.uncertainty)
            if most < 0:  # here before it was complete
                self.rejected += 1
            else:
                self._least.add(max(0, round(took - instant.uncertainty)))
                self._most.add(most)

    def bounds(self) -> Bounds | None:
        """Return the distribution so far; None where there is none."""
        return Bounds(self._least.quantiles(), self._most.quantiles()) if self._most.count else None
