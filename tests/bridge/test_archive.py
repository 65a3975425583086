"""MCAP recordings: other programs read them, crashes cost a second at most, damage costs what is damaged."""

from __future__ import annotations

import io
import json
import signal
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from dataclasses import replace

import lz4.frame
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.exceptions import EndOfFile
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import Chunk, ChunkIndex, Footer, Message, SummaryOffset
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

from edge.wire.records import Result, Session
from firmware_bridge.errors import RecordingError
from firmware_bridge.recording import archive, load, open_recorder
from firmware_bridge.recording.documents import NAMES
from firmware_bridge.recording.mcap_writer import McapWriter
from firmware_bridge.session import Mark
from tests.bridge.test_recording import EVENTS, MAP
from tests.edge.wire_samples import EXAMPLES


@pytest.fixture
def path(tmp_path):
    return tmp_path / "session.mcap"


def record(path, events, **when):
    with open_recorder(path) as recorder:
        for happened in events:
            recorder.write(happened, **when)
    return path


def marks(recording):
    return [mark.text for mark in recording.of(Mark)]


def numbered(recorder, *numbers):
    for number in numbers:
        recorder.write(Mark(str(number)), 1000.0 + number)


def chunked(path, groups):
    """Write each group of marks as a chunk of its own; return where each chunk is, from and to."""
    writer = McapWriter(path, "test")
    for group in groups:
        for number in group:
            data = json.dumps({"text": str(number)}).encode()
            writer.message(archive._topic("mark"), (1000 + number) * 10**9, 0, data)
        writer.flush()
    writer.finish()
    writer.close()
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    return [(c.chunk_start_offset, c.chunk_start_offset + c.chunk_length) for c in summary.chunk_indexes]


def test_the_library_reads_it_by_its_index_and_finds_nothing_wrong(path):
    record(path, EVENTS, when=1700000000.25)
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        found = [(schema, channel, message) for schema, channel, message in reader.iter_messages()]
        metadata = list(reader.iter_metadata())
    assert len(found) == len(EVENTS) == summary.statistics.message_count
    assert sum(summary.statistics.channel_message_counts.values()) == len(EVENTS)
    assert {channel.topic for _, channel, _ in found} == {f"/{name}" for name in NAMES}
    assert all(schema.encoding == "jsonschema" and channel.message_encoding == "json" for schema, channel, _ in found)
    assert {message.log_time for _, _, message in found} == {1_700_000_000_250_000_000}
    assert {session.name for session in metadata} == {"whylite.session"}
    assert metadata[0].metadata["model_digest"] == EXAMPLES[0].model_digest.hex()
    assert metadata[0].metadata["software"] == EXAMPLES[0].software
    assert len(summary.metadata_indexes) == len(metadata)
    list(StreamReader(io.BytesIO(path.read_bytes()), validate_crcs=True).records)


def test_every_place_that_the_summary_names_is_what_it_says(path):
    """As the specification asks, and a reader relies on that goes straight to a message."""
    chunked(path, [(1, 2), (3,), (4, 5, 6)])
    content = path.read_bytes()
    records = list(StreamReader(io.BytesIO(content), emit_chunks=True).records)
    (footer,) = (record for record in records if isinstance(record, Footer))
    groups = [record for record in records if isinstance(record, SummaryOffset)]
    place = footer.summary_start
    for group in groups:
        assert group.group_start == place
        place += group.group_length
        while group.group_length:
            opcode, length = struct.unpack_from("<BQ", content, group.group_start)
            assert opcode == group.group_opcode
            group.group_start += 9 + length
            group.group_length -= 9 + length
    assert place == footer.summary_offset_start
    checked = content[footer.summary_start : -8 - 4]  # up to the checksum itself, before the magic
    assert footer.summary_crc == zlib.crc32(checked)
    chunks = [record for record in records if isinstance(record, Chunk)]
    for index, chunk in zip((r for r in records if isinstance(r, ChunkIndex)), chunks, strict=True):
        assert content[index.chunk_start_offset] == Opcode.CHUNK
        assert (index.message_start_time, index.message_end_time) == (chunk.message_start_time, chunk.message_end_time)
        plain = zstandard.decompress(chunk.data)
        ((channel, offset),) = index.message_index_offsets.items()
        assert offset == index.chunk_start_offset + index.chunk_length
        opcode, length, number = struct.unpack_from("<BQH", content, offset)
        assert (opcode, number) == (Opcode.MESSAGE_INDEX, channel)
        assert index.message_index_length == 9 + length
        for when, inside in struct.iter_unpack("<QQ", content[offset + 9 + 2 + 4 : offset + 9 + length]):
            opcode, _, number, _, moment = struct.unpack_from("<BQHIQ", plain, inside)
            assert (opcode, number, moment) == (Opcode.MESSAGE, channel, when)


