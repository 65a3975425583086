"""What comes over the link in words, one line per event, and the summary at the end."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge import vitals
from edge.explanation import Flag
from edge.latency import NANOSECONDS, Phase, Quantiles, duration
from edge.timekeeper import left_out, rows, table
from edge.wire.codes import Degraded, SourceFault, Thinned, When
from edge.wire.records import Ack, Error, Health, Log, Result, Session, Settings, Spread
from firmware_bridge.maps import Attribution, InputWindow
from firmware_bridge.session import Event, LinkChange, Mark, Timing, Tracker
from firmware_bridge.summary import Summary

_LITTLE = 0.1  # of the memory in use: less than that comes and goes with the stack
_BARS = " ▁▂▃▄▅▆▇█"


def line(event: Event, tracker: Tracker) -> str:  # noqa: PLR0912  one branch for each kind of event
    """Return one event as a line of text; ``tracker`` knows the labels."""
    match event:
        case Session():
            return f"session {event.session.hex()}: {device(event)}"
        case Result():
            return f"{event.sequence:>6}  {answer(event, tracker)}"
        case Attribution():
            residual = "" if event.residual is None else f"  residual {event.residual:+.3f}"
            flags = "".join(f"  {flag.name}" for flag in event.flags)
            flags += f" but at {event.layer}" if Flag.NOT_AT_INPUT in event.flags and event.layer else ""
            what = f"{event.method}{_subject(event, tracker)}"
            return f"{event.sequence:>6}  {what} |{profile(event.values, 24)}|{residual}{flags}"
        case Timing():
            times = {**event.phases, **event.methods}
            parts = [f"{name} {duration(took)}" for name, took in times.items()]
            parts += ["warm-up"] if event.warm_up else []
            parts += [] if event.valid else ["invalid: the clock was wrong"]
            return f"{event.sequence:>6}  " + "  ".join(parts)
        case Health():
            return health(event, tracker)
        case Log():
            return f"{logging.getLevelName(event.level).lower()}: {event.text}"
        case Error():
            where = "" if event.sequence is None else f" at window {event.sequence}"
            return f"{event.kind}{where}: {event.cause}" + (f"\n  hint: {event.hint}" if event.hint else "")
        case LinkChange():
            return f"link: {event.why}"
        case InputWindow():
            return f"{event.sequence:>6}  input |{profile(event.values, 24)}|"
        case Settings():
            return f"settings: {settings(event, tracker)}"
        case Spread():
            return f"board: {board(event, tracker)}"
        case Ack():
            became = f"refused: {event.refused}" if event.refused else "done"
            return f"request {event.request} {became}" + (f"\n  hint: {event.hint}" if event.hint else "")
        case Mark():
            return f"mark: {event.text}"


class News:
    """Events as lines without what boards repeat: SESSION, SETTINGS and HEALTH only where they say something new.

    That a board uses a little more memory or less is nothing new.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._last: dict[type[Event], str] = {}
        self._memory = 0

    def of(self, event: Event) -> str | None:
        """Return an event as a line of text; None where the last one of its kind in this session said the same."""
        text = line(event, self._tracker)
        if not isinstance(event, Session | Settings | Health):
            return text
        said = text
        if isinstance(event, Health) and event.memory is not None:
            if abs(event.memory - self._memory) > _LITTLE * self._memory:
                self._memory = event.memory
            said = line(replace(event, memory=self._memory), self._tracker)
        if self._last.get(type(event)) == said:
            return None
        if isinstance(event, Session):
            self._last.clear()
        self._last[type(event)] = said
        return text


def device(session: Session) -> str:
    """Return what a device says of itself."""
    time = ", emulated time" if session.emulated else ""
    return f"{session.model} ({session.model_digest.hex()[:12]}), {session.runtime}, {session.board}{time}"


def answer(result: Result, tracker: Tracker) -> str:
    """Return the predicted class with its score, and whether it is right where that is known."""
    score = f"{result.scores[result.class_index]:.3f}" if result.class_index < len(result.scores) else "?"
    said = f"{tracker.label(result.class_index)} {score}"
    if result.truth is None:
        return said
    return f"{said}  right" if result.truth == result.class_index else f"{said}  wrong: {tracker.label(result.truth)}"


