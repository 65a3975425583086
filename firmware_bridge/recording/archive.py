"""Recordings for archives: MCAP with one channel per kind of event, in chunks of which at most a second is lost.

Messages are JSON, with schemas as Foxglove understands them: arrays are flat and have a ``shape``, and what is ``None``
is left out.
"""

from __future__ import annotations

import functools
import inspect
import json
import threading
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, get_args, get_origin

import numpy as np

from edge.explanation import Flag
from edge.wire.records import Session
from firmware_bridge.errors import RecordingError
from firmware_bridge.recording.damage import Damage
from firmware_bridge.recording.documents import MALFORMED, NAME_OF, NAMES, event, moment_of, parts, plain
from firmware_bridge.recording.mcap_reader import messages
from firmware_bridge.recording.mcap_writer import McapWriter, Topic
from firmware_bridge.session import Event

_PERIOD = 0.5  # seconds after which what was written is in the file
_CHUNK = 1 << 18  # bytes after which it is so at once
_CROWDED = 1 << 20  # bytes after which whoever writes waits
_MICROSECOND = 1000  # nanoseconds
_JSON_TYPES = {str: "string", bytes: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True)
class _Message:
    """An event that waits to be written: with its time in nanoseconds, and as JSON."""

    event: Event
    moment: int
    data: bytes


class Archive:
    """Writes events to a new MCAP file; whatever becomes of the program, at most the last second is lost."""

    def __init__(self, path: str | Path) -> None:
        """Begin a file; RecordingError where that cannot be, or where it is there."""
        if Path(path).exists():
            raise RecordingError(
                f"cannot record to {path}: it is there already",
                "an MCAP file ends with its index, behind which nothing can be added: name a new file",
            )
        self._path = path
        self._writer = McapWriter(Path(path), f"whylite {version('whylite')}")
        self._waiting: list[_Message] = []
        self._size = 0  # bytes that wait
        self._failure: RecordingError | None = None
        self._told = self._closing = False
        self._changed = threading.Condition()  # guards all of the above but the writer, which is the thread's
        # A thread, for what was written is to be in the file in time though nothing more comes; and no Ctrl-C hits it.
        self._thread = threading.Thread(target=self._work, name="recording", daemon=True)
        self._thread.start()

    def write(self, event: Event, when: float | None = None) -> None:
        """Add one event, which came at Unix time ``when``: now, unless said otherwise.

        RecordingError for a time that no recording has, and where what was written before could not be.
        """
        moment = round(moment_of(when, self._path) * 1e6) * _MICROSECOND
        message = _Message(event, moment, json.dumps(_values(event), allow_nan=False, separators=(",", ":")).encode())
        with self._changed:
            self._changed.wait_for(lambda: self._failure or self._size < _CROWDED)
            self._raise()
            self._waiting.append(message)
            self._size += len(message.data)
            if self._size >= _CHUNK:
                self._changed.notify_all()

    def close(self) -> None:
        """Write what waits and the index, and close the file; RecordingError if something was lost and nobody told."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if not self._told:
            self._raise()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _raise(self) -> None:
        if self._failure is not None:
            self._told = True
            raise self._failure

    def _work(self) -> None:
        try:
            self._keep_writing()
            self._writer.finish()
        except RecordingError as error:
            self._fail(error)
            with suppress(RecordingError):  # there may be room for the index
                self._writer.finish()
        except BaseException as error:  # noqa: BLE001 - a mistake of ours: whoever writes must not wait for ever
            failure = RecordingError(
                f"cannot record to {self._path} any more: {error!r}",
                "what it holds is readable; this is a mistake of WhyLite's, please report it",
            )
            failure.__cause__ = error
            self._fail(failure)
        finally:
            self._writer.close()

    def _fail(self, error: RecordingError) -> None:
        with self._changed:
            self._failure = error  # for whoever writes next, or closes
            self._changed.notify_all()

    def _keep_writing(self) -> None:
        session, closing = b"", False
        while not closing:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._size >= _CHUNK, _PERIOD)
                some, self._waiting, self._size = self._waiting, [], 0
                closing = self._closing
                self._changed.notify_all()
            for message in some:
                event = message.event
                if isinstance(event, Session) and event.session != session:
                    session = event.session
                    self._writer.metadata("whylite.session", _description(event))
                self._writer.message(_topic(NAME_OF[type(event)]), message.moment, _sequence(event), message.data)
            self._writer.flush()


def read(file: BinaryIO, damage: Damage, kinds: Collection[str]) -> Iterator[tuple[float, Event]]:
    """Yield the events of some kinds with the Unix time of each; what cannot be read is left out and counted."""
    names = {_topic(name).name: name for name in NAMES}
    foreign = known = False
    for topic, moment, data in messages(file, damage):
        if topic not in names:
            foreign = True
            continue
        known = True
        if names[topic] not in kinds:
            continue
        try:
            when, happened = _restored(names[topic], moment, json.loads(data))
        except MALFORMED:
            damage.add(f"a message of {topic} at {moment} ns")
            continue
        yield when, happened
    if foreign and not known:
        damage.add("all of it, which is of other programs")


def _values(event: Event) -> dict[str, Any]:
    """Return the fields of an event as JSON values that Foxglove can plot."""
    values: dict[str, Any] = {}
    for part in parts(NAME_OF[type(event)]):
        value = getattr(event, part.name)
        if isinstance(value, np.ndarray):
            values |= {"shape": value.shape, part.name: plain(value.ravel())}
        elif value is not None:
            values[part.name] = plain(value)
    return values


def _restored(name: str, moment: int, values: dict[str, Any]) -> tuple[float, Event]:
    for part in parts(name):
        if part.optional:
            values.setdefault(part.name, None)
        elif get_origin(part.hint) is np.ndarray:
            values[part.name] = np.reshape(values[part.name], values["shape"])
    return event({**values, "record": name, "at": moment / 1_000_000_000})


def _sequence(event: Event) -> int:
    return getattr(event, "sequence", None) or 0


def _description(session: Session) -> dict[str, str]:
    """Return what identifies a session and what it ran, for tools that list the metadata of a file."""
    return {
        "session": session.session.hex(),
        "model": session.model,
        "model_digest": session.model_digest.hex(),
        "software": session.software,
        "runtime": session.runtime,
        "board": session.board,
    }


@functools.cache
def _topic(name: str) -> Topic:
    return Topic(f"/{name}", f"whylite.{NAMES[name].__name__}", json.dumps(schema(name)).encode())


def schema(name: str) -> dict[str, Any]:
    """Return the JSON schema of the messages of a kind of event, in the part of the language that Foxglove reads."""
    properties: dict[str, Any] = {}
    for part in parts(name):
        if get_origin(part.hint) is np.ndarray:
            properties["shape"] = {"type": "array", "items": {"type": "integer"}}
        properties[part.name] = _property(part.hint)
    return {
        "title": NAMES[name].__name__,
        "description": (inspect.getdoc(NAMES[name]) or "").partition("\n")[0],
        "type": "object",
        "properties": properties,
        "required": [part.name for part in parts(name) if not part.optional],
    }


def _property(hint: Any) -> dict[str, Any]:
    origin = get_origin(hint) or hint
    if origin is np.ndarray:
        return {"type": "array", "items": {"type": "number"}}
    if origin is Flag:
        return {"type": "array", "items": {"type": "string"}}
    if origin is tuple:
        return {"type": "array", "items": _property(get_args(hint)[0])}
    if origin is dict:
        return {"type": "object", "properties": {}, "additionalProperties": _property(get_args(hint)[1])}
    return {"type": _JSON_TYPES[origin]}
