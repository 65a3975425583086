"""Recordings say again exactly what came, in either format, whatever became of the recorder."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import fields, replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import recording as benchmark
from edge.explanation import Flag
from edge.wire.records import Record
from firmware_bridge.errors import RecordingError
from firmware_bridge.maps import Attribution, InputWindow
from firmware_bridge.recording import Reader, load, open_recorder
from firmware_bridge.recording.documents import NAMES, event, line
from firmware_bridge.session import Event, LinkChange, Mark, Timing
from tests.edge.wire_samples import EXAMPLES, records

FORMATS = (".jsonl", ".mcap")
MAP = Attribution(
    sequence=3,
    method="gradcam",
    class_index=2,
    values=np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32),
    step=0.1,
    residual=None,
    steps=1,
    flags=Flag.SMALL_MARGIN | Flag.DEADLINE,
)
EVENTS = [
    LinkChange(up=True, why="listening"),
    *(record for record in EXAMPLES if isinstance(record, get_args(Event))),
    MAP,
    InputWindow(3, np.linspace(-1, 1, 12, dtype=np.float32).reshape(6, 2), 0.01, (12, 2)),
    Mark("the strap was tightened"),
    Timing(3, {"predict": 1000, "send": 5}, {"gradcam": 0}),
]

_texts = st.text(st.characters(codec="utf-8"), max_size=20)
_floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
_shapes = st.lists(st.integers(1, 3), min_size=1, max_size=4).map(tuple)
_arrays = _shapes.flatmap(
    lambda shape: st.lists(_floats, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))).map(
        lambda values: np.array(values, np.float32).reshape(shape)
    )
)
_durations = st.dictionaries(_texts, st.integers(0, 1 << 70), max_size=4)
_of_field = {
    "values": _arrays,
    "flags": st.integers(0, max(Flag) * 2 - 1).map(Flag),
    "phases": _durations,
    "methods": _durations,
    "residual": st.none() | _floats,
    "full_shape": _shapes | st.just(()),
    "step": _floats,
    **dict.fromkeys(("sequence", "class_index", "steps"), st.integers(0, 0xFFFFFFFF)),
    **dict.fromkeys(("valid", "warm_up", "up"), st.booleans()),
    **dict.fromkeys(("method", "layer", "why", "text"), _texts),
}


def any_of(kind: type) -> st.SearchStrategy:
    """Any event of one kind; KeyError for a field nobody has said what it may hold."""
    if issubclass(kind, Record):
        return records(kind)
    return st.builds(kind, **{field.name: _of_field[field.name] for field in fields(kind)})


any_event = st.one_of(*map(any_of, get_args(Event)))
moments = st.integers(0, (1 << 33) * 10**6 - 1).map(lambda microseconds: microseconds / 10**6)


def bits(one: Event) -> tuple:
    """What an event is, to the last bit."""
    held = (getattr(one, field.name) for field in dataclasses.fields(one))
    return type(one), [(v.dtype, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else (type(v), v) for v in held]


def record(path, events, when=None):
    with open_recorder(path) as recorder:
        for happened in events:
            recorder.write(happened, when)


def test_everything_that_can_happen_can_be_recorded():
    assert set(NAMES.values()) == set(get_args(Event)) == {type(event) for event in EVENTS}


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_was_written_is_read_again_exactly(tmp_path, suffix):
    path = tmp_path / f"session{suffix}"
    record(path, EVENTS)
    recording = load(path)
    assert not recording.damage
    assert [bits(happened) for _, happened in recording.events] == [bits(happened) for happened in EVENTS]
    times = [when for when, _ in recording.events]
    assert times == sorted(times)
    assert times[0] > 1.7e9
    (attribution,) = recording.of(Attribution)
    assert attribution.flags == MAP.flags


@pytest.mark.parametrize("suffix", FORMATS)
@given(some=st.lists(st.tuples(moments, any_event), max_size=5))
@settings(max_examples=100, deadline=None)
def test_any_event_survives_any_format_to_the_last_bit(tmp_path_factory, suffix, some):
    path = tmp_path_factory.mktemp("any") / f"session{suffix}"
    with open_recorder(path) as recorder:
        for when, happened in some:
            recorder.write(happened, when)
    recording = load(path)
    assert not recording.damage
    assert [(when, bits(happened)) for when, happened in recording.events] == [(when, bits(e)) for when, e in some]


def test_a_line_is_plain_json_that_other_programs_understand():
    values = json.loads(line(MAP, 1700000000.25))
    assert values["record"] == "map"
    assert values["at"] == 1700000000.25
    assert np.shape(values["values"]) == (5, 4, 3)
    assert values["flags"] == ["SMALL_MARGIN", "DEADLINE"]
    assert json.loads(line(EXAMPLES[0], 0.0))["session"] == "0001020304050607"
    assert "\n" not in line(MAP, 0.0)[:-1]
    assert len(line(MAP, 0.0)) < 60 * 24


def test_a_recording_from_before_maps_named_their_layer_is_read():
    values = json.loads(line(replace(MAP, layer="embedding"), 0.0))
    assert event(values)[1].layer == values.pop("layer") == "embedding"
    assert event(values)[1].layer == ""
    del values["step"]
    with pytest.raises(KeyError):
        event(values)


def test_a_torn_last_line_is_left_out_and_reported(tmp_path):
    path = tmp_path / "torn.jsonl"
    whole = "".join(line(happened, 1.0) for happened in EVENTS)
    last = len(line(EVENTS[-1], 1.0))
    for cut in (1, 2, last // 2, last - 1):
        path.write_text(whole[: len(whole) - cut] if cut > 1 else whole[:-2], encoding="utf-8")
        recording = load(path)
        assert len(recording.events) == len(EVENTS) - 1
        assert (recording.damage.count, recording.damage.first) == (1, f"line {len(EVENTS)}")


def test_recording_on_after_a_torn_line_loses_that_line_only(tmp_path):
    path = tmp_path / "again.jsonl"
    path.write_text(line(EVENTS[1], 1.0) + line(EVENTS[2], 2.0)[:20], encoding="utf-8")
    record(path, [EVENTS[3]])
    recording = load(path)
    assert [happened for _, happened in recording.events] == [EVENTS[1], EVENTS[3]]
    assert recording.damage.first == "line 2"


def test_a_line_longer_than_any_event_is_left_out_in_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("firmware_bridge.recording.jsonl._LONGEST", 1000)
    path = tmp_path / "long.jsonl"
    short = line(EVENTS[0], 1.0)
    path.write_text(short + "x" * 5000 + "\n" + short + "[" * 2000, encoding="utf-8")
    recording = load(path)
    assert len(recording.events) == 2
    assert (recording.damage.count, recording.damage.first) == (2, "line 2")


def test_a_killed_recorder_of_lines_leaves_every_event_it_took(tmp_path):
    path = tmp_path / "killed.jsonl"
    code = f"""