def _subject(attribution: Attribution, tracker: Tracker) -> str:
    """Return the class that a map is of where that is known not to be the answer."""
    result = tracker.answered
    if result is None or result.sequence != attribution.sequence or result.class_index == attribution.class_index:
        return ""
    return f" for {tracker.label(attribution.class_index)}"


def health(record: Health, tracker: Tracker) -> str:
    """Return a device's counters."""
    dropped = ", ".join(f"{count} {name}" for name, count in tracker.account.dropped.items() if count) or "nothing"
    parts = [f"produced {record.produced}", f"dropped {dropped}", f"{record.queued} waiting"]
    parts += [f"{record.stalls} stalls"] if record.stalls else []
    parts += [memory(record.memory)] if record.memory is not None else []
    parts += [f"{record.temperature:.0f} °C"] if record.temperature is not None else []
    parts += vitals.throttling(record.throttled or 0)
    parts += [f"governor {record.governor}"] if record.governor else []
    parts += [f"{record.clock_faults} faults of the clock"] if record.clock_faults else []
    parts += toll(record)
    return f"{'goodbye' if record.final else 'health'}: {', '.join(parts)}"


def memory(size: int) -> str:
    """Return how much memory a device uses."""
    return f"{size / 1e6:.0f} MB" if size >= 1_000_000 else f"{size / 1e3:.1f} kB"


def toll(record: Health) -> list[str]:
    """Return in words what the deadline and the link took, what befell the source, and what the link carries."""
    tables = (
        ("deadline", Degraded, record.degraded),
        ("link", Thinned, record.thinned),
        ("source", SourceFault, record.source),
    )
    parts = []
    for title, code, counts in tables:
        said = [f"{count} {code.label_of(number)}" for number, count in sorted(counts.items()) if count]
        parts += [f"{title}: {', '.join(said)}"] if said else []
    return parts + ([f"link carries {record.link_rate / 1000:.1f} kB/s"] if record.link_rate else [])


def settings(record: Settings, tracker: Tracker) -> str:
    """Return how a device is working."""
    rate = "as fast as it goes" if record.rate is None else f"{record.rate:g} windows/s"
    methods = " + ".join(map(tracker.method, record.methods)) or "nothing"
    when = When.label_of(record.explain)
    if record.alarms:
        when += f" ({', '.join(map(tracker.label, record.alarms))})"
    parts = [rate, f"{methods} {when}"]
    parts += [f"{record.deadline:g} ms a window"] if record.deadline is not None else []
    parts += [f"tolerance {record.tolerance:g}"] if record.tolerance is not None else []
    parts += ["with inputs"] if record.inputs else []
    parts += [f"{record.kept} window{'s' * (record.kept > 1)} kept"] if record.kept else []
    return ", ".join(parts)


def board(record: Spread, tracker: Tracker) -> str:
    """Return the median and 99th percentile of every phase and method, as the device counted them."""
    session = tracker.account.session
    unit = NANOSECONDS / max(1, session.clock_hz if session else NANOSECONDS)
    known = {phase.value: phase.label for phase in Phase}
    rows = {known.get(i, f"phase {i}"): figures for i, figures in record.phases.items()}
    rows |= {tracker.method(i): figures for i, figures in record.methods.items()}
    whole = {name: figures for name, figures in rows.items() if len(figures) == 5 and figures[-1]}
    parts = [f"{name} {duration(f[1] * unit)} (p99 {duration(f[3] * unit)})" for name, f in whole.items()]
    parts += [missing] if (missing := left_out(record.warm_up, record.rejected)) else []
    return ", ".join(parts) or "nothing timed yet"


def profile(values: NDArray[np.float32], width: int) -> str:
    """Draw where along its longer axis (of the first two) a map is large, in ``width`` characters at most."""
    axis = int(np.argmax(values.shape[:2]))
    along = np.abs(values).sum(axis=tuple(i for i in range(values.ndim) if i != axis), dtype=np.float64)
    bins = np.array_split(along, min(width, along.size))
    peaks = np.array([part.max() for part in bins])
    levels = (
        np.ceil(peaks / peaks.max() * (len(_BARS) - 1)).astype(int) if peaks.max() > 0 else np.zeros(len(peaks), int)
    )
    return "".join(_BARS[level] for level in levels)


