"""What a device's side of the link does while hosts come, go, stall and talk nonsense."""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from statistics import median

import numpy as np
import pytest

from edge.errors import InputError, LinkError
from edge.explanation import Explanation, Flag, Prediction
from edge.latency import Lap, Phase
from edge.link import sender
from edge.link.outbox import Outbox
from edge.link.stream import LogHandler, Stream, introduction
from edge.link.thinning import HEAD
from edge.manifest import ExplanationHead
from edge.wire import codecs
from edge.wire.cbor import WireError
from edge.wire.framing import frame
from edge.wire.port import Port
from edge.wire.records import (
    MAX_CHUNK,
    Ack,
    Error,
    Health,
    Input,
    Latency,
    Log,
    Map,
    Ping,
    Pong,
    Request,
    Result,
    Session,
    Settings,
    Spread,
    Window,
)
from firmware_bridge.nullmodem import NullModem
from tests.link import FarEnd, wait_for

pytestmark = pytest.mark.usefixtures("unhurried")


@dataclass(frozen=True)
class Manifest:
    name: str = "shapes"
    model_digest: str = "ab" * 32
    input_shape: tuple[int, ...] = (12, 12, 3)
    labels: tuple[str, ...] = ("circle", "square")

    def head(self, method: str) -> ExplanationHead:
        return ExplanationHead(method, f"layer of {method}", (12, 12), method)


SESSION = introduction(Manifest(), ("gradcam", "saliency"), "litert 2.1.0, 1 thread")
PREDICTION = Prediction(np.array([0.25, 0.75], np.float32), 1)


def explanation(size=100, method="saliency", **more):
    values = np.random.default_rng(0).normal(size=size).astype(np.float32)
    return Explanation(PREDICTION.scores, 1, {}, method=method, map=values, **more)


@pytest.fixture
def host(modem):
    end = FarEnd(modem.host)
    yield end
    end.close()


@pytest.fixture
def unasked(monkeypatch):
    """After the first SESSION and HEALTH none comes unasked."""
    monkeypatch.setattr(sender, "SESSION_PERIOD", 600.0)
    monkeypatch.setattr(sender, "HEALTH_PERIOD", 600.0)


@pytest.fixture
def stream(modem, host):
    with Stream(modem.device, 921600, SESSION, "int8") as stream:
        yield stream


def test_a_session_says_which_layer_the_maps_of_each_method_are_about():
    assert SESSION.layers == ("layer of gradcam", "layer of saliency")


def test_a_session_opens_with_its_introduction(stream, host):
    session, *_ = host.listen_for(Session)
    assert session.session == SESSION.session
    assert session.labels == ("circle", "square")
    assert session.time > 0
    assert host.received[0].number == 0
    assert host.received[0].record == session


def test_frames_are_numbered_without_gaps(stream, host):
    for sequence in range(50):
        stream.result(sequence, PREDICTION)
    host.listen_for(Result, 50)
    assert all(later.number == earlier.number + 1 for earlier, later in pairwise(host.received))


def test_one_window_arrives_in_order_with_all_it_says(stream, host):
    lap = Lap({Phase.CAPTURE: 5, Phase.PREDICT: 70}, {"saliency": 900})
    stream.result(4, PREDICTION, truth=0)
    stream.explanation(4, explanation(residual=0.5, steps=8, flags=Flag.SMALL_MARGIN))
    stream.latency(4, lap)
    host.listen_for(Latency)
    result, attribution, latency = (r for r in host.records if isinstance(r, Result | Map | Latency))
    assert (result.sequence, result.class_index, result.scores, result.truth) == (4, 1, (0.25, 0.75), 0)
    assert (attribution.sequence, attribution.method, attribution.class_index) == (4, 1, 1)
    assert (attribution.residual, attribution.steps, attribution.flags) == (0.5, 8, Flag.SMALL_MARGIN)
    assert latency.methods == {1: 900}
    assert {0: 5, 2: 70}.items() <= latency.phases.items()
    assert 0 < latency.phases[Phase.QUEUE] < 60e9
    assert 0 < latency.phases[Phase.SEND] < 60e9


