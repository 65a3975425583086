"""A board's sessions sent through a faulty channel to a host, and an account that owes nothing to the host's own.

What must hold, whatever the channel does:

- nothing wrong is accepted: every record that comes out was sent, comes once at most and in order, and is attributed
  to the session that it is of (a LOG is told at once, and may be told again);
- nothing is lost uncounted: of each session, the frames sent are those delivered and those counted as lost;
- the host recovers within one SESSION period: so many intact frames on, at the latest, it delivers what it gets, and
  every map that is sent from then on and arrives intact is whole.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edge.wire.framing import frame
from edge.wire.receiver import Receiver
from edge.wire.records import Log, Map, Ping, Received, Record, Request, Session, encode
from firmware_bridge.maps import Attribution
from firmware_bridge.session import Event, Timing, Tracker
from tests.link_faults.channel import Channel, pieces
from tests.link_faults.traffic import METHODS, PERIOD, Board, attributions

_SHOWN = 20  # violations kept word by word


@dataclass
class Outcome:
    """What a campaign did and what came of it; ``recovery`` is the longest one, in intact frames."""

    fault: str
    frames: int = 0
    faults: int = 0
    delivered: int = 0
    lost: int = 0
    damaged: int = 0
    stale: int = 0
    maps: int = 0
    recovery: int = 0
    wrong: int = 0
    violations: list[str] = field(default_factory=list)

    def complain(self, what: str) -> None:
        """Note that something must not have been."""
        self.wrong += 1
        if len(self.violations) < _SHOWN:
            self.violations.append(f"{self.fault}: {what}")


def to_host(
    faults: Sequence[str], frames: int, seed: int, *, rate: float = 0.03, name: str = "", longest: int = 1500
) -> Outcome:
    """Send sessions of up to ``longest`` frames, ``frames`` in all, and return what came of them."""
    rng = random.Random(seed)
    host = _Host(rng, Outcome(name or ", ".join(faults)))
    pool = attributions(seed)
    channel = Channel(rng, faults, rate)
    while host.outcome.frames < frames:
        host.follow(_Session(Board(rng, pool)), rng.randint(PERIOD // 4, longest), channel)
    host.outcome.faults = channel.faults
    host.outcome.damaged = host.receiver.counts.bad_frames
    return host.outcome


class _Session:
    """A session as it was really sent."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.sent: list[Record] = []
        self.places: dict[tuple[object, ...], int] = {}  # the number of the frame with which an event is complete

    def send(self, record: Record) -> bytes:
        """Enter a record and return its frame."""
        number = len(self.sent)
        self.sent.append(record)
        if isinstance(record, Map):
            self.places[Attribution, record.sequence, METHODS[record.method]] = number
        else:
            self.places[_place(record)] = number
        return frame(encode(record, number))


def _place(event: Event | Record) -> tuple[object, ...]:
    """Return what tells an event or the record behind it from all others of its session."""
    if isinstance(event, Attribution):
        return Attribution, event.sequence, event.method
    kind = "Timing" if isinstance(event, Timing) else type(event).__name__.replace("Latency", "Timing")
    time = getattr(event, "time", None)
    return kind, getattr(event, "sequence", None) if time is None else time


