"""The screen of `whylite monitor`, driven by its keys with a board at the other end, and the parts it is made of."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from edge.wire.records import Error, Input, Log, Map, Received, Request, Result, Session, Settings, encode
from firmware_bridge.maps import Attribution, InputWindow
from firmware_bridge.monitor import Monitor, follow
from firmware_bridge.recording import load, open_recorder
from firmware_bridge.replay import Replay
from firmware_bridge.screen import history, panels
from firmware_bridge.screen import listener as listening
from firmware_bridge.screen.app import MonitorScreen
from firmware_bridge.screen.current import Current, Inputs
from firmware_bridge.screen.history import History, Note, Selection, Window
from firmware_bridge.screen.listener import Listener, Outcome
from firmware_bridge.screen.terminal import Terminal, terminal
from firmware_bridge.session import LinkChange, Mark, Tracker
from firmware_bridge.tape import Tape
from tests.board import WATCH, Board
from tests.bridge.test_session import SESSION, attribution, latency, result

CHANNEL = "0 [⠁-⣿]{20}"  # the first one, drawn
COLOURS = Terminal(colour=True, unicode=True)


def text(app):
    """Return what stands on the screen."""
    return "\n".join("".join(part.text for part in strip) for panel in app.panels.values() for strip in panel.strips)


async def press(app, *keys):
    """Press keys; not as textual's Pilot does, which waits until the whole process is idle."""
    for key in keys:
        app.simulate_key(key)
        for _ in range(3):  # a key may open a prompt, which mounts its input, which takes the focus
            await handled(app)


async def handled(app):
    """Wait until the app, its screen and what has the focus have gone through the messages that they have now."""
    for pump in filter(None, (app, app.screen, app.focused)):
        done = asyncio.Event()
        if pump.call_later(done.set):
            with suppress(TimeoutError):  # it has been closed meanwhile
                await asyncio.wait_for(done.wait(), 5.0)


