"""The link in C: the same bytes as in Python, the same records understood, nothing that hostile input could break."""

from __future__ import annotations

import itertools
import struct
import subprocess

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.wire.cbor import WireError
from edge.wire.framing import Deframer, frame
from edge.wire.receiver import Receiver
from edge.wire.records import MAX_WINDOW_CHUNK, Ping, Pong, Request, Window, decode, encode
from tests.edge.reference_encoder import dumps
from tests.edge.wire_samples import any_record, frame_numbers
from tests.edge.wire_samples import records as records_of
from tests.firmware import vectors
from tests.firmware.build import CORES, FIRMWARE, HERE, INCLUDES, LINK, compiled, run
from tests.tools import GCC

NAMES = {
    Request.code: {
        name: key
        for key, name in enumerate(
            ("what", "sequence", "method", "class_index", "rate", "methods", "explain", "inputs", "acknowledge"), 2
        )
    },
    Ping.code: {"token": 2},
    Window.code: {"sequence": 2, "offset": 3, "size": 4, "data": 5, "truth": 6},
}
"""What a host says: by record, the keys of its fields."""
HOSTS = [vector for vector in vectors.records() if vector[1].code in NAMES]
RECEIVED = MAX_WINDOW_CHUNK + 48 - 4
"""Bytes of payload that a board has room for."""


def test_records_are_the_bytes_of_the_vectors(tmp_path):
    text, frames, left = vectors.program()
    source = tmp_path / "vectors.c"
    source.write_text(text)
    program = compiled(
        tmp_path / "vectors",
        source,
        *LINK,
        flags=[f'-DWHYLITE_RUNTIME="{vectors.RUNTIME}"', "-Wno-missing-braces"],
    )
    written = subprocess.run([str(program)], capture_output=True, check=True).stdout
    assert [part for part in written.split(b"\0") if part] == [part.strip(b"\0") for part in frames]
    assert written.count(b"\0") == 2 * len(frames)
    assert {line.split(":")[0] for line in left} < set(vectors.WRITTEN)
    assert len(frames) > 2 * len(left)


def test_a_host_that_stops_reading_is_not_waited_for_and_all_it_missed_is_accounted_for(tmp_path):
    program = compiled(tmp_path / "stall", HERE / "stall.c", *LINK)
    written = subprocess.run([str(program)], capture_output=True, check=True).stdout
    stalled = 0
    while written:
        (size,) = struct.unpack("=I", written[:4])
        heard = list(Receiver().feed(written[4 : 4 + size]))
        written = written[4 + size :]
        *pongs, (number, _, health, _) = heard
        assert health.sent.get(Pong.code, 0) + health.dropped.get(Pong.code, 0) == 7
        assert number == health.sent[Pong.code]  # what was dropped has no number
        gaps = number - len(pongs)
        assert gaps in {0, 1}  # the frame that was under way
        assert health.stalls >= bool(health.dropped or gaps)
        assert [pong.record.token for pong in pongs][-1] == 6
        stalled += health.stalls
    assert 50 < stalled < 120


