"""The link while a board is tried: one question at a time, and a port that is lost is an error."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from edge.errors import LinkError
from edge.wire.framing import frame
from edge.wire.port import Port
from edge.wire.receiver import Receiver
from edge.wire.records import Ack, Latency, Map, Record, Request, Result, Session, Settings, encode
from firmware_bridge.errors import FlashError
from firmware_bridge.feeding import chunks

_ASK = 1.0  # seconds between two requests for a SESSION
_POLL = 0.1
_QUIET = 0.1  # seconds without a byte after which a board that is stopped has said all
_CHATTER = 5.0  # seconds of talk after which it is not stopped
_TIMES = 3  # that a window is tried whose answer comes with gaps


@dataclass
class Answer:
    """What a board says of one window: the chunks of its maps by method, in the order in which they came.

    ``refusal`` is there where it did not take the window.
    """

    result: Result | None = None
    refusal: Ack | None = None
    maps: dict[int, list[Map]] = field(default_factory=dict)

    def whole(self, methods: tuple[int, ...]) -> bool:
        """Whether the result is there, and the maps of these methods without a gap."""
        if self.result is None or not set(methods) <= set(self.maps):
            return False
        pieces = [self.maps[method] for method in methods]
        return all([piece.chunk for piece in some] == list(range(some[0].chunks)) for some in pieces)


class Talk:
    """A conversation with a board over its port; LinkError where the port is lost, or the board says nothing."""

    def __init__(self, url: str, baud: int) -> None:
        self._port = Port(url, baud)
        self._receiver = Receiver()
        self._number = 0

    def forget(self) -> None:
        """Take in what a stopped board still had to say, as what comes after its reset is another session."""
        until = time.monotonic() + _CHATTER
        self._port.wait(_QUIET)
        while self._port.read() and time.monotonic() < until:
            self._port.wait(_QUIET)
        self._receiver = Receiver()

    def introduce(self, patience: float) -> tuple[Session, Settings]:
        """Ask the board who it is until it says so, and how it works."""
        began = time.monotonic()
        asked = began - _ASK
        session: Session | None = None
        while True:
            if session is None and time.monotonic() - asked >= _ASK:
                asked = time.monotonic()
                self._send(Request(what=Session.code), began + patience)
            for record in self._hear(began + patience, f"no SESSION came within {patience:.0f} s"):
                if isinstance(record, Session):
                    session = record
                elif isinstance(record, Settings) and session is not None:
                    return session, record

    def request(self, request: Request, patience: float) -> None:
        """Ask for something, and wait until it is done; FlashError where it is refused."""
        until = time.monotonic() + patience
        number = self._send(request, until)
        while True:
            for record in self._hear(until, "a request was not acknowledged"):
                if isinstance(record, Ack) and record.request == number:
                    _accept(record)
                    return

    def answer(self, sequence: int, window: bytes, methods: tuple[int, ...], patience: float) -> tuple[int, Answer]:
        """Have a window answered and explained by these methods; return the answer and the number behind its own.

        It is sent again, as the next window, where something got lost on the way; FlashError or LinkError where that
        does not help.
        """
        for attempt in range(sequence, sequence + _TIMES):
            found = self._answer(attempt, window, patience)
            if found.whole(methods):
                return attempt + 1, found
        if found.refusal is not None:
            _accept(found.refusal)
        raise LinkError(
            f"answers come with gaps over {self._port.url}: {self._receiver.counts.bad_frames} frames were damaged",
            "lower the baud rate at both ends, or use a shorter cable",
        )

    def close(self) -> None:
        """Close the port."""
        self._port.close()

    def _answer(self, sequence: int, window: bytes, patience: float) -> Answer:
        until = time.monotonic() + patience
        numbers: set[int] = set()
        answer = Answer()
        again = 0.0
        while True:
            if answer.result is None and time.monotonic() >= again:  # its last chunk may be lost, too
                numbers |= {self._send(chunk, until) for chunk in chunks(sequence, window)}
                again = time.monotonic() + patience / _TIMES
            for record in self._hear(until, f"no answer came within {patience:.0f} s"):
                match record:
                    case Result(sequence=number) if number == sequence:
                        answer.result = record
                    case Map(sequence=number) if number == sequence:
                        answer.maps.setdefault(record.method, []).append(record)
                    case Latency(sequence=number) if number == sequence:
                        return answer
                    case Ack(request=number) if number in numbers and record.refused:
                        answer.refusal = record
                        return answer

    def _send(self, record: Record, until: float) -> int:
        """Write a frame, and return its number."""
        data = frame(encode(record, self._number))
        while data:
            data = data[self._port.write(data, _POLL) :]
            if data and time.monotonic() >= until:
                raise LinkError(f"the board at {self._port.url} takes nothing", "is its UART set up for reading?")
        self._number += 1
        return self._number - 1

    def _hear(self, until: float, else_: str) -> list[Record]:
        """Return what has come; LinkError when the time is over."""
        if time.monotonic() >= until:
            raise LinkError(f"{else_} from {self._port.url}", self._advice())
        self._port.wait(_POLL)
        return [got.record for got in self._receiver.feed(self._port.read()) if got.record is not None]

    def _advice(self) -> str:
        counts = self._receiver.counts
        if not counts.wire_bytes:
            return "not one byte came: check the wires (its TX to our RX), the port, and that the firmware runs"
        if not counts.frames:
            return "what comes is no link: check the baud rate, and that nothing else writes to the port"
        return "the board talks, but not about this: whylite monitor shows what it says"


def _accept(ack: Ack) -> None:
    if ack.refused:
        raise FlashError(f"the board refuses: {ack.refused}", ack.hint)
