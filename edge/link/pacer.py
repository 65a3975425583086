"""What a port really takes, and how much to hand it so that little waits in buffers that nobody can reach into."""

from __future__ import annotations

import math
from collections import deque
from statistics import linear_regression

from edge.latency import NANOSECONDS

AHEAD = 0.02  # seconds of link time that may wait in the system's buffers
_SETTLED = 16 * 1024  # bytes after the first full moment, when what filled the buffers then has left: see Pacer
_SPAN = 2.0  # seconds that a measurement lasts at least,
_POINTS = 4  # moments of full buffers that it takes,
_LONG = 3.0  # seconds after which it need not be so exact any more,
_FIT, _LOOSE = 0.05, 0.1  # and how far they may lie off a straight line, of the bytes it spans: until then, from then
_APART = NANOSECONDS // 20  # between two such moments that are kept
_KEPT = 64
_ALIKE = 0.2  # two rates that differ by no more than this part are the same
_SLACK = 0.5  # seconds
_DRAINED = 1.1  # of what they seem to hold leaves the buffers after a probe: what is left there delays all that follows
_TRUST = 0.98  # of the measured rate is used, so that an error in it does not fill the buffers unseen
_PADDING = 256 * 1024  # bytes after which nothing is sent any more for the sake of a measurement alone
_RESTS = 256
_PROBE = 3 * NANOSECONDS  # a link that is not full by then has too little to carry to tell
_FIRST, _LAST = 15 * NANOSECONDS, 120 * NANOSECONDS  # between two probes: at first, and when nothing changes
_RARE = 60  # times what the buffers hold, as what waits in them is late: at least so long between two probes


class Pacer:
    """Measures a link's rate and says when to write; times are of ``edge.latency.clock``.

    The system's buffers swallow the first kilobytes at once (a UART's driver 4, a pty 20), so bytes over time say
    nothing, until a write meets full buffers. Between two such moments, with the line never idle, the bytes taken are
    the bytes that left, but for how full full is: ptys free kilobytes at a time, and hold more in large pieces than in
    small ones, so what filled them at first has to have left. A rate is the slope of a line through
    such moments once they lie close enough to it; a host that paused meanwhile bends it. From the first of them on the
    line must not rest, or all would have to begin anew: where nothing waits, ``wants_padding`` says so.

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
        self._moments: deque[tuple[int, int]] = deque(maxlen=_KEPT)  # at which they were full: time, bytes written
        self._unpadded_until = now
        self._last: tuple[int, int] | None = None  # the same when a probe ended, and the line has not rested since
        self._pause = _FIRST
        self._probe_at = self._probe_until = self._known_at = 0

    def wrote(self, taken: int, now: int) -> None:
        """Note bytes that the port has taken."""
        self._drain(now)
        self._written += taken
        self._waiting += taken
        if self.probing and self.rate is not None and self._waiting > 2 * self._capacity + self.rate * _SLACK:
            self.rate = None  # no buffer is so large: all of that has left, faster than was known

    def full(self, now: int) -> None:
        """Note that the port takes no more at the moment."""
        if not self.probing:
            self._drain(now)
            if self._waiting > self._capacity / 2:
                return  # they have not emptied since the last time
            if now - self._known_at < 2 * _SPAN * NANOSECONDS:  # they hold more than it seemed, and never emptied
                self._capacity *= 2
                self._waiting = self._capacity
                return
            if self._corrected(now):
                return
            self._pause = _FIRST
            self._probe(now)
        if self._written == self._full_at:
            return  # still full, or no longer quite: some systems empty a good part of a buffer before they take more
        self._full_at = self._written
        self._first = self._first or (now, self._written)
        if self._written - self._first[1] < _SETTLED:
            return
        if not self._moments or now - self._moments[-1][0] >= _APART:
            self._moments.append((now, self._written))
            self._measure(now)

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
        if self._first is not None:
            self._unpadded_until = now + _FIRST  # as much as may be spent on a measurement was in vain
        self._forget()
        self._rests.append((now, self._written - self._waiting))

    def stalled(self) -> None:
        """Note that the host has stopped reading: that is no rate."""
        self._moments.clear()
        self._first = None

    def wants_padding(self, now: int) -> bool:
        """Whether the line should not rest now, though nothing waits: its rate is being measured."""
        if not self.probing or self._first is None or now < self._unpadded_until:
            return False
        return self._written - self._first[1] < _PADDING

    def opens_in(self, now: int) -> float:
        """Return in how many seconds the next piece that can wait may be written; 0 for now."""
        if self.rate is None:
            return 0.0
        if self.probing:
            if self._first is None and now >= self._probe_until:
                self._rest(now, changed=False)
            return 0.0
        if now >= self._probe_at:
            self._probe(now)
            return 0.0
        self._drain(now)
        return max(0.0, self._waiting / self.rate - AHEAD)

    def _measure(self, now: int) -> None:
        """End the probe if the moments of full buffers lie on a line."""
        since = self._moments[0][0]
        span = (now - since) / NANOSECONDS
        if len(self._moments) < _POINTS or span < _SPAN:
            return
        times = [(time - since) / NANOSECONDS for time, _ in self._moments]
        written = [written for _, written in self._moments]
        rate, start = linear_regression(times, written)
        off = max(abs(start + rate * time - there) for time, there in zip(times, written, strict=True))
        if off > (_FIT if span < _LONG else _LOOSE) * (written[-1] - written[0]):
            return
        known = self.rate
        changed = known is None or abs(rate - known) > _ALIKE * known
        self.rate = rate if known is None or changed else known  # the first measurement was the longer one
        self._last, self._known_at = (now, self._written), now
        if self._first is not None:
            first, until_full = self._first
            left = (before + _TRUST * self.rate * (first - time) / NANOSECONDS for time, before in self._rests)
            self._capacity = max(self._capacity, until_full - min(left, default=until_full))
        self._waiting, self._waiting_at = _DRAINED * self._capacity, now
        self._rest(now, changed=changed)

    def _probe(self, now: int) -> None:
        self._drain(now)
        self.probing, self._probe_until = True, now + _PROBE
        self._forget()
        self._unpadded_until = now
        self._rests.clear()
        self._rests.append((now, self._written - self._waiting))

    def _forget(self) -> None:
        self._moments.clear()
        self._first = self._last = None

    def _rest(self, now: int, *, changed: bool) -> None:
        assert self.rate is not None
        self.probing, self._first = False, None
        self._moments.clear()
        self._pause = _FIRST if changed else min(2 * self._pause, _LAST)
        self._probe_at = now + max(self._pause, int(_RARE * self._capacity / self.rate * NANOSECONDS))

    def _drain(self, now: int) -> None:
        left = math.inf if self.rate is None else _TRUST * self.rate * (now - self._waiting_at) / NANOSECONDS
        self._waiting, self._waiting_at = max(0.0, self._waiting - left), now
