"""The monitor on a real pty: it follows a device through stalls, cuts, deaths and restarts, and accounts for them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from edge.errors import LinkError
from edge.explanation import Explanation
from edge.latency import Lap, Phase, clock
from edge.link import sender
from edge.link.stream import Stream, introduction
from edge.wire.framing import frame
from edge.wire.port import Port
from edge.wire.receiver import Receiver
from edge.wire.records import Health, Log, Ping, Pong, Request, Result, Session, encode
from firmware_bridge import monitor as monitoring
from firmware_bridge.maps import Attribution
from firmware_bridge.monitor import Monitor, follow, watch
from firmware_bridge.nullmodem import NullModem
from firmware_bridge.session import LinkChange, Timing
from tests.bridge.test_session import HEALTH, SESSION
from tests.edge.test_stream import PREDICTION, Manifest
from tests.link import FarEnd, wait_for
from tests.references import small_models

pytestmark = pytest.mark.usefixtures("unhurried")

METHODS = ("gradcam", "integrated_gradients")
VALUES = np.random.default_rng(4).normal(size=(20, 6)).astype(np.float32)


def introduced():
    return introduction(Manifest(), METHODS, "litert 2.1.0, 1 thread")


def send(stream, sequence, truth=1):
    stream.result(sequence, PREDICTION, truth)
    stream.explanation(sequence, Explanation(PREDICTION.scores, 1, {}, METHODS[0], VALUES, None, 1))
    stream.latency(sequence, Lap({Phase.PREDICT: 1000}, {METHODS[0]: 500}))


def device(url, windows=50, wait=True, after=None):
    """Run a device's stream on a thread, once ``after`` is set; it says goodbye after its windows."""

    def work():
        assert after is None or after.wait(60)
        with Stream(url, 921600, introduced()) as stream:
            assert not wait or stream.wait_for_host(60)
            for sequence in range(windows):
                send(stream, sequence)
            stream.close(patience=60)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def patient(monkeypatch):
    """A monitor to which a device that does not answer for a while, as the machine is busy, is not silent."""
    monkeypatch.setattr("firmware_bridge.monitor.SILENCE", 600.0)


@pytest.mark.usefixtures("patient")
def test_a_program_gets_every_event_and_a_summary(modem):
    events = []
    opened = threading.Event()  # the port, which throws away what came before: half a frame perhaps
    thread = device(modem.device, after=opened)
    summary = watch(modem.host, on_record=events.append, stop=opened.set, until_end=True, until_idle=60)
    thread.join()
    of = {kind: [event for event in events if isinstance(event, kind)] for kind in map(type, events)}
    assert LinkChange not in of
    assert isinstance(events[0], Session)
    assert [result.sequence for result in of[Result]] == list(range(50))
    assert all(np.abs(a.values - VALUES).max() <= a.step for a in of[Attribution])
    assert {a.method for a in of[Attribution]} == {"gradcam"}
    assert of[Health][-1].final
    assert (summary.windows, summary.maps, summary.accuracy, summary.failed) == (50, 50, 1.0, 0)
    assert 0 < summary.warm_up < 10
    assert summary.phases["predict"].count == 50 - summary.warm_up
    assert summary.phases["queue"].count == summary.phases["send"].count == 50 - summary.warm_up
    assert summary.rejected == summary.clock_jumps == 0
    assert summary.costs == {"gradcam": pytest.approx(0.5, rel=0.02)}
    assert (summary.lost_frames, summary.bad, summary.skipped_bytes, summary.missing_results) == (0, {}, 0, 0)
    assert summary.payload_bytes < summary.wire_bytes < summary.payload_bytes * 1.2
    assert 0 < summary.round_trip < 60e9
    assert summary.dropped.total() == 0


