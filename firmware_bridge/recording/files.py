"""Recordings as files: written in the format that the name asks for, read in the one they hold."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from edge.files import open_ordinary
from firmware_bridge.errors import RecordingError
from firmware_bridge.recording import jsonl
from firmware_bridge.recording.damage import Damage
from firmware_bridge.recording.documents import NAMES
from firmware_bridge.session import Event

_MCAP = b"\x89MCAP0\r\n"

T = TypeVar("T")


class Recorder(Protocol):
    """Writes events to a file: ``jsonl.JsonLines`` or ``archive.Archive``."""

    def write(self, event: Event, when: float | None = None) -> None:
        """Add one event, which came at Unix time ``when``: now, unless said otherwise."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_recorder(path: str | Path) -> Recorder:
    """Begin a recording: JSON lines where the name ends in .jsonl or .json, MCAP where it ends in .mcap.

    JSON lines go on with an earlier recording, MCAP wants a new file. RecordingError where that cannot be, and from
    ``write`` or ``close`` when the disk is full: what the file holds by then is readable.
    """
    match Path(path).suffix.lower():
        case ".jsonl" | ".json":
            return jsonl.JsonLines(path)
        case ".mcap":
            try:
                from firmware_bridge.recording import archive
            except ImportError as error:
                raise _needs_mcap("write", path) from error
            return archive.Archive(path)
        case _:
            raise RecordingError(
                f"cannot record to {path}: its name tells no format",
                "end it in .jsonl (JSON lines, for eyes) or .mcap (MCAP, smaller, for archives)",
            )


class Reader:
    """Reads a recording from its first event to its last, in bounded memory, whoever wrote it and however it ended.

    Iterating gives each event with its Unix time, or those of some ``kinds`` (``documents.NAMES``), which is quicker;
    ``damage`` is what had to be left out by then. RecordingError if the file cannot be read or holds no recording,
    which is known before the first event is given.
    """

    def __init__(self, path: str | Path, kinds: Collection[str] = NAMES.keys()) -> None:
        self.path = path
        self.damage = Damage()
        try:
            self._file = open_ordinary(path)
        except OSError as error:
            raise RecordingError(f"cannot read {path}: {error.strerror}", "check the path") from error
        self.size = os.fstat(self._file.fileno()).st_size
        try:
            if next(self._read(NAMES), None) is None and self.damage:
                raise RecordingError(f"{path} is not a recording", "it is what `whylite monitor --record` writes")
        except RecordingError:
            self._file.close()
            raise
        self.damage = Damage()
        self._events = self._read(kinds)

    @property
    def position(self) -> int:
        """How many of the ``size`` bytes have been read."""
        return self._file.tell()

    def __iter__(self) -> Iterator[tuple[float, Event]]:
        return self._events

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self, kinds: Collection[str]) -> Iterator[tuple[float, Event]]:
        try:
            self._file.seek(0)
            if self._file.read(len(_MCAP)) == _MCAP:
                try:
                    from firmware_bridge.recording import archive
                except ImportError as error:
                    raise _needs_mcap("read", self.path) from error
                yield from archive.read(self._file, self.damage, kinds)
            else:
                self._file.seek(0)
                yield from jsonl.read(self._file, self.damage, kinds)
        except OSError as error:
            raise RecordingError(f"cannot read {self.path}: {error.strerror}", "is the disk there?") from error


@dataclass(frozen=True)
class Recording:
    """What a file held: events with the Unix time of each, and what could not be read."""

    events: tuple[tuple[float, Event], ...]
    damage: Damage

    def of(self, kind: type[T]) -> Iterator[T]:
        """Yield the events of one type."""
        return (event for _, event in self.events if isinstance(event, kind))


def load(path: str | Path) -> Recording:
    """Read a whole recording into memory; ``Reader`` does with little of it. RecordingError as there."""
    with Reader(path) as reader:
        events = tuple(reader)
    return Recording(events, reader.damage)


def _needs_mcap(what: str, path: str | Path) -> RecordingError:
    return RecordingError(
        f"cannot {what} {path}: MCAP needs the packages that come with whylite[archive]",
        "pip install 'whylite[archive]', or record JSON lines (.jsonl)",
    )
