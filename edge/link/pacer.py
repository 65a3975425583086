"""What a port really takes, and how much to hand it so that little waits in buffers that nobody can reach into."""

from __future__ import annotations

import math
from collections import deque

from edge.latency import NANOSECONDS

AHEAD = 0.02  # seconds of link time that may wait in the system's buffers
_WINDOW = 0.5  # seconds of which a rate is taken
_SURE = 3.0  # seconds that the first measurement lasts: how full full is varies by some 600 bytes on a pty
_ALIKE = 0.2  # two rates that differ by no more than this part are the same
_DRAINED = 1.1  # of what they seem to hold leaves the buffers after a probe: what is left there delays all that follows
_TRUST = 0.98  # of the measured rate is used, so that an error in it does not fill the buffers unseen
_RESTS = 256
_PROBE = 3 * NANOSECONDS  # a link that is not full by then has too little to carry to tell
_FIRST, _LAST = 15 * NANOSECONDS, 120 * NANOSECONDS  # between two probes: at first, and when nothing changes


class Pacer:
    """Measures a link's rate and says when to write; times are of ``edge.latency.clock``.

    The system's buffers swallow the first kilobytes at once (a UART's driver 4, a pty 20), so bytes over time say
    nothing, until a write meets full buffers. Between two such moments, with the line never idle, the bytes taken are
    the bytes that left. Two windows in a row that agree make a rate; a host that paused in one of them does not.

    Once the rate is known, only as much is written ahead as leaves in ``AHEAD`` seconds. Hence full buffers are met no
    more, unless the link has become slower, which is measured at once. Whether it has become faster is tried now and
    then, by filling them again.
    """

    def __init__(self, now: int) -> None:
        self.rate: float | None = None  # bytes per second; None where the buffers were never full
        self.probing = True
        self._written = 0
        self._waiting = 0.0  # bytes in the buffers, by the rate known
        self._waiting_at = now
        self._capacity = 0.0  # of the buffers
        # When the line may have rested since the last probe, and the bytes written that had left by then
        self._rests: deque[tuple[int, float]] = deque([(now, 0.0)], maxlen=_RESTS)
        self._first: tuple[int, int] | None = None  # when the buffers were first full: time, bytes written
        self._full_at = -1  # bytes written when they were last so
        self._last: tuple[int, int] | None = None  # the same when a probe ended, and the line has not rested since
        self._mark: tuple[int, int] | None = None  # the same at the beginning of this window
        self._sample: float | None = None  # the window before
        self._steady: tuple[int, int] = now, 0  # where the windows that agree begin: time, bytes written
        self._pause = _FIRST
        self._probe_at = self._probe_until = 0

    def wrote(self, taken: int, now: int) -> None:
        """Note bytes that the port has taken."""
        self._drain(now)
        self._written += taken
        self._waiting += taken
        if self.probing and self.rate is not None and self._waiting > 2 * self._capacity + self.rate * _WINDOW:
            self.rate = None  # no buffer is so large: all of that has left, faster than was known

    def full(self, now: int) -> None:
        """Note that the port takes no more at the moment."""
        if not self.probing:
            self._drain(now)
            if self._waiting > self._capacity / 2:
                return  # they have not emptied since the last time
            if not self._corrected(now):
                self._pause = _FIRST
                self._probe(now)
        if self._mark is None:
            self._first = self._mark = now, self._written
        elif self._written == self._full_at:
            return  # still full, or no longer quite: some systems empty a good part of a buffer before they take more
        elif now - self._mark[0] >= _WINDOW * NANOSECONDS:
            self._measure(now)
        self._full_at = self._written

    def _corrected(self, now: int) -> bool:
        """Correct a rate that was a little too high, so that the buffers filled unseen; False if it is another one."""
        if self._last is None or self.rate is None:
            return False
        then, written = self._last
        rate = (self._written - written) / (now - then) * NANOSECONDS
        if abs(rate - self.rate) > _ALIKE * self.rate:
            return False
        self.rate, self._last = rate, (now, self._written)
        self._waiting = _DRAINED * self._capacity
        return True

    def idle(self, now: int) -> None:
        """Note that there is nothing to write: the line may rest from now on."""
        self._drain(now)
        self._mark = self._first = self._sample = self._last = None
        self._rests.append((now, self._written - self._waiting))

    def stalled(self) -> None:
        """Note that the host has stopped reading: that is no rate."""
        self._mark = self._sample = None

    def opens_in(self, now: int) -> float:
        """Return in how many seconds the next piece that can wait may be written; 0 for now."""
        if self.rate is None:
            return 0.0
        if self.probing:
            if self._mark is None and now >= self._probe_until:
                self._rest(now, changed=False)
            return 0.0
        if now >= self._probe_at:
            self._probe(now)
            return 0.0
        self._drain(now)
        return max(0.0, self._waiting / self.rate - AHEAD)

    def _measure(self, now: int) -> None:
        """End a window, and the probe where it confirms the one before."""
        assert self._mark is not None
        rate = (self._written - self._mark[1]) / (now - self._mark[0]) * NANOSECONDS
        before, self._sample = self._sample, rate
        before_mark, self._mark = self._mark, (now, self._written)
        if not before or abs(rate - before) > _ALIKE * before:
            self._steady = before_mark
            return
        since, written = self._steady
        if self.rate is None and now - since < _SURE * NANOSECONDS:
            return
        known, rate = self.rate, (self._written - written) / (now - since) * NANOSECONDS
        changed = known is None or abs(rate - known) > _ALIKE * known
        self.rate = rate if known is None or changed else known  # the first measurement was the longer one
        self._last = now, self._written
        if self._first is not None:
            first, written = self._first
            left = (before + self.rate * (first - time) / NANOSECONDS for time, before in self._rests)
            self._capacity = max(self._capacity, written - min(left, default=written))
        self._waiting, self._waiting_at = _DRAINED * self._capacity, now
        self._rest(now, changed=changed)

    def _probe(self, now: int) -> None:
        self.probing, self._probe_until = True, now + _PROBE
        self._rests.clear()
        self.idle(now)

    def _rest(self, now: int, *, changed: bool) -> None:
        self.probing = False
        self._pause = _FIRST if changed else min(2 * self._pause, _LAST)
        self._probe_at = now + self._pause

    def _drain(self, now: int) -> None:
        left = math.inf if self.rate is None else _TRUST * self.rate * (now - self._waiting_at) / NANOSECONDS
        self._waiting, self._waiting_at = max(0.0, self._waiting - left), now
