"""Listening to a device: a port that is opened again when it is lost, and everything that came over it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing

from edge.errors import LinkError
from edge.latency import clock
from edge.wire.framing import frame
from edge.wire.port import DEFAULT_BAUD, Port, backoff
from edge.wire.receiver import Receiver
from edge.wire.records import Health, Ping, Pong, Record, Request, Result, Session, Window, encode
from firmware_bridge.clock import EndToEnd
from firmware_bridge.feed import Feed
from firmware_bridge.session import Event, LinkChange, Timing, Tracker
from firmware_bridge.summary import Summary

POLL = 0.2  # seconds
_ASK = 1.0  # seconds between requests for a SESSION that has not come
_PING = 1.0  # also when a device that has nothing to say shows that it lives
_FIRST_PINGS = 8  # of a session come quickly: the more round trips, the better its clock is known
_QUICKLY = 0.1
_PINGS = 16  # that may wait for their PONG
HINT_AFTER = 5.0  # seconds without a single record after which something is likely wrong
SILENCE = 2.0  # seconds after which a device that does not even answer PINGs counts as silent
GONE = 30.0  # seconds of it after which a device that an end was awaited of is taken to have come to it
_PATIENCE = 0.05  # seconds that asking may wait for a device that does not read
_UNSENT = 1024  # bytes that may wait for it
_LAST_WORDS = 1.0  # seconds that the explanation of the last wanted window may take


class Monitor:
    """A host's ear on one port; LinkError if it cannot be opened at first, and never again."""

    def __init__(self, url: str, baud: int = DEFAULT_BAUD, *, rtscts: bool = False) -> None:
        self.live = True
        self.url, self._baud, self._rtscts = url, baud, rtscts
        self.tracker = Tracker()
        self.started = self.last_heard = time.monotonic()
        self.moments: list[float] = []
        self._receiver = Receiver()
        self._first_heard: float | None = None
        self._opened = self.started
        self._known = b""  # the session whose clock is followed
        self._silent = False
        self._reconnects = self._number = 0
        self._ask_at = self._ping_at = self._retry_at = 0.0
        self._pings: dict[int, int] = {}  # token: when it was sent
        self._unsent = b""  # what the port did not take of the last frames
        self._quick = _FIRST_PINGS
        self.end_to_end = EndToEnd()
        self._delays = backoff()
        self._port: Port | None = Port(url, baud, rtscts=rtscts)

    @property
    def over(self) -> bool:
        """Never: a device that has said goodbye may come again."""
        return False

    @property
    def silence(self) -> float:
        """For how many seconds a device has not been heard that spoke and did not say goodbye; 0 for less than two."""
        if self._first_heard is None or self.tracker.account.ended:
            return 0.0
        seconds = time.monotonic() - max(self.last_heard, self._opened)
        return seconds if seconds >= SILENCE else 0.0

    @property
    def parted(self) -> bool:
        """Whether the device has said goodbye, or must have: it is silent, and what it said last nobody knows."""
        if self.tracker.account.ended:
            return True
        if self.tracker.doubts_goodbye:  # and no SESSION will come any more that says whose it was
            return self.silence > 0
        return self._port is not None and self.silence >= GONE

    def poll(self, seconds: float = POLL) -> list[Event]:
        """Return what has come, after waiting for at most ``seconds``."""
        events = self._poll(seconds)
        self.moments = [time.time()] * len(events)
        return events

    def send(self, request: Request | Window) -> int | None:
        """Ask something of the device; return the frame's number, which its ACK will name; None where it is away.

        Or give it a chunk of a window to answer. WireError for a value that no such record can hold.
        """
        if self._port is None or len(self._unsent) > _UNSENT:
            return None
        number = self._number
        try:
            self._say(self._port, request)
        except LinkError:
            return None  # the next poll says so
        return number

    def close(self) -> None:
        """Close the port."""
        if self._port is not None:
            self._port.close()
            self._port, self._unsent = None, b""

    def summary(self) -> Summary:
        """Return what has come so far."""
        counts, tracker = self._receiver.counts, self.tracker
        return Summary(
            seconds=0.0 if self._first_heard is None else self.last_heard - self._first_heard,
            accounts=tuple(tracker.accounts),
            earlier=tracker.earlier,
            phases={name: histogram.quantiles() for name, histogram in tracker.phases.items()},
            methods={name: histogram.quantiles() for name, histogram in tracker.methods.items()},
            frames=counts.frames,
            payload_bytes=counts.payload_bytes,
            wire_bytes=counts.wire_bytes,
            bad={fault.value: count for fault, count in counts.bad.items()},
            skipped_bytes=counts.skipped_bytes,
            unknown_records=self._receiver.unknown_records,
            unknown_keys=self._receiver.unknown_keys,
            incomplete_maps=tracker.assembler.incomplete,
            refused_maps=tracker.assembler.refused,
            unattributed=tracker.unattributed,
            reconnects=self._reconnects,
            round_trip=self.end_to_end.quickest,
            end_to_end=self.end_to_end.bounds(),
            clock_jumps=self.end_to_end.jumps,
            warm_up=tracker.warm_up,
            rejected=tracker.rejected,
        )

    def _poll(self, seconds: float) -> list[Event]:
        try:
            if self._port is None:
                return self._reopen(seconds)
            self._speak(self._port)
            self._port.wait(seconds)
            return self._hear(self._port.read())
        except LinkError as error:
            self.close()
            self._receiver.restart()
            self.tracker.doubt()
            self._delays = backoff()
            self._silent = False
            return [LinkChange(up=False, why=error.cause)]

    def _reopen(self, seconds: float) -> list[Event]:
        wait = self._retry_at - time.monotonic()
        if wait > 0:
            time.sleep(min(wait, seconds))
            return []
        self._retry_at = time.monotonic() + next(self._delays)
        try:
            self._port = Port(self.url, self._baud, rtscts=self._rtscts)
        except LinkError:
            return []  # still away
        self._reconnects += 1
        self._opened = time.monotonic()
        self._ask_at = 0.0
        return [LinkChange(up=True, why=f"port {self.url} is back")]

    def _speak(self, port: Port) -> None:
        """Ask who is there until that is known, and now and then how far away."""
        self._write(port, 0.0)
        if self._unsent:
            return  # it does not read: one more question would be none more answered
        now = time.monotonic()
        if not self.tracker.sure and now >= self._ask_at:
            self._ask_at = now + _ASK
            self._say(port, Request(what=Session.code))
        if now >= self._ping_at:
            self._ping_at = now + (_QUICKLY if self._quick else _PING)
            self._quick = max(0, self._quick - 1)
            self._pings[self._number] = clock()
            if len(self._pings) > _PINGS:
                del self._pings[next(iter(self._pings))]
            self._say(port, Ping(token=self._number))

    def _say(self, port: Port, record: Record) -> None:
        self._unsent += frame(encode(record, self._number))
        self._number += 1
        self._write(port, _PATIENCE)

    def _write(self, port: Port, patience: float) -> None:
        # A device that does not read is not to hold up listening: the rest of a frame goes with the next poll.
        if self._unsent:
            self._unsent = self._unsent[port.write(self._unsent, patience) :]

    def _hear(self, data: bytes) -> list[Event]:
        if not data:
            if self._silent or not self.silence:
                return []
            self._silent = True
            return [LinkChange(up=False, why=f"nothing heard for {SILENCE:g} s")]
        events: list[Event] = [LinkChange(up=True, why="heard again")] if self._silent else []
        self._silent = False
        heard = clock()
        self.last_heard = time.monotonic()
        if self._first_heard is None:
            self._first_heard = self.last_heard
        for received in self._receiver.feed(data):
            events += self.tracker.feed(received)
            self._place(received.record, heard)
        return events

    def _place(self, record: Record | None, heard: int) -> None:
        """Take from a record, here since ``heard``, what it tells of the device's clock."""
        match record:
            case Session() if record.session != self._known:
                self._known = record.session
                self.end_to_end.begin(0 if record.emulated else record.clock_hz)
                self._ping_at, self._quick = 0.0, _FIRST_PINGS  # a device that waits for its host is to know at once
            case Pong(token=token) if token in self._pings:
                self.end_to_end.round_trip(self._pings.pop(token), record.received, record.sent, heard)
            case Result(captured=int(captured)):
                self.end_to_end.result(captured, heard)
            case Health(final=True):
                self.end_to_end.settle()


