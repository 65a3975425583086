"""The screen of ``whylite monitor``: who is there, what it says and why, how long that takes, and what was lost."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.events import Resize

from edge.wire.codes import FASTEST, SLOWEST, When
from edge.wire.records import Map, Request, Session
from firmware_bridge import lines
from firmware_bridge.feed import Feed
from firmware_bridge.maps import Attribution, InputWindow
from firmware_bridge.monitor import HINT_AFTER
from firmware_bridge.screen import explanation, panels
from firmware_bridge.screen.current import Current, Inputs
from firmware_bridge.screen.dialogs import Choice, Page, Prompt
from firmware_bridge.screen.explanation import Room
from firmware_bridge.screen.history import Entry, History, Note, Selection, Window
from firmware_bridge.screen.listener import Listener, Outcome, State
from firmware_bridge.screen.panel import Panel
from firmware_bridge.screen.terminal import Terminal
from firmware_bridge.session import Event
from firmware_bridge.tape import Tape

_EVERY = 0.2  # seconds between two drawings
_CLASSES = 9  # that can be chosen
_SAID = 5.0  # seconds that a message stays

_PANELS = ("header", "results", "window", "latency", "foot", "keys")
KEYS = (
    ("e", "explain"),
    ("m", "method"),
    ("c", "class"),
    ("r", "rate"),
    ("w", "when"),
    ("k", "mark"),
    ("s", "record"),
    ("?", "help"),
    ("q", "quit"),
    ("space", "pause"),
    ("i", "inputs"),
    ("u", "methods in use"),
)
_ASKING = "erwiu"  # keys that a recording has no answer to
_HELP = """\
arrows, page up, page down: through the results; end: to the newest again
e      ask for an explanation of the window shown, by the method and for
       the class that m and c have chosen
m      next method to show and to ask for
c      next class to show and to ask for, from the likeliest down
u      choose the methods that the board explains with
w      choose which answers it explains
r      windows per second
i      have the input sent with every explanation, or no longer
k      mark this moment with a text, in the recording too
s      start a recording, or stop it
space  stand still, or go on; what comes meanwhile is kept and recorded
q      quit

