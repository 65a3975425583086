"""Events as JSON values and back again, exactly; what was made of no event is refused."""

from __future__ import annotations

import functools
import json
import math
import operator
import time
import types
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from edge.explanation import Flag
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
NAME_OF = {kind: name for name, kind in NAMES.items()}
_LAST = 1 << 33  # Unix time in seconds: the year 2242
MALFORMED = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What ``json.loads`` and ``event`` raise for what was made of no event."""


@dataclass(frozen=True)
class Part:
    """A field of an event: its type without ``None``, whether it may be ``None``, and whether it has a default."""

    name: str
    hint: Any
    optional: bool
    has_default: bool


@functools.cache
def parts(name: str) -> tuple[Part, ...]:
    """Return the fields of a kind of event, which goes by one of ``NAMES``."""
    kind = NAMES[name]
    hints = get_type_hints(kind)
    return tuple(_part(field, hints[field.name]) for field in fields(kind))


def _part(field: Field[Any], hint: Any) -> Part:
    has_default = field.default is not MISSING or field.default_factory is not MISSING
    if get_origin(hint) not in (Union, types.UnionType):
        return Part(field.name, hint, optional=False, has_default=has_default)
    (held,) = (argument for argument in get_args(hint) if argument is not types.NoneType)
    return Part(field.name, held, optional=True, has_default=has_default)


def document(event: Event, when: float) -> dict[str, Any]:
    """Return an event that came at Unix time ``when`` as JSON values; bytes in hexadecimal, maps as nested lists."""
    name = NAME_OF[type(event)]
    values = {part.name: plain(getattr(event, part.name)) for part in parts(name)}
    return {"record": name, "at": round(when, 6), **values}


def line(event: Event, when: float) -> str:
    """Return the line of an event in a recording."""
    return json.dumps(document(event, when), allow_nan=False, separators=(",", ":")) + "\n"


def event(values: dict[str, Any]) -> tuple[float, Event]:
    """Return what ``document`` was made of; one of ``MALFORMED`` if it was made of no event."""
    name = values["record"]
    # A recording from before a field was there lacks it; what has no default must be there.
    there = [part for part in parts(name) if part.name in values or not part.has_default]
    restored: Event = NAMES[name](**{part.name: _optional(values[part.name], part) for part in there})
    return _moment(values["at"]), restored


def shortest(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return float64 whose decimals are the shortest that are the same float32."""
    # Most maps were quantised for the link and hold few values; by their bits, for 0.0 and -0.0 are two of them.
    bits, places = np.unique(np.ascontiguousarray(values, np.float32).view(np.uint32), return_inverse=True)
    return bits.view(np.float32).astype(str).astype(np.float64)[places].reshape(values.shape)


def plain(value: Any) -> Any:
    """Return the value of a field as a JSON value."""
    match value:
        case bytes():
            return value.hex()
        case np.ndarray():
            return shortest(value).tolist()
        case Flag():
            return [flag.name for flag in value]
        case dict():
            return {str(key): entry for key, entry in value.items()}
        case _:
            return value


def _optional(value: Any, part: Part) -> Any:
    return None if value is None and part.optional else _typed(value, part.hint)


def _typed(value: Any, hint: Any) -> Any:
    origin = get_origin(hint) or hint
    if origin is bytes:
        return bytes.fromhex(value)
    if origin is np.ndarray:
        return _array(value)
    if origin is Flag:
        return functools.reduce(operator.or_, (Flag[name] for name in _typed(value, tuple[str, ...])), Flag.NONE)
    if origin is float:
        return _number(value)
    if origin is tuple and type(value) is list:
        return tuple(_typed(entry, get_args(hint)[0]) for entry in value)
    if origin is dict and type(value) is dict:
        kind, held = get_args(hint)
        return {_typed(kind(key), kind): _typed(entry, held) for key, entry in value.items()}
    if type(value) is not origin:
        raise TypeError(f"{value!r:.40} is not {origin.__name__}")
    if origin is str:
        value.encode()  # half of a surrogate pair is no text
    return value


def moment_of(when: float | None, path: str | Path) -> float:
    """Return the Unix time of an event that is to be recorded: now if None; RecordingError for one not read again."""
    when = time.time() if when is None else when
    if not 0 <= when < _LAST:
        raise RecordingError(
            f"cannot record to {path} what came at Unix time {when}",
            "times are seconds since 1970, up to the year 2242: is the clock of this machine set?",
        )
    return when


def _moment(value: Any) -> float:
    when = _number(value)
    if not 0 <= when < _LAST:
        raise ValueError(f"{when} is no Unix time")
    return when


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError(f"{value!r:.40} is not a finite number")
    return float(value)


def _array(value: Any) -> NDArray[np.float32]:
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "iuf" or not numbers.size:
        raise TypeError(f"{value!r:.40} is not an array of numbers")
    with np.errstate(over="ignore"):
        array = numbers.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError("not every value of an array is a finite float32")
    return array
