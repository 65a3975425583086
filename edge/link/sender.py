"""The thread that owns a device's port: sends what waits, repeats SESSION and HEALTH, answers the host."""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from edge import vitals
from edge.errors import LinkError
from edge.latency import NANOSECONDS, Phase, clock
from edge.link.outbox import Lane, Outbox, Parcel
from edge.link.pacer import AHEAD, Pacer
from edge.link.thinning import AUTO, HEAD, LEAST, Demand, Uncoded, Version, fit, records
from edge.timekeeper import Timekeeper
from edge.wire import codecs
from edge.wire.cbor import WireError
from edge.wire.framing import frame
from edge.wire.port import Port, backoff
from edge.wire.receiver import Receiver
from edge.wire.records import (
    MAX_CHUNK,
    MAX_LABEL,
    Ack,
    Error,
    Health,
    Input,
    Latency,
    Map,
    Ping,
    Pong,
    Record,
    Request,
    Result,
    Session,
    Settings,
    Spread,
    Window,
    clip,
    encode,
)

SESSION_PERIOD = 3.0  # seconds between repetitions
HEALTH_PERIOD = 5.0
_SHARE = 50  # SESSION takes at most one part in so many of the link's time
_SLICE = 0.1  # seconds that one write may wait
_STALL = 2.0  # seconds without a byte taken after which nobody waits for the host any more
_GOODBYE = 1.0  # seconds that the last frames may take
_REMEMBERED = 256  # results whose sending times wait for their LATENCY
_REQUESTS = 16  # that may wait for the run to take them
_URGENT = 64  # records that go before all others and may wait: a host that asks without end is not to fill the memory
_MIN_CHUNK = 192  # bytes of map in one frame: with fewer, too much of the link would go to what frames say besides
_USED = 0.95  # of the link's rate is given out to maps and the rest
_PROBED = 2.0  # of what a map may take, while it is tried whether the link has become faster
_CATCH_UP = 0.6  # of what a map may take, while several wait
_SHORT = 0.1  # seconds of link time: a map that takes no longer needs no coarse one before it
_PADDING = bytes(128)  # empty frames, which nobody counts: they keep a link busy while its rate is measured
_HEARING = NANOSECONDS // 1000  # between two looks, while there is much to send, at what the host says
_ELASTIC = 2 * NANOSECONDS  # for so long whoever waited for room is trusted to do so again

_log = logging.getLogger(__name__)


@dataclass
class Status:
    """What the run knows of itself, written by it and read by the link's thread for SETTINGS, HEALTH and SPREAD.

    ``degraded`` counts by ``codes.Degraded``, ``source`` by ``codes.SourceFault``; ``timekeeper`` has all durations so
    far, of which ``spread`` makes the record.
    """

    settings: Settings | None = None
    degraded: Counter[int] = field(default_factory=Counter)
    source: Counter[int] = field(default_factory=Counter)
    timekeeper: Timekeeper = field(default_factory=Timekeeper)
    spread: Callable[[], Spread] | None = None