def test_sessions_and_health_are_repeated(monkeypatch, modem, host):
    monkeypatch.setattr(sender, "SESSION_PERIOD", 0.1)
    monkeypatch.setattr(sender, "HEALTH_PERIOD", 0.1)
    with Stream(modem.device, 921600, SESSION):
        sessions = host.listen_for(Session, 4)
        host.listen_for(Health, 4)
    times = [session.time for session in sessions]
    assert all(later - earlier > 50e6 for earlier, later in pairwise(times))


def test_a_host_gets_what_it_asks_for(unasked, stream, host):
    assert not stream.wait_for_host(0.0)
    host.listen_for(Session)
    host.listen_for(Health)
    host.say(Ping(token=77))
    (pong,) = host.listen_for(Pong)
    assert pong.token == 77
    assert 0 < pong.received <= pong.sent
    assert stream.wait_for_host(60)
    host.say(Request(what=Session.code))
    host.listen_for(Session, 2)
    host.say(Request(what=Health.code))
    host.listen_for(Health, 2)


def test_nonsense_from_the_host_is_counted_and_ignored(stream, host):
    host.listen_for(Session)
    rng = random.Random(0)
    for _ in range(20):
        host.port.write(rng.randbytes(200), 1.0)
    host.port.write(b"AT\r\nAT+CGMI\r\n\x00", 1.0)  # what ModemManager says to every new port
    host.say(Result(sequence=0, class_index=0, scores=(), time=0))
    assert not stream.wait_for_host(0.3)
    host.say(Request(what=Health.code))
    host.listen(lambda: host.of(Health) and host.of(Health)[-1].bad_frames > 5)


def test_settings_are_told_now_and_after_every_session(stream, host):
    host.listen_for(Health)  # the first SESSION, which settings follow if there are any, is over
    settings = Settings(methods=(1,), explain=3, rate=2.5)
    stream.settings(settings)
    assert host.listen_for(Settings)[0] == settings
    host.say(Request(what=Session.code))

    def after_sessions():
        told = host.records[host.records.index(settings) :]
        return [after for record, after in pairwise(told) if isinstance(record, Session)]

    host.listen(after_sessions)
    assert all(record == settings for record in after_sessions())


def test_what_the_host_asks_of_the_run_waits_until_it_is_taken(stream, host):
    told = threading.Event()
    stream.on_request(told.set)
    explain = Request(what=Map.code, sequence=3, method=1, acknowledge=True)
    host.say(Request(what=Session.code))
    host.say(explain)
    assert told.wait(60)
    assert stream.take_request() == (1, explain)
    assert stream.take_request() is None
    assert not host.of(Ack)
    stream.acknowledge(1, explain, InputError("window 3 is gone", "ask for a later one"))
    assert host.listen_for(Ack) == [Ack(request=1, refused="window 3 is gone", hint="ask for a later one", sequence=3)]


@pytest.mark.parametrize(("what", "done"), [(Session.code, True), (Health.code, True), (200, False), (2, False)])
def test_a_request_is_acknowledged_where_that_is_asked_for(stream, host, what, done):
    host.say(Request(what=what, acknowledge=True))
    (ack,) = host.listen_for(Ack)
    assert (ack.request, not ack.refused) == (0, done)
    assert bool(ack.hint) != done
    assert stream.take_request() is None


def test_a_board_with_a_source_of_its_own_refuses_windows_once_each(stream, host):
    for offset in (0, 2):
        host.say(Window(sequence=7, offset=offset, size=4, data=b"\x00\x01"))
    host.say(Request(what=Health.code, acknowledge=True))
    refusal, done = host.listen_for(Ack, 2)
    assert (refusal.request, refusal.sequence, done.request) == (0, None, 2)
    assert "source" in refusal.refused
    assert refusal.hint


