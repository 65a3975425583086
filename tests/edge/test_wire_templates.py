"""The fast way to decode and the careful one are one function: same records, same refusals, whatever came before."""

from __future__ import annotations

import random
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.wire import records
from edge.wire.cbor import WireError
from edge.wire.framing import frame
from edge.wire.receiver import Receiver
from edge.wire.records import Map, Result, encode
from edge.wire.templates import Decoder
from tests.edge import reference_decoder
from tests.edge.wire_samples import EXAMPLES, any_record, frame_numbers
from tests.edge.wire_samples import records as records_of

MAP = replace(next(record for record in EXAMPLES if isinstance(record, Map)), data=bytes(range(256)) * 4)


def outcome(decode, payload):
    """Everything a decoder says of a payload, to the last type and bit."""
    try:
        received = decode(payload)
    except WireError as error:
        return error.fault, error.cause
    record = received.record
    named = None if record is None else {field.name: getattr(record, field.name) for field in fields(record)}
    return repr((received.number, received.code, type(record).__name__, named, received.unknown_keys))


def reference(payload):
    try:
        number, code, named, unknown = reference_decoder.decode(payload)
    except reference_decoder.RefusedError:
        return None
    name = "NoneType" if named is None else records.Record.registry[code].__name__
    named = named and {field.name: named[field.name] for field in fields(records.Record.registry[code])}
    return repr((number, code, name, named, unknown))


def agree(decoder, payload):
    """Check the decoder, which remembers, against the careful way and against an independent one."""
    fast = outcome(decoder.decode, payload)
    assert fast == outcome(records.decode, payload)
    assert (fast if isinstance(fast, str) else None) == reference(payload)


@given(st.lists(st.tuples(any_record, frame_numbers), max_size=30))
@settings(max_examples=60, deadline=None)
def test_any_records_are_decoded_as_if_each_were_the_first(sent):
    decoder = Decoder()
    for record, number in sent:
        for payload in (encode(record, number), encode(record, number + 1)):
            agree(decoder, payload)


@given(st.lists(st.tuples(records_of(Map) | records_of(Result), frame_numbers), min_size=10, max_size=60))
@settings(max_examples=40, deadline=None)
def test_so_are_many_of_the_same_kind(sent):
    decoder = Decoder()
    for record, number in sent:
        agree(decoder, encode(record, number))


@pytest.mark.parametrize("record", [MAP, *EXAMPLES], ids=lambda record: type(record).__name__)
def test_no_changed_byte_slips_through_a_template(record):
    """Every byte of every kind of record set to others, with the template of the good one in force."""
    rng = random.Random(1)
    good = encode(record, 300)
    for place in range(min(len(good), 120)):
        decoder = Decoder()
        decoder.decode(good)
        for byte in {0, 23, 24, 0x7F, 0x80, 255, good[place] ^ 1, good[place] ^ 0x20, rng.randrange(256)}:
            agree(decoder, good[:place] + bytes([byte]) + good[place + 1 :])
            agree(decoder, good)


@given(st.sampled_from([record for record in EXAMPLES if not isinstance(record, records.Session)]), st.data())
@settings(max_examples=250, deadline=None)
def test_nor_do_several_nor_missing_nor_added_ones(record, draw):
    good = encode(record, draw.draw(frame_numbers))
    decoder = Decoder()
    agree(decoder, good)
    for _ in range(5):
        bad = bytearray(good)
        for _ in range(draw.draw(st.integers(1, 4))):
            place = draw.draw(st.integers(0, max(0, len(bad) - 1)))
            bad[place : place + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=3))
        agree(decoder, bytes(bad))
    agree(decoder, good)


def test_values_at_the_edge_of_their_range_are_told_from_those_beyond():
    decoder = Decoder()
    for number in (0, 15, 16, 23, 24, 255, 256, 65_535, 65_536, 0xFFFFFFFF):
        for zero_point in (-128, -25, -24, -17, -16, -1, 0, 15, 16, 23, 24, 127):
            agree(decoder, encode(replace(MAP, zero_point=zero_point), number))
    negative = encode(replace(MAP, zero_point=-128), 1)
    head = negative.index(b"\x09\x38\x7f")
    for beyond in (b"\x09\x38\x80", b"\x09\x38\xff", b"\x09\x18\x80", b"\x09\x18\xff"):
        agree(decoder, negative[:head] + beyond + negative[head + 3 :])


def test_records_of_one_template_share_nothing_that_can_change():
    decoder = Decoder()
    for record in EXAMPLES:
        payload = encode(record, 5)
        decoder.decode(payload)
        first, second = decoder.decode(payload).record, decoder.decode(payload).record
        for field in fields(record):
            value = getattr(first, field.name)
            assert not isinstance(value, dict | list) or value is not getattr(second, field.name)


def test_a_stream_of_maps_takes_the_fast_way(monkeypatch):
    """Else nothing but a benchmark would tell when it is lost."""
    walked = []
    monkeypatch.setattr("edge.wire.templates.decode", lambda payload: walked.append(1) or records.decode(payload))
    receiver = Receiver()
    for number in range(1000):
        chunk = replace(MAP, sequence=number // 8, chunk=number % 8, chunks=8, scale=2.0 ** -(number // 8 % 20))
        assert [received.record for received in receiver.feed(frame(encode(chunk, number)))] == [chunk]
    assert len(walked) < 20