def follow(
    feed: Feed, *, count: int | None = None, until_end: bool = False, until_idle: float | None = None
) -> Iterator[list[Event]]:
    """Yield what comes, poll by poll, until the wanted end; an empty list now and then when nothing does.

    The end is ``count`` windows with what explains the last of them, a device that says goodbye or has been silent on
    an open port for half a minute (``until_end``), ``until_idle`` seconds of silence, or that of a recording.
    """
    windows, last, enough_at = 0, None, 0.0
    while True:
        events = feed.poll()
        yield events
        explained = False
        for event in events:
            if isinstance(event, Result) and windows != count:
                windows += 1
                last, enough_at, explained = event.sequence, time.monotonic() + _LAST_WORDS, False
            explained |= isinstance(event, Timing) and event.sequence == last
        if windows == count and (explained or time.monotonic() >= enough_at):
            return
        if feed.over or (until_end and feed.parted):
            return
        if until_idle is not None and time.monotonic() - feed.last_heard >= until_idle:
            return


def watch(
    url: str,
    *,
    baud: int = DEFAULT_BAUD,
    on_record: Callable[[Event], None] | None = None,
    stop: Callable[[], bool] | None = None,
    count: int | None = None,
    until_end: bool = False,
    until_idle: float | None = None,
) -> Summary:
    """Listen to the device at ``url`` and return what came.

    ``on_record`` is called with every Session, Result, Attribution (a whole map, float32), InputWindow (a whole input),
    Timing, Health, Settings, Spread, Ack, Log, Error and LinkChange in the order in which they came; ``stop`` is asked
    about five times a second or oftener. For the other ends see ``follow``. LinkError if the port cannot be opened; a
    port lost later is opened again.
    """
    with closing(Monitor(url, baud)) as monitor:
        for events in follow(monitor, count=count, until_end=until_end, until_idle=until_idle):
            for event in events:
                if on_record is not None:
                    on_record(event)
            if stop is not None and stop():
                break
        return monitor.summary()
