"""Events as rows of tables, one table per kind, as Parquet or CSV.

Every row has ``at`` (when it came) and the ``session`` it is of; with that, ``sequence`` names a window in every table.
A field is a column of its name. An array is two, its flat values and its ``shape``; a dict is one for each name in it
(``phases_predict``), in nanoseconds where it is of durations by name, in ticks of the board's clock in ``spread``.
"""

from __future__ import annotations

import csv
import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, get_args, get_origin

import numpy as np

from edge.explanation import Flag
from edge.wire.codes import Degraded, SourceFault, Thinned
from firmware_bridge.errors import RecordingError
from firmware_bridge.recording.documents import NAME_OF, NAMES, parts, shortest
from firmware_bridge.session import Event
from firmware_bridge.summary import record_name

Names = dict[str, dict[Any, None]]
"""The keys that the dicts of one kind of event have, by field, in the order in which they came."""

_MOST_COLUMNS = 1000
_ROWS = 8192  # of one row group
_VALUES = 1 << 22  # of the arrays in it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Form(enum.Enum):
    """What a column holds."""

    TEXT = enum.auto()
    INTEGER = enum.auto()
    NUMBER = enum.auto()
    BOOLEAN = enum.auto()
    MOMENT = enum.auto()  # whole microseconds of Unix time
    TEXTS = enum.auto()
    INTEGERS = enum.auto()
    NUMBERS = enum.auto()  # float32


_FORMS = {str: Form.TEXT, bytes: Form.TEXT, int: Form.INTEGER, float: Form.NUMBER, bool: Form.BOOLEAN, Flag: Form.TEXTS}
_MANY = {Form.TEXT: Form.TEXTS, Form.INTEGER: Form.INTEGERS, Form.NUMBER: Form.NUMBERS}


def dict_fields(name: str) -> list[str]:
    """Return the fields of a kind of event whose keys are columns."""
    return [part.name for part in parts(name) if get_origin(part.hint) is dict]


KEYED = frozenset(name for name in NAMES if dict_fields(name))
"""The kinds of events whose columns depend on what came."""


def note_names(names: Names, event: Event) -> None:
    """Add the keys of an event's dicts to ``names``; RecordingError where they are more than anybody has."""
    for field in dict_fields(NAME_OF[type(event)]):
        known = names.setdefault(field, {})
        known |= dict.fromkeys(getattr(event, field))
        if len(known) > _MOST_COLUMNS:
            raise RecordingError(f"{field} go by more than {_MOST_COLUMNS} names", "is that recording of one model?")


def columns(name: str, names: Mapping[str, Iterable[Any]]) -> dict[str, Form]:
    """Return what the columns of a kind of event hold."""
    found = {"at": Form.MOMENT} | ({} if name == "session" else {"session": Form.TEXT})
    for part in parts(name):
        origin = get_origin(part.hint)
        if origin is np.ndarray:
            found |= {"shape": Form.INTEGERS, part.name: Form.NUMBERS}
        elif origin is dict:
            found |= {_label(part.name, key): _form(get_args(part.hint)[1]) for key in names.get(part.name, ())}
        else:
            found[part.name] = _form(part.hint)
    return found


def cells(event: Event, when: float, session: str) -> dict[str, Any]:
    """Return the row of an event."""
    row: dict[str, Any] = {"at": round(when * 1e6), "session": session}
    for part in parts(NAME_OF[type(event)]):
        match getattr(event, part.name):
            case np.ndarray() as array:
                row |= {"shape": array.shape, part.name: array.ravel()}
            case dict() as entries:
                row |= {_label(part.name, key): _fitting(value) for key, value in entries.items()}
            case bytes() as data:
                row[part.name] = data.hex()
            case Flag() as flags:
                row[part.name] = [str(flag.name) for flag in flags]
            case value:
                row[part.name] = _fitting(value)
    return row


def _form(hint: Any) -> Form:
    return _MANY[_FORMS[get_args(hint)[0]]] if get_origin(hint) is tuple else _FORMS[hint]


def _fitting(value: Any) -> Any:
    """Return a value with ``None`` for integers that 64 bits do not hold: no sane clock or counter gives them."""
    if isinstance(value, tuple):
        return [_fitting(entry) for entry in value]
    return None if type(value) is int and not -(1 << 63) <= value < 1 << 63 else value


def _label(field: str, key: Any) -> str:
    """Return the name of the column for one key of a dict."""
    codes = {"degraded": Degraded, "thinned": Thinned, "source": SourceFault}
    if field in {"sent", "dropped"}:
        key = record_name(key).lower()
    elif field in codes and key in iter(codes[field]):
        key = codes[field](key).label
    return f"{field}_{key}"


class Table(Protocol):
    """A file of rows: ``ParquetTable`` or ``CsvTable``. OSError where the disk does not take them."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row; a column that it lacks is empty."""
        ...

    def close(self) -> None:
        """Finish the file."""
        ...


class CsvTable:
    """Rows as comma-separated values: times in ISO 8601, several values as JSON."""

    def __init__(self, path: Path, held: Mapping[str, Form]) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._held = held
        self._writer.writerow(held)

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row; a column that it lacks is empty."""
        self._writer.writerow([_text(row.get(name), form) for name, form in self._held.items()])

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def _text(value: Any, form: Form) -> Any:
    if value is None:
        return ""
    match form:
        case Form.MOMENT:
            return (_EPOCH + timedelta(microseconds=value)).isoformat(timespec="microseconds")
        case Form.NUMBERS:
            return json.dumps(shortest(np.asarray(value, np.float32)).tolist())
        case Form.TEXTS | Form.INTEGERS | Form.BOOLEAN:
            return json.dumps(value)
    return value


class ParquetTable:
    """Rows as Parquet, compressed with zstd, in row groups of bounded size."""

    def __init__(self, path: Path, held: Mapping[str, Form]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {
            Form.TEXT: pa.string(),
            Form.INTEGER: pa.int64(),
            Form.NUMBER: pa.float64(),
            Form.BOOLEAN: pa.bool_(),
            Form.MOMENT: pa.timestamp("us", tz="UTC"),
            Form.TEXTS: pa.list_(pa.string()),
            Form.INTEGERS: pa.list_(pa.int64()),
            Form.NUMBERS: pa.list_(pa.float32()),
        }
        self._schema = pa.schema([(name, types[form]) for name, form in held.items()])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Mapping[str, Any]] = []
        self._values = 0  # in the arrays of the rows that wait

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row; a column that it lacks is empty."""
        self._rows.append(row)
        self._values += sum(len(value) for value in row.values() if isinstance(value, Sequence | np.ndarray))
        if len(self._rows) >= _ROWS or self._values >= _VALUES:
            self._flush()

    def close(self) -> None:
        """Finish the file."""
        try:
            self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            arrays = [pa.array([row.get(f.name) for row in self._rows], f.type) for f in self._schema]
            self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._rows, self._values = [], 0
