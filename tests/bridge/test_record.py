"""Recordings say again exactly what came, whatever became of the recorder."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.explanation import Flag
from edge.wire.records import Ack, Error, Health, Log, Result, Session, Settings, Spread
from firmware_bridge.errors import RecordingError
from firmware_bridge.maps import Attribution, InputWindow
from firmware_bridge.record import NAMES, Recorder, document, event, line, load
from firmware_bridge.session import Event, LinkChange, Mark, Timing
from tests.edge.wire_samples import EXAMPLES, records

PLAIN = (Session, Result, Health, Log, Error, Settings, Spread, Ack)  # recorded as they came over the wire
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
    *(record for record in EXAMPLES if isinstance(record, PLAIN)),
    MAP,
    InputWindow(3, np.linspace(-1, 1, 12, dtype=np.float32).reshape(6, 2), 0.01, (12, 2)),
    Mark("the strap was tightened"),
    Timing(3, {"predict": 1000, "send": 5}, {"gradcam": 0}),
]


def same(one: Event, other: Event) -> bool:
    if isinstance(one, Attribution | InputWindow) and type(one) is type(other):
        plain = all(getattr(one, f.name) == getattr(other, f.name) for f in fields(one) if f.name != "values")
        return plain and one.values.dtype == other.values.dtype and np.array_equal(one.values, other.values)
    return one == other


def test_everything_that_can_happen_can_be_recorded():
    assert set(NAMES.values()) == set(Event.__args__) == {type(event) for event in EVENTS}


def test_what_was_written_is_read_again_exactly(tmp_path):
    path = tmp_path / "session.jsonl"
    with Recorder(path) as recorder:
        for happened in EVENTS:
            recorder.write(happened)
    recording = load(path)
    assert recording.damaged == ()
    assert all(same(one, other) for (_, one), other in zip(recording.events, EVENTS, strict=True))
    times = [when for when, _ in recording.events]
    assert times == sorted(times)
    (attribution,) = recording.of(Attribution)
    np.testing.assert_array_equal(attribution.values, MAP.values)
    assert attribution.flags == MAP.flags


@given(st.one_of(*map(records, PLAIN)))
@settings(max_examples=200, deadline=None)
def test_any_record_survives_json(record):
    when, restored = event(json.loads(line(record, 12.5)))
    assert restored == record
    assert when == 12.5


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_every_float32_survives_json(values):
    attribution = replace(MAP, values=np.array(values, np.float32))
    _, restored = event(json.loads(line(attribution, 0.0)))
    np.testing.assert_array_equal(restored.values, attribution.values)


def test_a_line_is_plain_json_that_other_programs_understand():
    values = json.loads(line(MAP, 1700000000.25))
    assert values["record"] == "map"
    assert values["at"] == 1700000000.25
    assert np.shape(values["values"]) == (5, 4, 3)
    assert values["flags"] == ["SMALL_MARGIN", "DEADLINE"]
    assert json.loads(line(EXAMPLES[0], 0.0))["session"] == "0001020304050607"
    assert "\n" not in line(MAP, 0.0)[:-1]
    assert len(json.dumps(document(MAP, 0.0))) < 60 * 24


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
        assert recording.damaged == (len(EVENTS),)


def test_recording_on_after_a_torn_line_loses_that_line_only(tmp_path):
    path = tmp_path / "again.jsonl"
    path.write_text(line(EVENTS[1], 1.0) + line(EVENTS[2], 2.0)[:20], encoding="utf-8")
    with Recorder(path) as recorder:
        recorder.write(EVENTS[3])
    recording = load(path)
    assert [happened for _, happened in recording.events] == [EVENTS[1], EVENTS[3]]
    assert recording.damaged == (2,)


def test_a_killed_recorder_leaves_every_event_it_took(tmp_path):
    path = tmp_path / "killed.jsonl"
    code = f"""
import os, signal
from firmware_bridge.record import Recorder
from firmware_bridge.session import LinkChange
recorder = Recorder({str(path)!r})
for i in range(100):
    recorder.write(LinkChange(True, str(i)))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert [change.why for change in load(path).of(LinkChange)] == [str(i) for i in range(100)]


@pytest.mark.parametrize(
    "content",
    [
        b"not a recording\n",
        b"\xff\xfe\x00\n",
        b"[1, 2]\n",
        b'{"record": "map"}\n',
        b'{"record": "bomb", "at": 1}\n',
        b'{"record": "link", "at": "x", "up": true, "why": ""}\n',
        b"[" * 100_000,
        b'{"record": "health", "at": 1}\n',
    ],
)
def test_other_files_are_no_recordings(tmp_path, content):
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="not a recording") as caught:
        load(path)
    assert caught.value.hint


def test_files_that_cannot_be_read_or_written_are_named(tmp_path):
    with pytest.raises(RecordingError, match=r"missing\.jsonl"):
        load(tmp_path / "missing.jsonl")
    with pytest.raises(RecordingError, match="nowhere"):
        Recorder(tmp_path / "nowhere" / "x.jsonl")


def test_a_full_disk_is_said():
    with pytest.raises(RecordingError, match="No space left"), Recorder("/dev/full") as recorder:
        recorder.write(EVENTS[0])


def test_an_empty_recording_is_one(tmp_path):
    path = tmp_path / "empty.jsonl"
    Recorder(path).close()
    assert load(path).events == ()


@pytest.mark.parametrize("content", [b"PK a bundle", b"TFL3", b'{"x": 1}', b" ", b"\n\nnotes"])
def test_what_is_no_recording_is_not_written_to(content, tmp_path):
    path = tmp_path / "model.why"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="it is no recording"):
        Recorder(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"\n", b'{"rec', b'{"record":"log"'])
def test_a_recording_is_gone_on_with_wherever_it_was_torn(content, tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    with Recorder(path):
        pass
    assert path.read_bytes().startswith(content)