class Sender:
    """Sends records over a port from a thread of its own; opening raises LinkError, losing the port later does not.

    Should that thread fail, whatever is asked of it raises what it failed of (see ``check``).
    ``session`` makes the record that introduces the device, ``time`` gives the ticks of the session's clock.
    """

    def __init__(
        self,
        url: str,
        baud: int,
        session: Callable[[], Session],
        time: Callable[[], int],
        *,
        rtscts: bool = False,
        status: Status | None = None,
    ) -> None:
        self._url, self._baud, self._rtscts, self._session, self._time = url, baud, rtscts, session, time
        self.outbox = Outbox()
        self.status = status or Status()
        self.requests: deque[tuple[int, Request]] = deque()  # with the number of the frame each came in
        self.on_request: Callable[[], None] = lambda: None  # called by the link's thread when one has come, or it ends
        self.sent: Counter[int] = Counter()  # frames written, by record code
        self.said_goodbye = False
        self._changed = threading.Condition()  # guards the outbox and the urgent records
        self._host = threading.Event()
        self._closing = threading.Event()
        self._deadline: float = math.inf  # on the clock; finite once closing
        self._receiver = Receiver()
        self._urgent: deque[Record] = deque()
        self._took: dict[int, dict[Phase, int]] = {}  # nanoseconds by result sequence
        self._number = self._produced = self._stalls = self._reconnects = 0
        self._stalled = self._asleep = False
        self._failure: BaseException | None = None
        self._session_due = self._health_due = self._listened = 0
        self._pacer = Pacer(clock())
        self._demand = Demand()
        self._elastic_until = 0
        self._others, self._others_rate, self._others_since = 0, 0.0, clock()  # bytes on the wire that are not maps
        self._port = Port(url, baud, rtscts=rtscts)
        self._thread = threading.Thread(target=self._work, name="link", daemon=True)
        self._thread.start()

    def post(self, content: Record | Uncoded) -> None:
        """Hand in a record, or a map to be coded when its turn comes; never waits for the link."""
        self.check()
        with self._changed:
            if isinstance(content, Uncoded):
                self._demand.note(content, clock())
            self._produced += isinstance(content, Result)
            self.outbox.put(content)
        if self._asleep:
            self._port.wake()

    def check(self) -> None:
        """Raise what has ended the link's thread, if anything has: nothing will be sent any more."""
        if self._failure is not None:
            raise self._failure

    @property
    def link_rate(self) -> int | None:
        """Bytes per second that the link was measured to take; None where it was never full."""
        return None if self._pacer.rate is None else round(self._pacer.rate)

    def count_dropped(self, code: int) -> None:
        """Count a record as dropped that was never made."""
        with self._changed:
            self.outbox.dropped[code] += 1

    def post_urgently(self, *records: Record) -> None:
        """Hand in records that go before everything that waits."""
        self.check()
        for record in records:
            self._urge(record)
        self._port.wake()

    def wait_for_host(self, seconds: float) -> bool:
        """Wait until a host has spoken; False if none did in time."""
        self.check()
        return self._host.wait(seconds)

    def wait_for_room(self, seconds: float) -> bool:
        """Wait while records pile up; False if they still do. True, too, where waiting is in vain: a stalled host.

        Who waits gets whole maps through, and fewer of them: what comes of windows that keep to a rate is thinned.
        """
        with self._changed:
            self._elastic_until = clock() + int(seconds * NANOSECONDS) + _ELASTIC
            room = self._changed.wait_for(lambda: self._stalled or not self.outbox.crowded(self._pacer.rate), seconds)
        self.check()
        return room

    def close(self, patience: float) -> None:
        """Send what waits for at most ``patience`` seconds, drop the rest, send the final HEALTH and close the port."""
        self._deadline = clock() + patience * NANOSECONDS
        self._closing.set()
        self._port.wake()
        self._thread.join()
        self.outbox.clear()
        self.check()

    def _work(self) -> None:
        try:
            while not self.said_goodbye:
                try:
                    with self._port:
                        self._converse(self._port)
                except LinkError as error:
                    _log.warning("%s", error.cause)
                    if not self._reopen():
                        return
        except BaseException as error:  # noqa: BLE001 - a mistake of ours: a run must not go on into the void
            self._failure = error
            _log.error("the link has failed: %s: %s", type(error).__name__, error, extra={"local": True})
            self.on_request()  # whoever waits for something else looks up
        finally:
            self._set_stalled(True)  # nobody waits for a thread that is gone

    def _reopen(self) -> bool:
        """Open a lost port again, as soon as that is possible; False if the sender closes first."""
        self._set_stalled(True)
        for delay in backoff():
            self._closing.wait(delay)
            if self._closing.is_set():
                return False
            try:
                self._port = Port(self._url, self._baud, rtscts=self._rtscts)
            except LinkError:
                continue  # still away
            self._pacer = Pacer(clock())
            self._reconnects += 1
            self._set_stalled(False)
            return True
        return False

    def _converse(self, port: Port) -> None:
        """Send and listen until closed; LinkError when the port is lost or the host will not take the last frames."""
        self._receiver.restart()
        self._session_due = 0
        self._listen(port)
        while True:
            record, waited = self._next()
            if record is not None:
                self._asleep = False
                self._send(port, record, waited)
                if clock() - self._listened < _HEARING:
                    continue
            elif not self._asleep:
                self._asleep = True  # whoever hands something in wakes the port from now on; another look at what waits
                continue
            elif len(self.outbox):
                port.wait(self._pacer.opens_in(clock()))
            elif self._closing.is_set():
                if self.status.spread is not None:
                    self._send(port, self.status.spread(), 0)  # of the whole run; the final HEALTH is the last frame
                self._send(port, self._health(final=True), 0)
                self.said_goodbye = True
                return
            elif self._pacer.wants_padding(clock()):
                rest = _PADDING[self._write(port, _PADDING, 0.0) :]
                if rest:
                    self._write(port, rest, _SLICE)
            else:
                self._pacer.idle(clock())
                due = min(self._session_due, self._health_due, self._deadline)
                port.wait(max(0.0, (due - clock()) / NANOSECONDS))
            self._listen(port)

    def _urge(self, record: Record, *, first: bool = False) -> None:
        """Have a record go before all others, ``first`` before the urgent ones; of too many the oldest PONG goes."""
        with self._changed:
            if len(self._urgent) == _URGENT:
                pong = next((i for i, waiting in enumerate(self._urgent) if isinstance(waiting, Pong)), None)
                if pong is None and isinstance(record, Pong):
                    self.outbox.dropped[Pong.code] += 1
                    return
                dropped = self._urgent[pong or 0]
                del self._urgent[pong or 0]
                self.outbox.dropped[dropped.code] += 1
            if first:
                self._urgent.appendleft(record)
            else:
                self._urgent.append(record)

    def _next(self) -> tuple[Record | None, int]:
        """Return what to send next, and how long it has waited."""
        now = clock()
        with self._changed:
            if self._urgent:
                return self._urgent.popleft(), 0
        if now >= self._session_due:
            return self._session(), 0
        if now >= self._health_due:
            self._health_due = now + int(HEALTH_PERIOD * NANOSECONDS)
            return self._health(), 0
        while True:
            with self._changed:  # chosen and taken at once: what waits may be dropped by whoever posts
                parcel = self._turn(now)
                if parcel is None:
                    return None, 0
                if parcel.pieces or not isinstance(parcel.content, Uncoded):
                    return self.outbox.take(parcel), clock() - parcel.since
            self._code(parcel, parcel.content)  # without the lock; nobody drops what has begun to leave

    def _turn(self, now: int) -> Parcel | None:
        """Return what waits and is to leave now; the lock is held."""
        if now >= self._deadline:
            self.outbox.clear()
        awaited = now < self._elastic_until  # somebody waits for room, or may again
        if awaited:
            self._changed.notify_all()
        if not len(self.outbox):
            return None
        return self.outbox.next(results_only=self._pacer.opens_in(now) > 0, patient=awaited)

    def _code(self, parcel: Parcel, uncoded: Uncoded) -> None:
        """Code a map whose turn has come, or drop it if there is nothing of it to send."""
        start = clock()
        if uncoded.encoding == AUTO:
            version = self._fit(parcel, uncoded)
        else:
            version = Version(codecs.encode(uncoded.values, uncoded.encoding), uncoded.values.shape)
        if len(version.coded.data) < 2 * parcel.sent:  # it would not be much finer than what has left
            with self._changed:
                self.outbox.drop(parcel)
            return
        chunk = _chunk(self._pacer.rate)
        parcel.pieces, parcel.thinned = records(uncoded, version, chunk), version.thinned
        parcel.sent = len(version.coded.data)
        self._add_phase(uncoded.head.sequence, Phase.ENCODE, clock() - start)

    def _fit(self, parcel: Parcel, uncoded: Uncoded) -> Version:
        """Return the version of a map that the link has time for, or a coarse one that a finer one is to follow."""
        now, rate = clock(), self._pacer.rate
        if rate is None:  # a link that was never full gains nothing from fewer bytes
            return Version(codecs.encode(uncoded.values, deflate=False), uncoded.values.shape)
        if now < self._elastic_until:
            return fit(uncoded.values, math.inf)
        with self._changed:
            room = self._demand.budget(_USED * rate - self._others_rate, now)
            if self._pacer.probing:
                room *= _PROBED
            elif self.outbox.piled_up(uncoded.kind):
                room *= _CATCH_UP
        budget = max(LEAST, room - HEAD * math.ceil(room / (_chunk(rate) + HEAD))) if room < math.inf else room
        if parcel.lane is Lane.FINER:
            return fit(uncoded.values, budget - parcel.sent)
        version = fit(uncoded.values, budget)
        if version.thinned is None or len(version.coded.data) < _SHORT * rate:
            return version
        parcel.finer = True
        return fit(uncoded.values, budget / 4)

    def _send(self, port: Port, record: Record, waited: int) -> None:
        """Write one record's frame, however long the host takes to read it, unless the sender closes."""
        try:
            rest = frame(encode(self._complete(record), self._number))
        except WireError as error:
            self.count_dropped(record.code)
            cause = clip(f"{type(record).__name__} cannot be sent: {error.cause}")
            self._urge(Error(time=self._time(), kind="WireError", cause=cause, hint=clip(error.hint)))
            return
        self._number += 1
        self._count_others(record, len(rest))
        start = moved = clock()
        patience = 0.0  # a port that is full is to show it
        while rest:
            taken = self._write(port, rest, patience)
            rest, patience, now = rest[taken:], _SLICE, clock()
            if taken:
                moved = now
                self._set_stalled(False)
            elif now > self._deadline + _GOODBYE * NANOSECONDS:
                raise LinkError(f"port {port.url} takes no more bytes", "is the host still reading?")
            elif now > moved + _STALL * NANOSECONDS:
                self._set_stalled(True)
                self._pacer.stalled()
            if rest:
                self._listen(port)
        self.sent[record.code] += 1
        self._note(record, waited, clock() - start)

    def _write(self, port: Port, data: bytes, patience: float) -> int:
        """Write what the port takes, and return how many bytes that was."""
        taken, now = port.write(data, patience), clock()
        self._pacer.wrote(taken, now)
        if taken < len(data):
            self._pacer.full(now)
        return taken

    def _count_others(self, record: Record, size: int) -> None:
        """Measure what the link carries besides maps, second by second."""
        if not isinstance(record, Map | Input):
            self._others += size
        now = clock()
        if now - self._others_since >= NANOSECONDS:
            self._others_rate = self._others * NANOSECONDS / (now - self._others_since)
            self._others, self._others_since = 0, now

    def _note(self, record: Record, waited: int, took: int) -> None:
        """Remember what a later record wants to know of this one."""
        if isinstance(record, Session):
            self._session_due = clock() + max(int(SESSION_PERIOD * NANOSECONDS), _SHARE * took)
            if self.status.settings is not None:
                self._urge(self.status.settings, first=True)
        elif isinstance(record, Health) and self.status.spread is not None and not record.final:
            self._urge(self.status.spread())
        elif isinstance(record, Result):
            self._add_phase(record.sequence, Phase.QUEUE, waited)
            self._add_phase(record.sequence, Phase.SEND, took)

    def _add_phase(self, sequence: int, phase: Phase, took: int) -> None:
        """Remember what the link's share of a window took, for its LATENCY."""
        self.status.timekeeper.link(phase, took)
        phases = self._took.setdefault(sequence, {})
        phases[phase] = phases.get(phase, 0) + took
        if len(self._took) > _REMEMBERED:
            del self._took[next(iter(self._took))]

    def _complete(self, record: Record) -> Record:
        """Fill in what is known only at the moment of sending."""
        if isinstance(record, Pong):
            return replace(record, sent=self._time())
        if isinstance(record, Latency):
            took = {phase.value: ticks for phase, ticks in self._took.pop(record.sequence, {}).items()}
            return replace(record, phases=record.phases | took)
        return record

    def _listen(self, port: Port) -> None:
        """Take in what the host says."""
        self._listened = clock()
        data = port.read()
        if not data:
            return
        for received in self._receiver.feed(data):
            match received.record:
                case Ping(token=token):
                    self._urge(Pong(token=token, received=self._time(), sent=0))
                case Request() as request:
                    self._asked(received.number, request)
                case Window(offset=0):  # its other chunks are not worth an answer each
                    refused = "this board takes its windows from a source of its own"
                    hint = "send windows to firmware that waits for them"
                    self._urge(Ack(request=received.number, refused=refused, hint=hint))
                case _:
                    continue
            self._host.set()

    def _asked(self, number: int, request: Request) -> None:
        """Do what the link itself can; leave the rest to the run."""
        refused = hint = ""
        if request.what == Session.code:
            self._session_due = 0
        elif request.what == Health.code:
            self._health_due = 0
        elif request.what == Spread.code and self.status.spread is not None:
            self._urge(self.status.spread())
        elif request.what not in {0, Map.code, Input.code}:
            refused, hint = f"this board sends no record {request.what} on request", "see docs/wire.md, REQUEST"
        elif len(self.requests) >= _REQUESTS:
            refused, hint = f"{_REQUESTS} requests wait already", "ask again later"
        if refused or not _for_the_run(request):
            if request.acknowledge:
                self._urge(Ack(request=number, refused=refused, hint=hint, sequence=request.sequence))
            return
        self.requests.append((number, request))
        self.on_request()

    def _health(self, *, final: bool = False) -> Health:
        # before the lock, which whoever posts waits for: the system's files may take their time
        memory, temperature, throttled = vitals.memory(), vitals.temperature(), vitals.throttled()
        governor = clip(vitals.governor(), MAX_LABEL)
        with self._changed:
            return Health(
                time=self._time(),
                produced=self._produced,
                sent=dict(self.sent),
                dropped=dict(self.outbox.dropped),
                queued=len(self.outbox),
                queued_bytes=self.outbox.bytes,
                stalls=self._stalls,
                reconnects=self._reconnects,
                bad_frames=self._receiver.counts.bad_frames,
                memory=memory,
                temperature=temperature,
                throttled=throttled,
                final=final,
                degraded=dict(self.status.degraded),
                source=dict(self.status.source),
                clock_faults=self.status.timekeeper.watch.faults.total(),
                governor=governor,
                thinned={int(code): count for code, count in self.outbox.thinned.items()},
                link_rate=self.link_rate,
            )

    def _set_stalled(self, stalled: bool) -> None:
        if stalled == self._stalled:
            return
        with self._changed:
            self._stalls += stalled
            self._stalled = stalled
            self._changed.notify_all()


def _chunk(rate: float | None) -> int:
    """Return how many bytes of a map to put in one frame: what a result may have to wait for."""
    return MAX_CHUNK if rate is None else min(max(_MIN_CHUNK, int(AHEAD * rate)), MAX_CHUNK)


def _for_the_run(request: Request) -> bool:
    """Whether there is anything in a request that is not the link's own business."""
    settings = request.rate, request.methods, request.explain, request.inputs
    return request.what in {0, Map.code, Input.code} or any(value is not None for value in settings)
