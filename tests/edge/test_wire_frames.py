"""Frames survive whatever happens to the bytes between two ends, and nothing false is ever delivered."""

from __future__ import annotations

import random
import time
import tracemalloc
import zlib

import pytest
from cobs import cobs
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.wire.cbor import Fault, WireError
from edge.wire.framing import MAX_PAYLOAD, Deframer, frame, unframe
from edge.wire.receiver import Receiver
from edge.wire.records import Result, encode
from tests.edge.wire_samples import EXAMPLES

FRAMES = [frame(encode(record, number)) for number, record in enumerate(EXAMPLES)]
STREAM = b"".join(FRAMES)


def test_a_frame_is_what_the_contract_says():
    payload = b"\xa2\x00\x10\x01\x00"
    assert frame(payload) == b"\x00" + cobs.encode(payload + zlib.crc32(payload).to_bytes(4, "little")) + b"\x00"


@given(st.binary(min_size=1, max_size=2000))
def test_any_payload_passes(payload):
    framed = frame(payload)
    assert framed.count(b"\x00") == 2
    assert unframe(framed[1:-1]) == payload
    assert len(framed) <= len(payload) + 4 + 2 + 1 + (len(payload) + 4) // 254


def test_the_overhead_on_a_kilobyte_is_small():
    assert len(frame(bytes(range(256)) * 4)) - 1024 <= 12


@pytest.mark.parametrize("size", [1, MAX_PAYLOAD])
def test_the_bounds_of_a_payload_pass(size):
    (payload,) = Deframer().feed(frame(b"\x01" * size))
    assert len(payload) == size


def test_a_payload_beyond_the_bound_is_neither_sent_nor_received():
    with pytest.raises(WireError) as caught:
        frame(bytes(MAX_PAYLOAD + 1))
    assert caught.value.fault is Fault.LENGTH
    payload = b"\x01" * (MAX_PAYLOAD + 1)
    deframer = Deframer()
    body = cobs.encode(payload + zlib.crc32(payload).to_bytes(4, "little"))
    assert not list(deframer.feed(b"\x00" + body + b"\x00"))
    assert deframer.counts.bad == {Fault.LENGTH: 1}


def test_a_stream_split_at_every_byte_gives_the_same_records():
    whole = [received.record for received in Receiver().feed(STREAM)]
    assert whole == list(EXAMPLES)
    for at in range(len(STREAM) + 1):
        receiver = Receiver()
        records = [r.record for part in (STREAM[:at], STREAM[at:]) for r in receiver.feed(part)]
        assert records == whole
    byte_by_byte = Receiver()
    assert [r.record for i in range(len(STREAM)) for r in byte_by_byte.feed(STREAM[i : i + 1])] == whole


def test_joining_in_the_middle_loses_the_frame_in_flight_and_no_other():
    for at in range(2, len(FRAMES[0])):
        receiver = Receiver()
        records = [received.record for received in receiver.feed(STREAM[at:])]
        assert records == list(EXAMPLES[1:])
        assert receiver.counts.bad_frames == 0  # we came late: nothing went wrong
        assert receiver.counts.skipped_bytes == len(FRAMES[0]) - at - 1


def test_a_frame_cut_short_costs_itself_and_is_counted():
    for at in range(2, len(FRAMES[1]) - 1):
        receiver = Receiver()
        records = [received.record for received in receiver.feed(FRAMES[0] + FRAMES[1][:at] + STREAM)]
        assert records == [EXAMPLES[0], *EXAMPLES]
        assert receiver.counts.bad_frames == 1
        assert receiver.counts.skipped_bytes == at - 1


def test_what_a_boot_loader_says_before_is_skipped():
    receiver = Receiver()
    noise = b"U-Boot 2024.01\r\n\xff\xfe\x80" * 20
    assert [received.record for received in receiver.feed(noise + STREAM)] == list(EXAMPLES)
    assert receiver.counts.skipped_bytes == len(noise)


def test_noise_without_end_takes_no_memory():
    receiver = Receiver()
    noise = b"\x55" * 65_536
    tracemalloc.start()
    for _ in range(200):  # 13 MB without a delimiter
        assert not list(receiver.feed(noise))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert [r.record for r in receiver.feed(STREAM)] == list(EXAMPLES)
    assert receiver.counts.skipped_bytes == 200 * len(noise)


