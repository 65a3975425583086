"""What a host is told of how long things took: every window's latency, believed or not, and the board's own totals."""

from __future__ import annotations

import logging

import pytest

from edge import clocks
from edge.clocks import Watch
from edge.latency import Lap, Phase, clock
from edge.link.stream import LogHandler, Stream
from edge.wire.records import Health, Latency, Log, Request, Session, Spread
from tests.edge.test_stream import SESSION
from tests.link import FarEnd

WINDOWS = 12


@pytest.fixture
def host(modem):
    end = FarEnd(modem.host)
    yield end
    end.close()


@pytest.fixture
def stream(modem, host):
    with Stream(modem.device, 921600, SESSION) as stream:
        handler = LogHandler(stream)
        logger = logging.getLogger("edge")
        logger.addHandler(handler)
        yield stream
        logger.removeHandler(handler)


def lap(predict=1_000_000):
    return Lap({Phase.PREDICT: predict}, {"saliency": 2 * predict})


def spread(host):
    host.received.clear()
    host.say(Request(what=Spread.code))
    return host.listen_for(Spread)[0]


def test_the_session_names_its_clock(host, stream):
    session, *_ = host.listen_for(Session)
    assert session.clock == clocks.name() != ""


def test_warm_up_is_marked_and_in_none_of_the_boards_own_quantiles(host, stream):
    for sequence in range(WINDOWS):
        stream.latency(sequence, lap(1_000_000 if sequence else 50_000_000))
    latencies = host.listen_for(Latency, WINDOWS)
    assert all(latency.valid for latency in latencies)
    marks = [latency.warm_up for latency in latencies]
    warm = sum(marks)
    assert marks == [True] * warm + [False] * (WINDOWS - warm)
    assert 0 < warm < 6
    said = spread(host)
    count, p50, _, p99, most = said.phases[Phase.PREDICT.value]
    assert (count, most) == (WINDOWS - warm, 1_000_000)
    assert p50 == p99 == pytest.approx(1_000_000, rel=0.01)
    assert said.methods[1][0] == WINDOWS - warm
    assert (said.warm_up, said.rejected) == (warm, 0)


def test_a_clock_that_stalls_marks_the_numbers_invalid_and_the_host_is_told_once(host, stream):
    stalled = [0]
    stream.status.timekeeper.watch = Watch(lambda: stalled[0] or clock())
    stream.latency(0, lap())
    stalled[0] = clock()
    for sequence in range(1, WINDOWS):
        stream.latency(sequence, lap(0))
    latencies = host.listen_for(Latency, WINDOWS)
    # it ran for a part of the first of them
    assert [latency.valid for latency in latencies[2:]] == [False] * (WINDOWS - 2)
    stalled[0] = 0
    stream.latency(WINDOWS, lap())
    *_, late = host.listen_for(Latency, WINDOWS + 1)
    assert not late.valid
    (warning,) = (log for log in host.of(Log) if "stood still" in log.text)
    assert warning.level == logging.WARNING
    host.say(Request(what=Health.code))
    host.listen(lambda: host.of(Health) and host.of(Health)[-1].clock_faults)
    assert spread(host).rejected >= WINDOWS - 1
