"""A recording played again is what was seen, at the pace at which it came or another."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from contextlib import closing

import pytest

from edge.wire.records import Received, Request, Session
from firmware_bridge.errors import RecordingError
from firmware_bridge.monitor import follow
from firmware_bridge.recording import open_recorder
from firmware_bridge.replay import Replay
from firmware_bridge.session import Mark, Tracker
from firmware_bridge.tape import Tape
from tests.bridge.test_recording import EVENTS, bits
from tests.bridge.test_session import HEALTH, OTHER, SESSION, attribution, latency, result

WHYLITE = [sys.executable, "-m", "whylite"]


class Time:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        assert seconds >= 0
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Time()
    monkeypatch.setattr("firmware_bridge.replay.time", clock)
    return clock


@pytest.fixture(params=[".jsonl", ".mcap"])
def path(request, tmp_path):
    return tmp_path / f"session{request.param}"


def record(path, *events):
    with open_recorder(path) as recorder:
        for when, event in events:
            recorder.write(event, when)
    return path


def marks(path, *times):
    return record(path, *((when, Mark(str(when))) for when in times))


def played(replay, clock):
    """When each event was given, in seconds from the beginning."""
    begin, times = clock.now, []
    while not replay.over:
        times += [round(clock.now - begin, 6) for _ in replay.poll()]
    return times


def test_events_come_at_the_pace_at_which_they_came(path, clock):
    with closing(Replay(marks(path, 50.0, 50.5, 50.5, 53.25))) as replay:
        assert played(replay, clock) == [0.0, 0.5, 0.5, 3.25]


@pytest.mark.parametrize(
    ("speed", "expected"), [(4.0, [0.0, 0.5, 2.0]), (0.5, [0.0, 4.0, 16.0]), (math.inf, [0.0] * 3)]
)
def test_or_faster_or_slower(path, clock, speed, expected):
    with closing(Replay(marks(path, 10.0, 12.0, 18.0), speed)) as replay:
        assert played(replay, clock) == expected


def test_long_gaps_are_shortened_and_a_clock_that_was_set_back_does_not_matter(path, clock):
    with closing(Replay(marks(path, 10.0, 10_000.0, 10_001.0, 500.0, 501.0))) as replay:
        assert played(replay, clock) == [0.0, 2.0, 3.0, 3.0, 4.0]


def test_a_poll_waits_no_longer_than_it_may(path, clock):
    with closing(Replay(marks(path, 0.0, 9.0))) as replay:
        assert len(replay.poll(0.2)) == 1
        assert replay.poll(0.25) == []
        assert clock.now == 1000.25


def test_a_view_that_is_late_catches_up_in_bounded_bites(path, clock):
    with closing(Replay(marks(path, *(i / 100 for i in range(1000))))) as replay:
        clock.now += 100
        sizes = []
        while not replay.over:
            sizes.append(len(replay.poll()))
            assert len(replay.moments) == sizes[-1]
        assert sizes == [256, 256, 256, 232]


def test_every_event_comes_with_its_recorded_time(path, clock):
    some = [(1700000000.0 + i / 8, event) for i, event in enumerate(EVENTS)]
    found = []
    with closing(Replay(record(path, *some), math.inf)) as replay:
        for events in follow(replay):
            found += zip(replay.moments, map(bits, events), strict=True)
    assert found == [(when, bits(event)) for when, event in some]


def test_the_account_is_that_of_the_live_session(path):
    live, some = Tracker(), []
    records = [SESSION, *(r for i in range(5) for r in (result(i, truth=i % 2), attribution(i), latency(i))), HEALTH]
    for number, sent in enumerate([*records, OTHER, result(9)]):
        some += [(number / 4, event) for event in live.feed(Received(number % len(records), sent.code, sent))]
    with closing(Replay(record(path, *some), math.inf)) as replay:
        for _ in follow(replay):
            pass
        summary = replay.summary()
    assert [(a.session, a.results, a.correct, a.maps, a.health) for a in summary.accounts] == [
        (a.session, a.results, a.correct, a.maps, a.health) for a in live.accounts
    ]
    assert summary.phases == {name: histogram.quantiles() for name, histogram in live.phases.items()}
    assert summary.seconds == some[-1][0]
    assert summary.recorded


def test_silence_is_in_recorded_time(path, clock):
    with closing(Replay(record(path, (0.0, SESSION), (8.0, result(0))), 2.0)) as replay:
        replay.poll(0.0)
        assert replay.silence == 0.0
        clock.now += 3.0
        assert replay.silence == 6.0
        replay.poll(1.0)
        assert replay.silence == 0.0
        assert replay.over


def test_nobody_listens_and_texts_do_not_command_the_terminal(path):
    with closing(Replay(record(path, (0.0, Mark("a\x1b[2J"))))) as replay:
        assert replay.send(Request(what=Session.code)) is None
        assert replay.poll() == [Mark("a\ufffd[2J")]


def test_what_is_no_recording_is_refused(tmp_path):
    (tmp_path / "model.why").write_bytes(b"PK")
    with pytest.raises(RecordingError, match="not a recording"):
        Replay(tmp_path / "model.why")


def replay(*arguments):
    return subprocess.run([*WHYLITE, "replay", *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.fixture
def session(path):
    return record(path, (100.0, SESSION), *((101.0 + i / 2, result(i, 1, truth=1)) for i in range(4)), (103.0, HEALTH))


def test_it_prints_what_the_monitor_printed(session):
    begin = time.monotonic()
    done = replay(session, "--speed", "4")
    assert time.monotonic() - begin > 3.0 / 4
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()
    assert rows[0].startswith(f"session {SESSION.session.hex()}: ")
    assert rows[1:5] == [f"{i:>6}  run 0.300  right" for i in range(4)]
    assert "4 windows, 0 maps, 100.0% right in 3.0 s" in rows
    assert rows[-1].startswith("losses: 0 results missing, board dropped ")
    assert "link" not in rows[-1]
    assert done.stderr == ""


def test_json_has_the_recorded_times_and_says_nothing_of_the_link(session):
    done = replay(session, "--speed", "max", "--json")
    documents = [json.loads(row) for row in done.stdout.splitlines()]
    assert [(d["record"], d["at"]) for d in documents[:-1]] == [
        ("session", 100.0),
        *(("result", 101.0 + i / 2) for i in range(4)),
        ("health", 103.0),
    ]
    summary = documents[-1]
    assert (summary["windows"], summary["accuracy"], summary["seconds"]) == (4, 1.0, 3.0)
    (board,) = summary["boards"]
    assert sum(board["degraded"].values()) == sum(HEALTH.degraded.values())
    assert (board["link_rate_bytes_per_second"], board["governor"]) == (HEALTH.link_rate, HEALTH.governor)
    assert summary["lost_frames"] is summary["round_trip_ns"] is summary["goodput_bytes_per_second"] is None


def test_damage_is_said(tmp_path):
    path = record(tmp_path / "torn.jsonl", (1.0, SESSION), (2.0, result(0)))
    path.write_text(path.read_text()[:-5])
    done = replay(path, "--speed", "max")
    assert done.returncode == 0
    assert done.stderr == f"warning: a part of {path} could not be read and is left out, the first at line 2\n"


def test_a_recording_is_not_recorded_onto_itself(session, tmp_path):
    before, link = session.read_bytes(), tmp_path / f"link{session.suffix}"
    link.hardlink_to(session)
    tape = Tape(None, source=str(session))
    with pytest.raises(RecordingError, match="it is being played"):
        tape.begin(str(link))
    tape.begin(str(tmp_path / f"another{session.suffix}"))
    tape.close()
    assert session.read_bytes() == before


def test_an_empty_recording_and_what_is_none_are_told_apart(tmp_path):
    empty, missing = record(tmp_path / "empty.jsonl"), tmp_path / "missing.mcap"
    assert (replay(empty).returncode, replay(missing).returncode) == (1, 2)
    assert "missing.mcap" in replay(missing).stderr
    for speed in ("0", "-1", "quick", "inf"):
        assert replay(empty, "--speed", speed).returncode == 2
