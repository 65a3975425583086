"""What a record is: declared once, documented, encoded deterministically, and refused where it breaks the contract."""

from __future__ import annotations

import re
import struct
from dataclasses import fields, replace
from pathlib import Path

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.wire.cbor import Fault, WireError
from edge.wire.codes import Degraded, When
from edge.wire.records import Health, Log, Map, Ping, Record, Result, Session, Settings, clip, decode, encode, layout
from tests.edge.reference_encoder import dumps
from tests.edge.wire_samples import EXAMPLES, any_record, frame_numbers

ROOT = Path(__file__).parents[2]
CONTRACT = (ROOT / "edge/wire/wire.cddl").read_text(encoding="utf-8")
MANUAL = (ROOT / "docs/wire.md").read_text(encoding="utf-8")
ALTERNATIVES = re.search(r"^record = (.*?)\n\n", CONTRACT, re.MULTILINE | re.DOTALL)[1].replace("/", " ").split()
SESSION = EXAMPLES[0]


@given(any_record, frame_numbers)
@settings(max_examples=400, deadline=None)
def test_what_is_encoded_is_decoded(record, number):
    received = decode(encode(record, number))
    assert received.record == record
    assert (received.number, received.code, received.unknown_keys) == (number, record.code, 0)


@given(any_record, frame_numbers)
@settings(max_examples=200, deadline=None)
def test_encoding_is_deterministic_and_only_uses_the_cbor_that_the_contract_allows(record, number):
    payload = encode(record, number)
    values = cbor2.loads(payload)
    assert list(values) == sorted(values)
    assert payload == encode(record, number)
    assert payload == dumps(values)  # shortest integers, ascending keys, nothing else possible


@pytest.mark.parametrize("record", Record.registry.values(), ids=lambda record: record.__name__)
def test_every_record_stands_in_the_contract_field_by_field(record):
    rule = re.search(rf"^{record.__name__.lower()} = {{\n(.*?)^}}", CONTRACT, re.MULTILINE | re.DOTALL)
    assert rule, f"{record.__name__} is not in wire.cddl"
    declared = [f"  {'? ' * slot.optional}{slot.key}: {slot.kind.cddl}, ; {slot.name}" for slot in layout(record)]
    assert rule[1].splitlines() == [f"  0: {record.code},", "  1: frame_number,", *declared, "  extension"]
    assert record.__name__.lower() in ALTERNATIVES


def test_the_contract_has_no_record_that_the_code_lacks():
    assert sorted(ALTERNATIVES) == sorted(record.__name__.lower() for record in Record.registry.values())


@pytest.mark.parametrize("record", Record.registry.values(), ids=lambda record: record.__name__)
def test_every_record_and_field_is_documented_for_people(record):
    section = re.search(rf"^### {record.__name__.upper()}\b.*?(?=^##|\Z)", MANUAL, re.MULTILINE | re.DOTALL)
    assert section, f"{record.__name__} is not in docs/wire.md"
    for field in fields(record):
        assert f"`{field.name}`" in section[0], f"docs/wire.md does not explain {record.__name__}.{field.name}"


def test_keys_are_unique_and_small():
    for record in Record.registry.values():
        keys = [slot.key for slot in layout(record)]
        assert len(set(keys)) == len(keys)
        assert all(2 <= key <= 22 for key in keys)  # one byte each, and a map head of one byte


def test_two_records_cannot_have_one_code():
    with pytest.raises(TypeError, match="Result and Copycat"):

        class Copycat(Record, code=Result.code):
            pass


def test_a_small_result_costs_few_bytes():
    assert len(encode(Result(sequence=7, class_index=2, scores=(0.5,) * 7, time=123_456_789), 300)) == 48


def test_unknown_records_are_skipped():
    received = decode(cbor2.dumps({0: 200, 1: 5, 2: "from the future"}))
    assert received.record is None
    assert (received.code, received.number) == (200, 5)


def test_unknown_keys_are_skipped_and_counted():
    values = cbor2.loads(encode(SESSION, 5)) | {22: [1, 2, 3], 300: {1: b"x"}}
    received = decode(dumps(values))
    assert received.record == SESSION
    assert received.unknown_keys == 2


def broken(changes=None, without=()):
    values = cbor2.loads(encode(Result(sequence=1, class_index=2, scores=(0.5,), time=3, truth=0), 9))
    values.update(changes or {})
    return dumps({key: value for key, value in values.items() if key not in without})


@pytest.mark.parametrize(
    "payload",
    [
        broken({2: -1}),
        broken({2: 1 << 32}),
        broken({2: "1"}),
        broken({2: 1.0}),
        broken({2: True}),
        broken({2: [1]}),
        broken({3: 1 << 16}),
        broken({4: b"abc"}),
        broken({4: struct.pack("<f", float("nan"))}),
        broken({4: struct.pack("<f", float("inf"))}),
        broken({4: bytes(4 * 4097)}),
        broken({4: [5]}),
        broken({6: 1 << 16}),
        broken({0: 256}),
        broken({0: "2"}),
        broken({1: 1 << 32}),
        broken(without=[0]),
        broken(without=[1]),
        broken(without=[2]),
        broken(without=[4]),
    ],
)
def test_fields_of_the_wrong_type_or_size_are_refused(payload):
    with pytest.raises(WireError) as caught:
        decode(payload)
    assert caught.value.fault is Fault.RECORD
    assert caught.value.cause
    assert caught.value.hint