def test_requests_that_nobody_takes_are_refused_when_they_are_too_many(stream, host):
    for _ in range(20):
        host.say(Request(what=Map.code, acknowledge=True))
    acks = host.listen_for(Ack, 4)
    assert all("wait already" in ack.refused for ack in acks)
    taken = [stream.take_request() for _ in range(17)]
    assert [number for number, _ in taken[:16]] == list(range(16))
    assert taken[16] is None


@pytest.mark.parametrize("what", [Spread, Health])
def test_the_boards_own_distributions_come_with_its_health(modem, host, monkeypatch, what):
    monkeypatch.setattr(sender, "HEALTH_PERIOD", 600.0)  # after the first, none comes unasked
    spread = Spread(time=1, phases={2: (5, 1, 2, 3, 4)}, methods={})
    with Stream(modem.device, 921600, SESSION) as stream:
        host.listen_for(Spread)
        stream.status.spread = lambda: spread
        host.say(Request(what=what.code))
        host.listen(lambda: host.of(Spread)[-1] == spread)


def test_reading_the_boards_vitals_keeps_nobody_from_posting(modem, host, monkeypatch):
    reading, posted = threading.Event(), threading.Event()

    def temperature():
        reading.set()
        assert posted.wait(60)
        return 41.0

    monkeypatch.setattr(sender.vitals, "temperature", temperature)
    with Stream(modem.device, 921600, SESSION) as stream:
        assert reading.wait(60)
        stream.result(0, PREDICTION)
        posted.set()
        assert host.listen_for(Health)[0].temperature == 41.0


def test_of_too_many_urgent_records_pongs_go_first_and_all_are_counted(stream, host, monkeypatch):
    link = stream._sender
    host.listen_for(Spread)
    stream.status.spread = None  # none follows the next HEALTH
    held, busy = threading.Event(), threading.Event()

    def temperature():
        busy.set()
        held.wait(60)

    monkeypatch.setattr(sender.vitals, "temperature", temperature)
    host.say(Request(what=Health.code))
    assert busy.wait(60)  # the link's thread sends nothing now
    acks = [Ack(request=number, refused="", hint="") for number in range(64)]
    link.post_urgently(*[Pong(token=token, received=0, sent=0) for token in range(10)], *acks)
    link.post_urgently(Pong(token=99, received=0, sent=0), Ack(request=64, refused="", hint=""))
    held.set()
    host.listen(lambda: host.of(Ack) and host.of(Ack)[-1].request == 64)
    assert [ack.request for ack in host.of(Ack)] == list(range(1, 65))
    assert not host.of(Pong)
    host.say(Request(what=Health.code))
    host.listen(lambda: host.of(Health)[-1].dropped == {Pong.code: 11, Ack.code: 1})


def test_a_window_can_be_sent_as_it_was_given(stream, host):
    window = np.random.default_rng(0).normal(size=(MAX_CHUNK, 2)).astype(np.float32)
    stream.input(5, window)
    first, second = host.listen_for(Input, 2)
    assert (first.sequence, first.shape, first.chunks, second.chunk) == (5, (MAX_CHUNK, 2), 2, 1)
    coded = codecs.Coded(first.encoding, first.deflated, first.scale, first.zero_point, first.data + second.data, False)
    np.testing.assert_allclose(codecs.decode(coded, first.shape), window, atol=first.scale)


@pytest.mark.parametrize(("encoding", "deflated"), [("auto", False), ("int8", True)])
def test_a_map_is_not_deflated_for_a_link_that_was_never_full_unless_asked_for(modem, host, encoding, deflated):
    values = np.tile(np.float32([0, 1, 2, 4]), 100)
    with Stream(modem.device, 921600, SESSION, encoding) as stream:
        stream.explanation(0, Explanation(PREDICTION.scores, 1, method="saliency", map=values))
        (sent,) = host.listen_for(Map, 1)
    assert (sent.encoding, sent.deflated) == (codecs.CODECS["int8"].number, deflated)
    assert (len(sent.data) < values.size) == deflated
    coded = codecs.Coded(sent.encoding, sent.deflated, sent.scale, sent.zero_point, sent.data, False)
    np.testing.assert_allclose(codecs.decode(coded, sent.shape), values, atol=sent.scale)