class Board:
    """The receiver of a board, in a process of its own."""

    def __init__(self, program):
        self.process = subprocess.Popen(
            [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def hears(self, data):
        """Return what a fresh receiver makes of the bytes: the lines of its records, and its bad frames."""
        self.process.stdin.write(struct.pack("=I", len(data)) + data)
        self.process.stdin.flush()
        lines = []
        while True:
            line = self.process.stdout.readline().decode()
            if not line:
                raise AssertionError(self.process.stderr.read().decode()[:3000])
            if line.startswith("bad"):
                return lines, int(line.split()[1])
            lines.append(line.strip())

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(60)
        complaint = self.process.stderr.read().decode()
        self.process.stdout.close()
        self.process.stderr.close()
        assert code == 0, complaint


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    program = tmp_path_factory.mktemp("receiver") / "receiver"
    compiled(program, HERE / "receiver.c", *LINK)
    board = Board(program)
    yield board
    board.close()


def line(number, record):
    """Return what the board prints of a record that it is to understand."""
    there, words, tail = 0, [0] * 11, ""
    for name, key in NAMES[record.code].items():
        field = getattr(record, name)
        if field is None:
            continue
        there |= 1 << key
        match field:
            case float():
                words[key] = struct.unpack("<I", struct.pack("<f", field))[0]
            case bytes() | tuple():
                words[key], tail = len(field), bytes(field).hex()
            case _:
                words[key] = int(field)
    return " ".join(map(str, (record.code, number, there, *words, tail))).strip()


def expected(stream):
    """Return what Python makes of a stream: what a host says, and bad frames; None where the two may differ."""
    deframer, lines, bad = Deframer(), [], 0
    for payload in deframer.feed(stream):
        if len(payload) > RECEIVED:
            bad += 1
            continue
        try:
            received = decode(payload)
        except WireError as error:
            bad += 1
            if error.cause.startswith("not CBOR: "):
                return None  # a text that is not UTF-8, in a field that a board does not look at
            if (
                payload[:2] != b"\xa0\x00"
                and b"\x00" in payload[1:2]
                and payload[2:3] not in {b"\x10", b"\x11", b"\x14"}
            ):
                return None  # a board's record, whose fields a board does not check
            continue
        if received.unknown_keys and _has_large_key(payload):
            return None  # keys beyond 32 bits are none for a board
        if received.code in NAMES:
            lines.append(line(received.number, received.record))
    return lines, bad + deframer.counts.bad_frames


def _has_large_key(payload):
    def keys(item):
        if isinstance(item, dict):
            return [*item, *itertools.chain(*map(keys, item.values()))]
        return list(itertools.chain(*map(keys, item))) if isinstance(item, list) else []

    return max(keys(cbor2.loads(payload))) >= 0xFFFFFFFF


def agree(board, stream):
    wanted = expected(stream)
    heard, bad = board.hears(stream)
    if wanted is not None:
        assert [entry for entry in heard if int(entry.split()[0]) in NAMES] == wanted[0]
        assert bad == wanted[1]


said = st.one_of(*(records_of(record) for record in (Request, Ping, Window)))


@pytest.mark.parametrize("vector", HOSTS, ids=lambda vector: type(vector[1]).__name__)
def test_vectors_are_understood(board, vector):
    number, record, framed = vector
    assert board.hears(framed) == ([line(number, record)], 0)


@given(st.lists(st.tuples(said, frame_numbers), max_size=6))
@settings(max_examples=60, deadline=None)
def test_whatever_a_host_can_say_is_understood(board, records):
    stream = b"".join(frame(encode(record, number)) for record, number in records)
    assert board.hears(stream) == ([line(number, record) for record, number in records], 0)


@st.composite
def spoilt(draw):
    """A stream of frames, of which some have been damaged on the way."""
    stream = bytearray()
    for record, number in draw(st.lists(st.tuples(any_record | said, frame_numbers), max_size=5)):
        framed = bytearray(frame(encode(record, number)))
        for _ in range(draw(st.integers(0, 2))):
            at = draw(st.integers(0, len(framed) - 1))
            match draw(st.integers(0, 3)):
                case 0:
                    framed[at] ^= 1 << draw(st.integers(0, 7))
                case 1:
                    del framed[at : at + draw(st.integers(1, 9))]
                    framed = framed or bytearray(1)
                case 2:
                    framed[at:at] = draw(st.binary(max_size=9))
                case 3:
                    framed[at] = 0
        stream += framed
    return bytes(stream) + draw(st.binary(max_size=20))


@given(spoilt() | st.binary(max_size=2000) | st.lists(st.sampled_from([0, 1, 2, 255]), max_size=900).map(bytes))
@settings(max_examples=150, deadline=None)
def test_damaged_frames_are_refused_and_the_next_whole_one_is_heard(board, stream):
    agree(board, stream)
    heard, _ = board.hears(stream + frame(encode(Ping(token=9), 3)))
    assert heard[-1] == line(3, Ping(token=9))


@st.composite
def hostile(draw):
    """A frame whose checksum is right and whose payload is a record of a host's that has been tampered with."""
    payload = bytearray(encode(draw(said), draw(frame_numbers)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(payload) - 1))
        payload[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
        payload = payload or bytearray(b"\xa0")
    return bytes(payload)


anything = st.recursive(
    st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=4) | st.text("ab", max_size=3) | st.booleans()
    | st.floats(width=32),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(0, 2**33), inner, max_size=3),
    max_leaves=9,
)  # fmt: skip


@given(
    hostile() | st.dictionaries(st.integers(0, 12), anything, max_size=6).map(lambda fields: dumps({**fields, 0: 16}))
)
@settings(max_examples=400, deadline=None)
def test_what_has_the_right_checksum_and_is_no_record_is_refused_as_in_python(board, payload):
    agree(board, frame(payload))


@pytest.mark.parametrize("vector", HOSTS, ids=lambda vector: type(vector[1]).__name__)
def test_a_record_that_ends_too_early_or_lacks_a_field_is_refused(board, vector):
    number, record, _ = vector
    payload = encode(record, number)
    for end in range(1, min(len(payload), 64)):
        assert board.hears(frame(payload[:end])) == ([], 1)
    fields = cbor2.loads(payload)
    for key in fields:
        agree(board, frame(dumps({other: field for other, field in fields.items() if other != key})))
    assert board.hears(frame(dumps(fields | {30: b"12345"})[:-1])) == ([], 1)  # a byte string beyond the end
    assert board.hears(frame(dumps(fields | {30: b"12345"})[:-6])) == ([], 1)


@given(said, frame_numbers, st.dictionaries(st.integers(24, 2**33), anything, min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_fields_of_later_versions_are_passed_over(board, record, number, later):
    fields = cbor2.loads(encode(record, number)) | later
    agree(board, frame(dumps(fields)))


def test_a_frame_longer_than_the_buffer_is_skipped_whole(board):
    room = next(size for size in range(MAX_WINDOW_CHUNK, 0, -1) if len(window(size)) <= RECEIVED)
    assert room == MAX_WINDOW_CHUNK
    heard, bad = board.hears(frame(bytes(range(1, 256)) * 200) + frame(window(room)))
    assert (len(heard), bad) == (1, 1)


def window(size):
    largest = 2**32 - 1
    return encode(Window(sequence=largest, offset=largest, size=largest, data=bytes(size), truth=65535), largest)


@pytest.mark.parametrize("optimize", ["-Os", "-O2"])
def test_frames_and_cbor_take_less_than_a_kilobyte_of_code(tmp_path, optimize):
    target = tmp_path / "link.o"
    flags = ("-std=c11", "-mthumb", "-ffreestanding", *CORES["m4"], optimize, *INCLUDES)
    run(GCC, *flags, "-c", str(FIRMWARE / "whylite_link.c"), "-o", str(target))
    text, data, bss = map(int, run("arm-none-eabi-size", str(target)).splitlines()[1].split()[:3])
    assert text < 1024
    assert (data, bss) == (0, 0)
