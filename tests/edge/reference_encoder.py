"""An encoder of CBOR for tests that shares nothing with the product's: any map, deterministically (RFC 8949, 4.2.1)."""

from __future__ import annotations

import struct


def dumps(value):
    """Return a value in CBOR: shortest integers, ascending keys, floats of 32 bits."""
    match value:
        case bool():
            return b"\xf5" if value else b"\xf4"
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case float():
            return b"\xfa" + struct.pack(">f", value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case list():
            return _head(4, len(value)) + b"".join(map(dumps, value))
        case dict():
            return _head(5, len(value)) + b"".join(dumps(key) + dumps(value[key]) for key in sorted(value))
    raise TypeError(value)


def _head(major, argument):
    if argument < 24:
        return bytes([major << 5 | argument])
    width = next(width for width in range(4) if argument < 256 ** (1 << width))
    return bytes([major << 5 | 24 + width]) + argument.to_bytes(1 << width, "big")
