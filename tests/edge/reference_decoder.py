"""A decoder of records for tests that shares nothing with the product's: RFC 8949 read item by item, types by CDDL."""

from __future__ import annotations

import math
import re
import struct

from edge.wire.records import Record, layout


class RefusedError(Exception):
    """The payload is no record."""


def decode(payload):
    """Return frame number, code, fields by name (None for an unknown record) and how many keys were unknown."""
    fields, rest = _item(payload, 0)
    if rest or not isinstance(fields, dict):
        raise RefusedError
    code, number = fields.pop(0, None), fields.pop(1, None)
    if not _is(code, "uint .size 1") or not _is(number, "uint .size 4"):
        raise RefusedError
    if code not in Record.registry:
        return number, code, None, 0
    named = {}
    for slot in layout(Record.registry[code]):
        if slot.key in fields:
            value = fields.pop(slot.key)
            if not _is(value, slot.kind.cddl):
                raise RefusedError
            named[slot.name] = _plain(value, slot.kind.cddl)
        elif slot.optional:
            named[slot.name] = slot.default
        else:
            raise RefusedError
    return number, code, named, len(fields)


def _item(data, depth):
    """Return the item that ``data`` begins with, and what comes behind it."""
    if not data:
        raise RefusedError
    major, short, data = data[0] >> 5, data[0] & 31, data[1:]
    if major == 7:
        if short in {20, 21}:
            return short == 21, data
        if short == 26 and len(data) >= 4:
            return struct.unpack(">f", data[:4])[0], data[4:]
        raise RefusedError
    argument = short
    if 24 <= short < 28:
        width = 1 << short - 24
        if len(data) < width:
            raise RefusedError
        argument, data = int.from_bytes(data[:width], "big"), data[width:]
    elif short >= 28:
        raise RefusedError
    match major:
        case 0:
            return argument, data
        case 1:
            return -1 - argument, data
        case 2 | 3 if argument <= len(data):
            content, data = data[:argument], data[argument:]
            return (content, data) if major == 2 else (_text(content), data)
        case 4 | 5 if argument <= 8192 and depth < 4:
            return _container(major, argument, data, depth + 1)
        case _:
            raise RefusedError


def _container(major, count, data, depth):
    items, keys = [], []
    for _ in range(count):
        if major == 5:
            key, data = _item(data, depth)
            if type(key) is not int or key < 0 or (keys and key <= keys[-1]):
                raise RefusedError
            keys.append(key)
        value, data = _item(data, depth)
        items.append(value)
    return (dict(zip(keys, items, strict=True)) if major == 5 else items), data


def _text(content):
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise RefusedError from None


def _is(value, cddl):
    if found := re.fullmatch(r"\[0\*(\d+) (.*)\]", cddl):
        return type(value) is list and len(value) <= int(found[1]) and all(_is(item, found[2]) for item in value)
    if found := re.fullmatch(r"\{0\*(\d+) (.*?) => (.*)\}", cddl):
        entries = value.items() if type(value) is dict and len(value) <= int(found[1]) else [(None, None)]
        return all(_is(key, found[2]) and _is(entry, found[3]) for key, entry in entries)
    if found := re.fullmatch(r"uint \.size (\d)", cddl):
        return type(value) is int and 0 <= value < 256 ** int(found[1])
    if found := re.fullmatch(r"(-?\d+)\.\.(\d+)", cddl):
        return type(value) is int and int(found[1]) <= value <= int(found[2])
    if found := re.fullmatch(r"tstr \.size \(0\.\.(\d+)\)", cddl):
        return type(value) is str and len(value.encode()) <= int(found[1])
    if found := re.fullmatch(r"bstr \.size (?:\((\d+)\.\.)?(\d+)\)?", cddl):
        return type(value) is bytes and int(found[1] or found[2]) <= len(value) <= int(found[2])
    if cddl == "float32s":
        return (
            type(value) is bytes
            and len(value) <= 4 * 4096
            and len(value) % 4 == 0
            and all(map(math.isfinite, _floats(value)))
        )
    return (cddl == "bool" and type(value) is bool) or (
        cddl == "float32" and type(value) is float and math.isfinite(value)
    )


def _plain(value, cddl):
    """Return a value as the record holds it."""
    if cddl == "float32s":
        return _floats(value)
    if isinstance(value, list):
        return tuple(value)
    return {key: _plain(entry, "") for key, entry in value.items()} if isinstance(value, dict) else value


def _floats(packed):
    return struct.unpack(f"<{len(packed) // 4}f", packed)