Left: window, answer, score, right or wrong where that is known, and where
along the input the first map is large. Right: one window. A signal has
below it what every moment says for the class (+) and against it; what is
bold or coloured in it says a third of the most or more. An image has its
map beside it.
"""


def watch(feed: Feed, tape: Tape, polls: Iterable[list[Event]], terminal: Terminal) -> None:
    """Show and record on the terminal what comes of ``feed`` poll by poll, until that ends or somebody ends it."""
    if not terminal.colour:
        os.environ["NO_COLOR"] = "1"  # textual asks for it there
    listener = Listener(feed, tape, polls)
    app = MonitorScreen(feed, listener, terminal)
    try:
        app.run(mouse=False)  # leaves selecting text to the terminal
    finally:
        listener.close()
    if app.return_code:
        sys.exit(app.return_code)  # textual has said why


class MonitorScreen(App[None]):
    """Shows what ``listener`` hears of ``feed``. Quits when the listener has come to its end."""

    TITLE = "whylite monitor"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; overflow: hidden; }
    Panel { width: 1fr; }
    #body { height: 1fr; }
    #keys { height: 1; }
    ModalScreen { align: left bottom; background: transparent; }
    ModalScreen > VerticalScroll { height: auto; max-height: 95%; padding: 0 1; background: $surface; }
    ModalScreen Static { height: auto; }
    ModalScreen > Label { width: 100%; padding: 0 1; text-style: bold reverse; }
    ModalScreen > Input { border: none; height: 1; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c,ctrl+q", "quit", priority=True),  # also from a question
        ("q", "quit"),
        ("e", "explain"),
        ("m", "method"),
        ("c", "class"),
        ("u", "use"),
        ("w", "when"),
        ("r", "rate"),
        ("i", "inputs"),
        ("k", "mark"),
        ("s", "record"),
        ("space", "pause"),
        ("question_mark", "help"),
        ("up", "move(-1)"),
        ("down", "move(1)"),
        ("pageup", "move(-10)"),
        ("pagedown", "move(10)"),
        ("home", "move(-1_000_000)"),
        ("end", "move(1_000_000)"),
    ]

    def __init__(self, feed: Feed, listener: Listener, terminal: Terminal) -> None:
        super().__init__(ansi_color=True)  # the terminal's own colours
        self.theme = "ansi-dark"
        self._feed, self._listener, self._terminal = feed, listener, terminal
        self.history, self.selection, self.current = History(), Selection(), Current()
        self._rates = panels.Rates()
        self._method: str | None = None  # None: the first that there is a map of
        self._class: int | None = None  # None: the answer
        self._latency_room = 0  # rows
        self.shown: Entry | None = None
        self._page: tuple[object, list[Text]] = None, []  # what the drawn window was made of, and its rows
        self._message: tuple[Text, float] = Text(), 0.0
        self.panels = {name: Panel(terminal, name) for name in _PANELS}

    def compose(self) -> ComposeResult:
        """Lay out the panels."""
        header, results, window, *below = self.panels.values()
        yield header
        with Horizontal(id="body"):
            yield results
            yield window
        yield from below

    def on_mount(self) -> None:
        """Begin to draw, and quit in order when told to."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self.set_interval(_EVERY, self.tick)

    def on_resize(self, event: Resize) -> None:
        """Share out the room: what says the most stays the longest."""
        width, height = event.size  # the app's own is still the one before
        self._latency_room = 0 if height < 20 else 5 if height < 32 else min(13, height // 4)
        rows = {"header": 4 if height >= 20 else 1, "latency": self._latency_room, "foot": 2 if height >= 14 else 1}
        for name, count in rows.items():
            self.panels[name].styles.height = count
        results = self.panels["results"]
        upright = width < 64
        if results.parent is not None:
            results.parent.styles.layout = "vertical" if upright else "horizontal"
        results.styles.width = "1fr" if upright else min(80, max(30, width * 3 // 8))
        results.styles.height = "4" if upright else "1fr"
        self.call_after_refresh(self.draw)

    def tick(self) -> None:
        """Take in what came, and draw."""
        now = time.monotonic()
        for item in self._listener.take():
            if isinstance(item, Outcome):
                self._say_outcome(item, now)
                continue
            if isinstance(item, InputWindow):
                self.current.inputs.came(item.sequence, now)
            if isinstance(item, Session) and self.history.session != item.session:
                self._method = self._class = None
                self.current.inputs = Inputs()  # what was asked of another one does not come any more
            self.history.take(item, self._feed.tracker)
        ended = self._listener.ended
        if ended.done():
            self.exit()
        self.draw()

    def draw(self) -> None:
        """Draw everything as it is now; what looks as before is left as it is."""
        now = time.monotonic()
        state, account = self._listener.state, self._feed.tracker.account
        settings = account.settings if self._feed.live else None
        self.shown, request = self.current.choose(self.history, self.selection, settings, now)
        if request is not None:
            self._listener.wish(request)
        room = {name: panel.size for name, panel in self.panels.items()}
        summary = state.summary
        rates = self._rates.of(now, summary.payload_bytes, summary.frames)
        foot = panels.foot(state, rates, self._listener.skipped, room["foot"].width)[: room["foot"].height]
        offered = [(key, what) for key, what in KEYS if self._feed.live or key not in _ASKING]
        foot.append(panels.keys(offered, room["keys"].width))
        if now < self._message[1]:
            said = panels.wrapped(self._message[0].plain, self.size.width)[: len(foot)]
            foot[-len(said) :] = [Text(f" {row.plain}", self._message[0].style) for row in said]
        rows = {
            "header": panels.header(self._feed, state, room["header"], paused=self.selection.frozen is not None),
            "results": self._results(*room["results"]),
            "window": self._window(*room["window"], state),
            "latency": panels.latencies(state, room["latency"].width, self._latency_room),
            "foot": foot[:-1],
            "keys": foot[-1:],
        }
        self.panels["latency"].styles.height = min(self._latency_room, len(rows["latency"]))  # the rest is the window's
        for name, panel in self.panels.items():
            panel.show(rows[name])

    def _results(self, width: int, height: int) -> list[Text]:
        first, entries = self.selection.rows(self.history, max(0, height - 1))
        came = self.history.came
        place = "" if self.selection.number is None else f"{came - first - len(entries)} below"
        head = panels.rule("results", width - 1, right=place)
        return [head, *panels.results(entries, self.shown, self._feed.tracker, width - 1)]

    def _window(self, width: int, height: int, state: State) -> list[Text]:
        tracker = self._feed.tracker
        session = tracker.account.session
        match self.shown:
            case Window() as window if session is not None:
                head = f"window {window.result.sequence}"
                rows = explanation.page(
                    window,
                    self._attribution(window),
                    self._lack(window),
                    tracker,
                    Room(width, height - 1, self._terminal),
                )
            case Note() as note:
                head, rows = "what happened", panels.wrapped(note.text, width)
            case _:
                head = "window"
                waited = time.monotonic() - self._feed.started > HINT_AFTER and not state.summary.frames
                said = f"no record yet: {lines.advice(state.summary)}" if waited else "waiting for the device to speak"
                rows = panels.wrapped(said, width)
        return [panels.rule(head, width), *rows]

    def _attribution(self, window: Window) -> Attribution | None:
        """Return the map to show: of the chosen method and class, else the answer's before another class's."""
        answer = window.result.class_index
        found = [
            attribution
            for (method, index), attribution in window.maps.items()
            if self._method in (None, method) and self._class in (None, index)
        ]
        return min(found, key=lambda attribution: attribution.class_index != answer, default=None)

    def _wanted(self, window: Window) -> str:
        """Return in words which map is to be shown."""
        index = window.result.class_index if self._class is None else self._class
        return f"{self._method or 'an explanation'} for {self._feed.tracker.label(index)}"

    def _lack(self, window: Window) -> str:
        """Return what to say where that map is not there."""
        asked = self._feed.live and window.session == self.history.session
        return f"no map of {self._wanted(window)}{': e asks for it' if asked else ''}"

    def _say_outcome(self, outcome: Outcome, now: float) -> None:
        if not outcome.refused:
            self._say(f"{outcome.what}: done", "green", now)
            return
        hint = f" ({outcome.hint})" if outcome.hint else ""
        self._say(f"{outcome.what}: {outcome.refused}{hint}", "red", now)

    def _say(self, text: str, style: str, now: float) -> None:
        self._message = Text(text, style), now + _SAID

    def _session(self) -> Session | None:
        """Return who is there to be asked; says so where nobody is."""
        session = self._feed.tracker.account.session if self._feed.live else None
        if session is None:
            said = "no device has spoken yet" if self._feed.live else "a recording cannot be asked"
            self._say(said, "yellow", time.monotonic())
        return session

    def action_move(self, by: int) -> None:
        """Select another entry."""
        self.selection.move(self.history, by)
        self.draw()

    def action_pause(self) -> None:
        """Stand still, or go on."""
        self.selection.pause(self.history)
        self.draw()

    def action_method(self) -> None:
        """Choose the next method to show and to ask for."""
        session = self._feed.tracker.account.session
        if session is None or not session.methods:
            return
        shown = self._attribution(self.shown) if isinstance(self.shown, Window) else None
        now = self._method or (shown.method if shown else session.methods[-1])
        place = session.methods.index(now) if now in session.methods else -1
        self._method = session.methods[(place + 1) % len(session.methods)]
        self.draw()

    def action_class(self) -> None:
        """Choose the next class, from the likeliest down; after the last one comes the answer, whatever it is."""
        if not isinstance(self.shown, Window):
            return
        scores = self.shown.result.scores
        likeliest = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:_CLASSES]
        now = self.shown.result.class_index if self._class is None else self._class
        place = likeliest.index(now) + 1 if now in likeliest else 0
        self._class = likeliest[place] if place < len(likeliest) else None
        self.draw()

    def action_explain(self) -> None:
        """Ask for an explanation of the window shown."""
        if (session := self._session()) is None or not isinstance(self.shown, Window):
            return
        self.selection.select(self.history, self.shown)
        if self.shown.session != session.session:
            self._say("that window is of an earlier session", "yellow", time.monotonic())
            return
        method = session.methods.index(self._method) if self._method in session.methods else None
        sequence = self.shown.result.sequence
        request = Request(what=Map.code, sequence=sequence, method=method, class_index=self._class)
        self._listener.ask(request, f"{self._wanted(self.shown)} at window {sequence}")

    def action_rate(self) -> None:
        """Change how many windows a second the board aims at."""

        def answer(text: str | None) -> None:
            if text is None:
                return
            try:
                rate = float(text)
            except ValueError:
                rate = -1.0
            if rate and not SLOWEST <= rate <= FASTEST:
                self._say(
                    f"{text!r} is no rate: from {SLOWEST:g} to {FASTEST:g}, or 0 for as fast as it goes",
                    "red",
                    time.monotonic(),
                )
                return
            self._listener.ask(Request(rate=rate), f"rate {rate:g} windows/s" if rate else "as fast as it goes")

        if self._session() is not None:
            limits = f"{SLOWEST:g} to {FASTEST:g}"
            self.push_screen(Prompt(f"windows per second, {limits}, or 0 for as fast as it goes"), answer)

    def action_when(self) -> None:
        """Change which answers are explained."""
        names = [when.label for when in When]

        def answer(place: int | None) -> None:
            if place is not None:
                self._listener.ask(Request(explain=list(When)[place]), f"explain {names[place]}")

        if self._session() is not None:
            self.push_screen(Choice("explain", names), answer)

    def action_use(self) -> None:
        """Change the methods that the board explains with."""
        if (session := self._session()) is None:
            return
        names = session.methods

        def answer(place: int | None) -> None:
            if place is not None:
                methods = tuple(range(len(names))) if place == len(names) else (place,)
                self._listener.ask(Request(methods=methods), f"explain with {[*names, 'all of them'][place]}")

        self.push_screen(Choice("explain with", [*names, "all of them"]), answer)

    def action_inputs(self) -> None:
        """Have inputs sent with every explanation, or no longer."""
        if self._session() is not None:
            settings = self._feed.tracker.account.settings
            wanted = settings is None or not settings.inputs
            self._listener.ask(Request(inputs=wanted), "inputs with every explanation" if wanted else "no more inputs")

    def action_mark(self) -> None:
        """Mark this moment."""

        def answer(text: str | None) -> None:
            if text is not None:
                self._listener.mark(text)

        self.push_screen(Prompt("mark this moment"), answer)

    def action_record(self) -> None:
        """Begin to record, or end it."""
        if self._listener.state.recording:
            self._listener.record(None)
            return
        session = self._feed.tracker.account.session
        name = re.sub(r"[^\w.-]+", "-", session.model) if session else "session"
        default = f"{name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}.jsonl"

        def answer(path: str | None) -> None:
            if path is not None:
                self._listener.record(path)

        self.push_screen(Prompt("record to", default), answer)

    def action_help(self) -> None:
        """Say what the keys do."""
        self.push_screen(Page(_HELP))
