"""Real processes killed at every phase, real ports that vanish: the host accounts for all of it."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from edge.explanation import Explanation, Prediction
from edge.link import sender
from edge.link.outbox import MAP_ROOM, ROOM
from edge.link.stream import Stream, introduction
from edge.wire.records import Health, Map, Result
from firmware_bridge.maps import Attribution
from tests.edge.test_stream import Manifest
from tests.link_faults import doomed
from tests.link_faults.doomed import PHASES
from tests.link_faults.lives import (
    PtyCable,
    SocketCable,
    Watcher,
    disconnects,
    faults_of_disconnects,
    faults_of_lives,
    lives,
)


def test_a_board_killed_at_every_phase_costs_the_frame_it_was_writing_and_no_other():
    phases = [*PHASES, "in SESSION", "in MAP", "after goodbye"]  # the last one ends what the one before has torn
    assert faults_of_lives(phases, *lives(phases)) == []


@pytest.mark.parametrize("cable", ["pty", "socket"])
def test_a_cable_pulled_again_and_again_ends_no_session_and_forges_no_record(cable, tmp_path):
    times = 10
    with closing(PtyCable(tmp_path) if cable == "pty" else SocketCable()) as line:
        assert faults_of_disconnects(times, *disconnects(line, times, seed=1)) == []


def test_a_host_that_stops_reading_for_a_while_misses_maps_and_no_result(modem, monkeypatch):
    """A minute of it, shortened: what counts is that the port is full and the board has noticed."""
    monkeypatch.setattr(sender, "_STALL", 600.0)
    with closing(Watcher(modem.host)) as watcher:
        session = introduction(Manifest(name="0"), ("saliency",), "litert")
        with Stream(modem.device, 921600, session) as stream:
            watcher.until(lambda: watcher.monitor.tracker.sure)
            for sequence in range(300):
                prediction = Prediction(doomed.scores(0, sequence), 1)
                values = doomed.values(0, sequence)
                stream.result(sequence, prediction)
                stream.explanation(sequence, Explanation(prediction.scores, 1, {}, method="saliency", map=values))
            assert not stream.wait_for_room(0.0)
            monkeypatch.setattr(sender, "_STALL", 0.2)
            assert stream.wait_for_room(60.0)  # nobody waits for a host that has stalled
            assert stream._sender.outbox.bytes <= ROOM + MAP_ROOM
            results = watcher.monitor.tracker.account
            watcher.until(lambda: results.results == 300 and results.maps > 10)
            assert results.health is not None
            watcher.until(lambda: stream._sender.outbox.bytes == 0)
            goodbye = threading.Thread(target=stream.close, args=(60,))
            goodbye.start()  # the buffers may be full: somebody has to read meanwhile
            watcher.until(lambda: results.ended)
            goodbye.join()
    answers = [event for _, event in watcher.seen if isinstance(event, Result)]
    assert [answer.sequence for answer in answers] == list(range(300))
    final = [event for _, event in watcher.seen if isinstance(event, Health)][-1]
    assert final.stalls >= 1
    explained = {event.sequence for _, event in watcher.seen if isinstance(event, Attribution)}
    assert final.dropped[Map.code] + len(explained) == 300
    assert (results.lost_frames, results.stale_frames) == (0, 0)
