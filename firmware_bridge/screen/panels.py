"""The parts of the screen as rows of text: header, results, latencies, losses and keys."""

from __future__ import annotations

import math
import textwrap
from collections import deque
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from edge import vitals
from edge.latency import duration
from edge.timekeeper import figures
from edge.wire.records import Health
from firmware_bridge import lines
from firmware_bridge.feed import Feed
from firmware_bridge.screen.history import Entry, Note, Window
from firmware_bridge.screen.listener import State
from firmware_bridge.session import Tracker
from firmware_bridge.summary import Account

_RECENT = 5.0  # seconds over which rates are taken: what was before says nothing of now
_LEVELS = " ▁▂▃▄▅▆▇█"
_LIGHTS = {"running": "●", "silent": "○", "waiting": "○", "ended": "■"}
_WIDE = 100  # columns from which the latency table has one row for each phase


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


def rule(title: str, width: int, *, right: str = "") -> Text:
    """Return a heading with a line to the end of the row, and perhaps something at that end."""
    row = Text("─ ", style="dim").append(fit(Text(title), width - 4).plain, "bold not dim")
    tail = f" {right} ─" if right and row.cell_len + len(right) + 5 <= width else ""
    return row.append(" " + "─" * (width - row.cell_len - 1 - len(tail)) + tail)


def header(feed: Feed, state: State, size: tuple[int, int], *, paused: bool) -> list[Text]:
    """Return who is there and how it fares, in columns and rows of ``size``; the first row says the most."""
    width, height = size
    account, tracker = feed.tracker.account, feed.tracker
    session, settings = account.session, account.settings
    title = Text.assemble(" ", (session.model if session else "no session yet", "bold"), "  ")
    word, style = _state(account, state)
    title.append(f"{_LIGHTS[word]} ", style)
    title.append(f"silent for {state.silence:.0f} s" if state.silence else word, style)
    if paused:
        title.append("  paused", "reverse")
    if state.recording:
        title.append(f"  recording {Path(state.recording).name}", "bold")
    if (space := width - title.cell_len - cell_len(feed.url) - 1) > 1:
        title.append(" " * space).append(feed.url, "dim")
    if session is None:
        return [fit(title, width)]
    working = lines.settings(settings, tracker) if settings else f"with {', '.join(session.methods)}"
    rows = [
        Text(f" session {session.session.hex()}, {session.board}, {session.runtime}", style="dim"),
        Text(f" {working}", style="dim"),
        _vitals(account.health),
    ]
    return [fit(row, width) for row in [title, *rows][:height]]


def _state(account: Account, state: State) -> tuple[str, str]:
    if account.session is None:
        return "waiting", "yellow"
    if account.ended:
        return "ended", "yellow"
    return ("silent", "red") if state.silence else ("running", "green")


def _vitals(health: Health | None) -> Text:
    """Return how the board itself fares, what is bad first."""
    if health is None:
        return Text(" no health report yet", style="dim")
    row = Text(" ", style="dim")
    for words in vitals.throttling(health.throttled or 0):
        row.append(f"{words}, ", "bold red not dim" if words.endswith("now") else "yellow not dim")
    parts = [f"{health.temperature:.0f} °C"] if health.temperature is not None else []
    parts += [f"governor {health.governor}"] if health.governor else []
    parts += [lines.memory(health.memory)] if health.memory is not None else []
    parts += [f"{health.queued} waiting"]
    parts += [f"{health.stalls} stalls"] if health.stalls else []
    parts += [f"{health.clock_faults} clock faults"] if health.clock_faults else []
    parts += lines.toll(health)
    row.append(", ".join(parts))
    return row


def results(entries: Sequence[Entry], selected: Entry | None, tracker: Tracker, width: int) -> list[Text]:
    """Return one row for each window or note."""
    windows = [entry for entry in entries if isinstance(entry, Window)]
    names = [tracker.label(window.result.class_index) for window in windows]
    wide = min(max(map(cell_len, names), default=0), max(6, width - 16))
    return [_result(entry, entry is selected, tracker, (width, wide)) for entry in entries]


def _result(entry: Entry, selected: bool, tracker: Tracker, size: tuple[int, int]) -> Text:
    width, wide = size
    row = Text("▸" if selected else " ", style="bold" if selected else "")
    if isinstance(entry, Note):
        first = entry.text.splitlines()[0] if entry.text else ""
        row.append(first, "red" if entry.bad else "dim")
        return fit(row, width)
    result = entry.result
    right = None if result.truth is None else result.truth == result.class_index
    style = {None: "", True: "green", False: "red"}[right]
    score = f"{result.scores[result.class_index]:.3f}" if result.class_index < len(result.scores) else "?"
    row.append(f"{result.sequence:>6} ")
    row.append(set_cell_size(tracker.label(result.class_index), wide), style).append(f" {score}")
    if right is not None:
        row.append(" ✓" if right else " ✗", style)
    room = width - row.cell_len - 3
    if entry.maps and room >= 8:
        values = next(iter(entry.maps.values())).values
        row.append("  ").append(lines.profile(values, min(room, 32)), "dim")
    return fit(row, width)


