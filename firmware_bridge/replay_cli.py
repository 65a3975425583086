"""``whylite replay``: play a recording as the monitor showed it."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import closing

from edge.arguments import positive
from edge.errors import WhyLiteError
from firmware_bridge.cli import add_views, show
from firmware_bridge.monitor import follow
from firmware_bridge.replay import Replay
from firmware_bridge.tape import Tape


def main(argv: Sequence[str]) -> int:
    """Run ``whylite replay``; 0 success, 1 the recording is empty, 2 wrong usage or bad input."""
    arguments = _parser().parse_args(argv[1:])
    try:
        with (
            closing(Replay(arguments.file, arguments.speed)) as replay,
            closing(Tape(None, source=arguments.file)) as tape,
        ):
            summary = show(replay, arguments, tape, follow(replay))
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if replay.damage:
        print(f"warning: {replay.damage.told(arguments.file)}", file=sys.stderr)
    if not summary.frames:
        print(f"error: {arguments.file} holds no events", file=sys.stderr)
    return 0 if summary.frames else 1


def _speed(text: str) -> float:
    return math.inf if text == "max" else positive(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whylite replay",
        description="Play a recording as the monitor showed it. Ctrl-C ends it.",
        epilog="exit codes: 0 success, 1 the recording is empty, 2 wrong usage or bad input",
    )
    parser.add_argument("file", metavar="FILE", help="a recording: .jsonl or .mcap")
    parser.add_argument(
        "--speed",
        type=_speed,
        default=1.0,
        metavar="X",
        help="X times as fast as it came, or max; ten seconds and more of nothing take two (default: 1)",
    )
    add_views(parser)
    return parser
