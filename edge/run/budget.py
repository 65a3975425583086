"""The time that one window has, and what explaining takes of it here."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable

from edge.pace import Pace

Clock = Callable[[], int]  # nanoseconds, as ``edge.latency.clock``

_MOST = 2  # times what is typical: with so much time left, a call that may take longer is begun all the same
# What does not fit is not measured, and must be tried again one day: less and less of a cost is believed.
_LEAST_HALVES = 60e9  # nanoseconds until half of the least ever measured is: it may have been a bad day all day
_REST_HALVES = 16  # refusals until half of what was above that is: another program was at work


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
    """What one call takes here, as far as can be told: the bound of its pace, and no more than twice what is typical.

    A refusal makes it believed less, as what is refused is not measured.
    """

    def __init__(self) -> None:
        self.direct = False  # whether a call of just this kind was measured
        self._pace = Pace()
        self._least = math.inf
        self._measured = 0
        self._refused = 0  # since then

    def note(self, ns: float, now: int) -> None:
        """Learn from one call."""
        self._pace.note(ns)
        self._least = min(self._least, ns)
        self.confirm(now)

    def confirm(self, now: int) -> None:
        """Learn that nothing speaks against what is known."""
        self._measured, self._refused = now, 0

    def refuse(self) -> None:
        """Learn that a call was not made, for what it would take."""
        self._refused += 1

    def expected(self, now: int) -> float:
        """Return what a call will hardly exceed, in nanoseconds."""
        if not self._pace.calls:
            return 0.0
        age = max(0, now - self._measured)
        rest = min(self._pace.bound, _MOST * self._pace.typical) - self._least
        return self._least * math.exp2(-age / _LEAST_HALVES) + rest * math.exp2(-self._refused / _REST_HALVES)


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

    def refuse(self, method: str) -> None:
        """Learn that an explanation was not begun, for what it would take."""
        self._costs[method].refuse()

    def least(self, method: str) -> float:
        """Return the milliseconds without which there is no use in starting; 0 for what has never been measured."""
        return self._costs[method].expected(self._clock()) / 1e6

    def fits(self, method: str, milliseconds: float | None) -> bool:
        """Whether what is known of a method lets it be started with so much time left."""
        return self.least(method) < (math.inf if milliseconds is None else milliseconds)