def waits(app):
    """Return what waits until something is so."""

    async def until(condition, seconds=60.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited in vain; on the screen stands\n{text(app)}"
            await asyncio.sleep(0.02)

    return until


def drive(modem, script, size=(80, 24), board=None, path=None, terminal=COLOURS):
    """Run ``script(pilot, until)`` with a screen on the modem's host's end and a board at the other one."""

    async def run():
        monitor = Monitor(modem.host)
        tape = Tape(path)
        listener = Listener(monitor, tape, follow(monitor))
        app = MonitorScreen(monitor, listener, terminal)
        with Board(modem.device, **{"rate": 50.0, **(board or {})}) as far:
            try:
                async with app.run_test(size=size) as pilot:
                    await script(pilot, waits(app), far)
            finally:  # else a test that fails goes on listening, at whichever pty has that number next
                listener.close()
                monitor.close()
                tape.close()

    asyncio.run(run())


def test_what_there_is_to_see(modem):
    async def script(pilot, until, board):
        await until(lambda: "⣿" in text(pilot.app) and "end to end" in text(pilot.app))
        shown = text(pilot.app)
        for part in (
            "watch  ● running",
            "Raspberry Pi Zero 2 W",
            "50 windows/s, gradcam + integrated_gradients always",
            "gradcam for ",
            "residual +0.012",
            "predict",
            "±",
            "link lost 0 frames",
            "q quit",
        ):
            assert part in shown
        await until(lambda: "under-voltage now" in text(pilot.app))
        assert re.search(CHANNEL, text(pilot.app))

    drive(modem, script)


@pytest.fixture
def patient(monkeypatch):
    """A screen to which a board that takes its time, as the machine is busy, is not one that does not answer."""
    monkeypatch.setattr(listening, "PATIENCE", 60.0)


@pytest.mark.usefixtures("patient")
def test_asking_and_changing(modem):
    async def script(pilot, until, board):
        app = pilot.app
        await until(lambda: "window " in text(app) and "gradcam for" in text(app))
        await press(app, "up", "m", "c", "e")
        await until(lambda: [request for request in board.asked if request.what == Map.code])
        wanted = next(request for request in board.asked if request.what == Map.code)
        window = app.shown
        assert isinstance(window, Window)
        assert (wanted.sequence, wanted.method, wanted.acknowledge) == (window.result.sequence, 1, True)
        assert wanted.class_index == np.argsort(window.result.scores)[-2]
        await until(lambda: ": done" in text(app))
        await until(lambda: f"integrated_gradients for {WATCH.labels[wanted.class_index]}" in text(app))
        await press(app, "w", "2")
        await until(lambda: "on-change" in text(app))
        await press(app, "r", "5", "enter")
        await until(lambda: " 5 windows/s" in text(app))
        await press(app, "u", "1")
        await until(lambda: "gradcam on-change" in text(app))
        await press(app, "i")
        await until(lambda: "with inputs" in text(app))
        for wrong in ("x", "1e39", "1e-45", "nan", "-1"):
            await press(app, "r", *wrong, "enter")
            await until(lambda wrong=wrong: f"'{wrong}' is no rate: from 0.001 to 10000" in text(app))

    drive(modem, script, board={"kept": 1 << 20})


@pytest.mark.usefixtures("patient")
def test_a_request_that_is_refused(modem):
    async def script(pilot, until, board):
        app = pilot.app
        await until(lambda: "gradcam for" in text(app) and app.history.came > 100)
        await press(app, "home", "down", "e")
        await until(lambda: "is no longer kept (ask for a later one)" in " ".join(text(app).split()))

    drive(modem, script, board={"rate": 200.0})


def test_a_request_that_nobody_answers(modem):
    async def alone(pilot, until, board):
        app = pilot.app
        await until(lambda: "gradcam for" in text(app))
        assert not re.search(CHANNEL, text(app))  # no input has come, and the map is there without it
        assert "⣿" in text(app)
        await press(app, "e")
        await until(lambda: "no answer in 3 s" in text(app))

    drive(modem, alone, board={"deaf": True})


def test_marks_and_recordings(modem, tmp_path):
    path = tmp_path / "it.jsonl"

    async def script(pilot, until, board):
        app = pilot.app
        await until(lambda: "running" in text(app))
        await press(app, "s")
        app.screen.query_one("Input").value = str(path)
        await press(app, "enter")
        await until(lambda: "recording " in text(app).splitlines()[0])
        await press(app, "k", *"here", "enter")
        await until(lambda: any(isinstance(e, Note) and e.text == "mark: here" for e in app.history.entries))
        await press(app, "s")
        await until(lambda: "recorded to" in text(app))
        assert "recording " not in text(app).splitlines()[0]
        await press(app, "s")
        app.screen.query_one("Input").value = str(tmp_path / "no" / "it.jsonl")
        await press(app, "enter")
        await until(lambda: "cannot write" in text(app))

    drive(modem, script, size=(200, 40))
    recording = load(path)
    assert isinstance(recording.events[0][1], Session)  # a recording begun late knows who speaks
    assert isinstance(recording.events[1][1], Settings)
    assert [mark.text for mark in recording.of(Mark)] == ["here"]
    sequences = [result.sequence for result in recording.of(Result)]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def sequences(found, session):
    return [entry.result.sequence for entry in found.entries if isinstance(entry, Window) and entry.session == session]


def test_a_window_of_an_earlier_session_is_not_asked_for(modem):
    async def script(pilot, until, board):
        app = pilot.app
        await until(lambda: app.history.came > 10)
        await press(app, "up", "up")
        old = app.shown
        board.close()
        with Board(modem.device, replace(WATCH, session=b"8 others"), rate=50.0) as again:
            await until(lambda: old.result.sequence in sequences(app.history, b"8 others"))
            await press(app, "e")
            await until(lambda: "that window is of an earlier session" in text(app))
            await press(app, "end")
            await until(lambda: "paused" not in text(app) and app.shown.session == b"8 others")
            await until(lambda: app.shown.input is not None)
            assert app.shown is not old
            await press(app, "up", "e")
            await until(lambda: [request for request in again.asked if request.what == Map.code])
        assert old.input is None or old.session != b"8 others"
        assert len([request for request in again.asked if request.what == Map.code]) == 1

    drive(modem, script)


@pytest.mark.parametrize("key", ["k", "u", "question_mark"])
def test_control_c_ends_it_from_any_question(modem, key):
    async def script(pilot, until, board):
        app = pilot.app
        await until(lambda: "running" in text(app))
        await press(app, key)
        await until(lambda: len(app.screen_stack) == 2)
        assert not app._exit
        await press(app, "ctrl+c")
        await until(lambda: app._exit)

    drive(modem, script)


def test_a_recording_is_marked_and_recorded_after_its_end_and_not_asked(tmp_path):
    path, copy = tmp_path / "session.jsonl", tmp_path / "copy.jsonl"
    with open_recorder(path) as recorder:
        for event in (SESSION, Settings(methods=(0,), explain=0, kept=64), result(0), result(1)):
            recorder.write(event, 100.0)

    async def run():
        replay, tape = Replay(path), Tape(None, source=str(path))
        listener = Listener(replay, tape, follow(replay))
        app = MonitorScreen(replay, listener, COLOURS)
        async with app.run_test(size=(200, 30)):
            until = waits(app)
            await until(lambda: replay.over and app.history.came == 3)
            keys = text(app).splitlines()[-1]
            assert "m method" in keys
            assert "k mark" in keys
            assert not [what for what in ("explain", "rate", "when", "inputs", "in use") if what in keys]
            assert "e asks for it" not in text(app)
            for key in "erwiu":
                app._say("", "", 0.0)
                await press(app, key)
                await until(lambda: "a recording cannot be asked" in text(app))
            await press(app, "s")
            app.screen.query_one("Input").value = str(copy)
            await press(app, "enter")
            await until(lambda: listener.state.recording == str(copy))
            await press(app, "k", *"here", "enter")
            await until(lambda: any(isinstance(e, Note) and e.text == "mark: here" for e in app.history.entries))
        listener.close()
        tape.close()
        replay.close()

    asyncio.run(run())
    assert [mark.text for mark in load(copy).of(Mark)] == ["here"]
    assert not list(load(path).of(Mark))


def test_standing_still_and_going_through_the_results(modem):
    async def script(pilot, until, board):
        app = pilot.app
        await until(lambda: app.history.came > 30)
        await press(app, "up", "up")
        await until(lambda: "below" in text(app))
        chosen = app.shown
        await until(lambda: app.history.came > 60)
        assert app.shown is chosen
        await press(app, "end")
        await until(lambda: "below" not in text(app))
        await press(app, "space")
        before = app.panels["results"].strips
        came = app.history.came
        await until(lambda: app.history.came > came + 20)
        assert "paused" in text(app)
        assert app.panels["results"].strips == before
        await press(app, "space")
        await until(lambda: "paused" not in text(app) and app.panels["results"].strips != before)

    drive(modem, script)


@pytest.mark.parametrize(
    ("terminal", "shape"),
    [(COLOURS, (16, 16, 3)), (COLOURS, (100, 6)), (Terminal(colour=False, unicode=False), (32, 2))],
)
def test_every_size_is_drawn_while_it_runs(modem, terminal, shape):
    async def script(pilot, until, board):
        app = pilot.app
        await until(lambda: any(isinstance(e, Window) and e.input for e in app.history.entries))
        for width, height in ((1, 1), (20, 5), (40, 12), (60, 20), (80, 24), (120, 40), (200, 60)):
            await pilot.resize_terminal(width, height)
            # On a busy machine the panels learn of it later than the screen does.
            await until(lambda w=width, h=height: (app.size, app.panels["keys"].size.width) == ((w, h), w))
            app.draw()
            for panel in app.panels.values():
                assert all(strip.cell_length == panel.size.width for strip in panel.strips)
            if width >= 40:
                assert "running" in text(app)
                assert "gradcam for" in text(app)
            assert terminal.unicode or text(app).isascii()

    drive(modem, script, board={"session": replace(WATCH, input_shape=shape), "rate": 5.0}, terminal=terminal)


@pytest.mark.parametrize(
    ("environ", "can"),
    [
        ({"TERM": "xterm-256color", "LANG": "de_DE.UTF-8"}, Terminal(colour=True, unicode=True)),
        ({"TERM": "xterm-256color", "LANG": "C"}, Terminal(colour=True, unicode=False)),
        ({"TERM": "xterm-256color"}, Terminal(colour=True, unicode=False)),
        ({"TERM": "xterm-256color", "LANG": "C", "LC_CTYPE": "C.UTF-8"}, Terminal(colour=True, unicode=False)),
        ({"TERM": "xterm-256color", "LANG": "C", "LC_CTYPE": "en_US.utf8"}, Terminal(colour=True, unicode=True)),
        ({"TERM": "xterm-256color", "LANG": "C.UTF-8", "LC_ALL": "POSIX"}, Terminal(colour=True, unicode=False)),
        ({"TERM": "xterm-256color", "LANG": "C.UTF-8", "NO_COLOR": "1"}, Terminal(colour=False, unicode=True)),
        ({"TERM": "vt100", "LANG": "C.UTF-8"}, Terminal(colour=False, unicode=False)),
        ({"TERM": "linux", "LANG": "C.UTF-8"}, Terminal(colour=True, unicode=False)),
        ({"TERM": "never-heard-of", "LANG": "C.UTF-8"}, Terminal(colour=True, unicode=True)),
        ({"TERM": "dumb", "LANG": "C.UTF-8"}, None),
        ({"LANG": "C.UTF-8"}, None),
    ],
)
def test_what_a_terminal_can_show(environ, can):
    assert terminal(environ, colour=True) == can


def test_colour_can_be_left_away():
    assert terminal({"TERM": "xterm-256color", "LANG": "C.UTF-8"}, colour=False) == Terminal(colour=False, unicode=True)


def test_rates_are_those_of_the_last_seconds():
    rates = panels.Rates()
    assert rates.of(100.0, 5000, 10) == [0.0, 0.0]
    for second in range(1, 61):
        assert rates.of(100.0 + second, 5000 + 1000 * second, 10 + 2 * second) == [1000.0, 2.0]
    assert rates.of(162.5, 65_000, 130) == pytest.approx([2500 / 5.0, 5 / 5.0], rel=0.2)  # half of it silence
    assert rates.of(170.0, 65_000, 130) == [0.0, 0.0]


@pytest.fixture
def tracker():
    tracker = Tracker()
    list(tracker.feed(Received(0, 1, SESSION)))
    return tracker


def kept(tracker, *events):
    found = History()
    for event in (SESSION, *events):
        found.take(event, tracker)
    return found


def mapped(sequence, values=(1.0,), method="gradcam"):
    return Attribution(sequence, method, 0, np.array(values, np.float32), 0.1, None, 1, 0)


def test_a_history_is_bounded(tracker, monkeypatch):
    monkeypatch.setattr(history, "MAX_BYTES", 40_000)
    found = kept(tracker)
    for i in range(history.KEPT + 500):
        found.take(result(i), tracker)
        found.take(mapped(i, np.zeros(1000)), tracker)
    assert len(found.entries) == history.KEPT
    assert found.came == history.KEPT + 501
    assert sum(bool(window.maps) for window in found.entries) == 10
    assert found.entries[-1].maps
    assert len(found._windows) == history.KEPT


def test_windows_that_leave_the_history_take_their_small_maps_along(tracker):
    found = kept(tracker)
    for i in range(20_000):
        found.take(result(i), tracker)
        found.take(mapped(i, np.zeros(16)), tracker)
        found.take(mapped(i, np.zeros(16), "ig"), tracker)
        if not i % 7:
            found.take(Mark("here"), tracker)
    windows = [entry for entry in found.entries if isinstance(entry, Window)]
    assert [*found._windows.values()] == [*found._heavy] == windows
    assert found._bytes == sum(window.nbytes for window in windows) == len(windows) * 2 * 16 * 4
    assert all(len(window.maps) == 2 for window in windows)


def test_what_comes_for_a_window_goes_to_that_of_its_session(tracker):
    other = replace(SESSION, session=b"8 others")
    found = kept(
        tracker, result(5), other, mapped(5), result(5), mapped(5), InputWindow(5, np.ones(3, np.float32), 0.1)
    )
    before, after = (entry for entry in found.entries if isinstance(entry, Window))
    assert not before.maps
    assert len(after.maps) == 1
    assert after.input is not None


def test_what_happens_between_windows_is_noted(tracker):
    events = [
        Error(time=0, kind="InputError", cause="short", hint="h", sequence=3),
        LinkChange(up=False, why="gone"),
        LinkChange(up=True, why="back"),
        Log(time=0, level=30, text="warm"),
        Mark("here"),
    ]
    notes = [entry for entry in kept(tracker, *events).entries if isinstance(entry, Note)][1:]
    assert [note.bad for note in notes] == [True, True, False, True, False]
    assert [note.text.splitlines()[0] for note in notes] == [
        "InputError at window 3: short",
        "link: gone",
        "link: back",
        "warning: warm",
        "mark: here",
    ]


def test_a_selection_stays_while_more_comes_and_follows_at_the_end(tracker):
    found, selection = kept(tracker, *(result(i) for i in range(50))), Selection()
    assert selection.rows(found, 10)[0] == 41
    selection.move(found, -1)
    assert selection.selected(found).result.sequence == 48
    for i in range(50, 80):
        found.take(result(i), tracker)
    assert selection.selected(found).result.sequence == 48
    assert any(entry is selection.selected(found) for entry in selection.rows(found, 10)[1])
    selection.move(found, 1_000_000)
    assert selection.selected(found) is None
    selection.move(found, -1_000_000)
    assert selection.rows(found, 10)[0] == 0


def test_a_hostile_board_commands_neither_the_terminal_nor_the_layout():
    evil = replace(SESSION, model="[/bold]\x1b]0;owned\x07", labels=("[red]\x1b[2J", "\x9b2J", "c"))
    tracker, found = Tracker(), History()
    records = (evil, result(0, 0, truth=1), attribution(0, 0), latency(0), Log(time=0, level=20, text="\x1b[H[/]"))
    for number, record in enumerate(records):
        for event in tracker.feed(Received(number, record.code, record)):
            found.take(event, tracker)
    rows = [row.plain for row in panels.results(list(found.entries), None, tracker, 60)]
    assert not [c for row in rows for c in row if not c.isprintable()]
    assert any("[red]" in row for row in rows)


def window(sequence, given=False, mapped_=True):
    found = Window(result(sequence), None)
    if mapped_:
        found.maps["gradcam", 0] = mapped(sequence)
    if given:
        found.input = InputWindow(sequence, np.ones(3, np.float32), 0.1)
    return found


def test_inputs_are_asked_for_one_at_a_time_and_take_a_fifth_of_the_link():
    inputs, settings = Inputs(), Settings(methods=(0,), explain=0, kept=8)
    assert inputs.ask(window(5), 20, settings, 0.0) is None  # the board has it no more
    assert inputs.ask(window(15), 20, None, 0.0) is None  # or knows of no such thing
    assert inputs.ask(window(15, given=True), 20, settings, 0.0) is None
    assert inputs.ask(window(15), 20, settings, 0.0) == Request(what=Input.code, sequence=15)
    assert inputs.ask(window(16), 20, settings, 1.0) is None
    inputs.came(15, 2.0)
    assert inputs.ask(window(16), 20, settings, 9.9) is None
    assert inputs.ask(window(16), 20, settings, 10.1) is not None
    asked = [now for now in range(20, 400) if inputs.ask(window(16), 20, settings, now)]  # nobody answers any more
    waits = np.diff(asked)
    assert waits[0] <= 10
    assert 60 <= waits[-1] <= 70


def test_the_window_shown_changes_once_a_second_and_waits_for_its_input():
    current, found, selection = Current(), History(), Selection()
    settings = Settings(methods=(0,), explain=0, kept=8)
    first, second = window(0), window(1)
    found.entries.append(first)
    shown, request = current.choose(found, selection, settings, 10.0)
    assert (shown, request.sequence) == (None, 0)
    first.input = InputWindow(0, np.ones(3, np.float32), 0.1)
    current.inputs.came(0, 10.1)
    assert current.choose(found, selection, settings, 10.2)[0] is first
    found.entries.append(second)
    assert current.choose(found, selection, settings, 10.9) == (first, None)
    shown, request = current.choose(found, selection, settings, 11.3)
    assert (shown, request.sequence) == (first, 1)
    assert current.choose(found, selection, settings, 14.5)[0] is second  # it has not come


class Babbler:
    """A feed of more than any screen can take."""

    silence, moments, over = 0.0, (0.0,) * 64, False

    def __init__(self):
        self.tracker = Tracker()

    def send(self, request):
        encode(request, 0)

    def summary(self):
        return None


def test_a_screen_that_stands_still_costs_bounded_memory_and_no_record(tmp_path, monkeypatch):
    monkeypatch.setattr(listening, "_WAITING_BYTES", 100_000)
    feed, tape = Babbler(), Tape(str(tmp_path / "all.jsonl"))
    polls = [[result(64 * i + j) for j in range(64)] for i in range(100)] + [[mapped(0, np.zeros(1000))] * 64]
    listener = Listener(feed, tape, iter(polls))
    listener.ended.result(60)
    taken = listener.take()
    assert 20 <= len(taken) <= 4096
    assert sum(item.values.nbytes for item in taken if isinstance(item, Attribution)) <= 100_000
    assert len(taken) + listener.skipped == 101 * 64
    listener.close()
    tape.close()
    assert len(list(load(tmp_path / "all.jsonl").of(Result))) == 6400


def test_what_nobody_is_there_for_and_what_no_frame_can_hold_is_said():
    asked = threading.Event()
    listener = Listener(Babbler(), Tape(None), ([result(0)] * 64 for _ in range(2) if asked.wait(60)))
    listener.ask(Request(rate=1e39), "rate 1e39")
    listener.ask(Request(rate=1.0), "rate 1")
    asked.set()
    listener.ended.result(20)
    listener.close()
    taken = listener.take()
    assert Outcome("rate 1e39", "1e+39 is too large for a float32") in taken
    assert Outcome("rate 1", "nobody is there to ask") in taken
