"""When a window has its turn, and what is done until then."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from edge.capture import Capture
from edge.errors import InputError
from edge.latency import NANOSECONDS
from edge.link.stream import Stream
from edge.run.bell import Bell
from edge.run.budget import Budget, Clock
from edge.run.desk import Desk
from edge.sources import Fault, Window
from edge.wire.codes import SourceFault

_SLICE = 0.2  # seconds at the most between two looks at what else there is to do

_log = logging.getLogger(__name__)


class Turns:
    """The windows of a capture when their time has come, each with its budget; the host's requests in between.

    No window is taken before the one before it is done with, so none waits here: what comes too fast is the capture's
    to lose and to count. Before each look for a window at most one explanation is made on request.
    """

    def __init__(self, capture: Capture, stream: Stream, desk: Desk, bell: Bell, clock: Clock) -> None:
        self._capture, self._stream, self._desk, self._bell, self._clock = capture, stream, desk, bell, clock
        self._budget = Budget(desk.settings.deadline, clock(), clock)
        self._due = clock()  # when the next window may begin, where there is a rate
        stream.status.source = capture.faults
        stream.on_request(bell.ring)

    def __iter__(self) -> Iterator[tuple[Window, Budget]]:
        while not self._bell.stopped:
            self._desk.settle()
            worked = self._desk.work(self._room())
            if (pause := self._pause()) > 0:
                self._bell.wait(0 if worked else min(pause, _SLICE))
            elif self._link_has_room():
                match self._capture.take(0 if worked else _SLICE):
                    case Window() as window:
                        self._budget = Budget(self._desk.settings.deadline, window.at, self._clock)
                        yield window, self._budget
                        # a late window does not hurry those after it
                        self._due = max(self._due + self._period, self._clock())
                    case Fault() as fault:
                        self._report(fault)
                    case None if self._capture.ended:
                        return

    @property
    def _period(self) -> int:
        rate = self._desk.settings.rate
        return int(NANOSECONDS / rate) if rate else 0

    def _pause(self) -> float:
        """Return the seconds until the next window may begin."""
        now = self._clock()
        self._due = min(self._due, now + self._period)  # the rate may have been raised
        return max(0, self._due - now) / NANOSECONDS

    def _room(self) -> float | None:
        """Return the milliseconds in which nobody waits: what the last window left, or the time until the next."""
        left = self._budget.remaining
        return None if left is None else max(left, self._pause() * 1e3)

    def _link_has_room(self) -> bool:
        """Whether the link takes what comes of a window; no matter where the world or a rate says when it comes."""
        unasked = self._capture.live or self._desk.settings.rate is not None
        return unasked or self._stream.wait_for_room(_SLICE)

    def _report(self, fault: Fault) -> None:
        """Tell the host what befell the source, trouble as an ERROR, and whoever reads the log here."""
        line = f"{fault.cause}; {fault.hint}" if fault.hint else fault.cause
        if fault.kind in {SourceFault.REOPENED, SourceFault.ENDED}:
            _log.warning("%s", line)
        else:
            self._stream.failure(InputError(fault.cause, fault.hint))
            _log.warning("%s", line, extra={"local": True})