def nested(depth):
    return b"\xa3\x00\x02\x01\x00\x02" + b"\x81" * depth + b"\x00"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b"\x80",
        b"\xa1",
        b"\xa1\x00",
        b"\xa0\x00",
        b"\xbf\x00\x02\xff",  # indefinite length
        b"\xa1\x00\x5f\x41\x00\xff",
        b"\xa1\x00\x9f\xff",
        b"\xbb" + b"\xff" * 8,  # 2^64 - 1 pairs
        b"\xa1\x00\x9b" + b"\xff" * 8,
        b"\xa1\x00\x9a\x00\x01\x00\x00",
        b"\xa1\x00\x5b" + b"\xff" * 8,  # 2^64 - 1 bytes
        b"\xa1\x00\x5a\x7f\xff\xff\xff" + b"x" * 100,
        b"\xa1\x00\x7b\x00\x00\x00\x01\x00\x00\x00\x00",
        b"\xa1\x00\xc2\x49\x01" + bytes(8),  # bignum
        b"\xa1\x00\xc0\x60",  # date
        b"\xa1\x00\xd8\x1c\x80",  # shared reference
        b"\xa1\x00\xd9\x01\x00\x80",  # string reference
        b"\xa1\x00\xf6",  # null
        b"\xa1\x00\xf7",
        b"\xa1\x00\xf8\x20",
        b"\xa1\x00\xf9\x3c\x00",  # float16
        b"\xa1\x00\xfb" + bytes(8),  # float64
        b"\xa1\x00\xfc",
        b"\xa1\x00\xff",
        b"\xa1\x61\x00\x00",  # a text as a key
        b"\xa1\x20\x00",  # a negative key
        b"\xa1\x80\x00",
        b"\xa2\x00\x02\x00\x03",  # the same key twice
        b"\xa2\x01\x02\x00\x03",  # descending keys
        b"\xa3\x00\x04\x01\x00\x03\xa2\x05\x01\x05\x02",  # twice, in a table
        b"\xa1\x00\x62\xff\xfe",  # not UTF-8
        b"\xa1\x00\x63\xed\xa0\x80",  # half of a surrogate pair
        nested(5),
        nested(30_000),
        b"\xa1\x00\x99\x20\x01" + b"\x00" * 8193,  # more items than allowed
    ],
)
def test_hostile_cbor_is_refused_with_a_reason(payload):
    with pytest.raises(WireError) as caught:
        decode(payload)
    assert caught.value.fault is Fault.CBOR


@given(st.binary(max_size=80))
@settings(max_examples=2000, deadline=None)
def test_arbitrary_payloads_are_records_or_wire_errors(payload):
    try:
        received = decode(payload)
    except WireError:
        return
    assert 0 <= received.number <= 0xFFFFFFFF


@given(any_record, st.integers(0, 10_000), st.integers(0, 255))
@settings(max_examples=1000, deadline=None)
def test_a_changed_byte_gives_a_valid_record_or_a_wire_error(record, place, byte):
    payload = bytearray(encode(record, 1))
    payload[place % len(payload)] = byte
    try:
        received = decode(bytes(payload))
    except WireError:
        return
    if received.record is not None:  # whatever came out can be sent again
        assert decode(encode(received.record, received.number)).record == received.record


@pytest.mark.parametrize(
    "record",
    [
        Ping(token=-1),
        Ping(token=1 << 32),
        Ping(token=True),
        Result(sequence=1, class_index=0, scores=(float("nan"),), time=0),
        Result(sequence=1, class_index=0, scores=(1e39,), time=0),
        Result(sequence=1, class_index=0, scores=(0.0,) * 4097, time=0),
        Log(time=0, level=20, text="x" * 513),
        Log(time=0, level=20, text="é" * 300),
        Log(time=0, level=20, text="\ud800"),
        replace(EXAMPLES[3], shape=(1, 1, 1, 1, 1)),
        replace(EXAMPLES[3], zero_point=128),
        replace(EXAMPLES[3], residual=float("inf")),
        replace(EXAMPLES[3], data=bytes(4097)),
        replace(SESSION, session=b"short"),
    ],
)
def test_what_no_receiver_would_accept_is_not_sent(record):
    with pytest.raises(WireError) as caught:
        encode(record, 0)
    assert caught.value.fault is Fault.RECORD


def test_codes_are_written_as_the_numbers_they_are():
    written = encode(Settings(methods=(1,), explain=When.ON_ALARM), 7)
    assert written == encode(Settings(methods=(1,), explain=2), 7)
    counters = ("time", "produced", "queued", "queued_bytes", "stalls", "reconnects", "bad_frames")
    known = {"sent": {}, "dropped": {}} | dict.fromkeys(counters, 0)
    written = encode(Health(**known, degraded={Degraded.NO_EXPLANATION: 5}), 7)
    assert written == encode(Health(**known, degraded={2: 5}), 7)
    with pytest.raises(WireError):
        encode(Settings(methods=(True,), explain=0), 7)


@given(st.text(max_size=200), st.integers(0, 64))
def test_clipped_text_fits_and_is_the_beginning(text, limit):
    short = clip(text, limit)
    assert len(short.encode()) <= limit
    assert text.encode(errors="replace").decode().startswith(short)


def test_optional_fields_are_left_out_when_they_hold_their_default():
    whole = Map(
        sequence=0, method=0, class_index=0, shape=(1,), encoding=0, scale=1.0, zero_point=0, steps=0, flags=0, data=b""
    )
    assert set(cbor2.loads(encode(whole, 0))) == {0, 1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 15}


def test_sessions_say_which_protocol_they_speak():
    assert isinstance(SESSION, Session)
    assert cbor2.loads(encode(SESSION, 0))[2] == 1
