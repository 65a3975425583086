"""Recordings converted: into the other format of recordings, or into tables."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edge.wire.records import Session
from firmware_bridge.errors import RecordingError
from firmware_bridge.recording.damage import Damage
from firmware_bridge.recording.documents import NAME_OF, NAMES
from firmware_bridge.recording.files import Reader, open_recorder
from firmware_bridge.recording.tables import KEYED, CsvTable, Names, ParquetTable, Table, cells, columns, note_names
from firmware_bridge.session import Event

RECORDINGS = (".jsonl", ".json", ".mcap")
_TABLES: dict[str, Callable[..., Table]] = {".parquet": ParquetTable, ".csv": CsvTable}

Progress = Callable[[str, float], None]
"""Called with what is being done and the part of it that is done, from 0 to 1."""
_OFTEN = 256  # events after which progress is told


@dataclass(frozen=True)
class Converted:
    """How many events or rows were written, and what of the recording could not be read."""

    written: int
    damage: Damage


def convert(
    source: str | Path,
    target: str | Path,
    *,
    table: str = "result",
    form: str = ".parquet",
    progress: Progress = lambda _, __: None,
) -> Converted:
    """Convert the recording ``source``, in bounded memory, into a ``target`` that is not there yet.

    The target's name tells into what: ``.jsonl`` or ``.mcap`` another recording, ``.parquet`` or ``.csv`` that one
    ``table``, a name without any of these a folder with a table in ``form`` of each kind of event that came.
    RecordingError where the source is no recording or the target cannot be written; then there is none.
    """
    target = Path(target)
    suffix = target.suffix.lower()
    if suffix not in ("", *RECORDINGS, *_TABLES):
        raise RecordingError(
            f"cannot convert to {target}: its name tells no format",
            f"end it in one of {' '.join((*RECORDINGS, *_TABLES))}, or in nothing for a folder of tables",
        )
    if ".parquet" in (suffix, suffix or form) and importlib.util.find_spec("pyarrow") is None:
        raise RecordingError(
            f"cannot convert to {target}: Parquet needs the packages that come with whylite[tables]",
            "pip install 'whylite[tables]', or convert to CSV",
        )
    kinds = {table, "session"} if suffix in _TABLES else NAMES.keys()
    with Reader(source, kinds) as reader, _whole(target) as path:
        if suffix in RECORDINGS:
            written = _copy(reader, path, progress)
        else:
            names = _names(source, {table} if suffix in _TABLES else NAMES.keys(), progress)
            with Tables(path, suffix, form, names) as tables:
                if suffix in _TABLES:
                    tables.open(table)
                written = _fill(reader, tables, progress)
    return Converted(written, reader.damage)


class Tables:
    """One table at ``path``, or a folder there with a table for each kind of event that comes."""

    def __init__(self, path: Path, suffix: str, form: str, names: Mapping[str, Names]) -> None:
        self._path, self._form, self._names = path, suffix or form, names
        self._folder = not suffix
        self._open: dict[str, Table] = {}
        if self._folder:
            path.mkdir()

    def __enter__(self) -> Tables:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for table in self._open.values():
                stack.callback(table.close)

    def open(self, name: str) -> Table:
        """Begin the table of a kind of event."""
        path = self._path / f"{name}{self._form}" if self._folder else self._path
        self._open[name] = _TABLES[self._form](path, columns(name, self._names.get(name, {})))
        return self._open[name]

    def of(self, name: str) -> Table | None:
        """Return the table of a kind of event; None where it is not wanted."""
        return self._open.get(name) or (self.open(name) if self._folder else None)


def _names(source: str | Path, kinds: Collection[str], progress: Progress) -> dict[str, Names]:
    """Return the names that are to be columns: a table has to know them before its first row."""
    found: dict[str, Names] = {}
    if keyed := KEYED.intersection(kinds):
        with Reader(source, keyed) as reader:
            for _, event in _told(reader, "looking for columns", progress):
                note_names(found.setdefault(NAME_OF[type(event)], {}), event)
    return found


def _fill(reader: Reader, tables: Tables, progress: Progress) -> int:
    written, session = 0, ""
    for when, event in _told(reader, "converting", progress):
        if isinstance(event, Session):
            session = event.session.hex()
        table = tables.of(NAME_OF[type(event)])
        if table is not None:
            table.write(cells(event, when, session))
            written += 1
    return written


def _copy(reader: Reader, path: Path, progress: Progress) -> int:
    written = 0
    with open_recorder(path) as recorder:
        for when, event in _told(reader, "converting", progress):
            recorder.write(event, when)
            written += 1
    return written


def _told(reader: Reader, what: str, progress: Progress) -> Iterator[tuple[float, Event]]:
    """Yield what is read, and tell how far that is."""
    for count, found in enumerate(reader):
        if count % _OFTEN == 0:
            progress(what, reader.position / max(1, reader.size))
        yield found
    progress(what, 1.0)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Give a path to write to, which becomes ``target`` when all went well; else nothing stays."""
    if os.path.lexists(target):
        raise RecordingError(f"cannot convert to {target}: it is there already", "name a new file or folder")
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as room:
            path = Path(room) / target.name
            yield path
            path.rename(target)
    except OSError as error:
        why = error.strerror or str(error)
        raise RecordingError(f"cannot write {target}: {why}", "check the folder and the disk") from error