def spreads(summary: Summary) -> list[tuple[str, Quantiles]]:
    """Return every phase and method with its distribution, in the order in which they happen."""
    return rows(summary.phases, summary.methods)


def durations(summary: Summary) -> list[tuple[str, Quantiles]]:
    """Return every distribution there is: what the device measured, and from end to end what two clocks can tell."""
    if summary.end_to_end is None:
        return spreads(summary)
    whole = [("end to end", summary.end_to_end.middle), ("  give or take", summary.end_to_end.uncertainty)]
    return [*spreads(summary), *whole]


def losses(summary: Summary) -> str:
    """Return what was lost, and where."""
    dropped = ", ".join(f"{count} {name}" for name, count in summary.dropped.items() if count)
    damaged = sum(summary.bad.values())
    parts = [] if summary.recorded else [f"link lost {summary.lost_frames} frames", f"{damaged} damaged"]
    parts += [f"{summary.skipped_bytes} B skipped"] if summary.skipped_bytes else []
    parts += [
        f"{summary.missing_results} results missing",
        f"board dropped {dropped or 'nothing'}",
    ]
    broken = summary.incomplete_maps + summary.refused_maps
    parts += [f"{broken} maps in pieces"] if broken else []
    parts += [f"{summary.stale_frames} frames again or too late"] if summary.stale_frames else []
    parts += [f"{summary.unattributed} records of an unknown session"] if summary.unattributed else []
    insane = sum(spread.rejected for _, spread in spreads(summary))
    parts += [f"{insane} impossible durations"] if insane else []
    parts += [f"{summary.rejected} windows timed by a wrong clock"] if summary.rejected else []
    parts += [f"{summary.clock_jumps} jumps of the board's clock"] if summary.clock_jumps else []
    parts += [f"{summary.reconnects} reconnects"] if summary.reconnects else []
    return ", ".join(parts)


def traffic(bytes_per_second: float, frames_per_second: float, round_trip: int | None) -> str:
    """Return how much comes over the link."""
    return f"{bytes_per_second / 1000:.1f} kB/s, {frames_per_second:.0f} frames/s{_trip(round_trip)}"


def _trip(round_trip: int | None) -> str:
    return "" if round_trip is None else f", round trip {duration(round_trip)}"


def _carried(summary: Summary) -> str:
    """Return what came over the link, as rates where it took long enough."""
    if summary.goodput is not None:
        return traffic(summary.goodput, summary.frames / summary.seconds, summary.round_trip)
    return f"{summary.payload_bytes / 1000:.1f} kB in {summary.frames} frames{_trip(summary.round_trip)}"


def score(summary: Summary) -> str:
    """Return how many windows came and how many were right."""
    right = "" if summary.accuracy is None else f", {summary.accuracy:.1%} right"
    failed = f", {summary.failed} failed" if summary.failed else ""
    return f"{summary.windows} windows, {summary.maps} maps{right}{failed}"


def advice(summary: Summary) -> str:
    """Return what to look at where no record has come."""
    if summary.wire_bytes:
        return "bytes come and are no frames: is --baud the board's, and does nothing else write to that port?"
    return "is `whylite run` running on the other end, and is this the right port?"


def ending(summary: Summary) -> str:
    """Return the summary as a few lines and a table."""
    sessions = f", {summary.totals.sessions} sessions" if summary.totals.sessions > 1 else ""
    said = [f"{score(summary)} in {summary.seconds:.1f} s{sessions}"]
    said += table(durations(summary))
    missing = left_out(summary.warm_up, summary.rejected)
    said += [f"  {missing}"] if missing else []
    for name, cost in summary.costs.items():
        said.append(f"{name} takes {cost:.2f} times a prediction" if cost else f"{name} comes with the prediction")
    if not summary.recorded:
        said.append(f"link: {_carried(summary)}")
    for account in summary.accounts:
        if account.health is not None and (took := toll(account.health)):
            said.append(f"board: {', '.join(took)}")
    return "\n".join([*said, f"losses: {losses(summary)}"])
