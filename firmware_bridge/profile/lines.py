"""The host's side of ``firmware/whylite_profile.h``: windows to a board, and from it what each of its operations took.

The host asks with ``?``. What comes then are lines, ``$WHY,name,field,...*hh``, numbers in hexadecimal:

==========  ==========================================================================================================
``hello``   version, digest of the model, operations, explanations, bytes of a window, frequency and name of the counter
``small``   bytes of memory that the board has, which are too few: the end
``want``    offset and size of the bytes of the window that the host is to send now, as they are
``window``  CRC-32 of the window as it arrived
``hook``    calls and ticks: what counting adds to the operations around it
``part``    0 for the prediction, else the explanation counted from 1; ticks after its last operation; peak of the
            stack, 0 if unknown; CRC-32 of the scores or the map
``op``      index, calls, ticks: of the part whose line came last
``done``
==========  ==========================================================================================================
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edge.wire.port import Port
from edge.wire.receiver import Receiver
from firmware_bridge.errors import InvalidProfileError, ProfileError

VERSION = 1
_LONGEST = 512  # bytes of a line; what is longer is noise
_ATTEMPTS = 3  # at a window, before what disturbs the line is told
_SLICE = 0.5
_ASK = b"?"
_EVERY = 2.0  # seconds between two times of asking
_AGAIN = "check the wiring and the baud rate; the port must carry nothing else"


@dataclass(frozen=True)
class Greeting:
    """What a board says of itself: SHA-256 of its model in hexadecimal, and what its counter is."""

    digest: str
    operations: int
    explanations: int
    window_bytes: int
    clock_hz: int
    clock: str


@dataclass
class Measured:
    """One part of one window as counted, in ticks: ``calls`` and ``ticks`` by operation, and what came behind them."""

    part: int
    rest: int
    stack: int
    crc: int
    calls: dict[int, int] = field(default_factory=dict)
    ticks: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One window's parts; the hook took ``hook_ticks`` for ``hook_calls`` of itself."""

    hook_calls: int
    hook_ticks: int
    parts: tuple[Measured, ...]

    def counted(self, measured: Measured) -> dict[int, float]:
        """Return a part's ticks by operation, without those of the hook."""
        hook = self.hook_ticks / self.hook_calls
        return {index: max(0.0, ticks - hook * measured.calls[index]) for index, ticks in measured.ticks.items()}


