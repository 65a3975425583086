"""The committed vectors: bytes that this implementation and every other one must produce and understand."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from edge.wire import codecs
from edge.wire.codecs import Coded
from edge.wire.framing import Deframer, frame
from edge.wire.records import Record, decode, encode, layout

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))
RECORDS = {record.__name__: record for record in Record.registry.values()}


def value(plain):
    if isinstance(plain, dict):
        return bytes.fromhex(plain["hex"]) if "hex" in plain else {key: value(entry) for key, entry in plain["map"]}
    return tuple(plain) if isinstance(plain, list) else plain


@pytest.mark.parametrize("vector", VECTORS["records"], ids=lambda vector: vector["record"])
def test_records_are_these_bytes(vector):
    record = RECORDS[vector["record"]](**{name: value(plain) for name, plain in vector["fields"].items()})
    payload = bytes.fromhex(vector["payload"])
    assert encode(record, vector["number"]) == payload
    assert frame(payload) == bytes.fromhex(vector["frame"])
    received = decode(payload)
    assert received.record == record
    assert received.number == vector["number"]


def test_every_record_and_every_field_has_a_vector():
    for record in Record.registry.values():
        vectors = [vector["fields"] for vector in VECTORS["records"] if vector["record"] == record.__name__]
        assert {slot.name for slot in layout(record)} == set().union(*vectors)


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: f"{len(vector['payload']) // 2} bytes")
def test_frames_are_these_bytes(vector):
    payload, framed = bytes.fromhex(vector["payload"]), bytes.fromhex(vector["frame"])
    assert frame(payload) == framed
    assert list(Deframer().feed(framed)) == [payload]


@pytest.mark.parametrize("vector", VECTORS["maps"])
def test_maps_are_these_bytes(vector):
    values = np.array(vector["values"], np.float64)
    codec = next(codec for codec in codecs.CODECS.values() if codec.number == vector["encoding"])
    scale, zero_point, data = codec.encode(values, values.min(), values.max())
    assert struct.pack("<f", scale).hex() == vector["scale"]
    assert (zero_point, data.hex()) == (vector["zero_point"], vector["data"])
    decoded = codecs.decode(Coded(codec.number, False, scale, zero_point, data, False), values.shape)
    assert decoded.astype("<f4").tobytes().hex() == vector["decoded"]


def test_a_ping_by_hand():
    # a map of three, record 17, frame number 1, token 2; then zlib's CRC-32 of these seven bytes
    payload = bytes.fromhex("a3 00 11 01 01 02 02")
    assert encode(RECORDS["Ping"](token=2), 1) == payload
    assert frame(payload)[:3] == bytes.fromhex("00 02 a3")
