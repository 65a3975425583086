"""The part of CBOR (RFC 8949) that the link uses: definite lengths, integer keys, no tags, floats of 32 bits.

Whatever arrives is walked head by head before ``cbor2`` sees it, so that no length, depth, tag or bignum in it can
cost more than the few kilobytes it came in.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cbor2

from edge.errors import EdgeError

MAX_DEPTH = 4  # containers open at one time
MAX_ITEMS = 8192  # keys and values of one record, at all depths

UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, _TAG, _SIMPLE = range(8)  # major types
_FALSE, _TRUE, FLOAT32 = 0xF4, 0xF5, 0xFA  # first bytes
_FLOAT = struct.Struct(">Bf")
_BYTE = [bytes([value]) for value in range(256)]
_PLAIN = {_FALSE, _TRUE, FLOAT32}


class Fault(enum.StrEnum):
    """Why a frame was not delivered."""

    LENGTH = "length"  # too short to hold a checksum, or longer than any frame may be
    COBS = "cobs"  # not a COBS encoding
    CRC = "crc"  # the checksum does not match
    CBOR = "cbor"  # not the CBOR that the link uses
    RECORD = "record"  # a field is missing, of the wrong type or out of range


class WireError(EdgeError):
    """Bytes that are not a record, or a value that no record can carry; ``fault`` says which rule they break."""

    def __init__(self, fault: Fault, cause: str) -> None:
        super().__init__(cause, "see edge/wire/wire.cddl for what a record may hold")
        self.fault = fault


def start(major: int, argument: int) -> bytes:
    """Return the head of an item, in as few bytes as it takes."""
    first = major << 5
    if argument < 24:
        return _BYTE[first | argument]
    width = (argument > 0xFF) + (argument > 0xFFFF) + (argument > 0xFFFFFFFF)
    return _BYTE[first | 24 + width] + argument.to_bytes(1 << width, "big")


def integer(value: int) -> bytes:
    """Return an integer as CBOR has it."""
    return start(UNSIGNED, value) if value >= 0 else start(NEGATIVE, -1 - value)


def float32(value: float) -> bytes:
    """Return a float as CBOR has it, in 32 bits; OverflowError where it is too large for them."""
    return _FLOAT.pack(FLOAT32, value)


def boolean(value: bool) -> bytes:
    """Return a truth value as CBOR has it."""
    return _BYTE[_TRUE if value else _FALSE]


def loads(payload: bytes) -> dict[int, Any]:
    """Decode one map; WireError for anything else, whatever the bytes are."""
    _walk(payload)
    try:
        fields: dict[int, Any] = cbor2.loads(payload)
    except (cbor2.CBORDecodeError, ValueError) as error:  # text that is not UTF-8
        raise WireError(Fault.CBOR, f"not CBOR: {error}") from error
    return fields


@dataclass(frozen=True)
class Item:
    """Where a value of a record's map lies in the payload: its first byte, what follows its head, and its end."""

    key: int
    head: int
    content: int
    end: int


def items(payload: bytes) -> Iterator[Item]:
    """Yield where the values of a map lie that ``loads`` has accepted, in the order of their keys."""
    _, pairs, _, at = _head(payload, 0)
    for _ in range(pairs):
        _, key, _, head = _head(payload, at)
        content, at = _head(payload, head)[3], _end(payload, head)
        yield Item(key, head, content, at)


def _end(payload: bytes, at: int) -> int:
    """Return where the item that begins at ``at`` ends."""
    left = 1
    while left:
        major, argument, _, at = _head(payload, at)
        left -= 1
        if major in {BYTES, TEXT}:
            at += argument
        elif major in {ARRAY, MAP}:
            left += argument * (2 if major == MAP else 1)
    return at


def _walk(payload: bytes) -> None:
    """Refuse a payload that is not exactly one map within the bounds."""
    if not payload or payload[0] >> 5 != MAP:
        raise WireError(Fault.CBOR, "a record is a CBOR map")
    at, items = 0, 0
    left = [1]  # items still to come, per open container
    last_key: list[int | None] = [None]  # of a map, the key before; None in an array
    in_map = [False]
    while left:
        if left[-1] == 0:
            del left[-1], last_key[-1], in_map[-1]
            continue
        is_key = in_map[-1] and left[-1] % 2 == 0
        left[-1] -= 1
        major, argument, simple, at = _head(payload, at)
        if is_key:
            before = last_key[-1]
            if major != UNSIGNED or (before is not None and argument <= before):
                raise WireError(Fault.CBOR, f"the keys of a map are unsigned integers in ascending order, at byte {at}")
            last_key[-1] = argument
        if major in {BYTES, TEXT}:
            at += argument
        elif major in {ARRAY, MAP}:
            count = argument * (2 if major == MAP else 1)
            items += count
            if items > MAX_ITEMS or len(left) > MAX_DEPTH:
                raise WireError(Fault.CBOR, f"more than {MAX_ITEMS} items or {MAX_DEPTH} levels, at byte {at}")
            left.append(count)
            last_key.append(None)
            in_map.append(major == MAP)
        elif major == _TAG or (major == _SIMPLE and simple not in _PLAIN):
            raise WireError(Fault.CBOR, f"tags, null and wider floats have no place in a record, at byte {at}")
    if at != len(payload):
        raise WireError(Fault.CBOR, f"the map ends at byte {at} of {len(payload)}")


def _head(payload: bytes, at: int) -> tuple[int, int, int, int]:
    """Return an item's major type, its argument, its first byte, and where its content starts."""
    if at >= len(payload):
        raise WireError(Fault.CBOR, "the payload ends inside the map")
    first = payload[at]
    major, short = first >> 5, first & 31
    at += 1
    if short < 24:
        return major, short, first, at
    if short > 27:
        raise WireError(Fault.CBOR, f"lengths are definite, at byte {at}")
    size = 1 << (short - 24)
    if at + size > len(payload):
        raise WireError(Fault.CBOR, "the payload ends inside the map")
    return major, int.from_bytes(payload[at : at + size], "big"), first, at + size