def test_one_topic_can_be_picked_by_the_index(path):
    chunked(path, [(1, 2), (3,)])
    with path.open("rb") as file:
        reader = make_reader(file)
        assert [json.loads(m.data)["text"] for _, _, m in reader.iter_messages("/mark")] == ["1", "2", "3"]
        assert not list(reader.iter_messages("/result"))
        picked = reader.iter_messages(starting_at=1002 * 10**9, ending_before=1003 * 10**9)
        assert [m.log_time for _, _, m in picked] == [1002 * 10**9]


def test_a_message_is_flat_json_as_its_schema_says(path):
    record(path, EVENTS)
    with path.open("rb") as file:
        for schema, channel, message in make_reader(file).iter_messages():
            told, values = json.loads(schema.data), json.loads(message.data)
            assert set(told["required"]) <= set(values) <= set(told["properties"]), channel.topic
            for name, value in values.items():
                assert isinstance(value, PYTHON[told["properties"][name]["type"]]), (channel.topic, name)
                if told["properties"][name]["type"] == "array":
                    item = PYTHON[told["properties"][name]["items"]["type"]]
                    assert all(isinstance(entry, item) for entry in value), (channel.topic, name)
            if channel.topic == "/map":
                assert values["shape"] == [5, 4, 3]
                np.testing.assert_array_equal(np.array(values["values"], np.float32), MAP.values.ravel())


PYTHON = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool}


@pytest.mark.parametrize("name", NAMES)
def test_schemas_say_what_foxglove_takes(name):
    """It knows plain types, arrays of plain types, and objects that have ``properties``."""
    schema = archive.schema(name)
    assert schema["type"] == "object"
    for said in schema["properties"].values():
        assert said["type"] in PYTHON
        assert said["type"] != "object" or said["properties"] == {}
        assert said["type"] != "array" or said["items"]["type"] in {"boolean", "string", "number", "integer"}


def test_a_new_session_is_described_once(path):
    other = EXAMPLES[0].__class__(**{**vars(EXAMPLES[0]), "session": b"another!"})
    record(path, [EXAMPLES[0], EXAMPLES[0], other])
    with path.open("rb") as file:
        assert [m.metadata["session"] for m in make_reader(file).iter_metadata()] == [
            EXAMPLES[0].session.hex(),
            b"another!".hex(),
        ]
    assert len(list(load(path).of(Session))) == 3


def test_what_is_written_is_in_the_file_soon_though_nothing_more_comes(path):
    with open_recorder(path) as recorder:
        numbered(recorder, 1)
        begin = time.monotonic()
        while not marks(load(path)):
            assert time.monotonic() < begin + 30
            time.sleep(0.02)
        numbered(recorder, 2)
    assert marks(load(path)) == ["1", "2"]


def test_a_killed_recorder_loses_at_most_the_last_second(path):
    """A process that says what it wrote is killed while it writes; what it wrote two periods before is there."""
    code = f"""
import os, time
from firmware_bridge.recording import open_recorder
from firmware_bridge.session import Mark
recorder = open_recorder({str(path)!r})
flush = recorder._writer.flush
recorder._writer.flush = lambda: (flush(), os.write(1, b"flushed\\n"))
i = 0
while True:
    recorder.write(Mark(str(i)))
    os.write(1, b"%d\\n" % i)
    i += 1
    time.sleep(0.005)
"""
    assert 2 * archive._PERIOD <= 1
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    said = [process.stdout.readline()]
    while said.count("flushed\n") < 4 and len(said) < 10_000:  # a recorder that never flushes fails below
        said.append(process.stdout.readline())
        assert said[-1]
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=60)
    said += rest.splitlines(keepends=True)
    assert said.count("flushed\n") >= 4
    *_, last_but_one, _ = (place for place, line in enumerate(said) if line == "flushed\n")
    written = [int(line) for line in said[:last_but_one] if line != "flushed\n"]
    recording = load(path)
    assert not recording.damage
    assert marks(recording) == [str(i) for i in range(len(marks(recording)))]
    assert len(marks(recording)) > max(written)
    with path.open("rb") as file:  # as other programs do to recover it
        records = StreamReader(file, validate_crcs=True).records
        recovered = []
        with pytest.raises(EndOfFile):
            recovered.extend(record for record in records if isinstance(record, Message))
    assert len(recovered) == len(marks(recording))