def test_the_time_from_window_to_host_is_told_within_its_uncertainty(modem):
    """Here both ends have one clock, so that the truth is known."""
    began = clock()
    captured, heard = {}, {}

    def work():
        with Stream(modem.device, 921600, introduced()) as stream:
            stream.wait_for_host(60)
            for sequence in range(40):
                captured[sequence] = clock()
                time.sleep(0.01)
                stream.result(sequence, PREDICTION, captured=captured[sequence])
            stream.close(patience=60)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def note(event):
        if isinstance(event, Result):
            heard[event.sequence] = event, clock()

    with closing(Monitor(modem.host)) as monitor:
        for events in follow(monitor, until_end=True, until_idle=60):
            for event in events:
                note(event)
        device, bounds = monitor.end_to_end.device, monitor.summary().end_to_end
    thread.join()
    offsets = {captured[sequence] - result.captured for sequence, (result, _) in heard.items()}
    assert len(offsets) == 1  # the stream's own beginning
    assert offsets.pop() >= began
    for sequence, (result, _) in heard.items():
        instant = device.host_time(result.captured)
        assert abs(instant.time - captured[sequence]) <= instant.uncertainty
    assert bounds.middle.count == 40
    took = sorted(when - captured[sequence] for sequence, (_, when) in heard.items())
    # `note` is called after the monitor has looked at its clock
    assert bounds.middle.p50 - bounds.uncertainty.p50 <= took[len(took) // 2]
    assert bounds.middle.p50 + bounds.uncertainty.p50 >= 10_000_000


@pytest.mark.parametrize(("name", "held"), [("DWT", True), ("emulated SysTick", False)])
def test_an_emulated_clock_is_not_held_against_the_hosts(modem, name, held):
    with closing(FarEnd(modem.device)) as board, closing(Monitor(modem.host)) as monitor:

        def pinged(times):
            monitor.poll(0.01)
            return len(board.of(Ping)) >= times

        board.say(replace(SESSION, clock=name))
        for rounds in range(4):
            board.listen(partial(pinged, rounds + 1))
            ahead = rounds**2 * SESSION.clock_hz  # further with every one
            board.say(Pong(token=board.of(Ping)[-1].token, received=ahead, sent=ahead))
            board.say(Result(sequence=rounds, class_index=0, scores=(1.0,), time=ahead, captured=ahead))
        board.listen(partial(pinged, 5))  # hence it has heard the rest
        summary = monitor.summary()
    assert (summary.clock_jumps > 0, summary.round_trip is not None) == (held, held)
    assert held or summary.end_to_end is None


def test_a_count_ends_with_what_explains_its_last_window(modem):
    events = []
    thread = device(modem.device, 30)
    summary = watch(modem.host, on_record=events.append, count=12)
    thread.join()
    assert summary.windows >= 12
    explained = {event.sequence for event in events if isinstance(event, Timing)}
    assert set(range(12)) <= explained


def test_what_explains_an_earlier_window_does_not_end_a_count(modem):
    def result(sequence):
        return Result(sequence=sequence, class_index=0, scores=(1.0,), time=0)

    polls = [[result(0)], [Timing(0, {}, {}), result(1), result(2)], [Timing(1, {}, {})], [Timing(2, {}, {})], []]
    with closing(Monitor(modem.host)) as monitor:
        monitor.poll = lambda: polls.pop(0)
        assert [len(events) for events in follow(monitor, count=3)] == [1, 3, 1, 1]


def test_a_count_ends_even_when_the_last_explanation_never_comes(modem):
    with Stream(modem.device, 921600, introduced()) as stream:
        thread = threading.Thread(target=lambda: stream.wait_for_host(60) and stream.result(0, PREDICTION))
        thread.start()
        assert watch(modem.host, count=1).windows == 1
        thread.join()


def test_silence_and_a_request_to_stop_end_it_too(modem):
    start = time.monotonic()
    assert watch(modem.host, until_idle=0.4).frames == 0
    assert 0.3 < time.monotonic() - start < 30.0
    assert watch(modem.host, stop=lambda: True).frames == 0


def test_a_port_that_is_not_there_is_said_at_once():
    with pytest.raises(LinkError):
        watch("/dev/no-such-port")


def test_joining_late_is_no_loss(modem):
    stop = threading.Event()

    def work():
        with Stream(modem.device, 921600, introduced()) as stream:
            sequence = 0
            while not stop.wait(0.001):
                stream.wait_for_room(1.0)
                send(stream, sequence)
                sequence += 1

    thread = threading.Thread(target=work, daemon=True)
    with closing(FarEnd(modem.host)) as early:
        thread.start()
        early.listen_for(Result, 10)
    summary = watch(modem.host, count=30)
    stop.set()
    with Port(modem.host) as late:
        while thread.is_alive():
            late.read()
    thread.join()
    (account,) = summary.accounts
    assert account.joined > 10
    assert summary.lost_frames == 0
    assert summary.bad == {}
    assert summary.missing_results == 0
    assert account.session is not None


@pytest.mark.usefixtures("patient")
def test_a_cable_that_is_pulled_and_plugged_in_again(tmp_path):
    """The device keeps its session; the host counts what left the device meanwhile and did not arrive."""
    here, there = tmp_path / "here", tmp_path / "there"
    first = NullModem()
    here.symlink_to(first.device)
    there.symlink_to(first.host)
    events = []
    done = threading.Event()
    watching = threading.Thread(
        target=lambda: events.append(watch(str(there), on_record=events.append, stop=done.is_set, until_end=True)),
        daemon=True,
    )
    watching.start()
    stream = Stream(str(here), 921600, introduced())
    assert stream.wait_for_host(60)
    for sequence in range(20):
        send(stream, sequence)
    wait_for(lambda: count(events, Timing) == 20)
    here.unlink()
    there.unlink()
    first.close()
    wait_for(lambda: stream._sender._stalled)  # else a frame is under way when the cable is pulled
    for sequence in range(20, 30):
        send(stream, sequence)
    wait_for(lambda: any(isinstance(event, LinkChange) and not event.up for event in events))
    second = NullModem()
    there.symlink_to(second.host)
    wait_for(lambda: [event.up for event in events if isinstance(event, LinkChange)] == [False, True])
    here.symlink_to(second.device)
    wait_for(lambda: count(events, Timing) == 30)
    assert stream.close(patience=60).complete
    done.set()
    watching.join()
    second.close()
    summary = events[-1]
    assert summary.reconnects == 1
    assert len(summary.accounts) == 1
    assert summary.windows == 30
    assert summary.missing_results == 0


def test_a_device_that_falls_silent_is_missed_and_one_that_idles_is_not(modem, monkeypatch):
    """Its port stays open, as that of a device killed by `kill -9` does, or of one that hangs."""
    events = []

    def changes():
        return [(event.up, event.why) for event in events if isinstance(event, LinkChange)]

    with closing(Monitor(modem.host)) as monitor:

        def listen(condition):
            end = time.monotonic() + 60
            while not condition():
                assert time.monotonic() < end, "waited in vain"
                events.extend(monitor.poll(0.05))

        with Port(modem.device) as port:
            port.write(frame(encode(introduced(), 0)), 1.0)
            listen(changes)
            assert changes() == [(False, "nothing heard for 2 s")]
            assert monitor.silence >= 2
            listen(lambda: monitor.silence > 2.5)
            assert len(changes()) == 1
        assert monitoring._PING <= monitoring.SILENCE / 2  # who idles is asked in time
        monkeypatch.setattr("firmware_bridge.monitor.SILENCE", 60.0)  # for a busy machine's sake
        for period in ("SESSION_PERIOD", "HEALTH_PERIOD"):
            monkeypatch.setattr(sender, period, 600.0)
        with Stream(modem.device, 921600, introduced()):
            listen(lambda: len(changes()) == 2)
            assert changes()[-1] == (True, "heard again")
            begun = time.monotonic()
            listen(lambda: monitor.last_heard > begun + 2.5)  # it has nothing to say, and answers
            assert monitor.silence == 0.0
        listen(lambda: monitor.tracker.account.ended)
        monitor.last_heard -= 100
        monitor._opened -= 100
        events.extend(monitor.poll(0.05))
        assert monitor.silence == 0.0  # it has said goodbye
    assert len(changes()) == 2


class Sipping:
    """A port that takes a few bytes at a time."""

    def __init__(self):
        self.taken = b""

    def write(self, data, patience):
        self.taken += data[:5]
        return len(data[:5])

    def read(self):
        return b""

    def wait(self, seconds):
        pass

    def close(self):
        pass


def test_a_frame_that_the_port_took_a_part_of_is_finished(modem):
    with closing(Monitor(modem.host)) as monitor:
        monitor.close()
        monitor._port = port = Sipping()
        asked = [Request(rate=2.0, acknowledge=True), Request(methods=(1,), acknowledge=True)]
        assert [monitor.send(request) for request in asked] == [0, 1]
        for _ in range(40):
            monitor.poll(0.0)
    receiver = Receiver()
    arrived = [received.record for received in receiver.feed(port.taken)]
    assert arrived[:2] == asked
    assert any(isinstance(record, Ping) for record in arrived)
    assert not receiver.counts.bad


@pytest.mark.parametrize("goodbye", [False, True])
def test_an_end_that_is_awaited_comes_though_the_goodbye_is_lost_or_in_doubt(modem, monkeypatch, goodbye):
    monkeypatch.setattr("firmware_bridge.monitor.SILENCE", 0.3)
    monkeypatch.setattr("firmware_bridge.monitor.GONE", 1e9 if goodbye else 0.6)
    events = []

    def work():
        with Port(modem.device) as port:
            while not port.read():
                time.sleep(0.01)  # the monitor has opened its end
            port.write(frame(encode(introduced(), 0)), 1.0)
            if goodbye:
                port.write(frame(encode(replace(HEALTH, final=True), 500)), 1.0)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    began = time.monotonic()
    summary = watch(modem.host, on_record=events.append, until_end=True, until_idle=60)
    thread.join()
    assert time.monotonic() - began < 50
    assert summary.unattributed == goodbye
    assert {type(event) for event in events} == {Session, LinkChange}


def test_other_bytes_on_the_line_do_not_hide_the_device(modem):
    with Port(modem.device) as noise:
        noise.write(b"Linux version 6.6 (gcc)\r\n" * 20, 1.0)
    thread = device(modem.device, 10)
    summary = watch(modem.host, until_end=True, until_idle=60)
    thread.join()
    assert summary.windows == 10
    assert summary.lost_frames == 0


def test_a_slow_link_shows_what_the_board_had_to_drop(tmp_path):
    events = []
    big = np.random.default_rng(0).uniform(size=(20, 1000)).astype(np.float32)

    def work():
        with Stream(modem.device, 921600, introduced(), "int8") as stream:
            assert stream.wait_for_host(60)
            link, posted = stream._sender, threading.Event()
            code = link._code
            link._code = lambda *given: (posted.wait(60), code(*given))  # a board that is faster than any link
            for sequence in range(60):
                stream.result(sequence, PREDICTION)
                stream.explanation(sequence, Explanation(PREDICTION.scores, 1, {}, METHODS[0], big, None, 1))
            posted.set()
            stream.close(patience=60)

    with NullModem(bytes_per_second=200_000) as modem:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        summary = watch(modem.host, on_record=events.append, until_end=True, until_idle=60)
        thread.join()
    assert summary.windows == 60
    assert summary.missing_results == 0
    assert summary.lost_frames == 0
    assert summary.dropped["Map"] > 30
    assert summary.maps + summary.dropped["Map"] == 60
    assert set(summary.dropped) == {"Map"}


class Lives:
    """Starts one device process after the other on one pty, with a monitor that watches them all."""

    def __init__(self, modem, bundle_path, data):
        self._command = [sys.executable, "-m", "whylite", "run", str(bundle_path), "--source", f"npz:{data}", "--loop"]
        # at a rate that fills no buffer: told to end, a device has two seconds for what waits
        self._command += ["--port", modem.device, "--rate", "20", "--method", "gradcam"]
        self._done = threading.Event()
        self.events = []
        self._watching = threading.Thread(
            target=lambda: self.events.append(watch(modem.host, on_record=self.events.append, stop=self._done.is_set)),
            daemon=True,
        )
        self._watching.start()

    def live(self, windows):
        """Start a device and return it when so many of its windows have arrived."""
        process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        known = len(sessions(self.events))
        wait_for(lambda: len(sessions(self.events)) == known + 1)
        seen = count(self.events, Result)
        wait_for(lambda: count(self.events, Result) >= seen + windows)
        return process

    def end(self, process):
        """Stop the last device in order and return the monitor's summary."""
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        wait_for(lambda: any(isinstance(event, Health) and event.final for event in self.events))
        self._done.set()
        self._watching.join()
        return self.events[-1]


@pytest.fixture
def lives(bundle_path, tmp_path):
    data = tmp_path / "windows.npz"
    np.savez(data, x=small_models.inputs(50, seed=3))
    with NullModem(bytes_per_second=60_000) as modem:
        yield modem, Lives(modem, bundle_path, data)


def test_a_device_killed_again_and_again(lives):
    _, lives = lives
    for _ in range(3):
        process = lives.live(windows=20)
        process.kill()
        assert process.wait(60) == -signal.SIGKILL
    summary = lives.end(lives.live(windows=20))
    assert len(summary.accounts) == 4
    assert len({account.session.session for account in summary.accounts}) == 4
    assert [account.ended for account in summary.accounts] == [False, False, False, True]
    assert all(account.results >= 20 for account in summary.accounts)
    assert sum(summary.bad.values()) <= 3  # a frame may be torn with every death, and nothing else is lost
    assert (summary.lost_frames, summary.missing_results, summary.reconnects) == (0, 0, 0)
    assert summary.windows == count(lives.events, Result)


LONG_WINDED = """
import os
import signal
import sys
from edge.link import sender
from edge.link.stream import Stream, introduction
from edge.wire.port import Port
from tests.edge.test_stream import Manifest
class Doomed(Port):
    def write(self, data, patience):
        rest = data[:len(data) // 2]
        while rest:
            rest = rest[super().write(rest, patience):]
        os.kill(os.getpid(), signal.SIGKILL)
sender.Port = Doomed
labels = tuple(f"class {i} with quite a long description" for i in range(700))
Stream(sys.argv[1], 921600, introduction(Manifest(labels=labels), (), "litert")).wait_for_host(600)
"""


def test_a_device_killed_in_mid_frame(lives):
    """The frame is torn for certain: of 27 kB of label table it writes a half, and dies."""
    modem, lives = lives
    first = lives.live(windows=20)
    first.kill()
    first.wait()
    doomed = subprocess.Popen([sys.executable, "-c", LONG_WINDED, modem.device])
    assert doomed.wait(60) == -signal.SIGKILL
    summary = lives.end(lives.live(windows=20))
    assert len(sessions(lives.events)) == 2
    assert summary.bad
    assert summary.skipped_bytes > 5_000
    assert [account.results >= 20 for account in summary.accounts] == [True, True]
    assert (summary.lost_frames, summary.missing_results) == (0, 0)
    assert summary.windows == count(lives.events, Result)


def sessions(events):
    return {event.session for event in events if isinstance(event, Session)}


def count(events, kind):
    return sum(isinstance(event, kind) for event in events)


def test_logs_arrive_and_closing_twice_is_harmless(modem):
    events = []
    with Stream(modem.device, 921600, introduced()) as stream:
        monitor = Monitor(modem.host)
        stream.log(20, "hello")
        end = time.monotonic() + 60
        while not count(events, Log) and time.monotonic() < end:
            events += monitor.poll(0.05)
        monitor.close()
        monitor.close()
    assert [event.text for event in events if isinstance(event, Log)] == ["hello"]