import os, signal
from firmware_bridge.recording import open_recorder
from firmware_bridge.session import LinkChange
recorder = open_recorder({str(path)!r})
for i in range(100):
    recorder.write(LinkChange(True, str(i)))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert [change.why for change in load(path).of(LinkChange)] == [str(i) for i in range(100)]


def with_(happened, **changed):
    return json.dumps({**json.loads(line(happened, 1.0)), **changed}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"not a recording\n",
        b"\xff\xfe\x00\n",
        b"[1, 2]\n",
        b'{"record": "map"}\n',
        b'{"record": "bomb", "at": 1}\n',
        b'{"record": ["map"], "at": 1}\n',
        b'{"record": "link", "at": "x", "up": true, "why": ""}\n',
        b"[" * 100_000,
        b'{"record": "health", "at": 1}\n',
        with_(MAP, sequence="3"),
        with_(MAP, sequence=3.0),
        with_(MAP, sequence=True),
        with_(MAP, step=float("nan")),
        with_(MAP, step=10**400),
        with_(MAP, step=None),
        with_(MAP, values=[]),
        with_(MAP, values=["1"]),
        with_(MAP, values=[[1, 2], [3]]),
        with_(MAP, values=[1e300]),
        with_(MAP, values="1"),
        with_(MAP, values={"0": 1}),
        with_(MAP, flags="ZERO_MAP"),
        with_(MAP, flags=["NO_SUCH"]),
        with_(MAP, layer=7),
        with_(MAP, at=-1),
        with_(MAP, at=1e300),
        with_(MAP, at=float("inf")),
        with_(EVENTS[-1], phases=[1, 2]),
        with_(EVENTS[-1], phases={"predict": "1"}),
        with_(EXAMPLES[0], session="no hexadecimal"),
        with_(EXAMPLES[0], labels=[1, 2]),
        with_(EXAMPLES[0], labels="walk"),
    ],
)
def test_other_files_are_no_recordings(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="not a recording") as caught:
        load(path)
    assert caught.value.hint


