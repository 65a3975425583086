"""``whylite monitor``: on the host, show and record what a board streams."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing

from edge.arguments import RTSCTS, add_flow, natural, positive
from edge.errors import WhyLiteError
from edge.wire.codes import Degraded, SourceFault, Thinned
from edge.wire.port import DEFAULT_BAUD
from edge.wire.records import Health
from firmware_bridge import lines
from firmware_bridge.errors import RecordingError
from firmware_bridge.feed import Feed
from firmware_bridge.monitor import HINT_AFTER, Monitor, follow
from firmware_bridge.recording.documents import line
from firmware_bridge.screen.terminal import Terminal, terminal
from firmware_bridge.session import Event
from firmware_bridge.summary import Summary
from firmware_bridge.tape import Tape


def main(argv: Sequence[str]) -> int:
    """Run ``whylite monitor``; 0 success, 1 nothing came, 2 wrong usage or bad input."""
    arguments = _parser().parse_args(argv[1:])
    try:
        with (
            closing(Monitor(arguments.port, arguments.baud, rtscts=arguments.flow == RTSCTS)) as monitor,
            closing(Tape(arguments.record)) as tape,
        ):
            summary = show(
                monitor,
                arguments,
                tape,
                follow(monitor, count=arguments.count, until_end=arguments.until_end, until_idle=arguments.until_idle),
            )
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if tape.failure is None and not summary.frames:
        print(f"error: no record came\n  hint: {lines.advice(summary)}", file=sys.stderr)
    return 1 if tape.failure is not None or not summary.frames else 0


def show(feed: Feed, arguments: argparse.Namespace, tape: Tape, polls: Iterable[list[Event]]) -> Summary:
    """Show and record what comes, in the way that the arguments ask for, until it ends or somebody ends it."""
    screen = _terminal(arguments)
    told = None
    if screen is None:
        told = _print(feed, arguments, tape, polls)
    else:
        from firmware_bridge.screen.app import watch

        watch(feed, tape, polls, screen)
    tape.close()
    if tape.failure is not told:
        _say(f"error: {tape.failure}")
    summary = feed.summary()
    if arguments.json:
        print(json.dumps(_document(summary)), flush=True)
    else:
        print(lines.ending(summary), flush=True)
    return summary


def _terminal(arguments: argparse.Namespace) -> Terminal | None:
    """Return the terminal for a screen; None where lines are wanted, or there is no terminal or no textual."""
    if arguments.json or arguments.plain or not importlib.util.find_spec("textual"):
        return None
    if not all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)):
        return None
    return terminal(os.environ, colour=not arguments.no_color)


def _print(
    feed: Feed, arguments: argparse.Namespace, tape: Tape, polls: Iterable[list[Event]]
) -> RecordingError | None:
    """Print a line, or a JSON document, for every event; return what was said of the recording's end."""
    advised, told, news = False, None, lines.News(feed.tracker)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        for events in polls:
            for event, when in zip(events, feed.moments, strict=True):
                tape.write(event, when)
                if arguments.json:
                    print(line(event, when), end="", flush=True)
                elif text := news.of(event):
                    print(text, flush=True)
            if tape.failure is not told:
                told = tape.failure
                _say(f"error: {told}")
            if not advised and time.monotonic() - feed.started > HINT_AFTER:
                advised = True
                if not feed.summary().frames:
                    _say(f"no record yet: {lines.advice(feed.summary())}")
    except KeyboardInterrupt:
        pass  # Ctrl-C and SIGTERM are how a monitor ends
    return told


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _document(summary: Summary) -> dict[str, object]:
    """Return the summary as the last JSON document of the output; ``null`` for what is not known."""
    link = {
        "end_to_end_ns": _end_to_end(summary),
        "clock_jumps": summary.clock_jumps,
        "frames": summary.frames,
        "payload_bytes": summary.payload_bytes,
        "goodput_bytes_per_second": summary.goodput,
        "lost_frames": summary.lost_frames,
        "stale_frames": summary.stale_frames,
        "bad_frames": summary.bad,
        "skipped_bytes": summary.skipped_bytes,
        "incomplete_maps": summary.incomplete_maps,
        "refused_maps": summary.refused_maps,
        "unattributed": summary.unattributed,
        "unknown_records": summary.unknown_records,
        "unknown_keys": summary.unknown_keys,
        "reconnects": summary.reconnects,
        "round_trip_ns": summary.round_trip,
    }
    return {
        "record": "summary",
        "seconds": round(summary.seconds, 3),
        "sessions": [account.session.session.hex() for account in summary.accounts if account.session],
        "earlier_sessions": summary.earlier.sessions,
        "windows": summary.windows,
        "labelled": summary.labelled,
        "accuracy": summary.accuracy,
        "maps": summary.maps,
        "failed": summary.failed,
        "warm_up_windows": summary.warm_up,
        "rejected_windows": summary.rejected,
        "latency_ns": {name: dataclasses.asdict(spread) for name, spread in lines.spreads(summary)},
        "cost_of_explaining": summary.costs,
        "missing_results": summary.missing_results,
        "dropped": summary.dropped,
        "boards": [_board(account.health) for account in summary.accounts if account.health is not None],
        **(dict.fromkeys(link) if summary.recorded else link),
    }


def _board(health: Health) -> dict[str, object]:
    """Return what a board said last of itself; counts by what the deadline and the link took and befell the source."""
    tables = (
        ("degraded", Degraded, health.degraded),
        ("thinned", Thinned, health.thinned),
        ("source", SourceFault, health.source),
    )
    return {
        **{name: {code.label_of(n): count for n, count in counts.items()} for name, code, counts in tables},
        "clock_faults": health.clock_faults,
        "link_rate_bytes_per_second": health.link_rate,
        "governor": health.governor,
    }


def _end_to_end(summary: Summary) -> dict[str, object] | None:
    """Return the distribution half-way between its bounds, and how far each figure may be from the true one."""
    if summary.end_to_end is None:
        return None
    bounds = summary.end_to_end
    return {"middle": dataclasses.asdict(bounds.middle), "uncertainty": dataclasses.asdict(bounds.uncertainty)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whylite monitor",
        description="On the host: show and record what a board streams. Ctrl-C ends it.",
        epilog="exit codes: 0 records came, 1 none did or the disk was full, 2 wrong usage or bad input",
    )
    parser.add_argument("port", metavar="PORT", help="serial port, pty, socket://HOST:PORT")
    parser.add_argument("--baud", type=natural, default=DEFAULT_BAUD, help="of a serial port (default: %(default)s)")
    add_flow(parser)
    add_views(parser)
    parser.add_argument(
        "--record", metavar="FILE", help="record every event: .jsonl (JSON lines, for eyes) or .mcap (for archives)"
    )
    parser.add_argument("--count", type=natural, metavar="N", help="end after N windows")
    end = "end when the board says goodbye, or is silent for 30 s"
    parser.add_argument("--until-end", action="store_true", help=end)
    parser.add_argument("--until-idle", type=positive, metavar="SECONDS", help="end after so long a silence")
    return parser


def add_views(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose between the ways to show a feed."""
    view = parser.add_mutually_exclusive_group()
    view.add_argument("--json", action="store_true", help="one JSON document per line on stdout")
    view.add_argument("--plain", action="store_true", help="plain lines instead of a screen on a terminal")
    parser.add_argument("--no-color", action="store_true", help="no colours on a terminal; NO_COLOR does the same")
