"""Windows from a source, one at a time: pulled from what is stored, taken in time from what is live."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, suppress
from importlib import import_module
from itertools import chain, count
from typing import Protocol

from edge import spec
from edge.errors import EdgeError, InputError
from edge.latency import clock
from edge.samples import Cutter, Samples
from edge.samples.preprocessing import Preprocessing
from edge.samples.windows import Piece
from edge.sources import POLL, Fault, Feed, Gap, Item, Model, Ready, Skipped, Window, schemes
from edge.wakeup import WakeUp
from edge.wire.codes import SourceFault
from edge.wire.port import backoff

_log = logging.getLogger(__name__)

DEPTH = 4  # windows of a live source that wait to be taken
QUIET = 60.0  # seconds between two faults of a kind that the host is told of
_JOIN = 2.0  # seconds that a reader has to let go of what it reads


class Capture(Protocol):
    """Where a run takes its windows from."""

    live: bool
    """Whether windows come when the world gives them: those that nobody takes in time are lost, and counted."""

    faults: Counter[int]
    """What befell the source so far, by ``edge.wire.codes.SourceFault``."""

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        ...

    def take(self, seconds: float) -> Window | Fault | None:
        """Return the next window, or a fault to tell the host of; None where there is neither within ``seconds``.

        Every fault is counted, and of each kind one is told in :data:`QUIET` seconds.
        """
        ...

    def wake(self) -> None:
        """End a ``take``, the next one if there is none; from any thread, and from a signal handler."""
        ...

    def close(self) -> None:
        """Let go of what is read."""
        ...


def open_source(text: str, model: Model, *, repeat: bool = False) -> Capture:
    """Open ``SCHEME:LOCATION?OPTION=VALUE&...`` for a model; InputError where it cannot be read or does not fit.

    A stored source that is to ``repeat`` begins again when it ends; sequence numbers go on.
    """
    wanted = spec.parse(text)
    if wanted.scheme not in schemes() or ":" not in text:
        raise InputError(f"unknown source {text!r}", f"a source is one of {', '.join(f'{s}:...' for s in schemes())}")
    module = import_module(f"edge.sources.{wanted.scheme}")
    feed: Feed = module.open(wanted.location, spec.read_options(module.Options, wanted), model)
    if feed.live and repeat:
        raise InputError(f"{text!r} is live: it cannot begin again when it ends", "leave --loop out")
    note = ""
    if feed.raw and model.preprocessing is None:
        note = f"the bundle states no preprocessing: the values of {text} go to the model as they are"
    stated = model.preprocessing
    if stated and not feed.raw:
        stated = Preprocessing(rate=stated.rate)
    cutter = Cutter(feed.signal, model.input_shape, stated) if feed.signal else None
    if feed.live and not feed.waits:
        return Live(text, feed, cutter, note)
    return Stored(text, feed, cutter, note, repeat=repeat)


class _Teller:
    """What is told of a source: a note, once windows are taken, and of each kind of fault one in :data:`QUIET` s."""

    def __init__(self, note: str) -> None:
        self.faults: Counter[int] = Counter()
        self._note = note
        self._told: dict[int, float] = {}

    def _tell_note(self) -> None:
        if self._note:
            _log.warning("%s", self._note)
            self._note = ""

    def _is_news(self, fault: Fault) -> bool:
        """Count a fault, and return whether it is to be told."""
        now = time.monotonic()
        self.faults[fault.kind] += 1
        if now - self._told.get(fault.kind, -QUIET) < QUIET:
            return False
        self._told[fault.kind] = now
        return True


class Stored(_Teller):
    """A source that waits until it is asked, such as a file, whose end is no fault, or a pipe."""

    live = False

    def __init__(
        self, name: str, feed: Feed, cutter: Cutter | None = None, note: str = "", *, repeat: bool = False
    ) -> None:
        super().__init__(note)
        self.ended = False
        items = feed.connect()
        next(items)  # what cannot be opened is said here
        if repeat:
            self._windows = _again_and_again(feed, items, cutter)
        else:
            self._windows = _windows(_persistent(name, feed, items) if feed.live else items, cutter, live=feed.live)

    def take(self, seconds: float) -> Window | Fault | None:
        """Return the next window, or a fault to tell the host of; None where there is neither within ``seconds``."""
        self._tell_note()
        until = clock() + seconds * 1e9
        try:
            for item in self._windows:
                if isinstance(item, Window) or (item is not None and self._is_news(item)):
                    return item
                if clock() >= until:
                    return None
        except EdgeError as error:
            self.ended = True
            fault = Fault(SourceFault.ENDED, error.cause, error.hint)
            return fault if self._is_news(fault) else None
        self.ended = True
        return None

    def wake(self) -> None:
        """Nothing is waited for."""

    def close(self) -> None:
        """Close the file."""
        self._windows.close()
        self.ended = True


class Live(_Teller):
    """A source that gives windows when the world does. A thread reads it; :data:`DEPTH` windows wait at most."""

    live = True

    def __init__(self, name: str, feed: Feed, cutter: Cutter | None = None, note: str = "") -> None:
        super().__init__(note)
        self._waiting: deque[Window] = deque()
        self._news: deque[Fault] = deque()  # told ahead of windows, the end after the last of them
        self._ends: deque[Fault] = deque()
        self._failure: BaseException | None = None
        self._closing = self._woken = self._finished = False
        self._wakeup = WakeUp()
        items = feed.connect()
        next(items)  # what cannot be opened is said here
        windows = _windows(_persistent(name, feed, items), cutter, live=True)
        self._reader = threading.Thread(target=self._read, args=(windows,), name=f"source {name}", daemon=True)
        self._reader.start()

    @property
    def ended(self) -> bool:
        """Whether nothing will come any more."""
        return self._finished and not (self._waiting or self._news or self._ends or self._failure)

    def take(self, seconds: float) -> Window | Fault | None:
        """Return the next window, or a fault to tell the host of; None where there is neither within ``seconds``."""
        self._tell_note()
        until = time.monotonic() + seconds
        while True:
            self._wakeup.hush()
            if (item := self._next()) is not None:
                return item
            left = until - time.monotonic()
            if self._failure is not None:
                raise self._failure
            if self._woken or self._finished or left <= 0:
                self._woken = False
                return None
            select.select([self._wakeup], [], [], left)

    def _next(self) -> Window | Fault | None:
        """Return what waits: faults first, so that they are told under any load; the end after the last window."""
        ending = bool(self._ends)  # looked at before: all windows are there then
        if self._news:
            return self._news.popleft()
        with suppress(IndexError):  # the reader has just taken it away as lost
            return self._waiting.popleft()
        return self._ends.popleft() if ending else None

    def wake(self) -> None:
        """End a ``take``, the next one if there is none; from any thread, and from a signal handler."""
        self._woken = True
        self._wakeup.ring()

    def close(self) -> None:
        """Have the reader let go of what it reads, and wait for that."""
        self._closing = True
        self._reader.join(_JOIN)
        self._waiting.clear()
        self._news.clear()
        self._ends.clear()
        self._wakeup.close()

    def _read(self, windows: Generator[Window | Fault | None]) -> None:
        try:
            with closing(windows):
                for item in windows:
                    if self._closing:
                        return
                    if isinstance(item, Window):
                        self._put(item)
                    elif item is not None:
                        self._tell(item)
        except BaseException as error:  # noqa: BLE001 - a mistake of ours: whoever takes windows must not wait for ever
            self._failure = error
        finally:
            self._finished = True
            self._wakeup.ring()

    def _put(self, window: Window) -> None:
        self._waiting.append(window)
        if len(self._waiting) > DEPTH:
            self._waiting.popleft()
            self._tell(
                Fault(SourceFault.LOST_WINDOW, "a window was lost: nobody took it in time", "explain less, or hop more")
            )
        self._wakeup.ring()

    def _tell(self, fault: Fault) -> None:
        if self._is_news(fault):
            (self._ends if fault.kind is SourceFault.ENDED else self._news).append(fault)
            self._wakeup.ring()


def _windows(
    items: Generator[Item], cutter: Cutter | None, *, live: bool, numbers: Iterator[int] | None = None
) -> Generator[Window | Fault | None]:
    """Yield windows made of what a feed gives, numbered from 0 or by ``numbers``, and everything that befalls it."""
    numbers = numbers or count()
    with closing(items):
        begun = clock()
        for item in chain(items, (Gap(),)):
            if live:
                begun = clock()  # until then it waited for the world
            if item is None or isinstance(item, Fault | Skipped):
                yield item if isinstance(item, Fault) else None
                continue
            for x, truth in _complete(item, cutter):
                done = clock()
                yield Window(next(numbers), x, done - begun, truth, done)
                begun = clock()


def _complete(item: Samples | Ready | Gap, cutter: Cutter | None) -> Iterable[Piece]:
    """Return the windows that an item completes."""
    if isinstance(item, Ready):
        return ((item.x, item.truth),)
    if cutter is None:
        return ()
    return cutter.finish() if isinstance(item, Gap) else cutter.feed(item)


def _again_and_again(feed: Feed, items: Generator[Item], cutter: Cutter | None) -> Generator[Window | Fault | None]:
    """Yield the windows of a stored feed, from its beginning whenever it ends, unless there is none in it."""
    numbers = count()
    empty = False
    while not empty:
        empty = True
        with closing(_windows(items, cutter, live=False, numbers=numbers)) as windows:
            for item in windows:
                empty = empty and not isinstance(item, Window)
                yield item
        items = feed.connect()


def _persistent(name: str, feed: Feed, items: Generator[Item]) -> Generator[Item]:
    """Yield what a live feed gives, opened again when it is lost or stalls, as far as it is to be.

    It is back when it gives something again: a silent sensor's port can be opened as often as one likes.
    """
    lost = False
    while True:
        fault = Fault(SourceFault.ENDED, f"{name} has come to its end")
        try:
            with closing(items):
                for item in _lively(name, feed, items):
                    if lost and isinstance(item, Samples | Ready):
                        lost = False
                        yield Fault(SourceFault.REOPENED, f"{name} is at work again")
                    yield item
        except EdgeError as error:
            fault = Fault(SourceFault.STALLED if feed.retry else SourceFault.ENDED, error.cause, error.hint)
        yield fault
        if fault.kind is SourceFault.ENDED:
            return
        items = yield from _reopened(feed)
        lost = True
        yield Gap()


def _lively(name: str, feed: Feed, items: Generator[Item]) -> Generator[Item]:
    """Yield what an open feed gives; InputError where it gives no sign of the world for too long."""
    silent, asked = 0.0, time.monotonic()
    for item in items:
        silent = silent + time.monotonic() - asked if item is None else 0.0
        if feed.stall is not None and silent > feed.stall:
            raise InputError(f"{name} has given nothing for {feed.stall:g} s", "look at the sensor and its cable")
        yield item
        asked = time.monotonic()  # until it is asked again it is not silent


def _reopened(feed: Feed) -> Generator[Item, None, Generator[Item]]:
    """Return the feed's items once it can be opened again; yields None meanwhile."""
    for delay in backoff():
        until = time.monotonic() + delay
        while time.monotonic() < until:
            time.sleep(min(POLL, delay))
            yield None
        items = feed.connect()
        try:
            next(items)
        except EdgeError:
            continue
        return items
    raise AssertionError("a back-off has no end")