class Device:
    """A board that runs ``whylite_profile``. ``patience`` is in seconds without a line; ``alive`` says why it died."""

    def __init__(self, port: Port, patience: float, alive: Callable[[], str | None] = lambda: None) -> None:
        self._port, self._patience, self._alive = port, patience, alive
        self._pending = b""
        self._damaged = 0
        self._records = Receiver()
        self.greeting: Greeting | None = None

    def measure(self, window: bytes) -> Sample:
        """Return what predicting and explaining a window took.

        ProfileError where the board is silent or what it says is damaged again and again, InvalidProfileError where its
        counter stands still.
        """
        for _ in range(_ATTEMPTS):
            sample = self._attempt(window)
            if sample is not None:
                return sample
        raise ProfileError(f"what comes from {self._port.url} is damaged: {self._damaged} lines so far", _AGAIN)

    def _attempt(self, window: bytes) -> Sample | None:
        """Return a sample, None where a line was damaged, or the board has begun anew."""
        self.greeting = self._greeted()
        if self.greeting.window_bytes != len(window):
            raise ProfileError(
                f"the board's model takes windows of {self.greeting.window_bytes} bytes, not {len(window)}",
                "build its firmware from this bundle",
            )
        hook = (0, 0)
        parts: list[Measured] = []
        for name, fields in self._lines(self._patience):
            if name in {"damaged", "hello"}:
                return None
            if name == "done":
                return self._checked(Sample(*hook, tuple(parts)))
            numbers = [_number(text) for text in fields]
            if name == "small":
                raise ProfileError(
                    f"the board has {numbers[0]} bytes of memory for its model, which are too few",
                    "WHYLITE_PROFILE_MEMORY says how many it takes",
                )
            if name == "want":
                self._send(window[numbers[0] : sum(numbers)])
            elif name == "window" and numbers[0] != zlib.crc32(window):
                self._damaged += 1
                return None
            elif name == "hook":
                hook = (numbers[0], numbers[1])
            elif name == "part":
                parts.append(Measured(numbers[0], numbers[1], numbers[2], numbers[3]))
            elif name == "op" and parts:
                index, calls, ticks = numbers
                parts[-1].calls[index], parts[-1].ticks[index] = calls, ticks
        raise ProfileError(
            f"{self._port.url} has fallen silent, {len(parts)} parts into a window",
            "look whether the firmware stands in a fault",
        )

    def _checked(self, sample: Sample) -> Sample:
        greeting = self.greeting
        assert greeting is not None
        numbers = [measured.part for measured in sample.parts]
        known = numbers[:1] == [0] and all(0 <= number <= greeting.explanations for number in numbers)
        known = known and all(index < greeting.operations for measured in sample.parts for index in measured.ticks)
        known = known and all(calls for measured in sample.parts for calls in measured.calls.values())
        if not known or len(set(numbers)) != len(numbers) or sample.hook_calls <= 0:
            raise ProfileError(f"{self._port.url} counts operations that its model does not have", _AGAIN)
        return sample

    def _send(self, data: bytes) -> None:
        end = time.monotonic() + self._patience
        while data:
            data = data[self._port.write(data, _SLICE) :]
            if data and time.monotonic() > end:
                raise ProfileError(f"{self._port.url} takes no bytes", "is the firmware built with profile=True?")

    def _greeted(self) -> Greeting:
        """Ask until the board introduces itself, and return what it says."""
        end = time.monotonic() + self._patience
        while time.monotonic() < end:
            self._send(_ASK)
            for name, fields in self._lines(min(_EVERY, self._patience)):
                if name == "hello":
                    return _greeting(fields)
        raise ProfileError(
            f"{self._port.url} has said nothing of a profile for {self._patience:g} s",
            "flash firmware that calls whylite_profile, built with -DWHYLITE_PROFILE",
        )

    def _lines(self, patience: float) -> Iterator[tuple[str, list[str]]]:
        """Yield lines as name and fields, a damaged one as the name "damaged", until none comes for so many seconds."""
        last = time.monotonic()
        while time.monotonic() - last < patience:
            line, ended, rest = self._pending.partition(b"\n")
            if ended:
                self._pending = rest
                found = parse(line)
                if found is None:
                    self._damaged += 1
                else:
                    last = time.monotonic()
                yield found or ("damaged", [])
                continue
            if len(self._pending) > _LONGEST:
                self._pending = b""
                self._damaged += 1
            if why := self._alive():
                raise ProfileError(f"the board has died: {why}", "run it again; a fault of the firmware is a bug")
            self._port.wait(_SLICE)
            self._pending += self._read()

    def _read(self) -> bytes:
        """Return what has come; ProfileError where there are records in it, which no firmware that counts sends."""
        data = self._port.read()
        if any(received.record is not None for received in self._records.feed(data)):
            raise ProfileError(
                f"the firmware at {self._port.url} is not compiled with -DWHYLITE_PROFILE: it sends records",
                "flash firmware that is, and calls whylite_profile in place of whylite_device_step",
            )
        return data


def parse(line: bytes) -> tuple[str, list[str]] | None:
    """Return the name and the fields of a line; None for one that is damaged, or none of these."""
    body, _, tail = line.strip().rpartition(b"*")
    head, _, rest = body.partition(b"$WHY,")
    if head or not rest or len(line) > _LONGEST:
        return None
    check = 0
    for byte in body[1:]:
        check ^= byte
    try:
        text = rest.decode("ascii")
        sound = text.isprintable() and int(tail, 16) == check and len(tail) == 2
    except ValueError:
        return None
    name, *fields = text.split(",")
    if not sound or len(fields) != _FIELDS.get(name, -1):
        return None
    return name, fields


_FIELDS = {"hello": 7, "small": 1, "want": 2, "window": 1, "hook": 2, "part": 4, "op": 3, "done": 0}


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        raise ProfileError(f"the board says {text[:20]!r} where a number is due", _AGAIN) from None


def _greeting(fields: list[str]) -> Greeting:
    version, digest, operations, explanations, window_bytes, clock_hz, clock = fields
    if _number(version) != VERSION:
        raise ProfileError(f"the board's profile has version {version[:8]}, this reads {VERSION}", "build it again")
    return Greeting(digest, _number(operations), _number(explanations), _number(window_bytes), _number(clock_hz), clock)


def check_counter(samples: list[Sample], clock: str) -> None:
    """Raise InvalidProfileError where the counter stood still, or went back."""
    cause = ""
    for sample in samples:
        for measured in sample.parts:
            total = measured.rest + sum(measured.ticks.values())
            if total == 0:
                cause = f"the counter {clock} stands still: it counted nothing from beginning to end of a window"
            elif sample.hook_ticks == 0:
                cause = f"the counter {clock} is too coarse to tell operations apart"
            elif measured.rest >= 1 << 31 or any(
                ticks >= measured.calls[index] << 31 for index, ticks in measured.ticks.items()
            ):
                cause = f"the counter {clock} went back, or counts down"
    if cause:
        raise InvalidProfileError(
            cause, "start it in the port's `ticks`: DWT wants TRCENA set, and an emulator has none"
        )
