"""What a host knows of a device: which session is on, what came of it, and what was lost on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from edge.latency import NANOSECONDS, Histogram, Phase
from edge.wire.records import (
    Ack,
    Error,
    Health,
    Input,
    Latency,
    Log,
    Map,
    Received,
    Record,
    Result,
    Session,
    Settings,
    Spread,
)
from firmware_bridge.maps import Assembler, Attribution, InputWindow
from firmware_bridge.summary import Account, Totals
from firmware_bridge.turns import Turns

KEPT_ACCOUNTS = 16  # sessions whose accounts are kept whole, with what their boards said last
SEEN = 1024  # sessions that are known again when a late frame introduces them once more


@dataclass(frozen=True)
class Timing:
    """How long each phase of one window took on the device, and explaining it per method, in nanoseconds."""

    sequence: int
    phases: dict[str, int]
    methods: dict[str, int]
    valid: bool = True
    warm_up: bool = False


@dataclass(frozen=True)
class LinkChange:
    """The device is not to be heard any more, and why, or it is again."""

    up: bool
    why: str


@dataclass(frozen=True)
class Mark:
    """A moment that the person at the host marked, and what for."""

    text: str


# These mean nothing unless it is known which session they are of.
_Attributable = Result | Map | Latency | Health | Error | Input | Settings | Spread | Ack
Event = (
    Session
    | Result
    | Attribution
    | InputWindow
    | Timing
    | Health
    | Settings
    | Spread
    | Ack
    | Log
    | Error
    | LinkChange
    | Mark
)


class Tracker:
    """Follows a device through its sessions and turns its records into what a person or program wants to see.

    Every record is delivered once at most, in the order in which it was sent, as part of the session that it is of.
    A frame that comes in its turn is of the session that is on; one that came before, or too late, is discarded. Any
    other leaves in doubt which session is on, as does a lost port: records are held until the next SESSION says so.
    """

    def __init__(self) -> None:
        self.accounts = [Account()]  # of the last sessions; at no time empty, for other threads look at the last one
        self.earlier = Totals()  # of the sessions before those
        self._seen: deque[bytes] = deque(maxlen=SEEN)
        self.phases: dict[str, Histogram] = {}
        self.methods: dict[str, Histogram] = {}
        self.warm_up = 0  # windows among the first of a session, and
        self.rejected = 0  # windows for which the device's clock was wrong: in no histogram
        self.assembler = Assembler()
        self.sure = False  # which session is on
        self.answered: Result | None = None  # the latest
        self._given_up = 0  # records dropped because nobody said what they are of
        self._turns = Turns()

    @property
    def account(self) -> Account:
        """The session that is on, or was as far as is known."""
        return self.accounts[-1]

    @property
    def unattributed(self) -> int:
        """How many records came of which nobody has said what they are of."""
        return self._given_up + sum(isinstance(record, _Attributable) for _, record in self._turns.held)

    @property
    def doubts_goodbye(self) -> bool:
        """Whether a goodbye has come of which nobody has said whose it is."""
        return any(isinstance(record, Health) and record.final for _, record in self._turns.held)

    def doubt(self) -> None:
        """Hold what comes until a SESSION says what it is of: the port was lost, and any board may be there now."""
        self.sure = False

    def feed(self, received: Received) -> Iterator[Event]:
        """Take in one frame and yield what it brought."""
        record = received.record
        if isinstance(record, Session | Health | Log | Error | Ack):
            record = printable(record)
        for event in self._events(received.number, record):
            self.take(event)
            yield event

    def take(self, event: Event) -> None:
        """Enter an event into the account of its session; ``feed`` has done so with those that it yields."""
        account = self.account
        match event:
            case Session():
                if account.session is not None and account.session.session != event.session:
                    self._begin(0)
                if self.account.session is None:
                    self._seen.append(event.session)
                self.account.session = event
            case Result():
                self._result(event)
            case Attribution():
                account.maps += 1
            case Timing():
                self._timed(event)
            case Health():
                account.health = event
            case Settings():
                account.settings = event
            case Spread():
                account.spread = event
            case Error():
                account.failed += event.sequence is not None

    def _events(self, number: int, record: Record | None) -> Iterator[Event]:
        """Yield what a frame brings, as soon as it is known which session it is of."""
        if isinstance(record, Session):
            yield from self._introduced(number, record)
            return
        session = self.account.session
        if self.sure and session is not None:
            if self._turns.is_next(number):
                if not self._begins_anew(record):
                    self._accept(number, record)
                    yield from _attributed(record, session, self.assembler)
                    return
                if record == self.answered:  # a window was sent twice, and its answer is repeated
                    self._accept(number, record)
                    self.account.stale_frames += 1
                    return
            if self._turns.came_before(number, record):
                self.account.stale_frames += 1
                return
            self.sure = False
        if isinstance(record, Log):  # for people, whoever wrote it
            yield record
        self._given_up += isinstance(self._turns.hold(number, record), _Attributable)

    def _introduced(self, number: int, session: Session) -> Iterator[Event]:
        """Take in a SESSION and the frames that were held until it came."""
        known, turns = self.account.session, self._turns
        if known is None or session.session != known.session:
            if session.session in self._seen:
                self.account.stale_frames += 1  # of a session that is over
                return
            before = turns.release_before(number)
            self._given_up += sum(isinstance(record, _Attributable) for _, record in turns.held)
            self._begin(before[0][0] if before else number)
        elif turns.is_over(number):
            self.account.stale_frames += 1
            return
        else:
            before = turns.release_next()
            self.account.stale_frames += len(turns.held)
        turns.held.clear()
        for frame in before:
            self._accept(*frame)
        self.sure = True
        if turns.is_over(number):  # it came after frames that it preceded
            self.account.stale_frames += 1
        else:
            self._accept(number, session)
            yield session
        for _, record in before:
            if not isinstance(record, Log):  # which has been told
                yield from _attributed(record, session, self.assembler)

    def _begins_anew(self, record: Record | None) -> bool:
        """Whether a record tells that its session is not the one that is on: windows are answered one after another."""
        last = self.account.last_sequence
        return isinstance(record, Result) and last is not None and record.sequence <= last

    def _accept(self, number: int, record: Record | None) -> None:
        """Count a frame as one of the session that is on, and those missing before it as lost."""
        self.account.frames += 1
        self.account.lost_frames += self._turns.accept(number, record)

    def _begin(self, number: int) -> None:
        """Begin an account with the frame of this number; those before it are lost, unless we were not there yet."""
        self.assembler.abandon()
        self._turns.begin(number)
        unknown = self.account.session is None
        fresh = Account(joined=number) if unknown and len(self.accounts) == 1 else Account(lost_frames=number)
        if unknown:
            self.accounts[-1] = fresh
            return
        self.accounts.append(fresh)
        if len(self.accounts) > KEPT_ACCOUNTS:
            self.earlier = self.earlier.plus(self.accounts.pop(0))

    def label(self, index: int) -> str:
        """Return the label of a class, or its number where there is none."""
        session = self.account.session
        return session.labels[index] if session and index < len(session.labels) else f"class {index}"

    def method(self, index: int) -> str:
        """Return the name of an explanation method by its number on the wire."""
        session = self.account.session
        return _method(session, index) if session else f"method {index}"

    def _timed(self, timing: Timing) -> None:
        if not timing.valid:
            self.rejected += 1
        elif timing.warm_up:
            self.warm_up += 1
        else:
            for durations, histograms in ((timing.phases, self.phases), (timing.methods, self.methods)):
                for name, nanoseconds in durations.items():
                    histograms.setdefault(name, Histogram()).add(nanoseconds)

    def _result(self, result: Result) -> None:
        account, self.answered = self.account, result
        account.results += 1
        if account.first_sequence is None:
            account.first_sequence = result.sequence
        account.last_sequence = result.sequence
        if result.truth is not None:
            account.labelled += 1
            account.correct += result.truth == result.class_index


def _attributed(record: Record | None, session: Session, assembler: Assembler) -> Iterator[Event]:
    """Yield what a record of a session brings."""
    match record:
        case Map():
            attribution = assembler.add(record, _method(session, record.method))
            if attribution is not None:
                yield replace(attribution, layer=_layer(session, record.method))
        case Input():
            window = assembler.add_input(record)
            if window is not None:
                yield window
        case Latency():
            yield _timing(record, session)
        case Result() | Health() | Error() | Settings() | Spread() | Ack() | Log():
            yield record


E = TypeVar("E", bound=Event)


def printable(event: E) -> E:
    """Return an event without control characters in its texts: neither board nor file is to command our terminal."""
    texts: dict[str, Any] = {}
    for field_ in fields(event):
        match getattr(event, field_.name):
            case str(text):
                texts[field_.name] = _clean(text)
            case (str(), *_) as some:
                texts[field_.name] = tuple(map(_clean, some))
            case dict(some) if any(isinstance(name, str) for name in some):
                texts[field_.name] = {_clean(name): value for name, value in some.items()}
    return replace(event, **texts) if texts else event


def _clean(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def _timing(latency: Latency, session: Session) -> Timing:
    unit = NANOSECONDS / max(1, session.clock_hz)
    known = {phase.value: phase.label for phase in Phase}
    phases = {known.get(i, f"phase {i}"): round(ticks * unit) for i, ticks in latency.phases.items()}
    methods = {_method(session, i): round(ticks * unit) for i, ticks in latency.methods.items()}
    return Timing(latency.sequence, phases, methods, latency.valid, latency.warm_up)


def _method(session: Session, index: int) -> str:
    return session.methods[index] if index < len(session.methods) else f"method {index}"


def _layer(session: Session, index: int) -> str:
    return session.layers[index] if index < len(session.layers) else ""
