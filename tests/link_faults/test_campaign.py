"""Nothing wrong is accepted, nothing lost uncounted, and every doubt ends with the next SESSION."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import faults
from edge.wire.framing import frame
from edge.wire.receiver import Receiver
from edge.wire.records import Result, Session, encode
from firmware_bridge.session import Tracker
from firmware_bridge.turns import Turns
from tests.link_faults.campaign import to_board, to_host
from tests.link_faults.channel import FAULTS, Channel, pieces
from tests.link_faults.traffic import session


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_of_the_line_deceives_the_host(fault):
    outcome = to_host([fault], 900, seed=FAULTS.index(fault), rate=0.05, longest=400)
    assert outcome.violations == []
    assert outcome.faults > 5
    assert outcome.delivered > 100
    assert outcome.delivered + outcome.lost == outcome.frames
    if fault == "duplicated frames":
        assert (outcome.lost, outcome.stale) == (0, outcome.faults)
    if fault in {"bit flips", "overwritten bytes", "dropped frames"}:
        assert outcome.lost == outcome.faults
    if fault in {"dropped frames", "reordered frames", "outages"}:
        assert outcome.damaged < 10  # one torn frame for every board that is killed


def test_nor_do_all_of_them_together():
    outcome = to_host(FAULTS, 3000, seed=99, longest=600)
    assert outcome.violations == []
    assert outcome.maps > 50
    assert outcome.damaged > 30
    assert 0 < outcome.recovery <= 200


def test_a_line_without_faults_delivers_everything():
    outcome = to_host(FAULTS, 1000, seed=5, rate=0.0)
    assert outcome.violations == []
    assert (outcome.delivered, outcome.lost, outcome.stale, outcome.recovery) == (outcome.frames, 0, 0, 0)


def test_what_the_host_says_reaches_the_board_unchanged_or_not_at_all():
    outcome = to_board(FAULTS, 4000, seed=7)
    assert outcome.violations == []
    assert outcome.faults > 50
    assert outcome.lost > 100


@pytest.mark.parametrize("broken", [False, True])
def test_the_benchmark_fails_when_an_invariant_breaks(broken, monkeypatch, tmp_path, capsys):
    if broken:
        monkeypatch.setattr(Turns, "is_next", lambda turns, number: True)
    options = ["--only", "reordered frames", "--frames", "8000", "--disconnects", "0", "--lives", "0"]
    assert faults.main([*options, "--json", str(tmp_path / "faults.json")]) == broken
    (row,) = json.loads((tmp_path / "faults.json").read_text())
    assert bool(row["wrong"]) == broken
    assert ("again or out of order" in capsys.readouterr().out) == broken


def test_the_same_seed_does_the_same():
    def carried(seed):
        channel = Channel(random.Random(seed), FAULTS, 0.3)
        return [out for number in range(300) for out in channel.carry(frame(bytes([1, number % 256])))]

    assert carried(1) == carried(1) != carried(2)


def test_pieces_are_the_whole():
    rng = random.Random(0)
    for size in (0, 1, 2, 100):
        data = rng.randbytes(size)
        assert all(b"".join(pieces(rng, data)) == data for _ in range(50))


BOARD = session(random.Random(3))
SENT = [BOARD, *(Result(sequence=i, class_index=0, scores=(0.5,), time=i) for i in range(150))]
FRAMES = [frame(encode(record, number)) for number, record in enumerate(SENT)]


@st.composite
def arrivals(draw):
    """Stretches of a session's frames in any order, some again, some torn."""
    stretches = []
    for _ in range(draw(st.integers(1, 8))):
        start = draw(st.integers(0, len(FRAMES) - 1))
        data = b"".join(FRAMES[start : start + draw(st.integers(1, 80))])
        stretches.append(data[draw(st.integers(0, 5)) : len(data) - draw(st.integers(0, 5))])
    return stretches


@given(arrivals(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_whatever_the_order_records_come_once_in_turn_and_a_session_settles_it(stretches, joined):
    receiver, tracker = Receiver(), Tracker()
    events = []

    def feed(data):
        events.extend(event for received in receiver.feed(data) for event in tracker.feed(received))

    if joined:
        feed(FRAMES[0])
    for stretch in stretches:
        feed(stretch)
    number = len(SENT)
    feed(b"\x00" + frame(encode(replace(BOARD, time=1_000), number)))
    assert tracker.sure
    sequences = [event.sequence for event in events if isinstance(event, Result)]
    assert sequences == sorted(set(sequences))
    assert all(event in SENT for event in events if not isinstance(event, Session))
    account = tracker.account
    assert account.joined + account.frames + account.lost_frames == number + 1
    assert account.results == len(sequences)
    feed(frame(encode(replace(SENT[1], sequence=500), number + 1)))
    assert events[-1].sequence == 500
