"""A device in C on a real pty: what it answers, what it explains, what it refuses, and what a monitor makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack, closing
from itertools import pairwise

import numpy as np
import pytest

from edge.explanation import Flag
from edge.wire import codecs
from edge.wire.codecs import Coded
from edge.wire.codes import When
from edge.wire.records import (
    Ack,
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
    Window,
)
from firmware_bridge.monitor import Monitor, follow
from firmware_bridge.nullmodem import NullModem
from firmware_bridge.session import Attribution, Timing
from tests.firmware import toy
from tests.firmware.build import HERE, ROOT, SOURCES, compiled
from tests.link import FarEnd

GRADCAM, IG = 0, 1


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("device") / "device", HERE / "host.c", HERE / "whylite_toy.c", *SOURCES)


@pytest.fixture
def start(program, tmp_path):
    """Start a device with these arguments; it must not die before the test is over.

    ``opened`` gets its cable before the device says anything; what that returns is returned.
    """
    with ExitStack() as stack:
        running = []

        def device(*arguments, opened=lambda modem: modem):
            modem = stack.enter_context(NullModem())
            end = opened(modem)
            complaints = stack.enter_context((tmp_path / "complaints").open("w+"))
            process = subprocess.Popen([str(program), modem.device, *arguments], stderr=complaints)
            running.append((process, complaints))
            return end

        yield device
        for process, complaints in running:
            died = process.poll() is not None
            process.kill()
            process.wait()
            complaints.seek(0)
            assert not died, complaints.read()[:3000]


@pytest.fixture
def board(start):
    """Return a host that is connected to a device which has introduced itself."""
    with ExitStack() as stack:

        def connect(*arguments):
            host = start(*arguments, opened=lambda modem: FarEnd(modem.host))
            stack.callback(host.close)
            host.listen_for(Settings)
            return host

        yield connect


def send(host, sequence, x, chunk=512, **more):
    data = x.tobytes()
    for offset in range(0, len(data), chunk):
        piece = data[offset : offset + chunk]
        host.say(Window(sequence=sequence, offset=offset, size=len(data), data=piece, **more))


def feed(host, *windows, first=0):
    """Send windows one after another, each when the one before has been dealt with."""
    for place, x in enumerate(windows):
        send(host, first + place, x)
        host.listen(lambda: any(latency.sequence == first + place for latency in host.of(Latency)))  # noqa: B023


def values(record):
    coded = Coded(record.encoding, record.deflated, record.scale, record.zero_point, record.data, saturated=False)
    return codecs.decode(coded, record.shape)


def nearly_equal(scores):
    third, second, first = np.sort(scores)
    return first - second < 0.1 * (first - third)


def test_windows_are_answered_and_explained_as_the_model_says(board):
    host, windows = board(), toy.windows(20)
    feed(host, *windows)
    results, maps = host.of(Result), host.of(Map)
    assert [result.sequence for result in results] == list(range(20))
    for x, result, cam, attribution in zip(windows, results, maps[0::2], maps[1::2], strict=True):
        scores = toy.scores(x)
        assert result.scores == tuple(scores)
        assert result.class_index == scores.argmax() == cam.class_index == attribution.class_index
        assert result.captured <= result.time
        assert (cam.method, cam.residual, attribution.method, attribution.steps) == (GRADCAM, None, IG, 4)
        expected = toy.cam(x, result.class_index)
        assert np.array_equal(values(cam), expected)
        exact, residual = toy.integrated_gradients(x, result.class_index)
        assert attribution.scale == pytest.approx(np.abs(exact).max() / 127, rel=1e-5)
        assert np.abs(values(attribution) - exact).max() <= 0.505 * attribution.scale
        assert attribution.residual == (None if residual is None else pytest.approx(residual, abs=1e-5))
        over = residual is not None and abs(residual) > 0.05 * abs(residual + exact.sum())
        assert bool(attribution.flags & Flag.RESIDUAL_OVER_BOUND) == over
        assert bool(cam.flags & Flag.ZERO_MAP) == (not expected.any())
        assert (cam.flags & Flag.UNFAITHFUL, attribution.flags & Flag.UNFAITHFUL) == (Flag.UNFAITHFUL, 0)
        assert bool(cam.flags & Flag.SMALL_MARGIN) == nearly_equal(scores)
    assert {bool(cam.flags & Flag.SMALL_MARGIN) for cam in maps} == {True, False}
    assert {attribution.residual is None for attribution in maps[1::2]} == {True, False}


def test_a_session_introduces_the_model_and_frames_count_up(board):
    host = board()
    send(host, 0, toy.windows(1)[0], truth=2)
    host.listen_for(Latency)
    kinds = [type(record) for record in host.records]
    again = {Session, Settings, Health}  # what a board says now and then
    assert kinds[:3] == [Session, Settings, Health]
    assert [kind for kind in kinds if kind not in again] == [Result, Map, Map, Latency]
    assert [received.number for received in host.received] == list(range(len(kinds)))
    session, settings, *_ = host.records
    (result,), (latency,) = host.of(Result), host.of(Latency)
    assert (session.model, session.methods, session.layers) == (
        "toy",
        ("gradcam", "integrated_gradients"),
        ("hidden", "x"),
    )
    assert session.labels[2] == "Kniebeuge für Anfänger"
    assert session.input_shape == (6, 2)
    assert settings == Settings(methods=(GRADCAM, IG), explain=When.ALWAYS, alarms=(1,), kept=1)
    assert result.truth == 2
    assert latency.valid
    assert set(latency.phases) == {2, 5}
    assert set(latency.methods) == {GRADCAM, IG}
    assert host.receiver.counts.bad_frames == 0


def test_a_window_in_chunks_is_one_window_and_a_lost_chunk_is_missed(board):
    host, x = board(), toy.windows(1)[0]
    send(host, 5, x, chunk=5)
    host.listen_for(Latency)
    assert host.of(Result)[0].scores == tuple(toy.scores(x))
    host.say(Window(sequence=6, offset=0, size=12, data=x.tobytes()[:5]))
    host.say(Window(sequence=6, offset=10, size=12, data=x.tobytes()[10:]))
    (ack,) = host.listen_for(Ack)
    assert (ack.request, ack.sequence) == (4, 5)
    assert "missing" in ack.refused
    send(host, 6, x, chunk=5)
    host.listen_for(Latency, 2)
    assert [result.sequence for result in host.of(Result)] == [5, 6]


def test_what_comes_again_changes_nothing(board):
    host, (x, y) = board(), toy.windows(2)
    for piece in (0, 0, 6, 0):
        host.say(Window(sequence=0, offset=piece, size=12, data=x.tobytes()[piece : piece + 6]))
    host.listen_for(Latency)
    send(host, 0, x, chunk=5)
    first, again = host.listen_for(Result, 2)
    assert first == again
    (ack,) = host.listen_for(Ack)  # stands for the LATENCY, which has left
    assert (ack.refused, ack.sequence, ack.request) == ("", 0, 6)
    assert len(host.of(Latency)) == 1
    feed(host, y, first=1)
    host.say(Request(what=Health.code))
    host.listen(lambda: host.of(Health)[-1].produced == 2)
    assert len(host.of(Map)) == 4


@pytest.mark.parametrize(
    ("window", "cause"),
    [
        (Window(sequence=4, offset=0, size=13, data=bytes(12)), "input's size"),
        (Window(sequence=4, offset=0, size=12, data=bytes(13)), "input's size"),
        (Window(sequence=4, offset=0xFFFFFFFF, size=12, data=bytes(4)), "input's size"),
        (Window(sequence=4, offset=0xFFFFFFFE, size=0xFFFFFFFF, data=bytes(4)), "input's size"),
        (Window(sequence=2, offset=0, size=12, data=bytes(12)), "count up"),
        (Window(sequence=4, offset=6, size=12, data=bytes(6)), "missing"),
    ],
)
def test_a_window_that_is_none_for_the_model_is_refused(board, window, cause):
    host, (x, y) = board(), toy.windows(2)
    feed(host, x, first=3)
    host.say(window)
    (ack,) = host.listen_for(Ack)
    assert (ack.request, ack.sequence) == (1, 3)
    assert cause in ack.refused
    assert ack.hint
    feed(host, y, first=4)
    assert host.of(Result)[1].scores == tuple(toy.scores(y))


def test_a_host_that_starts_again_is_told_where_to_go_on(board):
    host, (x, y, z) = board(), toy.windows(3)
    feed(host, x, y)
    send(host, 0, x)  # as it was, but long ago
    send(host, 1, z)  # another one than that which was answered
    for ack in host.listen_for(Ack, 2):
        assert ack.sequence == 1
        assert "count up" in ack.refused
        assert ack.hint
    assert len(host.of(Result)) == 2
    feed(host, z, first=2)
    assert host.of(Result)[2].scores == tuple(toy.scores(z))


def test_without_a_copy_no_answer_is_repeated_once_the_next_window_has_begun(board):
    host, (x, y) = board("small"), toy.windows(2)
    feed(host, x)
    host.say(Window(sequence=1, offset=0, size=12, data=y.tobytes()[:6]))
    send(host, 0, x)
    (ack,) = host.listen_for(Ack)
    assert "count up" in ack.refused
    host.say(Window(sequence=1, offset=6, size=12, data=y.tobytes()[6:]))
    host.listen_for(Latency, 2)
    assert [result.scores for result in host.of(Result)] == [tuple(toy.scores(each)) for each in (x, y)]


def test_without_a_copy_the_last_window_is_taken_for_the_same(board):
    host, (x, y) = board("small"), toy.windows(2)
    feed(host, x)
    send(host, 0, y)
    (ack,) = host.listen_for(Ack)
    assert (ack.refused, ack.sequence) == ("", 0)
    first, again = host.of(Result)
    assert first == again


def test_a_window_that_comes_while_one_is_explained_waits_for_its_turn(board):
    host, windows = board(), toy.windows(12)
    for sequence, x in enumerate(windows):
        send(host, sequence, x)
    host.listen_for(Latency, 12)
    assert [result.scores for result in host.of(Result)] == [tuple(toy.scores(x)) for x in windows]
    order = [record.sequence for record in host.records if isinstance(record, Result | Map | Latency)]
    assert order == sorted(order)
    assert not host.of(Ack)


def test_the_latest_window_is_explained_for_any_class_by_any_method_on_request(board):
    host, x = board(), toy.windows(1)[0]
    host.say(Request(explain=When.ON_REQUEST))
    feed(host, x, first=7)
    assert not host.of(Map)
    host.say(Request(what=Map.code, sequence=7, method=IG, class_index=1, acknowledge=True))
    host.say(Request(what=Map.code, class_index=2, acknowledge=True))
    host.listen_for(Ack, 2)
    maps = host.of(Map)
    assert [(m.sequence, m.method, m.class_index) for m in maps] == [(7, IG, 1), (7, GRADCAM, 2), (7, IG, 2)]
    assert np.array_equal(values(maps[1]), toy.cam(x, 2))
    for index, attribution in ((1, maps[0]), (2, maps[2])):
        exact, residual = toy.integrated_gradients(x, index)
        assert np.abs(values(attribution) - exact).max() <= 0.505 * attribution.scale
        assert attribution.residual == (None if residual is None else pytest.approx(residual, abs=1e-5))
    assert host.of(Ack) == [Ack(request=2, sequence=7), Ack(request=3, sequence=7)]
    assert len(host.of(Latency)) == 1  # of windows, not of requests


def test_which_answers_are_explained_is_the_hosts_to_say(board):
    host = board()
    windows = toy.windows(30)
    answers = [toy.scores(x).argmax() for x in windows]
    host.say(Request(explain=When.ON_CHANGE, methods=(GRADCAM, GRADCAM)))
    feed(host, *windows[:15])
    changed = [i for i in range(15) if i == 0 or answers[i] != answers[i - 1]]
    assert [m.sequence for m in host.of(Map)] == changed
    host.say(Request(explain=When.ON_ALARM, methods=(IG, GRADCAM), acknowledge=True))
    feed(host, *windows[15:], first=15)
    alarms = [i for i in range(15, 30) if answers[i] == 1]
    assert [(m.sequence, m.method) for m in host.of(Map)[len(changed) :]] == [
        (i, m) for i in alarms for m in (IG, GRADCAM)
    ]
    assert 0 < len(changed) < 15 > len(alarms) > 0
    rules = [(settings.explain, settings.methods) for settings in host.of(Settings)]
    assert (When.ON_CHANGE, (GRADCAM,)) in rules
    assert rules[-1] == (When.ON_ALARM, (IG, GRADCAM))


def test_the_input_travels_with_its_explanations_or_on_request(board):
    host, (x, y) = board(), toy.windows(2)
    feed(host, x)
    host.say(Request(what=Input.code, acknowledge=True))
    host.listen_for(Ack)
    host.say(Request(inputs=True))
    feed(host, y, first=1)
    for window, sent in zip((x, y), host.of(Input), strict=True):
        assert np.array_equal(values(sent).ravel(), (window.astype(int) + 5) * toy.INPUT_SCALE)
    assert host.of(Settings)[-1].inputs


@pytest.mark.parametrize(
    "request_",
    [
        Request(what=2),
        Request(what=10),
        Request(what=Map.code, sequence=2),
        Request(what=Map.code, class_index=3),
        Request(what=Map.code, method=2),
        Request(what=Map.code, methods=()),
        Request(what=Input.code, sequence=99),
        Request(methods=(0, 2)),
        Request(explain=4),
        Request(rate=2.0),
    ],
    ids=repr,
)
def test_what_a_board_cannot_do_is_refused_as_a_whole(board, request_):
    host, (x, y) = board(), toy.windows(2)
    feed(host, x, first=3)
    settings = len(host.of(Settings))
    fields = {name: getattr(request_, name) for name in Request.__dataclass_fields__}
    host.say(Request(**fields | {"acknowledge": True, "inputs": True}))
    (ack,) = host.listen_for(Ack)
    assert ack.request == 1
    assert ack.refused
    assert ack.hint
    host.say(request_)
    (log,) = host.listen_for(Log)
    assert log.text == ack.refused
    feed(host, y, first=4)
    assert not host.of(Input)
    assert len(host.of(Map)) == 4
    assert len(host.of(Settings)) == settings or len(host.of(Session)) > 1


def test_a_host_gets_what_it_asks_for(board):
    host = board()
    host.say(Request(what=Session.code, acknowledge=True))
    host.say(Ping(token=77))
    host.listen_for(Session, 2)
    (pong,) = host.listen_for(Pong)
    assert pong.token == 77
    assert pong.received <= pong.sent
    host.port.write(b"\0garbage\0\0", 1.0)
    host.say(Request(what=Health.code))
    host.listen(lambda: host.of(Health)[-1].bad_frames == 1)
    health = host.of(Health)[-1]
    assert health.memory
    assert health.dropped == {}
    before = host.records[: host.records.index(health)]
    assert health.sent == {record.code: sum(other.code == record.code for other in before) for record in before}


def test_sessions_and_health_are_repeated(board):
    host = board("quick")
    host.listen_for(Session, 2)
    host.listen_for(Health, 2)
    first, second, *_ = host.of(Session)
    assert first.session == second.session
    assert second.time - first.time >= 3 * first.clock_hz
    assert all(late.number == early.number + 1 for early, late in pairwise(host.received))


@pytest.mark.parametrize(("arguments", "kept", "methods"), [(("copy",), 1, (GRADCAM,)), (("small",), 0, (GRADCAM,))])
def test_with_less_memory_a_board_does_less_and_says_so(board, arguments, kept, methods):
    host, (x, y) = board(*arguments), toy.windows(2)
    assert (host.of(Settings)[0].methods, host.of(Settings)[0].kept) == (methods, kept)
    feed(host, x, y)
    assert [result.scores for result in host.of(Result)] == [tuple(toy.scores(x)), tuple(toy.scores(y))]
    assert np.array_equal(values(host.of(Map)[1]), toy.cam(y, toy.scores(y).argmax()))
    host.say(Request(what=Map.code, method=IG, acknowledge=True))
    host.say(Request(methods=(IG,), acknowledge=True))
    host.say(Request(what=Map.code, class_index=0, acknowledge=True))
    acks = host.listen_for(Ack, 3)
    assert [bool(ack.refused) for ack in acks] == [True, True, not kept]
    send(host, 1, y)
    assert host.listen_for(Result, 3)[2] == host.of(Result)[1]


def test_one_score_says_yes_or_no(board):
    host, windows = board("yes"), toy.windows(8)
    feed(host, *windows)
    for x, result, cam in zip(windows, host.of(Result), host.of(Map)[0::2], strict=True):
        p = float(toy.scores(x)[0])
        assert result.scores == (1 - p, p)
        assert result.class_index == (p > 0.5)
        assert np.array_equal(values(cam), toy.cam(x, 0))
    assert {record.class_index for record in host.of(Map)} == {1}  # whatever the answers, which are of both kinds
    assert {result.class_index for result in host.of(Result)} == {0, 1}
    host.say(Request(what=Map.code, class_index=0, acknowledge=True))
    host.say(Request(what=Map.code, class_index=1, acknowledge=True))
    assert [bool(ack.refused) for ack in host.listen_for(Ack, 2)] == [True, False]
    assert host.of(Map)[-1].class_index == 1


def test_a_clock_that_stands_still_makes_timings_invalid_not_zero(board):
    host = board("stopped")
    feed(host, *toy.windows(3))
    assert [latency.valid for latency in host.of(Latency)] == [False] * 3
    host.say(Request(what=Health.code))
    host.say(Request(what=Health.code))
    assert host.listen_for(Health, 2)[-1].clock_faults == 3


def test_a_monitor_follows_a_board_with_a_source_of_its_own(start):
    modem, events = start("capture"), []
    with closing(Monitor(modem.host)) as monitor:
        for came in follow(monitor):
            events += came
            summary = monitor.summary()
            if summary.windows >= 8 and summary.end_to_end is not None:  # for which the clocks have to be compared
                break
    account = summary.accounts[-1]
    assert (account.lost_frames, account.stale_frames, summary.bad) == (0, 0, {})
    assert account.session.board == "Linux process"
    maps = [event for event in events if isinstance(event, Attribution)]
    assert {(m.method, m.layer) for m in maps} == {("gradcam", "hidden"), ("integrated_gradients", "x")}
    timed = next(event for event in events if isinstance(event, Timing))
    assert {"capture", "predict", "send"} <= set(timed.phases)


def test_the_monitor_command_works_unchanged(start):
    modem = start("capture")
    done = subprocess.run(
        [sys.executable, "-m", "whylite", "monitor", modem.host, "--json", "--count", "3"],
        cwd=ROOT, capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])
