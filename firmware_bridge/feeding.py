"""Windows from a source to a board that has none: one at a time over the link, each answered before the next."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge.bundle import Bundle
from edge.capture import Capture
from edge.errors import InputError, LinkError
from edge.manifest import quantize
from edge.micro import Micro
from edge.sources import Fault
from edge.sources import Window as Input
from edge.wire.records import MAX_WINDOW_CHUNK, Ack, Request, Result, Session, Window
from firmware_bridge.build import micro_of
from firmware_bridge.errors import BoardError, EmulatorError
from firmware_bridge.monitor import Monitor
from firmware_bridge.session import Event, Timing

AGAIN = 10.0  # seconds without an answer after which a window is sent again
PATIENCE = 120.0  # the same after which the board is given up: emulated models may take long
_HELLO = 15.0  # seconds for a SESSION to come, or the answer to what is asked before the first window
_HELLO_VIRTUAL = 45.0  # the same from an emulator, which shares this machine with others
_ASK = 2.0  # seconds between two times of asking, as frames may be lost
_POLL = 0.1
_INT8, _UINT8 = np.iinfo(np.int8), np.iinfo(np.uint8)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wishes:
    """How the board is to explain: a code of ``edge.wire.codes.When``, and names of methods; else as it does."""

    explain: int | None = None
    methods: tuple[str, ...] = ()


class Feeder:
    """Sends windows and counts what became of them. ``failure`` tells why a virtual board died; a real one has none."""

    def __init__(
        self, monitor: Monitor, capture: Capture, bundle: Bundle, failure: Callable[[], str | None] | None = None
    ) -> None:
        self.answered = 0
        self._first = 0  # number of the first window that is sent
        self._monitor, self._capture = monitor, capture
        self._micro, self._digest = micro_of(bundle), bundle.manifest.model_digest
        self._bytes = np.iinfo(np.uint8 if bundle.manifest.input.dtype == "uint8" else np.int8)
        self._failure = failure
        self._hello = _HELLO_VIRTUAL if failure else _HELLO
        self._warned = False  # that values are clipped

    def polls(self, wishes: Wishes, count: int | None = None) -> Iterator[list[Event]]:
        """Yield what the board says, poll by poll, while ``count`` windows (or all there are) are sent and answered.

        BoardError where the board runs another model or refuses something, LinkError where it is silent, EmulatorError
        where it dies.
        """
        session = yield from self._greet()
        self._first = yield from self._ask_where_to_go_on()
        if wishes.explain is not None or wishes.methods:
            yield from self._wish(wishes, session)
        while count is None or self.answered < count:
            window = yield from self._next()
            if window is None:
                return
            yield from self._send(window)
            self.answered += 1

    def _greet(self) -> Generator[list[Event], None, Session]:
        """Wait for the board's SESSION and return it."""
        until = time.monotonic() + self._hello
        while (session := self._monitor.tracker.account.session) is None:
            if time.monotonic() >= until:
                raise LinkError(f"no SESSION came from {self._monitor.url}", "does firmware of WhyLite run there?")
            yield self._poll()
        if session.model_digest.hex() != self._digest:
            raise BoardError(
                f"{session.board} runs model {session.model} ({session.model_digest.hex()[:12]}), not the bundle's "
                f"({self._digest[:12]})",
                "whylite flash puts the bundle's firmware there",
            )
        return session

    def _ask_where_to_go_on(self) -> Generator[list[Event], None, int]:
        """Return the number behind that of the last window the board has answered, for somebody else perhaps.

        It is told with the refusal of a window of no size, which nobody is shown.
        """
        probe = Window(sequence=0xFFFF_FFFF, offset=0, size=0, data=b"")
        for events, acks in self._ask(probe, "did not say which window comes next"):
            told = list(zip(events, self._monitor.moments, strict=True))
            shown = [(event, moment) for event, moment in told if event not in acks]
            self._monitor.moments = [moment for _, moment in shown]
            yield [event for event, _ in shown]
            if acks:
                return 0 if acks[0].sequence is None else acks[0].sequence + 1
        raise AssertionError("it asks until there is an answer")

    def _wish(self, wishes: Wishes, session: Session) -> Iterator[list[Event]]:
        """Have the board explain as it is wished, and wait until it says that it will."""
        unknown = next((name for name in wishes.methods if name not in session.methods), None)
        if unknown:
            raise InputError(f"the firmware has no method {unknown!r}", f"it has {', '.join(session.methods)}")
        methods = tuple(map(session.methods.index, wishes.methods)) or None
        request = Request(explain=wishes.explain, methods=methods, acknowledge=True)
        for events, acks in self._ask(request, "did not acknowledge how to explain"):
            yield events
            if any(_accepted(ack, ack.request) for ack in acks):
                return

    def _ask(self, record: Request | Window, lack: str) -> Iterator[tuple[list[Event], list[Ack]]]:
        """Send a record again and again, and yield what comes, beside those of it that are its ACKs."""
        until = time.monotonic() + self._hello
        numbers: set[int] = set()
        again = 0.0
        while True:
            if time.monotonic() >= again and (number := self._monitor.send(record)) is not None:
                again = time.monotonic() + _ASK
                numbers.add(number)
            events = self._patiently(until, lack)
            yield events, [event for event in events if isinstance(event, Ack) and event.request in numbers]

    def _next(self) -> Generator[list[Event], None, Input | None]:
        """Return the source's next window; None at its end."""
        while not self._capture.ended:
            found = self._capture.take(_POLL)
            if isinstance(found, Input):
                return found
            if isinstance(found, Fault):
                _log.warning("%s%s", found.cause, f" ({found.hint})" if found.hint else "")
            yield self._poll(0.0)
        return None

    def _send(self, window: Input) -> Iterator[list[Event]]:
        """Send a window, again where no answer comes, until all about it has come."""
        data = stored(self._micro, window)
        if not self._warned and (said := clipped(self._micro, self._bytes, window)):
            self._warned = True
            _log.warning("%s", said)
        window = replace(window, sequence=self._first + window.sequence)
        began = time.monotonic()
        numbers: set[int] = set()
        again = 0.0
        while True:
            if time.monotonic() >= again:
                again = time.monotonic() + AGAIN
                for chunk in chunks(window.sequence, data, window.truth):
                    while (number := self._monitor.send(chunk)) is None:
                        yield self._patiently(began + PATIENCE, f"did not take window {window.sequence}")
                    numbers.add(number)
            events = self._patiently(began + PATIENCE, f"gave no answer to window {window.sequence}")
            yield events
            for event in events:
                if isinstance(event, Result | Timing) and event.sequence == window.sequence:
                    again = time.monotonic() + AGAIN  # it is at work
            if any(_concludes(event, window.sequence, numbers) for event in events):
                return

    def _patiently(self, until: float, what: str) -> list[Event]:
        events = self._poll()
        if not events and time.monotonic() >= until:
            raise LinkError(f"the board at {self._monitor.url} {what}", "whylite monitor shows what it says")
        return events

    def _poll(self, seconds: float = _POLL) -> list[Event]:
        if self._failure and (failure := self._failure()):
            raise EmulatorError(failure, "a fault in firmware is a bug: please report it with the bundle")
        return self._monitor.poll(seconds)


