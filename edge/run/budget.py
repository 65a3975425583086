"""The time that one window has, and what explaining takes of it here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

Clock = Callable[[], int]  # nanoseconds, as ``edge.latency.clock``

_DEVIATIONS = 2  # that a cost is expected to lie above its mean
# What does not fit is not measured, and must be tried again one day: with time, less of a cost is believed.
_LEAST_HALVES = 600e9  # nanoseconds until half of the least ever measured is: it may have been a bad day all day
_REST_HALVES = 5e9  # the same of what was above that: another program was at work, or the processor was hot


class Budget:
    """The time that is left for one window, in milliseconds; None is all the time there is.

    ``since`` is when the window was complete, on ``clock``: waiting for its turn is part of its time.
    """

    def __init__(self, milliseconds: float | None, since: int, clock: Clock) -> None:
        self._end = None if milliseconds is None else since + milliseconds * 1e6
        self._clock = clock

    @property
    def limited(self) -> bool:
        """Whether there is an end to it."""
        return self._end is not None

    @property
    def remaining(self) -> float | None:
        """What is left, 0 where more than all of it is spent."""
        return None if self._end is None else max(0.0, (self._end - self._clock()) / 1e6)

    @property
    def over(self) -> bool:
        """Whether more than all of it is spent."""
        return self._end is not None and self._clock() > self._end


class Cost:
    """What one call takes here, as far as can be told: exponential mean and deviation, as TCP's timer (RFC 6298).

    The first call, which also prepares the graph, is forgotten, as by ``edge.integrate.Pace``; the mean begins with the
    shorter of the next two. One that takes more than twice as long as it should counts as twice: it may be another
    program's doing, and if it is not, the next ones will say so.
    """

    def __init__(self) -> None:
        self.direct = False  # whether a call of just this kind was measured
        self._mean = self._deviation = 0.0
        self._least = math.inf
        self._calls = 0
        self._measured = 0

    def note(self, ns: float, now: int) -> None:
        """Learn from one call."""
        self._calls += 1
        self._least = min(self._least, ns)
        if self._calls <= 2:
            self._mean = ns
        elif self._calls == 3:
            self._mean = min(self._mean, ns)
        else:
            ns = min(ns, 2 * (self._mean + _DEVIATIONS * self._deviation))
            self._deviation += 0.25 * (abs(ns - self._mean) - self._deviation)
            self._mean += 0.2 * (ns - self._mean)
        self._measured = now

    def confirm(self, now: int) -> None:
        """Learn that nothing speaks against what is known."""
        self._measured = now

    def expected(self, now: int) -> float:
        """Return what a call will hardly exceed, in nanoseconds; the less of it, the longer ago it was measured."""
        if not self._calls:
            return 0.0
        age = max(0, now - self._measured)
        rest = self._mean + _DEVIATIONS * self._deviation - self._least
        return self._least * math.exp2(-age / _LEAST_HALVES) + rest * math.exp2(-age / _REST_HALVES)


class Costs:
    """The least that an explanation by each method takes here: a pass, or as many steps as it cannot do without."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._costs: defaultdict[str, Cost] = defaultdict(Cost)

    def note(self, method: str, ns: int, steps: int, least: int) -> None:
        """Learn from an explanation of so many steps, of which it could have been cut down to ``least``."""
        cost, now = self._costs[method], self._clock()
        if steps <= least:
            if not cost.direct:
                cost = self._costs[method] = Cost()
            cost.direct = True
            cost.note(ns, now)
            return
        # The least lies between the part of its steps, as not all of a call is steps, and the whole call.
        part, expected = ns * least / steps, cost.expected(now)
        if not cost.direct or expected < part:
            cost.note(part, now)
        elif expected > ns:
            cost.note(ns, now)
        else:
            cost.confirm(now)

    def least(self, method: str) -> float:
        """Return the milliseconds without which there is no use in starting; 0 for what has never been measured."""
        return self._costs[method].expected(self._clock()) / 1e6

    def fits(self, method: str, milliseconds: float | None) -> bool:
        """Whether what is known of a method lets it be started with so much time left."""
        return self.least(method) < (math.inf if milliseconds is None else milliseconds)
