"""The monitor on a terminal: the last windows with where the model looked, latencies, traffic and losses."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from edge.timekeeper import figures
from edge.wire.records import Error, Health, Log, Result, Session
from firmware_bridge import lines
from firmware_bridge.feed import Feed
from firmware_bridge.maps import Attribution
from firmware_bridge.session import Event, LinkChange

_KEPT = 64  # windows; no terminal shows more
_WIDE = 100  # columns from which a second method has room
_TALL = 32  # rows from which every quantile has
_RECENT = 5.0  # seconds over which rates are taken: what was before says nothing of now


@dataclass
class Row:
    """One window: its answer and the explanations that have come."""

    result: Result
    maps: dict[str, Attribution] = field(default_factory=dict)


class Rates:
    """How fast counters have been growing, per second of the last few."""

    def __init__(self) -> None:
        self._past: deque[tuple[float, ...]] = deque()

    def of(self, now: float, *counts: float) -> list[float]:
        """Take in what the counters say at ``now`` (seconds) and return their rates; zeros where there is no past."""
        self._past.append((now, *counts))
        while len(self._past) > 2 and self._past[1][0] <= now - _RECENT:
            self._past.popleft()
        then, *before = self._past[0]
        return [(count - old) / (now - then) if now > then else 0.0 for count, old in zip(counts, before, strict=True)]


class LiveTable:
    """What a person sees; renders to the size of the terminal."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._rates = Rates()
        self._note = Text("waiting for the device to speak", style="dim")

    def update(self, event: Event) -> None:
        """Take in one event."""
        tracker = self._feed.tracker
        match event:
            case Session():
                self._note = self._note if self._rows else Text()
            case Result():
                self._rows[event.sequence] = Row(event)
                self._rows.move_to_end(event.sequence)
                if len(self._rows) > _KEPT:
                    self._rows.popitem(last=False)
            case Attribution() if event.sequence in self._rows:
                self._rows[event.sequence].maps[event.method] = event
            case Error() | Log() | LinkChange():
                style = "yellow" if isinstance(event, Log) or (isinstance(event, LinkChange) and event.up) else "red"
                self._note = _one_line(Text(lines.line(event, tracker).splitlines()[0], style=style))
            case Health():
                self._note = _one_line(Text(lines.health(event, tracker), style="dim"))

    def say(self, text: str) -> None:
        """Say what is no event, such as what to look at while no record comes, in as many lines as it needs."""
        self._note = Text(text, style="yellow")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw everything into the terminal's width and height."""
        width, height = options.max_width, options.height or console.height
        summary = self._feed.summary()
        latencies = self._latencies(compact=height < _TALL)
        # header, blank, table head, blank, latencies with their head, blank, three lines at the foot
        room = height - 2 - 1 - 1 - 1 - (latencies.row_count + 1) - 1 - 3 - 1
        bytes_now, frames_now = self._rates.of(time.monotonic(), summary.payload_bytes, summary.frames)
        traffic = "" if summary.recorded else f"; {lines.traffic(bytes_now, frames_now, summary.round_trip)}"
        foot = [
            _one_line(Text(lines.score(summary) + traffic)),
            _one_line(Text(lines.losses(summary), style="red" if summary.lost_frames or summary.bad else "green")),
            self._note,
        ]
        blocks: list[RenderableType] = [*self._head(), Text(), self._windows(width, max(3, room)), Text()]
        yield Group(*blocks, latencies, Text(), *foot)

    def _head(self) -> list[Text]:
        account = self._feed.tracker.account
        number = len(self._feed.tracker.accounts)
        if account.session is None:
            return [Text(self._feed.url, style="bold"), Text("no session yet", style="dim")]
        state = ("ended", "yellow") if account.ended else ("running", "green")
        if silence := self._feed.silence:
            state = (f"silent for {silence:.0f} s", "red")
        title = Text.assemble((self._feed.url, "bold"), f"  session {number}: {account.session.session.hex()}  ", state)
        return [_one_line(title), _one_line(Text(lines.device(account.session), style="dim"))]

    def _windows(self, width: int, count: int) -> Table:
        tracker = self._feed.tracker
        session = tracker.account.session
        there = session.methods if session else ()
        methods = there[: 2 if width >= _WIDE else 1]
        table = Table(box=None, expand=True, padding=(0, 1, 0, 0), header_style="bold")
        table.add_column("window", justify="right", width=7)
        table.add_column("answer", no_wrap=True, ratio=2)
        table.add_column("score", justify="right", width=6)
        table.add_column("truth", no_wrap=True, ratio=2)
        span = max(8, (width - 17) * 3 // (4 + 3 * len(methods)) - 1) if methods else 0
        for method in methods:
            more = f" +{len(there) - len(methods)}" if method is methods[-1] and len(there) > len(methods) else ""
            table.add_column(Text(method[: span - len(more)] + more), no_wrap=True, width=span)
        for row in list(self._rows.values())[-count:]:
            result = row.result
            scored = result.class_index < len(result.scores)
            right = None if result.truth is None else result.truth == result.class_index
            table.add_row(
                str(result.sequence),
                Text(tracker.label(result.class_index), style={None: "", True: "green", False: "red"}[right]),
                f"{result.scores[result.class_index]:.3f}" if scored else "?",
                Text("" if result.truth is None else tracker.label(result.truth)),
                *(Text(_profile(row, method, span), style="cyan") for method in methods),
            )
        return table

    def _latencies(self, *, compact: bool) -> Table:
        """Return every phase with its distribution; in two columns and shorter where the terminal is low."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        rows = [[name, *figures(spread)] for name, spread in lines.durations(self._feed.summary())]
        names = ["latency", "p50", "p95", "p99", "max"]
        if compact:
            half = (len(rows) + 1) // 2
            empty = [""] * len(names)
            pairs = zip(rows[:half], [*rows[half:], empty], strict=False)
            rows = [[*left[0:2], left[3], *right[0:2], right[3]] for left, right in pairs]
            names = ["latency", "p50", "p99"] * 2
        for name in names:
            if name == "latency":
                table.add_column(name, no_wrap=True, min_width=18 if compact else 22)
            else:
                table.add_column(name, justify="right", min_width=7 if compact else 8)
        for row in rows:
            table.add_row(*map(Text, row))  # not plain strings: rich would read a name as markup
        return table


def _profile(row: Row, method: str, width: int) -> str:
    attribution = row.maps.get(method)
    return "" if attribution is None else lines.profile(attribution.values, width)


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