def stored(micro: Micro, window: Input) -> bytes:
    """Return a window as the firmware's model stores it; InputError where it is of another shape."""
    if window.x.shape != micro.input.shape:
        raise InputError(f"window {window.sequence} is {list(window.x.shape)}", f"{list(micro.input.shape)} is wanted")
    return quantize(window.x, micro.input.scale, micro.input.zero_point, np.dtype(np.int8)).tobytes()


def clipped(micro: Micro, stored_as: np.iinfo[Any], window: Input) -> str:
    """Return in words what part of a window its input cannot store, and what mistake that looks like; nothing if none.

    ``stored_as`` are the limits of the model's own input. A step beyond the ends is forgiven, as in an export.
    """
    grid, x = micro.input, window.x
    low, high = (grid.scale * (level - grid.zero_point) for level in (_INT8.min, _INT8.max))
    share = float(np.mean((x < low - grid.scale) | (x > high + grid.scale)))
    if not share:
        return ""
    least, most = float(x.min()), float(x.max())
    whole = bool(np.all(x == np.rint(x)))
    if whole and stored_as.min <= least and most <= stored_as.max:
        hint = f"whole numbers of {stored_as.dtype}: stored values already? Real ones are scale * (stored - zero_point)"
    elif whole and least >= 0 and most <= _UINT8.max:
        hint = "whole numbers from 0 to 255: raw bytes? Scale them as for training"
    else:
        hint = "scale windows as for training"
    return (
        f"window {window.sequence}: {share:.2%} of the values are beyond what the model's input can store, "
        f"{low:.4g} to {high:.4g}, and are clipped: they are from {least:.4g} to {most:.4g} ({hint}; this is said once)"
    )


def chunks(sequence: int, data: bytes, truth: int | None = None) -> Sequence[Window]:
    """Return the records that carry a window's bytes."""
    return [
        Window(
            sequence=sequence,
            offset=offset,
            size=len(data),
            data=data[offset : offset + MAX_WINDOW_CHUNK],
            truth=truth,
        )
        for offset in range(0, len(data), MAX_WINDOW_CHUNK)
    ]


def _concludes(event: Event, sequence: int, numbers: Container[int]) -> bool:
    """Whether an event is the last word on a window that left in the frames ``numbers``: LATENCY, or that it has left.

    BoardError where the board refuses the window.
    """
    if isinstance(event, Ack):
        return event.request in numbers and _accepted(event, event.request)
    return isinstance(event, Timing) and event.sequence == sequence


def _accepted(ack: Ack, number: int) -> bool:
    """Whether an ACK is that of frame ``number``; BoardError where it refuses."""
    if ack.request != number:
        return False
    if ack.refused:
        raise BoardError(f"the board refuses: {ack.refused}", ack.hint)
    return True