def test_a_frame_with_a_right_checksum_and_a_wrong_content_is_bad_after_all():
    receiver = Receiver()
    assert not list(receiver.feed(frame(b"\xa1\x00\xf6")))
    assert receiver.counts.bad == {Fault.CBOR: 1}
    assert receiver.counts.frames == 0
    assert receiver.counts.payload_bytes == 0


def test_losing_the_port_in_mid_frame_counts_the_frame():
    receiver = Receiver()
    assert len(list(receiver.feed(FRAMES[0] + FRAMES[1][:10]))) == 1
    receiver.restart()
    assert receiver.counts.bad_frames == 1
    assert receiver.counts.skipped_bytes == 9
    assert [r.record for r in receiver.feed(FRAMES[2])] == [EXAMPLES[2]]


@given(st.lists(st.binary(max_size=300), max_size=8))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_are_survived_and_accounted_for(parts):
    receiver = Receiver()
    for part in parts:
        list(receiver.feed(part))
    counts = receiver.counts
    assert counts.wire_bytes == sum(map(len, parts))
    assert counts.skipped_bytes <= counts.wire_bytes
    list(receiver.feed(b"\x00"))
    assert [r.record for r in receiver.feed(FRAMES[0])] == [EXAMPLES[0]]


def flip(rng, data):
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def drop(rng, data):
    place = rng.randrange(len(data))
    return data[:place] + data[place + rng.randint(1, 4) :]


def duplicate(rng, data):
    place, size = rng.randrange(len(data)), rng.randint(1, 8)
    return data[: place + size] + data[place:]


def insert(rng, data):
    place = rng.randrange(len(data) + 1)
    return data[:place] + rng.randbytes(rng.randint(1, 6)) + data[place:]


def truncate(rng, data):
    return data[: rng.randrange(len(data))]


def reorder(rng, data):
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def overwrite(rng, data):
    place = rng.randrange(len(data))
    return data[:place] + rng.randbytes(rng.randint(1, 8)) + data[place + 8 :]


def splice(rng, data):
    other = rng.choice(FRAMES)
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


MUTATIONS = (flip, drop, duplicate, insert, truncate, reorder, overwrite, splice)


@pytest.mark.slow
def test_no_wrong_record_among_100_000_mutated_frames():
    rng = random.Random(2)
    originals = {encode(record, number) for number, record in enumerate(EXAMPLES)}
    sentinel = encode(Result(sequence=99, class_index=0, scores=(1.0,), time=1), 99)
    deframer, receiver = Deframer(), Receiver()
    accepted = 0
    longest = 0.0
    for i in range(100_000):
        mutated = MUTATIONS[i % len(MUTATIONS)](rng, rng.choice(FRAMES))
        if rng.random() < 0.2:
            mutated = rng.choice(MUTATIONS)(rng, mutated or b"\x00")
        # a port that stutters, and the next good frame right behind
        stream = mutated + frame(sentinel)
        cut = rng.randrange(len(stream))
        start = time.thread_time()
        payloads = [payload for part in (stream[:cut], stream[cut:]) for payload in deframer.feed(part)]
        for _ in receiver.feed(stream):
            pass
        longest = max(longest, time.thread_time() - start)
        assert payloads[-1] == sentinel, "out of step after a damaged frame"
        assert all(payload in originals or payload == sentinel for payload in payloads)
        accepted += len(payloads)
    assert deframer.counts.frames == accepted
    assert deframer.counts.bad_frames > 80_000
    assert receiver.counts.frames == accepted
    assert longest < 1.0


@pytest.mark.slow
def test_mutated_payloads_behind_a_right_checksum_do_no_harm():
    rng = random.Random(3)
    payloads = [encode(record, number) for number, record in enumerate(EXAMPLES)]
    receiver = Receiver()
    for i in range(30_000):
        mutated = MUTATIONS[i % 7](rng, rng.choice(payloads))
        list(receiver.feed(frame(mutated or b"\xa0")))
    counts = receiver.counts
    assert counts.frames + counts.bad_frames == 30_000
    assert set(counts.bad) == {Fault.CBOR, Fault.RECORD}
