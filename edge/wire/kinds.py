"""The types a field of a record can have: how each is written, what is accepted, and its name in ``wire.cddl``."""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edge.wire.cbor import Fault, WireError


@dataclass(frozen=True)
class Kind:
    """One type of field. ``pack`` and ``unpack`` raise WireError for what the type does not allow."""

    cddl: str
    pack: Callable[[Any], Any]
    unpack: Callable[[Any], Any]


def _same(cddl: str, check: Callable[[Any], bool]) -> Kind:
    """Return the type whose value in Python is its value in CBOR."""

    def accept(value: Any) -> Any:
        if not check(value):
            raise WireError(Fault.RECORD, f"{value!r:.60} is not {cddl}")
        return value

    return Kind(cddl, accept, accept)


def _whole(cddl: str, check: Callable[[Any], bool]) -> Kind:
    """Return the type of certain integers, which may be written as codes."""
    plain = _same(cddl, check)
    return replace(plain, pack=lambda value: plain.pack(value.value if isinstance(value, enum.IntEnum) else value))


def uint(size: int) -> Kind:
    """Return the type of an unsigned integer of at most ``size`` bytes."""
    limit = 1 << (8 * size)
    return _whole(f"uint .size {size}", lambda value: type(value) is int and 0 <= value < limit)


def integer(low: int, high: int) -> Kind:
    """Return the type of an integer from ``low`` to ``high``."""
    return _whole(f"{low}..{high}", lambda value: type(value) is int and low <= value <= high)


def text(limit: int) -> Kind:
    """Return the type of a text of at most ``limit`` bytes of UTF-8."""

    def check(value: Any) -> bool:
        if type(value) is not str or len(value) > limit:
            return False
        try:
            return len(value.encode()) <= limit
        except UnicodeEncodeError:  # half of a surrogate pair
            return False

    return _same(f"tstr .size (0..{limit})", check)


def data(low: int, high: int) -> Kind:
    """Return the type of a byte string of ``low`` to ``high`` bytes."""
    cddl = f"bstr .size {low}" if low == high else f"bstr .size ({low}..{high})"

    def accept(value: Any) -> Any:  # not by way of _same: every MAP comes by here
        if type(value) is bytes and low <= len(value) <= high:
            return value
        raise WireError(Fault.RECORD, f"{value!r:.60} is not {cddl}")

    return Kind(cddl, accept, accept)


boolean = _same("bool", lambda value: type(value) is bool)


def _finite(value: Any) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise WireError(Fault.RECORD, f"{value!r:.60} is not a finite float32")
    return value


def _float32(value: Any) -> float:
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", _finite(value)))[0]
    except OverflowError as error:
        raise WireError(Fault.RECORD, f"{value!r} is too large for a float32") from error
    return rounded


float32 = Kind("float32", _float32, _finite)  # no other float comes through edge.wire.cbor


MAX_FLOATS = 4096  # of one field


def _pack_float32s(values: tuple[float, ...]) -> bytes:
    if len(values) > MAX_FLOATS:
        raise WireError(Fault.RECORD, f"{len(values)} values where {MAX_FLOATS} fit")
    return struct.pack(f"<{len(values)}f", *(_float32(value) for value in values))


def _unpack_float32s(packed: Any) -> tuple[float, ...]:
    if type(packed) is not bytes or len(packed) > 4 * MAX_FLOATS or len(packed) % 4:
        raise WireError(Fault.RECORD, f"{packed!r:.60} is not float32s")
    values = struct.unpack(f"<{len(packed) // 4}f", packed)
    if not all(map(math.isfinite, values)):
        raise WireError(Fault.RECORD, "not every value is finite")
    return values


float32s = Kind("float32s", _pack_float32s, _unpack_float32s)


def array(item: Kind, limit: int) -> Kind:
    """Return the type of a tuple of at most ``limit`` items."""
    cddl = f"[0*{limit} {item.cddl}]"

    def pack(values: tuple[Any, ...]) -> list[Any]:
        if len(values) > limit:
            raise WireError(Fault.RECORD, f"{len(values)} items where {limit} fit")
        return [item.pack(value) for value in values]

    def unpack(values: Any) -> tuple[Any, ...]:
        if type(values) is not list or len(values) > limit:
            raise WireError(Fault.RECORD, f"{values!r:.60} is not {cddl}")
        return tuple(item.unpack(value) for value in values)

    return Kind(cddl, pack, unpack)


def table(key: Kind, value: Kind, limit: int) -> Kind:
    """Return the type of a dict of at most ``limit`` entries."""
    cddl = f"{{0*{limit} {key.cddl} => {value.cddl}}}"

    def check(entries: Any) -> dict[Any, Any]:
        if type(entries) is not dict or len(entries) > limit:
            raise WireError(Fault.RECORD, f"{entries!r:.60} is not {cddl}")
        return entries

    def pack(entries: dict[Any, Any]) -> dict[Any, Any]:
        return {key.pack(name): value.pack(entry) for name, entry in check(entries).items()}

    def unpack(entries: Any) -> dict[Any, Any]:
        return {key.unpack(name): value.unpack(entry) for name, entry in check(entries).items()}

    return Kind(cddl, pack, unpack)
