"""Playing a recording: the same feed as the device gave, as fast as it came then, or faster, or slower."""

from __future__ import annotations

import time
from pathlib import Path

from edge.wire.records import Request
from firmware_bridge.monitor import POLL, SILENCE
from firmware_bridge.recording import Damage, Reader
from firmware_bridge.session import Event, Tracker, printable
from firmware_bridge.summary import Summary

LONGEST_GAP = 10.0  # recorded seconds; a device that is there says something every few
_SHORTENED = 2.0  # what is left of a longer gap
_BATCH = 256  # events of one poll, so that a view keeps up with any speed


class Replay:
    """A recording as a feed, ``speed`` times as fast as it came; RecordingError if it is none.

    A gap of more than ten recorded seconds, in which nothing came, takes two.
    """

    def __init__(self, path: str | Path, speed: float = 1.0) -> None:
        self.live = False
        self.url = str(path)
        self.tracker = Tracker()
        self.moments: list[float] = []
        self._reader = Reader(path)
        self._events = iter(self._reader)
        self._next = next(self._events, None)
        self._speed = speed
        self._count = 0
        self._began = self._latest = self._next[0] if self._next else 0.0
        self.started = self.last_heard = self._due = time.monotonic()

    @property
    def damage(self) -> Damage:
        """What could not be read so far."""
        return self._reader.damage

    @property
    def over(self) -> bool:
        """Whether all of it has been played."""
        return self._next is None

    @property
    def parted(self) -> bool:
        """Whether the device had said goodbye by now."""
        return self.tracker.account.ended

    @property
    def silence(self) -> float:
        """For how many recorded seconds nothing has come; 0 for less than two, and at the end."""
        if self.over or not self._count or self.tracker.account.ended:
            return 0.0
        seconds = (time.monotonic() - self.last_heard) * self._speed
        return seconds if seconds >= SILENCE else 0.0

    def poll(self, seconds: float = POLL) -> list[Event]:
        """Return what is due, after waiting for at most ``seconds``."""
        if self._next is not None:
            time.sleep(min(max(0.0, self._due - time.monotonic()), seconds))
        events: list[Event] = []
        self.moments = []
        now = time.monotonic()
        while self._next is not None and self._due <= now and len(events) < _BATCH:
            moment, event = self._next
            event = printable(event)
            self.tracker.take(event)
            events.append(event)
            self.moments.append(moment)
            self._advance(moment)
        if events:
            self.last_heard = now
            self._count += len(events)
        return events

    def send(self, request: Request) -> int | None:
        """Return None: nobody listens."""
        return None

    def summary(self) -> Summary:
        """Return what has been played so far; what the link carried and lost is in no recording."""
        tracker = self.tracker
        return Summary(
            seconds=self._latest - self._began,
            accounts=tuple(tracker.accounts),
            earlier=tracker.earlier,
            phases={name: histogram.quantiles() for name, histogram in tracker.phases.items()},
            methods={name: histogram.quantiles() for name, histogram in tracker.methods.items()},
            frames=self._count,
            warm_up=tracker.warm_up,
            rejected=tracker.rejected,
            recorded=True,
        )

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def _advance(self, moment: float) -> None:
        """Go to the next event, which is due as long after the one of ``moment`` as it came after it."""
        self._latest = max(self._latest, moment)
        self._next = next(self._events, None)
        if self._next is not None:
            gap = max(0.0, self._next[0] - moment)  # the host's clock may have been set back
            self._due += (gap if gap <= LONGEST_GAP else _SHORTENED) / self._speed