def latencies(state: State, width: int, height: int) -> list[Text]:
    """Return a heading and every phase with its quantiles and its distribution over one logarithmic axis."""
    summary = state.summary
    rows = [(name, figures(spread), state.shapes.get(name, {})) for name, spread in lines.spreads(summary)]
    bounds = [bound for *_, shape in rows for bound in shape if bound]
    axis = (min(bounds), max(bounds)) if bounds else (1, 1)
    span = f"{duration(axis[0])} to {duration(axis[1])}, logarithmic" if bounds else ""
    compact = len(rows) + 3 > height or width < _WIDE
    column = (width - 2) // 2 if compact else width
    drawn = [_latency(row, column, axis, compact=compact) for row in rows]
    if (whole := summary.end_to_end) is not None:  # first: where there is little room, the last ones are left out
        end_to_end = _latency(("end to end", figures(whole.middle), {}), column, axis, compact=compact)
        drawn.insert(0, end_to_end.append(f" ±{duration(whole.uncertainty.p50)}", "cyan"))
    if not compact:
        head = Text(f"  {'':<22}" + "".join(f"{what:>10}" for what in ("p50", "p95", "p99", "max")), style="dim")
        return [rule("latency", width, right=span), head, *drawn]
    half = min(-(-len(drawn) // 2), height - 1)
    pairs = zip_longest(drawn[:half], drawn[half : 2 * half], fillvalue=Text())
    body = [set_width(left.copy(), column).append("  ").append_text(right) for left, right in pairs]
    return [rule("latency: p50, p99", width, right=span), *body]


def _latency(
    row: tuple[str, Sequence[str], dict[int, int]], width: int, axis: tuple[int, int], *, compact: bool
) -> Text:
    name, (p50, p95, p99, most), shape = row
    label, wanted = (14, (p50, p99)) if compact else (22, (p50, p95, p99, most))
    text = Text(" " if compact else "  ").append(set_cell_size(fit(Text(name), label - 1).plain, label))
    text.append("".join(f"{figure:>{8 if compact else 10}}" for figure in wanted))
    room = width - text.cell_len - (1 if compact else 3)
    if room > 2 and shape:
        text.append(" " if compact else "   ").append(histogram(shape, axis, min(room, 60)), "cyan")
    return text


def histogram(shape: dict[int, int], axis: tuple[int, int], width: int) -> str:
    """Draw counts by duration in nanoseconds over a logarithmic axis; the fullest column is the highest."""
    low, high = (math.log(max(1, bound)) for bound in axis)
    counts = [0] * width
    for bound, count in shape.items():
        place = (math.log(max(1, bound)) - low) / (high - low) if high > low else 0.0
        counts[min(width - 1, max(0, int(place * width)))] += count
    peak = max(counts)
    return "".join(_LEVELS[math.ceil(count / peak * (len(_LEVELS) - 1)) if peak else 0] for count in counts)


def foot(state: State, rates: Sequence[float], skipped: int, width: int) -> list[Text]:
    """Return what came and how fast, and what was lost."""
    summary = state.summary
    bytes_per_second, frames_per_second = rates
    came = f" {lines.score(summary)}; {lines.traffic(bytes_per_second, frames_per_second, summary.round_trip)}"
    came += f"; {skipped} not shown in time" if skipped else ""
    lost = summary.lost_frames or summary.bad or summary.missing_results or summary.dropped.total()
    losses = Text(f" {lines.losses(summary)}", style="yellow" if lost else "dim")
    return [fit(Text(came), width), fit(losses, width)]


def keys(shown: Sequence[tuple[str, str]], width: int) -> Text:
    """Return as many keys with what they do as have room; where not all have, help is said to tell of more."""
    short = sum(len(key) + len(what) + 3 for key, what in shown) > width
    row = Text(" ")
    for key, what in shown:
        said = "more" if short and key == "?" else what
        if row.cell_len + len(key) + 1 + len(said) > width:
            break
        row.append(key, "bold").append(f" {said}  ", "dim")
    return row


def fit(row: Text, width: int) -> Text:
    """Return a row cut to a width, with a sign that it was cut."""
    if row.cell_len > width:
        row.truncate(max(0, width - 1))
        row.append("…" if width else "")
    return row


def wrapped(text: str, width: int) -> list[Text]:
    """Return text in as many rows as it takes."""
    return [Text(row) for line in text.splitlines() for row in textwrap.wrap(line, max(8, width - 2)) or [""]]


def set_width(row: Text, width: int) -> Text:
    """Return a row of just this width."""
    row.truncate(width, pad=True)
    return row