class _Host:
    """A receiver and a tracker, and what they may and may not say."""

    def __init__(self, rng: random.Random, outcome: Outcome) -> None:
        self.outcome, self.receiver, self._tracker = outcome, Receiver(), Tracker()
        self._rng = rng
        self._latest = -1  # the number of the frame that was delivered last
        self._unsure = 0  # frames since the last fault, or since it was known which session is on
        self._due: defaultdict[tuple[int, int], list[int]] = defaultdict(list)  # maps: chunks that arrived intact

    def follow(self, session: _Session, frames: int, channel: Channel) -> None:
        """Receive one session and check the accounts at its end."""
        self._latest, self._unsure = -1, 0
        self._due.clear()
        channel.forget()
        for record in session.board.records(frames):
            data = session.send(record)
            for out, intact in channel.carry(data):
                self._receive(session, out, record if intact else None)
        self._end(session)

    def _end(self, session: _Session) -> None:
        """Let the session end in good order or by a reset, on a line that is quiet, and check what is left."""
        board = session.board
        last = [board.introduction(), *([board.health(final=True)] if self._rng.random() < 0.5 else [])]
        for record in last:
            self._receive(session, session.send(record), record)
        account, outcome = self._tracker.account, self.outcome
        if account.session != last[0]:
            outcome.complain(f"the host is in another session than the board, {account}")
        known = account.joined + account.frames + account.lost_frames
        if known != len(session.sent):
            outcome.complain(f"{len(session.sent)} frames sent, {known} accounted for: {account}")
        outcome.frames += len(session.sent)
        outcome.delivered += account.frames
        outcome.lost += account.lost_frames + account.joined
        outcome.stale += account.stale_frames
        if account.session and not account.ended:  # killed in mid frame
            torn = frame(encode(last[0], len(session.sent)))
            self._receive(session, torn[: self._rng.randrange(1, len(torn) - 1)], None)

    def _receive(self, session: _Session, data: bytes, intact: Record | None) -> None:
        sure = self._tracker.sure
        if isinstance(intact, Map):
            self._due[intact.sequence, intact.method].append(intact.chunk)
        for piece in pieces(self._rng, data):
            for received in self.receiver.feed(piece):
                self._check_record(session, received)
                for event in self._tracker.feed(received):
                    self._check_event(session, event)
        self._check_recovery(intact)
        if isinstance(intact, Map) and not (sure and self._tracker.sure):
            self._due.pop((intact.sequence, intact.method), None)
        elif isinstance(intact, Map) and self._due.get((intact.sequence, intact.method)) == [*range(intact.chunks)]:
            self.outcome.complain(f"map {intact.sequence} arrived intact and was not put together")

    def _check_recovery(self, intact: Record | None) -> None:
        outcome = self.outcome
        self._unsure = 0 if self._tracker.sure or intact is None else self._unsure + 1
        outcome.recovery = max(outcome.recovery, self._unsure)
        if isinstance(intact, Session) and self._unsure:
            outcome.complain("an intact SESSION left it in doubt")
        if self._unsure > PERIOD:
            outcome.complain(f"still in doubt {self._unsure} frames after the last fault")

    def _check_record(self, session: _Session, received: Received) -> None:
        number = received.number
        if number >= len(session.sent) or session.sent[number] != received.record:
            self.outcome.complain(f"frame {number} was never sent: {received.record!r:.200}")

    def _check_event(self, session: _Session, event: Event) -> None:
        outcome, tracker = self.outcome, self._tracker
        if isinstance(event, Session):
            if event.session != session.board.session.session:
                outcome.complain(f"session {event.session.hex()} was not on")
            return
        place = session.places.get(_place(event))
        if place is None:
            outcome.complain(f"never sent: {event!r:.200}")
            return
        if isinstance(event, Log):
            return
        if tracker.account.session is None or tracker.account.session.session != session.board.session.session:
            outcome.complain(f"of another session: {event!r:.200}")
        if place <= self._latest:
            outcome.complain(f"again or out of order: {event!r:.200}")
        self._latest = place
        self._check_content(session, place, event)

    def _check_content(self, session: _Session, place: int, event: Event) -> None:
        sent = session.sent[place]
        if isinstance(event, Attribution):
            self.outcome.maps += 1
            self._due.pop((event.sequence, METHODS.index(event.method)), None)
            error = np.abs(event.values - session.board.maps[event.sequence, event.method]).max()
            if not error <= event.step:
                self.outcome.complain(f"map {event.sequence} is off by {error}")
        elif isinstance(event, Timing):
            if list(event.phases.values()) != list(sent.phases.values()):
                self.outcome.complain(f"other durations than were sent: {event}")
        elif event != sent:
            self.outcome.complain(f"{event!r:.200} where {sent!r:.200} was sent")


def to_board(faults: Sequence[str], frames: int, seed: int, *, rate: float = 0.05, name: str = "") -> Outcome:
    """Send a host's requests through the channel to a board's receiver and return what came of them."""
    rng = random.Random(seed)
    outcome = Outcome(name or "to the board: " + ", ".join(faults), frames)
    channel, receiver = Channel(rng, faults, rate), Receiver()
    sent: list[Record] = []
    seen: set[int] = set()
    for number in range(frames):
        request = Request(what=rng.choice((1, 3, 5)), sequence=rng.randrange(1 << 32), rate=rng.random())
        request = Request(what=request.what, sequence=request.sequence, acknowledge=rng.random() < 0.5)
        sent.append(rng.choice((Ping(token=rng.randrange(1 << 32)), request)))
        for out, intact in channel.carry(frame(encode(sent[-1], number))):
            came = [received for piece in pieces(rng, out) for received in receiver.feed(piece)]
            outcome.delivered += len(came)
            for received in came:
                outcome.stale += received.number in seen
                seen.add(received.number)
                if received.number > number or sent[received.number] != received.record:
                    outcome.complain(f"frame {received.number} was never sent: {received.record}")
            if intact and [received.number for received in came[-1:]] != [number]:
                outcome.complain(f"intact frame {number} was not delivered at once")
    outcome.lost = frames - len(seen)
    outcome.faults, outcome.damaged = channel.faults, receiver.counts.bad_frames
    return outcome
