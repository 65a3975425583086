"""The types a field of a record can have: how each is written, what is accepted, and its name in ``wire.cddl``."""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.wire import cbor
from edge.wire.cbor import Fault, WireError


@dataclass(frozen=True)
class Kind:
    """One type of field: ``pack`` returns a value as CBOR has it, ``unpack`` takes what was read out of CBOR.

    Both raise WireError for what the type does not allow.
    """

    cddl: str
    pack: Callable[[Any], bytes]
    unpack: Callable[[Any], Any]


def uint(size: int) -> Kind:
    """Return the type of an unsigned integer of at most ``size`` bytes."""
    return _whole(f"uint .size {size}", 0, (1 << (8 * size)) - 1)


def integer(low: int, high: int) -> Kind:
    """Return the type of an integer from ``low`` to ``high``."""
    return _whole(f"{low}..{high}", low, high)


def _whole(cddl: str, low: int, high: int) -> Kind:
    """Return the type of certain integers, which may be written as codes."""

    def pack(value: Any) -> bytes:
        if type(value) is int and low <= value <= high:
            return cbor.integer(value)
        return cbor.integer(unpack(value.value if isinstance(value, enum.IntEnum) else value))

    def unpack(value: Any) -> Any:
        if type(value) is int and low <= value <= high:
            return value
        raise _refused(value, cddl)

    return Kind(cddl, pack, unpack)


def text(limit: int) -> Kind:
    """Return the type of a text of at most ``limit`` bytes of UTF-8."""
    cddl = f"tstr .size (0..{limit})"

    def encoded(value: Any) -> bytes:
        if type(value) is str and len(value) <= limit:
            try:
                content = value.encode()
            except UnicodeEncodeError as error:  # half of a surrogate pair
                raise _refused(value, cddl) from error
            if len(content) <= limit:
                return content
        raise _refused(value, cddl)

    def pack(value: Any) -> bytes:
        content = encoded(value)
        return cbor.start(cbor.TEXT, len(content)) + content

    def unpack(value: Any) -> Any:
        encoded(value)
        return value

    return Kind(cddl, pack, unpack)


def data(low: int, high: int) -> Kind:
    """Return the type of a byte string of ``low`` to ``high`` bytes."""
    cddl = f"bstr .size {low}" if low == high else f"bstr .size ({low}..{high})"

    def pack(value: Any) -> bytes:
        content: bytes = unpack(value)
        return cbor.start(cbor.BYTES, len(content)) + content

    def unpack(value: Any) -> Any:
        if type(value) is bytes and low <= len(value) <= high:
            return value
        raise _refused(value, cddl)

    return Kind(cddl, pack, unpack)


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise _refused(value, "bool")
    return value


boolean = Kind("bool", lambda value: cbor.boolean(_truth(value)), _truth)


def _finite(value: Any) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise _refused(value, "a finite float32")
    return value


def _pack_float32(value: Any) -> bytes:
    try:
        return cbor.float32(_finite(value))
    except OverflowError as error:
        raise WireError(Fault.RECORD, f"{value!r} is too large for a float32") from error


float32 = Kind("float32", _pack_float32, _finite)  # no other float comes through edge.wire.cbor


MAX_FLOATS = 4096  # of one field


def _pack_float32s(values: tuple[float, ...]) -> bytes:
    if len(values) > MAX_FLOATS:
        raise WireError(Fault.RECORD, f"{len(values)} values where {MAX_FLOATS} fit")
    try:
        packed = struct.pack(f"<{len(values)}f", *map(_finite, values))
    except OverflowError as error:
        raise WireError(Fault.RECORD, "not every value fits a float32") from error
    return cbor.start(cbor.BYTES, len(packed)) + packed


def _unpack_float32s(packed: Any) -> tuple[float, ...]:
    if type(packed) is not bytes or len(packed) > 4 * MAX_FLOATS or len(packed) % 4:
        raise _refused(packed, "float32s")
    values = struct.unpack(f"<{len(packed) // 4}f", packed)
    if not all(map(math.isfinite, values)):
        raise WireError(Fault.RECORD, "not every value is finite")
    return values


float32s = Kind("float32s", _pack_float32s, _unpack_float32s)


def array(item: Kind, limit: int) -> Kind:
    """Return the type of a tuple of at most ``limit`` items."""
    cddl = f"[0*{limit} {item.cddl}]"

    def pack(values: tuple[Any, ...]) -> bytes:
        if len(values) > limit:
            raise WireError(Fault.RECORD, f"{len(values)} items where {limit} fit")
        return cbor.start(cbor.ARRAY, len(values)) + b"".join(map(item.pack, values))

    def unpack(values: Any) -> tuple[Any, ...]:
        if type(values) is not list or len(values) > limit:
            raise _refused(values, cddl)
        return tuple(item.unpack(value) for value in values)

    return Kind(cddl, pack, unpack)


def table(key: Kind, value: Kind, limit: int) -> Kind:
    """Return the type of a dict of at most ``limit`` entries with unsigned keys, whose bytes sort as they do."""
    cddl = f"{{0*{limit} {key.cddl} => {value.cddl}}}"

    def check(entries: Any) -> dict[Any, Any]:
        if type(entries) is not dict or len(entries) > limit:
            raise _refused(entries, cddl)
        return entries

    def pack(entries: dict[Any, Any]) -> bytes:
        pairs = sorted(key.pack(name) + value.pack(entry) for name, entry in check(entries).items())
        return cbor.start(cbor.MAP, len(pairs)) + b"".join(pairs)

    def unpack(entries: Any) -> dict[Any, Any]:
        return {key.unpack(name): value.unpack(entry) for name, entry in check(entries).items()}

    return Kind(cddl, pack, unpack)


def _refused(value: Any, cddl: str) -> WireError:
    return WireError(Fault.RECORD, f"{value!r:.60} is not {cddl}")
