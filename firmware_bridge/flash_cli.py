"""``whylite flash``: a bundle's firmware onto a board, and the proof that it answers there as it should."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from edge.arguments import natural
from edge.bundle import Bundle
from edge.errors import WhyLiteError
from edge.wire.port import DEFAULT_BAUD
from firmware_bridge.arguments import add_build_options, build_options, check_build_options
from firmware_bridge.boards import named
from firmware_bridge.flash import WAYS, chosen
from firmware_bridge.flash.image import built, read
from firmware_bridge.flash.sequence import Flashing, Step
from firmware_bridge.flash.way import Connection

_INTERRUPTED = 128 + signal.SIGINT  # the exit code, as of the other commands


def main(argv: Sequence[str]) -> int:
    """Run ``whylite flash``; 0 success, 1 failed with the board written to, 2 before that, 130 interrupted."""
    parser = _parser()
    arguments = parser.parse_args(argv[1:])
    check_build_options(parser, arguments, "elf")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    done: list[Step] = []
    try:
        bundle, board = Bundle.open(arguments.bundle), named(arguments.board)
        way = chosen(board, arguments.way, Connection(arguments.port, arguments.gdb))
        with tempfile.TemporaryDirectory(prefix="whylite-") as folder:
            prepare = partial(read, arguments.elf, board)
            if arguments.elf is None:
                prepare = partial(built, bundle, board, Path(folder, "firmware"), build_options(arguments))
            with closing(Flashing(bundle, board, way, prepare, arguments.baud)) as flashing:
                return _go(flashing, arguments, done)
    except WhyLiteError as error:  # before the first step
        return _fail(arguments, done, "", error, touched=False)
    except KeyboardInterrupt:
        _fail(arguments, done, "", WhyLiteError("interrupted"), touched=False)
        return _INTERRUPTED


def _go(flashing: Flashing, arguments: argparse.Namespace, done: list[Step]) -> int:
    """Go through the steps, and say what becomes of each."""
    try:
        for step in flashing.steps(dry_run=arguments.dry_run):
            done.append(step)
            if not arguments.json:
                took = "would" if step.seconds is None else f"{step.seconds:.2f} s"
                print(f"{step.name:<8} {took:>7}  {step.what}", flush=True)
    except WhyLiteError as error:
        return _fail(arguments, done, flashing.step, error, touched=flashing.touched)
    except KeyboardInterrupt:
        _fail(arguments, done, flashing.step, WhyLiteError("interrupted"), touched=flashing.touched)
        return _INTERRUPTED
    if arguments.json:
        print(json.dumps(_document(arguments, done)))
    elif arguments.dry_run:
        print(f"nothing was written to {arguments.board}")
    else:
        print(f"{arguments.board} answers as {Path(arguments.bundle).name} says")
    return 0


def _fail(arguments: argparse.Namespace, done: list[Step], step: str, error: WhyLiteError, *, touched: bool) -> int:
    if arguments.json:
        failed = {"step": step, "error": type(error).__name__, "cause": error.cause, "hint": error.hint}
        print(json.dumps(_document(arguments, done) | {"failed": failed, "written": touched}))
    print(f"error: {f'{step}: ' if step else ''}{error}", file=sys.stderr)
    if touched and step in {"write", "verify"}:
        print(f"{arguments.board} may hold half a program: flash it again", file=sys.stderr)
    return 1 if touched else 2


def _document(arguments: argparse.Namespace, done: Sequence[Step]) -> dict[str, object]:
    steps = [dataclasses.asdict(step) for step in done]
    return {"board": arguments.board, "dry_run": arguments.dry_run, "steps": steps}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whylite flash",
        description="Put a bundle's firmware on a board: see that it fits, build it, find the board, write, read back, "
        "reset, wait for its SESSION, compare the model, and have it answer the bundle's golden vectors byte for byte.",
        epilog="exit codes: 0 the board answers as it should, 1 something failed after the board was written to, "
        "2 wrong usage or bad input, or the board was not found, or is another one: nothing was written; "
        "130 interrupted, at the step that is named",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="what `whylite export --target micro` wrote (.why)")
    parser.add_argument("--board", required=True, metavar="NAME", help="one of `whylite boards`, or a .toml of yours")
    ways = ", ".join(WAYS)
    parser.add_argument("--way", metavar="WAY", help=f"how: {ways} (default: the board's usual one of these)")
    parser.add_argument("--port", help="the board's link: serial port, pty, socket://HOST:PORT; not for --way qemu")
    parser.add_argument("--baud", type=natural, default=DEFAULT_BAUD, help="of a serial port (default: %(default)s)")
    parser.add_argument("--gdb", metavar="SERVER", help="for --way gdb: the debug server's HOST:PORT, or serial port")
    parser.add_argument(
        "--elf",
        type=Path,
        metavar="FILE",
        help="firmware of this bundle that the board's own SDK built; not built here",
    )
    add_build_options(parser)
    parser.add_argument("--dry-run", action="store_true", help="build, and say what would be done; touch no board")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser
