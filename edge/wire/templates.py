"""Decoding fast what comes over and over: a payload like one that was decoded before is not walked again.

Of a payload that ``records.decode`` has found good, a template keeps every byte that says what follows (keys, types and
lengths) and lets those of numbers and byte strings vary. A payload that equals it in all that is kept is CBOR of the
link's kind with the same fields of the same types; what is left to check is whether their values are in range. Whatever
matches no template, or fails that check, is decoded with all care.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge.wire import cbor
from edge.wire.cbor import Item, WireError
from edge.wire.kinds import Kind
from edge.wire.records import FRAME_NUMBER, NUMBER, Received, Record, decode, layout

_KEPT = 16  # templates: a stream needs one for each set of widths that its numbers come in
_MAX_SIZE = 256  # bytes that a template compares; of records that large only MAP is frequent, and its data comes last
_NUMBER = "frame number"
_WIDTHS = {1: "B", 2: "H", 4: "I", 8: "Q"}

Check = Callable[[Any], Any]
"""Returns the value that a field takes, or raises WireError."""


class Decoder:
    """Decodes payloads with the results of ``records.decode``, and faster those of a form that came lately."""

    def __init__(self) -> None:
        self._templates: list[Template] = []  # the one used last comes first

    def decode(self, payload: bytes) -> Received:
        """Return what a payload holds; WireError as ``records.decode`` raises it."""
        for place, template in enumerate(self._templates):
            head = payload[: template.size]
            bits = int.from_bytes(head, "little")
            if bits & template.mask == template.pattern and not bits & bits << 1 & template.short:
                received = template.read(payload)
                if received is None:
                    break
                if place:
                    self._templates.insert(0, self._templates.pop(place))
                return received
        received = decode(payload)
        made = _template(payload, received)
        if made is not None:
            self._templates = [made, *self._templates[: _KEPT - 1]]
        return received


@dataclass(frozen=True, slots=True)
class Template:
    """What payloads of one form have in common, and how the rest of them is read.

    ``pattern`` is the first ``size`` bytes as one number, and zero where ``mask`` is: there they may differ. ``short``
    is 0x10 in every byte that is a whole integer and may not end in 11000 or more, as other bytes would follow.
    ``values`` reads what differs, the frame's number first; ``names`` are the fields, ``constants`` the other ones.
    ``checks`` are for those values that can be out of range or are negative. Where ``tail`` names a field, its value is
    a length: that of the byte string which fills the rest of the payload.
    """

    record: type[Record]
    size: int
    mask: int
    pattern: int
    short: int
    values: struct.Struct
    names: tuple[str, ...]
    constants: dict[str, Any]
    unknown_keys: int
    checks: tuple[tuple[str, Check], ...]
    tail: str

    def read(self, payload: bytes) -> Received | None:
        """Return what a payload of this form holds; None where a value or the payload's length is wrong."""
        if len(payload) < self.size:
            return None
        record = object.__new__(self.record)
        fields = record.__dict__  # past the constructor, which sets frozen fields one by one
        fields.update(zip(self.names, self.values.unpack_from(payload)))  # noqa: B905 (a tenth of the time)
        fields.update(self.constants)
        rest = payload[self.size :]
        if len(rest) != (fields[self.tail] if self.tail else 0):
            return None
        if self.tail:
            fields[self.tail] = rest
        try:
            for name, check in self.checks:
                fields[name] = check(fields[name])
        except WireError:
            return None
        return Received(fields.pop(_NUMBER), self.record.code, record, self.unknown_keys)


def _template(payload: bytes, received: Received) -> Template | None:
    """Return the form of a payload that holds ``received``; None where it is not worth keeping."""
    if received.record is None:
        return None
    slots = {slot.key: slot for slot in layout(type(received.record))}
    mask, short, reading, tail = bytearray(), 0, ">", ""
    names: list[str] = []
    checks: list[tuple[str, Check]] = []
    for item in cbor.items(payload):
        slot = slots.get(item.key)
        kind = FRAME_NUMBER if item.key == NUMBER else slot and slot.kind
        varying = kind and _varying(payload, item, kind)
        if not varying:
            continue
        free, code, check = varying
        reading += f"{item.head - len(mask)}x{code}"
        short |= (free[0] != 0xFF and len(free) == 1) << 8 * item.head + 4
        mask += b"\xff" * (item.head - len(mask)) + free
        names.append(slot.name if slot else _NUMBER)
        if check is not None:
            checks.append((names[-1], check))
        tail = names[-1] if len(mask) < item.end else ""
    if not tail:
        mask += b"\xff" * (len(payload) - len(mask))
    constants = {slot.name: getattr(received.record, slot.name) for slot in slots.values() if slot.name not in names}
    if len(mask) > _MAX_SIZE or any(isinstance(value, dict) for value in constants.values()):  # one for all records
        return None
    whole = int.from_bytes(mask, "little")
    return Template(
        record=type(received.record),
        size=len(mask),
        mask=whole,
        pattern=int.from_bytes(payload[: len(mask)], "little") & whole,
        short=short,
        values=struct.Struct(reading),
        names=tuple(names),
        constants=constants,
        unknown_keys=received.unknown_keys,
        checks=tuple(checks),
        tail=tail,
    )


Varying = tuple[bytes, str, Check | None]
"""The mask of a value's bytes, its code for ``struct``, and what may refuse or convert it."""


def _varying(payload: bytes, item: Item, kind: Kind) -> Varying | None:
    """Return how a value of a known field varies; None where it is to stay as it is."""
    first, width, length = payload[item.head], item.content - item.head - 1, item.end - item.content
    match first >> 5:
        case cbor.UNSIGNED | cbor.NEGATIVE:
            return _integer(first, width, kind)
        case cbor.BYTES if item.end == len(payload) and width:  # the last value: its length may vary too
            return b"\xff" + bytes(width), f"x{_WIDTHS[width]}", kind.unpack
        case cbor.BYTES:
            return b"\xff" * (1 + width) + bytes(length), f"{1 + width}x{length}s", kind.unpack
        case _ if first == cbor.FLOAT32:
            return b"\xff" + bytes(width), "xf", kind.unpack
        case _:
            return None


def _integer(first: int, width: int, kind: Kind) -> Varying | None:
    """Return how an integer varies: in ``width`` bytes behind the first one, or in the first one itself."""
    if _takes(kind, -1):  # its sign, the lowest bit of its major type, is free too
        if width == 0:
            return b"\xc0", "B", lambda read: kind.unpack(read if read < 0x20 else 0x1F - read)
        if width == 1:
            return b"\xdf\x00", "H", lambda read: kind.unpack(read - 0x1800 if read < 0x2000 else 0x37FF - read)
        return None
    # An integer's type is an interval: where it takes both ends, it takes all between them.
    most = 256**width - 1 if width else 23
    check = None if _takes(kind, 0) and _takes(kind, most) else kind.unpack
    return (b"\xff" + bytes(width), f"x{_WIDTHS[width]}", check) if width else (b"\xe0", "B", check)


def _takes(kind: Kind, value: int) -> bool:
    try:
        kind.unpack(value)
    except WireError:
        return False
    return True
