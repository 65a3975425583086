"""Recordings for eyes: one JSON document per line and event, each written at once."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from edge.files import open_ordinary
from firmware_bridge.errors import RecordingError
from firmware_bridge.recording.damage import Damage
from firmware_bridge.recording.documents import MALFORMED, NAME_OF, event, line, moment_of
from firmware_bridge.recording.growing import GrowingFile
from firmware_bridge.session import Event

_BEGIN = b'{"record"'
_NAMED = re.compile(rb'{"record":"(\w+)",')  # as every recorder begins a line: others need not be parsed to be skipped
_ENOUGH = 100  # lines at the beginning that are none of ours
_LONGEST = 1 << 25  # bytes of a line; the longest holds a map of 2**20 values


class JsonLines:
    """Appends events to a file, each one written at once: the file is whole up to the last event at any time."""

    def __init__(self, path: str | Path) -> None:
        """Begin a file or go on with a recording; RecordingError where that cannot be or the file is something else."""
        _ensure_recording(path)
        self._path = path
        self._file = GrowingFile(path, "ab")
        if self._file.size:
            self._file.append(b"\n")  # an earlier recording may have ended within a line

    def write(self, event: Event, when: float | None = None) -> None:
        """Append one event, which came at Unix time ``when``: now, unless said otherwise.

        RecordingError for a time that no recording has, and where the disk takes no more.
        """
        self._file.append(line(event, moment_of(when, self._path)).encode())

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


def read(file: BinaryIO, damage: Damage, kinds: Collection[str]) -> Iterator[tuple[float, Event]]:
    """Yield the events of some kinds with the Unix time of each; a line that cannot be read is left out and counted."""
    number = 0
    while found := file.readline(_LONGEST):
        number += 1
        if found == b"\n" or ((named := _NAMED.match(found)) and named[1].decode() not in kinds):
            continue
        try:
            when, happened = event(json.loads(found))
        except MALFORMED:
            damage.add(f"line {number}")
            if number == damage.count == _ENOUGH:
                return
            while found and not found.endswith(b"\n"):  # no event is as long as that
                found = file.readline(_LONGEST)
            continue
        if NAME_OF[type(happened)] in kinds:
            yield when, happened
