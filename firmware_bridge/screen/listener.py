"""A thread that listens and records without ever waiting for the screen, and hands over what it heard."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from edge.wire.cbor import WireError
from edge.wire.records import Ack, Request
from firmware_bridge.errors import RecordingError
from firmware_bridge.feed import Feed
from firmware_bridge.maps import Attribution, InputWindow
from firmware_bridge.session import Event, Mark
from firmware_bridge.summary import Summary
from firmware_bridge.tape import Tape

PATIENCE = 3.0  # seconds until a request that nobody answered is given up
_PUBLISH = 0.15  # seconds between two summaries: no screen is drawn oftener
_WAITING = 4096  # events, at most, that wait for the screen
_WAITING_BYTES = 32 << 20


@dataclass(frozen=True)
class Outcome:
    """What became of something a person asked for."""

    what: str
    refused: str = ""
    hint: str = ""


@dataclass(frozen=True)
class State:
    """What is so now, made by the thread that listens; ``shapes`` are distributions by upper bound in nanoseconds."""

    summary: Summary
    silence: float
    shapes: dict[str, dict[int, int]]
    recording: str = ""


class Listener:
    """Follows ``polls`` of a feed in a thread of its own until they end, and records on ``tape``.

    At the end of a feed that is over it still does what it is told, until it is closed.
    """

    def __init__(self, feed: Feed, tape: Tape, polls: Iterable[list[Event]]) -> None:
        self._feed, self._tape, self._polls = feed, tape, polls
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._asked: dict[int, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._waiting: deque[Event | Outcome] = deque()
        self._waiting_bytes = 0
        self._halt = threading.Event()
        self.skipped = 0  # events that the screen did not take in time; they are recorded all the same
        self.state = self._state()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="listener")
        self.ended: Future[None] = self._pool.submit(self._listen)

    def take(self) -> list[Event | Outcome]:
        """Return what came since the last time."""
        with self._lock:
            taken, self._waiting = self._waiting, deque()
            self._waiting_bytes = 0
        return list(taken)

    def ask(self, request: Request, what: str) -> None:
        """Send a request; an Outcome will say what became of it."""
        self._commands.put(lambda: self._ask(request, what))

    def wish(self, request: Request) -> None:
        """Send a request whose answer, if one comes, speaks for itself."""

        def send() -> None:
            self._feed.send(request)

        self._commands.put(send)

    def mark(self, text: str) -> None:
        """Mark this moment, in the recording too."""
        self._commands.put(lambda: self._heard([Mark(text)], [time.time()]))

    def record(self, path: str | None) -> None:
        """Begin to record into a file, or end the recording."""
        self._commands.put(lambda: self._begin(path) if path else self._end())

    def close(self) -> None:
        """Stop listening; raises what ended the thread, if something did."""
        self._halt.set()
        self._pool.shutdown()
        self.ended.result()

    def _listen(self) -> None:
        published = 0.0
        for events in self._polls:
            self._heard(events, self._feed.moments)
            self._obey()
            now = time.monotonic()
            for number in [number for number, (_, due) in self._asked.items() if now >= due]:
                self._say(Outcome(self._asked.pop(number)[0], f"no answer in {PATIENCE:g} s"))
            if now >= published + _PUBLISH:
                published, self.state = now, self._state()
            if self._halt.is_set():
                break
        self._obey()
        self.state = self._state()
        while self._feed.over and not self._halt.wait(_PUBLISH):  # a recording stays to be looked through
            self._obey()
            self.state = self._state()

    def _obey(self) -> None:
        while True:
            try:
                command = self._commands.get_nowait()
            except Empty:
                return
            command()

    def _heard(self, events: Sequence[Event], moments: Sequence[float]) -> None:
        for event, when in zip(events, moments, strict=True):
            self._write(event, when)
            if isinstance(event, Ack) and event.request in self._asked:
                self._say(Outcome(self._asked.pop(event.request)[0], event.refused, event.hint))
            else:
                self._say(event)

    def _say(self, item: Event | Outcome) -> None:
        with self._lock:
            self._waiting.append(item)
            self._waiting_bytes += _weight(item)
            while len(self._waiting) > _WAITING or self._waiting_bytes > _WAITING_BYTES:
                self._waiting_bytes -= _weight(self._waiting.popleft())
                self.skipped += 1

    def _ask(self, request: Request, what: str) -> None:
        try:
            number = self._feed.send(replace(request, acknowledge=True))
        except WireError as error:
            self._say(Outcome(what, error.cause))
            return
        if number is None:
            self._say(Outcome(what, "nobody is there to ask"))
        else:
            self._asked[number] = what, time.monotonic() + PATIENCE

    def _begin(self, path: str) -> None:
        try:
            self._tape.begin(path)
        except RecordingError as error:
            self._say(Outcome(f"recording to {path}", error.cause, error.hint))
            return
        account = self._feed.tracker.account
        for event in (account.session, account.settings):  # what follows means nothing without them
            if event is not None:
                self._write(event, time.time())
        self._say(Outcome(f"recording to {path}"))

    def _end(self) -> None:
        path = self._tape.path
        self._tape.close()
        error = self._tape.failure
        self._say(Outcome(f"recording to {path}", error.cause, error.hint) if error else Outcome(f"recorded to {path}"))

    def _write(self, event: Event, when: float) -> None:
        path = self._tape.path
        self._tape.write(event, when)
        if path and not self._tape.path and (error := self._tape.failure) is not None:
            self._say(Outcome(f"recording to {path}", error.cause, error.hint))

    def _state(self) -> State:
        tracker = self._feed.tracker
        histograms = {**tracker.phases, **tracker.methods}
        shapes = {name: histogram.counts() for name, histogram in histograms.items()}
        return State(self._feed.summary(), self._feed.silence, shapes, self._tape.path)


def _weight(item: Event | Outcome) -> int:
    return item.values.nbytes if isinstance(item, Attribution | InputWindow) else 0