def test_a_board_that_never_runs_out_of_records_hears_its_host(stream, host, monkeypatch):
    link = stream._sender
    host.listen_for(Session, 1)
    with monkeypatch.context() as busy:
        busy.setattr(link._port, "write", lambda data, patience: len(data))
        busy.setattr(link, "_next", lambda: (Log(time=0, level=20, text="busy"), 0))
        stream.log(20, "wakes the link")
        host.listen(lambda: link.sent[Log.code] > 100)
        assert not stream.wait_for_host(0)
        host.say(Ping(token=1))
        assert stream.wait_for_host(60)


def test_the_end_is_a_final_health_that_accounts_for_everything(stream, host):
    for sequence in range(3):
        stream.result(sequence, PREDICTION)
        stream.explanation(sequence, explanation(2 * MAX_CHUNK))
    sent = stream.close(patience=60)
    host.listen(lambda: host.of(Health) and host.of(Health)[-1].final)
    final = host.of(Health)[-1]
    assert host.records[-1] is final
    assert final.produced == 3
    assert final.sent[Result.code] == len(host.of(Result)) == 3
    assert final.sent[Map.code] == len(host.of(Map)) == 6
    assert final.dropped == {}
    assert (final.queued, final.queued_bytes) == (0, 0)
    assert sent.complete
    assert sent.frames[Map.code] == 6
    assert sent.dropped == {}


def test_a_result_overtakes_the_maps_that_wait(stream, host, monkeypatch):
    link, posted = stream._sender, threading.Event()
    code = link._code

    def held(parcel, uncoded):
        assert uncoded.head.sequence == 0 or posted.wait(60)
        code(parcel, uncoded)

    monkeypatch.setattr(link, "_code", held)
    for sequence in range(12):
        stream.explanation(sequence, explanation(4 * MAX_CHUNK))
    host.listen_for(Map, 4)
    stream.result(99, PREDICTION)
    posted.set()
    host.listen_for(Map, 48)
    kinds = [type(record) for record in host.records if isinstance(record, Map | Result)]
    assert kinds == [Map] * 4 + [Result] + [Map] * 44
    assert [record.chunk for record in host.of(Map)] == [0, 1, 2, 3] * 12


def test_a_host_that_does_not_read_stalls_nobody_and_loses_maps_before_results(modem):
    with Stream(modem.device, 921600, SESSION) as stream:
        took = []
        for sequence in range(1000):
            start = time.perf_counter()
            stream.result(sequence, PREDICTION)
            stream.explanation(sequence, explanation(1024))
            took.append(time.perf_counter() - start)
        assert median(took) < 0.05  # a write to the port waits longer
        host = FarEnd(modem.host)  # which flushes what its port had buffered
        host.listen_for(Latency, 0)
        host.listen(lambda: host.of(Result) and host.of(Result)[-1].sequence == 999)
        host.listen(lambda: host.of(Map) and host.of(Map)[-1].sequence == 999)
        stream.close(patience=60)
        host.listen(lambda: host.of(Health) and host.of(Health)[-1].final)
    host.close()
    final = host.of(Health)[-1]
    assert Result.code not in final.dropped
    assert final.dropped[Map.code] > 500
    assert final.sent[Map.code] + final.dropped[Map.code] == 1000
    assert final.sent[Result.code] == 1000
    results = [result.sequence for result in host.of(Result)]
    assert results == list(range(results[0], 1000))  # no gap but what the host's own port threw away
    maps = [record.sequence for record in host.of(Map)]
    assert maps == sorted(maps)


