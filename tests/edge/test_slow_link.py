"""A link that is slower than the board, over a cable that keeps a line's time: results arrive, maps thin out."""

from __future__ import annotations

import time

import numpy as np
import pytest

from edge.explanation import Explanation
from edge.latency import Lap, Phase
from edge.link import pacer
from edge.link.outbox import MAP_ROOM
from edge.link.stream import Stream
from edge.wire.records import Health, Latency, Map, Request, Result
from firmware_bridge.maps import Assembler
from firmware_bridge.nullmodem import NullModem
from tests.edge.test_stream import PREDICTION, SESSION
from tests.link import FarEnd

RATE = 46_080  # bytes per second: 460800 baud
WINDOWS = 100  # in 20 ms each: a dense map of 32x32x3 each would be three times too much


@pytest.fixture(scope="module")
def run():
    """Return what arrived of windows that came too fast, and what the board said of itself in the end."""
    values = np.random.default_rng(0).uniform(-1, 1, (32, 32, 3)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch, NullModem(bytes_per_second=RATE) as modem:
        patch.setattr(pacer, "_SPAN", 1.0)
        host = FarEnd(modem.host)
        with Stream(modem.device, 460800, SESSION) as stream:
            known, sequence, end, due = 0, -1, 5000, time.monotonic()
            while sequence < end:
                sequence += 1
                window(stream, sequence, values)
                host.received += host.receiver.feed(host.port.read())
                due += 0.02  # a machine that was slow catches up: else the link were fast enough
                time.sleep(max(0.0, due - time.monotonic()))
                if not known and sequence >= WINDOWS and not stream._sender._pacer.probing:
                    known, end = len(host.received), sequence + WINDOWS
            host.say(Request(what=Health.code))
            host.listen(lambda: host.of(Latency) and host.of(Latency)[-1].sequence == sequence)
            host.listen(lambda: not len(stream._sender.outbox))
            host.say(Request(what=Health.code))
            seen = len(host.of(Health))
            host.listen_for(Health, seen + 1)
        host.close()
    return host, sequence + 1, known


def window(stream, sequence, values):
    stream.result(sequence, PREDICTION)
    stream.explanation(sequence, Explanation(PREDICTION.scores, 1, method="saliency", map=values))
    stream.latency(sequence, Lap({Phase.PREDICT: 1000}, {}))


@pytest.mark.slow
def test_every_result_and_every_latency_arrives_in_order(run):
    host, windows, _ = run
    assert [result.sequence for result in host.of(Result)] == list(range(windows))
    assert [latency.sequence for latency in host.of(Latency)] == list(range(windows))


@pytest.mark.slow
def test_maps_are_thinned_and_what_is_dropped_is_counted(run):
    host, windows, _ = run
    health = host.of(Health)[-1]
    assembler = Assembler()
    arrived = [found for found in (assembler.add(piece, "m") for piece in host.of(Map)) if found is not None]
    assert (assembler.refused, assembler.incomplete) == (0, 0)
    assert health.dropped.keys() <= {Map.code}
    assert len({found.sequence for found in arrived}) + health.dropped.get(Map.code, 0) == windows
    assert sum(health.thinned.values()) > WINDOWS // 4
    assert {found.whole.shape for found in arrived} == {(32, 32, 3)}


@pytest.mark.slow
def test_the_rate_is_measured_and_little_is_written_at_a_time(run):
    host, _, known = run
    assert 0.4 * RATE < host.of(Health)[-1].link_rate < 1.25 * RATE  # a busy machine's line rests now and then
    later = [received.record for received in host.received[known + 50 :]]
    assert max(len(record.data) for record in later if isinstance(record, Map)) <= 0.02 * RATE * 1.3


@pytest.mark.slow
def test_nothing_grows(run):
    host, _, _ = run
    assert max(health.queued_bytes for health in host.of(Health)) < MAP_ROOM + 300_000


@pytest.mark.slow
def test_a_link_that_was_full_once_is_measured_though_nothing_more_comes():
    values = np.random.default_rng(0).uniform(-1, 1, (128, 256)).astype(np.float32)
    with NullModem(bytes_per_second=RATE) as modem:
        host = FarEnd(modem.host)
        with Stream(modem.device, 460800, SESSION) as stream:
            for sequence in range(3):  # a busy machine may spoil a measurement, and for a while there is no other
                stream.explanation(sequence, Explanation(PREDICTION.scores, 1, method="saliency", map=values))
                end = time.monotonic() + 30
                host.listen(lambda end=end: not stream._sender._pacer.probing or time.monotonic() > end)
                if not stream._sender._pacer.probing:
                    break
            host.say(Request(what=Health.code))
            host.listen(lambda: host.of(Health) and host.of(Health)[-1].link_rate)
        host.close()
    assert 0.4 * RATE < host.of(Health)[-1].link_rate < 1.25 * RATE  # a busy machine's line rests now and then
    assert host.receiver.counts.bad_frames == 0
