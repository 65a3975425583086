"""How long one kind of call takes here, by the last few of them."""

from __future__ import annotations

from collections import deque
from itertools import islice

_RECENT, _LATEST = 16, 5  # calls


class Pace:
    """The ``typical`` time of a call, and the ``bound`` that next to all keep, in nanoseconds.

    They are the median of the last five, which follows at once, and the second longest of the last sixteen: what took
    long once, because another program was at work, says little of the next call. The first one, which also prepares the
    graph, is forgotten with the second.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.typical = self.bound = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT)  # newest first

    def note(self, ns: float) -> None:
        """Learn from one call."""
        self.calls += 1
        if self.calls == 2:
            self._recent.clear()
        self._recent.appendleft(ns)
        latest = sorted(islice(self._recent, _LATEST))
        self.typical = latest[(len(latest) - 1) // 2]
        self.bound = sorted(self._recent)[-2:][0]