def test_closing_does_not_wait_for_a_host_that_will_never_read(modem):
    stream = Stream(modem.device, 921600, SESSION)
    for sequence in range(300):
        stream.result(sequence, PREDICTION)
        stream.explanation(sequence, explanation(1024))
    start = time.monotonic()
    sent = stream.close(patience=0.3)
    assert time.monotonic() - start < 30
    assert not sent.complete
    assert sent.dropped[Map.code] > 100
    assert sent.frames[Result.code] + sent.dropped[Result.code] >= 299  # one may be stuck half-way


def test_waiting_for_room_ends_when_the_host_reads_and_when_it_stalls(monkeypatch, modem):
    monkeypatch.setattr(sender, "_STALL", 600.0)
    with Stream(modem.device, 921600, SESSION) as stream:
        for sequence in range(200):
            stream.explanation(sequence, explanation(1024))
        assert not stream.wait_for_room(0.3)
        monkeypatch.setattr(sender, "_STALL", 0.3)
        assert stream.wait_for_room(60)  # nobody reads: not for ever
        host = FarEnd(modem.host)
        host.listen_for(Map, 50)
        assert stream.wait_for_room(60)
        host.listen(lambda: host.of(Map)[-1].sequence == 199)
        stream.close(patience=60)
        host.listen(lambda: host.of(Health) and host.of(Health)[-1].final)
        assert host.of(Health)[-1].stalls >= 1
        host.close()


def test_a_lost_port_is_opened_again_in_the_same_session(tmp_path):
    link = tmp_path / "port"
    with NullModem() as first:
        link.symlink_to(first.device)
        host = FarEnd(first.host)
        stream = Stream(str(link), 921600, SESSION)
        host.listen_for(Session)
        host.close()
        link.unlink()
    wait_for(lambda: stream._sender._stalled)  # it has noticed
    for sequence in range(5):
        stream.result(sequence, PREDICTION)  # while the cable is out
    with NullModem() as second:
        host = FarEnd(second.host)
        link.symlink_to(second.device)
        session, *_ = host.listen_for(Session)
        assert session.session == SESSION.session
        assert [result.sequence for result in host.listen_for(Result, 5)] == list(range(5))
        assert stream.close(patience=60).complete
        host.listen(lambda: host.of(Health) and host.of(Health)[-1].final)
        assert host.of(Health)[-1].reconnects == 1
        host.close()


def test_closing_while_the_port_is_lost_does_not_wait_for_it(tmp_path):
    port = tmp_path / "port"  # as udev does: the name is gone with the device, and nobody else's next pty has it
    with NullModem() as modem:
        port.symlink_to(modem.device)
        stream = Stream(str(port), 921600, SESSION)
        port.unlink()
    wait_for(lambda: stream._sender._stalled)
    start = time.monotonic()
    sent = stream.close(patience=200)
    assert time.monotonic() - start < 100
    assert not sent.complete


def test_what_is_leaving_is_not_dropped_meanwhile(modem, host, monkeypatch):
    """An outbox with room for two results: nearly every ``post`` drops what the link's thread is about to take."""
    monkeypatch.setattr(sender, "Outbox", partial(Outbox, room=2 * (HEAD + 4 * len(PREDICTION.scores))))
    reader = threading.Thread(target=host.listen, args=(lambda: host.of(Health) and host.of(Health)[-1].final, 200))
    reader.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        stream = Stream(modem.device, 921600, SESSION)
        for sequence in range(60_000):
            stream.result(sequence, PREDICTION)
        sent = stream.close(patience=60)
    finally:
        sys.setswitchinterval(interval)
        reader.join()
    assert sent.complete
    assert sent.dropped[Result.code] > 0
    assert sent.frames[Result.code] + sent.dropped[Result.code] == 60_000