def test_a_large_file_of_something_else_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "other.jsonl"
    path.write_bytes(b"{}\n" * 1_000_000 + line(EVENTS[0], 1.0).encode())
    with pytest.raises(RecordingError, match="not a recording"):
        Reader(path)


def test_files_that_cannot_be_read_or_written_are_named(tmp_path):
    with pytest.raises(RecordingError, match=r"missing\.jsonl"):
        load(tmp_path / "missing.jsonl")
    for suffix in FORMATS:
        with pytest.raises(RecordingError, match="nowhere"):
            open_recorder(tmp_path / "nowhere" / f"x{suffix}")


@pytest.mark.parametrize("name", ["session", "session.txt", "session.why", "session.mcap.gz"])
def test_a_name_that_tells_no_format_is_refused(tmp_path, name):
    with pytest.raises(RecordingError, match="tells no format") as caught:
        open_recorder(tmp_path / name)
    assert ".mcap" in caught.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", FORMATS)
def test_an_empty_recording_is_one(tmp_path, suffix):
    path = tmp_path / f"empty{suffix}"
    record(path, [])
    assert load(path).events == ()


@pytest.mark.parametrize("content", [b"PK a bundle", b"TFL3", b'{"x": 1}', b" ", b"\n\nnotes"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_no_recording_is_not_written_to(content, tmp_path, suffix):
    path = tmp_path / f"notes{suffix}"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"it is no recording|is there already"):
        open_recorder(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"\n", b'{"rec', b'{"record":"log"'])
def test_a_recording_of_lines_is_gone_on_with_wherever_it_was_torn(content, tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    record(path, [])
    assert path.read_bytes().startswith(content)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_full_disk_ends_a_recording_and_leaves_it_readable(tmp_path, suffix):
    """With a limit on the size of files, the kernel takes part of a piece and then no more, as a full disk does."""
    path = tmp_path / f"full{suffix}"
    code = f"""
import numpy, resource, sys
from firmware_bridge.errors import RecordingError
from firmware_bridge.maps import InputWindow
from firmware_bridge.recording import open_recorder
resource.setrlimit(resource.RLIMIT_FSIZE, (700_000, resource.RLIM_INFINITY))
random = numpy.random.default_rng(0)
recorder = open_recorder({str(path)!r})
try:
    for i in range(3000):
        recorder.write(InputWindow(i, random.normal(size=500).astype(numpy.float32), 0.1))
    recorder.close()
except RecordingError as error:
    print(error)
recorder.close()
"""
    limited = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"cannot record to {path} any more: File too large\n  hint: " in limited.stdout
    assert path.stat().st_size <= 700_000
    recording = load(path)
    assert not recording.damage
    sequences = [window.sequence for window in recording.of(InputWindow)]
    assert sequences == list(range(len(sequences)))
    assert len(sequences) > 20


def test_a_device_that_takes_nothing_is_a_full_disk(tmp_path):
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    with pytest.raises(RecordingError, match="No space left"), open_recorder(tmp_path / "full.jsonl") as recorder:
        recorder.write(EVENTS[0])


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_long_recording_is_read_in_little_memory(tmp_path, suffix):
    path = tmp_path / f"long{suffix}"
    record(path, (InputWindow(i, np.full(4000, i / 7, np.float32), 0.1) for i in range(300)))
    with Reader(path) as reader:
        tracemalloc.start()
        try:
            assert sum(1 for _ in reader) == 300
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 2_000_000  # the events take 4,800,000


def test_the_benchmark_records_what_boards_send(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "WINDOWS", 3)
    monkeypatch.setattr(benchmark, "_CHUNKS", 100)
    assert benchmark.main(["--json", str(tmp_path / "b.json")]) == 0
    figures = {figure["what"]: figure["value"] for figure in json.loads((tmp_path / "b.json").read_text())["figures"]}
    assert figures["bytes of its maps as float32"] == 2 * 32 * 32 * 4
    assert 0 < figures["bytes of a window, .mcap"] < figures["bytes of a window, .jsonl"]
    assert figures["bytes of memory that a chunk leaves"] < 20
