"""The part of CBOR (RFC 8949) that the link uses: definite lengths, integer keys, no tags, floats of 32 bits.

Whatever arrives is walked head by head before ``cbor2`` sees it, so that no length, depth, tag or bignum in it can
cost more than the few kilobytes it came in.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from typing import Any

import cbor2

from edge.errors import EdgeError

MAX_DEPTH = 4  # containers open at one time
MAX_ITEMS = 8192  # keys and values of one record, at all depths

_UNSIGNED, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = 0, 2, 3, 4, 5, 6, 7
_PLAIN = {0xF4, 0xF5, 0xFA}  # false, true, float32


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


def dumps(fields: Mapping[int, Any]) -> bytes:
    """Encode a map with at most 23 keys deterministically: shortest integers, ascending keys, floats of 32 bits."""
    parts = [bytes([_MAP << 5 | len(fields)])]
    for key in sorted(fields):
        value = fields[key]
        parts.append(cbor2.dumps(key))
        parts.append(struct.pack(">Bf", 0xFA, value) if type(value) is float else cbor2.dumps(value, canonical=True))
    return b"".join(parts)


def loads(payload: bytes) -> dict[int, Any]:
    """Decode one map; WireError for anything else, whatever the bytes are."""
    _walk(payload)
    try:
        fields: dict[int, Any] = cbor2.loads(payload)
    except (cbor2.CBORDecodeError, ValueError) as error:  # text that is not UTF-8
        raise WireError(Fault.CBOR, f"not CBOR: {error}") from error
    return fields


def _walk(payload: bytes) -> None:
    """Refuse a payload that is not exactly one map within the bounds."""
    if not payload or payload[0] >> 5 != _MAP:
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
            if major != _UNSIGNED or (before is not None and argument <= before):
                raise WireError(Fault.CBOR, f"the keys of a map are unsigned integers in ascending order, at byte {at}")
            last_key[-1] = argument
        if major in {_BYTES, _TEXT}:
            at += argument
        elif major in {_ARRAY, _MAP}:
            count = argument * (2 if major == _MAP else 1)
            items += count
            if items > MAX_ITEMS or len(left) > MAX_DEPTH:
                raise WireError(Fault.CBOR, f"more than {MAX_ITEMS} items or {MAX_DEPTH} levels, at byte {at}")
            left.append(count)
            last_key.append(None)
            in_map.append(major == _MAP)
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