@pytest.fixture
def broken(modem, caplog):
    """A stream whose thread makes a mistake once the host asks for a SPREAD."""

    def mistake():
        raise ZeroDivisionError("a mistake of ours")

    stream = Stream(modem.device, 921600, SESSION)
    rung = threading.Event()
    stream.on_request(rung.set)
    stream.status.spread = mistake
    with Port(modem.host) as port:
        port.write(frame(sender.encode(Request(what=Spread.code), 0)), 1.0)
        assert rung.wait(60)
    assert "the link has failed: ZeroDivisionError: a mistake of ours" in caplog.text
    yield stream
    with pytest.raises(ZeroDivisionError):
        stream.close()
    assert not stream._sender.said_goodbye


@pytest.mark.parametrize(
    "call",
    [
        lambda stream: stream.result(0, PREDICTION),
        lambda stream: stream.explanation(0, explanation()),
        lambda stream: stream.settings(Settings(rate=None, methods=(0,), explain=0, inputs=False)),
        lambda stream: stream.wait_for_room(10),
        lambda stream: stream.wait_for_host(10),
        lambda stream: stream.take_request(),
    ],
)
def test_a_mistake_in_the_sending_thread_is_raised_where_it_is_used(broken, call):
    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        call(broken)


def test_a_mistake_in_the_sending_thread_leaves_nobody_waiting(modem, monkeypatch):
    crowded = threading.Event()

    def mistake(port):
        crowded.wait(60)
        raise ZeroDivisionError

    stream = Stream(modem.device, 921600, SESSION)
    monkeypatch.setattr(stream._sender, "_listen", mistake)
    for sequence in range(400):
        stream.explanation(sequence, explanation(4096))
    threading.Timer(0.2, crowded.set).start()
    with pytest.raises(ZeroDivisionError):
        stream.wait_for_room(60)
    with pytest.raises(ZeroDivisionError):
        stream.close()


def test_a_port_that_cannot_be_opened_is_said_at_once():
    with pytest.raises(LinkError, match="no-such-port"):
        Stream("/dev/no-such-port", 921600, SESSION)


def test_what_cannot_be_sent_is_reported_and_not_lost_in_silence(stream, host):
    bad = explanation()
    object.__setattr__(bad, "steps", -1)
    stream.explanation(3, bad)
    (error,) = host.listen_for(Error)
    assert error.kind == "WireError"
    assert "Map cannot be sent" in error.cause
    host.say(Request(what=Health.code))
    host.listen(lambda: host.of(Health)[-1].dropped == {Map.code: 1})


def test_a_residual_that_is_not_a_number_is_left_out(stream, host):
    stream.explanation(1, explanation(residual=float("nan")))
    (attribution,) = host.listen_for(Map)
    assert attribution.residual is None


def test_scores_that_are_not_numbers_are_refused(stream):
    with pytest.raises(WireError, match="window 3"):
        stream.result(3, Prediction(np.array([np.nan, 1.0], np.float32), 1))


def test_errors_and_log_lines_travel_too(stream, host):
    stream.failure(InputError("3 channels" + "!" * 1000, "check the wiring"), sequence=6)
    (error,) = host.listen_for(Error)
    assert (error.kind, error.hint, error.sequence) == ("InputError", "check the wiring", 6)
    assert len(error.cause) == 512
    logger = logging.getLogger("test_stream")
    handler = LogHandler(stream)
    logger.addHandler(handler)
    logger.warning("the sensor is %d °C", 41)
    logger.removeHandler(handler)
    (line,) = host.listen_for(Log)
    assert (line.level, line.text) == (30, "the sensor is 41 °C")


def test_an_introduction_fits_however_long_the_label_table():
    labels = tuple(f"class number {i} with quite a long description of what it may be" for i in range(5000))
    session = introduction(Manifest(name="ü" * 200, labels=labels), (), "x" * 100)
    framed = frame(sender.encode(session, 0))
    assert 30_000 < len(framed) < 40_000
    assert session.labels[0] == labels[0]
    assert len(session.model.encode()) <= 64
    assert introduction(Manifest(), (), "").session != session.session


def test_two_programs_cannot_send_over_one_port(stream, modem):
    with pytest.raises(LinkError):
        Stream(modem.device, 921600, SESSION)
