"""Recordings: one JSON document per line and event, written at once and readable whatever became of the writer."""

from __future__ import annotations

import functools
import json
import operator
import time
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from edge.explanation import Flag
from edge.files import open_ordinary
from edge.wire.records import Ack, Error, Health, Log, Result, Session, Settings, Spread
from firmware_bridge.errors import RecordingError
from firmware_bridge.maps import Attribution, InputWindow
from firmware_bridge.session import Event, LinkChange, Mark, Timing

NAMES: dict[str, type[Any]] = {
    "session": Session,
    "result": Result,
    "map": Attribution,
    "latency": Timing,
    "health": Health,
    "log": Log,
    "error": Error,
    "link": LinkChange,
    "input": InputWindow,
    "settings": Settings,
    "spread": Spread,
    "ack": Ack,
    "mark": Mark,
}
_BEGIN = b'{"record"'
_NAME_OF = {kind: name for name, kind in NAMES.items()}


def document(event: Event, when: float) -> dict[str, Any]:
    """Return an event that came at Unix time ``when`` as JSON values; bytes in hexadecimal, maps as nested lists."""
    values = {field.name: _plain(getattr(event, field.name)) for field in fields(event)}
    return {"record": _NAME_OF[type(event)], "at": round(when, 6), **values}


def event(values: dict[str, Any]) -> tuple[float, Event]:
    """Return what ``document`` was made of; KeyError, TypeError or ValueError if it was made of no event."""
    kind = NAMES[values["record"]]
    hints = get_type_hints(kind)
    # A recording from before a field was there lacks it; what has no default must be there.
    there = [field for field in fields(kind) if field.name in values or not _has_default(field)]
    restored: Event = kind(**{field.name: _typed(values[field.name], hints[field.name]) for field in there})
    return float(values["at"]), restored


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


T = TypeVar("T")


@dataclass(frozen=True)
class Recording:
    """What a file held: events with the Unix time of each. ``damaged`` are lines that could not be read, from 1."""

    events: tuple[tuple[float, Event], ...]
    damaged: tuple[int, ...]

    def of(self, kind: type[T]) -> Iterator[T]:
        """Yield the events of one type."""
        return (event for _, event in self.events if isinstance(event, kind))


def load(path: str | Path) -> Recording:
    """Read a recording; a torn line is left out and reported. RecordingError if ``path`` holds no recording."""
    events, damaged = [], []
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise RecordingError(f"cannot read {path}: {error.strerror}", "check the path") from error
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            events.append(event(json.loads(line)))
        except (ValueError, KeyError, TypeError, RecursionError):
            damaged.append(number)
    if damaged and not events:
        raise RecordingError(f"{path} is not a recording", "it is what `whylite monitor --record` writes")
    return Recording(tuple(events), tuple(damaged))


class Recorder:
    """Appends events to a file, each one written at once: the file is whole up to the last event at any time."""

    def __init__(self, path: str | Path) -> None:
        """Begin a file or go on with a recording; RecordingError where that cannot be or the file is something else."""
        _ensure_recording(path)
        try:
            self._file = Path(path).open("ab", buffering=0)  # noqa: SIM115  closed by `close`
        except OSError as error:
            raise RecordingError(f"cannot write {path}: {error.strerror}", "check the folder and the disk") from error
        if self._file.tell():
            self._file.write(b"\n")  # an earlier recording may have ended within a line

    def write(self, event: Event) -> None:
        """Append one event."""
        data = line(event, time.time()).encode()
        try:
            written = self._file.write(data)
        except OSError as error:
            raise RecordingError(f"cannot record any more: {error.strerror}", "is the disk full?") from error
        if written != len(data):
            raise RecordingError("cannot record any more: only part of a line was taken", "is the disk full?")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _ensure_recording(path: str | Path) -> None:
    """Raise RecordingError for a file that holds something else: a line more would damage it."""
    try:
        with open_ordinary(path) as file:
            begin = file.read(1 << 10).lstrip(b"\n")[: len(_BEGIN)]
    except OSError:
        return  # not there yet, or no ordinary file: opening it for writing says what is wrong with that
    if not _BEGIN.startswith(begin):
        raise RecordingError(f"cannot record to {path}: it is no recording", "name a new file, or an earlier recording")


def line(event: Event, when: float) -> str:
    """Return the line of an event in a recording."""
    return json.dumps(document(event, when), allow_nan=False, separators=(",", ":")) + "\n"


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return value.hex()
        case np.ndarray():  # the shortest decimals that are the same float32
            return value.astype(str).astype(np.float64).tolist()
        case Flag():
            return [flag.name for flag in value]
        case dict():
            return {str(key): entry for key, entry in value.items()}
        case _:
            return value


def _typed(value: Any, hint: Any) -> Any:
    origin = get_origin(hint) or hint
    if origin is bytes:
        return bytes.fromhex(value)
    if origin is np.ndarray:
        return np.array(value, np.float32)
    if origin is Flag:
        return functools.reduce(operator.or_, (Flag[name] for name in value), Flag.NONE)
    if origin is tuple:
        return tuple(value)
    if origin is dict:
        kind, held = get_args(hint)
        return {kind(key): _typed(entry, held) for key, entry in value.items()}
    return value