@given(cut=st.integers(8, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_file_cut_anywhere_gives_every_chunk_that_is_whole(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "session.mcap"
    chunks = chunked(path, [(1, 2), (3,), (4, 5, 6)])
    content = path.read_bytes()
    cut %= len(content)
    path.write_bytes(content[: max(8, cut)])
    whole = sum(end <= max(8, cut) for _, end in chunks)
    expected = ["1", "2", "3", "4", "5", "6"][: (0, 2, 3, 6)[whole]]
    try:
        assert marks(load(path)) == expected
    except RecordingError:
        assert not expected


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_chunk_costs_that_chunk(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("bad") / "session.mcap"
    chunks = chunked(path, [(1, 2), (3,), (4, 5, 6)])
    content = bytearray(path.read_bytes())
    begin, end = chunks[1]
    place = data.draw(st.integers(begin + 9 + 16, end - 1))  # behind its length and times, which nothing guards
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    recording = load(path)
    if recording.damage:
        assert marks(recording) == ["1", "2", "4", "5", "6"]
        assert (recording.damage.count, recording.damage.first) == (1, f"byte {begin}")
    else:  # a bit that says nothing
        assert marks(recording) == ["1", "2", "3", "4", "5", "6"]


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_refused(tmp_path_factory, content, framed):
    path = tmp_path_factory.mktemp("noise") / "session.mcap"
    if framed:  # a record of a known kind with a sound length
        content = bytes([content[0] % 16 if content else 6]) + len(content).to_bytes(8, "little") + content
    path.write_bytes(b"\x89MCAP0\r\n" + content)
    try:
        assert load(path).events == ()
    except RecordingError as error:
        assert "not a recording" in error.cause


def foreign(path, compression=CompressionType.LZ4, use_chunking=True, topic="/mark", data=b'{"text": "1"}', **options):
    with path.open("wb") as file:
        writer = Writer(file, compression=compression, use_chunking=use_chunking, **options)
        writer.start()
        schema = writer.register_schema("any", "jsonschema", b"{}")
        channel = writer.register_channel(topic, "json", schema)
        for i in range(3):
            writer.add_message(channel, 10**18 + i, data, 10**18)
        writer.finish()


@pytest.mark.parametrize("compression", CompressionType)
@pytest.mark.parametrize("use_chunking", [True, False])
def test_what_another_program_has_packed_anew_is_read(path, compression, use_chunking):
    foreign(path, compression, use_chunking)
    assert marks(load(path)) == ["1", "1", "1"]


def test_a_file_of_another_program_is_no_recording(path):
    foreign(path, topic="/imu")
    with pytest.raises(RecordingError, match="not a recording"):
        load(path)


@pytest.mark.parametrize("data", [b"", b"[]", b"3", b"\xff", b'{"text": 3}', b"[" * 100_000])
def test_a_message_that_is_no_event_is_left_out(path, data):
    foreign(path, data=data)
    with pytest.raises(RecordingError, match="not a recording"):
        load(path)


@pytest.mark.parametrize("pack", [zstandard.compress, lz4.frame.compress], ids=["zstd", "lz4"])
@pytest.mark.parametrize("said", [1 << 20, 1 << 50])
def test_a_chunk_that_inflates_to_more_than_it_says_or_than_anybody_needs_is_not_unpacked(path, pack, said):
    bomb = pack(bytes(1 << 28))
    name = b"zstd" if pack is zstandard.compress else b"lz4"
    head = bytes(16) + said.to_bytes(8, "little") + bytes(4) + len(name).to_bytes(4, "little") + name
    chunk = head + len(bomb).to_bytes(8, "little") + bomb
    path.write_bytes(b"\x89MCAP0\r\n" + b"\x06" + len(chunk).to_bytes(8, "little") + chunk)
    code = f"""
import resource
from firmware_bridge.errors import RecordingError
from firmware_bridge.recording import archive, load
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    load({str(path)!r})
except RecordingError as error:
    print("refused", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == "refused"
    assert int(said[1]) < 32_000  # KiB


def test_a_recording_is_never_gone_on_with_nor_overwritten(path):
    record(path, [EVENTS[0]])
    before = path.read_bytes()
    with pytest.raises(RecordingError, match="is there already") as caught:
        open_recorder(path)
    assert "new file" in caught.value.hint
    assert path.read_bytes() == before


def test_closing_twice_is_closing_once(path):
    recorder = open_recorder(path)
    numbered(recorder, 1)
    recorder.close()
    recorder.close()
    assert marks(load(path)) == ["1"]


def test_memory_does_not_grow_with_the_length_of_the_recording(path):
    writer = McapWriter(path, "test")

    def go(chunks):
        for i in range(chunks):
            writer.message(archive._topic("mark"), i, 0, b'{"text":"x"}')
            writer.flush()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = go(200)
        assert go(2000) - before < 20_000
    finally:
        tracemalloc.stop()
    writer.finish()
    writer.close()
    with path.open("rb") as file:
        assert len(make_reader(file).get_summary().chunk_indexes) == 2200


def test_without_the_package_it_is_said_what_to_install(path):
    code = f"""
import sys
sys.modules["mcap"] = sys.modules["mcap.records"] = None
from firmware_bridge.errors import RecordingError
from firmware_bridge.recording import load, open_recorder
open_recorder({str(path.with_suffix(".jsonl"))!r}).close()
for attempt in (open_recorder, load):
    try:
        attempt({str(path)!r})
    except RecordingError as error:
        print(error)
    open({str(path)!r}, "wb").write(b"\\x89MCAP0\\r\\n")
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.count("pip install 'whylite[archive]'") == 2


def test_a_failure_found_while_nobody_writes_is_told_on_closing(path, monkeypatch):
    recorder = open_recorder(path)
    gone = RecordingError("cannot record any more", "hint")

    def fail(piece):
        raise gone

    numbered(recorder, 1)
    monkeypatch.setattr(recorder._writer._file, "append", fail)
    with pytest.raises(RecordingError, match="any more"):
        recorder.close()
    recorder.close()


@pytest.mark.parametrize("name", ["session.mcap", "session.jsonl"])
@pytest.mark.parametrize("when", [-1.0, -1e-3, 1e11, float("nan"), float("inf")])
def test_a_time_that_no_recording_has_is_refused_and_the_recording_goes_on(tmp_path, name, when):
    path = tmp_path / name
    with open_recorder(path) as recorder:
        with pytest.raises(RecordingError, match=f"{name} what came at Unix time"):
            recorder.write(Mark("never"), when)
        recorder.write(Mark("first"), 0.0)
        recorder.write(Mark("last"), 2.0**33 - 1)
    recording = load(path)
    assert marks(recording) == ["first", "last"]
    assert not recording.damage


def test_what_the_writing_thread_dies_of_is_told_to_whoever_writes_and_nobody_waits_for_it(path):
    recorder = open_recorder(path)
    numbered(recorder, 1)
    endless = replace(next(record for record in EXAMPLES if isinstance(record, Result)), sequence=1 << 40)
    recorder.write(endless)  # more than MCAP's four bytes: a mistake of whoever made it
    with pytest.raises(RecordingError, match=r"session\.mcap any more: error") as caught:
        while True:
            recorder.write(Mark("x" * 10_000))
    assert isinstance(caught.value.__cause__, struct.error)
    recorder.close()  # it has been told


def test_what_the_writing_thread_dies_of_is_told_on_closing(path):
    recorder = open_recorder(path)
    recorder.write(replace(next(record for record in EXAMPLES if isinstance(record, Result)), sequence=-1))
    with pytest.raises(RecordingError, match="any more"):
        recorder.close()


def test_whoever_writes_faster_than_the_disk_takes_waits(path, monkeypatch):
    monkeypatch.setattr(archive, "_CROWDED", 50)
    with open_recorder(path) as recorder:
        take, held = recorder._writer.message, []

        def slowly(*message):
            held.append(recorder._size)
            time.sleep(0.001)
            take(*message)

        monkeypatch.setattr(recorder._writer, "message", slowly)
        monkeypatch.setattr(archive, "_CHUNK", 50)
        numbered(recorder, *range(50))
    assert marks(load(path)) == [str(i) for i in range(50)]
    assert max(held) < 50 + 20


def test_a_recording_that_cannot_be_begun_leaves_nothing(path, monkeypatch):
    def fail(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("firmware_bridge.recording.mcap_writer.tempfile.TemporaryFile", fail)
    with pytest.raises(RecordingError, match="No space left"):
        open_recorder(path)
    assert not path.exists()
