"""``whylite run --board``: windows to firmware on a virtual board or a real one, and what it answers and explains."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from edge.arguments import natural
from edge.bundle import Bundle
from edge.capture import open_source
from edge.errors import WhyLiteError
from edge.sources import schemes
from edge.wire.codes import When
from edge.wire.port import DEFAULT_BAUD
from firmware_bridge.arguments import add_build_options, build_options, check_build_options
from firmware_bridge.boards import Board, named
from firmware_bridge.build import build, fits
from firmware_bridge.cli import add_views, show
from firmware_bridge.emulate import INSTRUCTION_NS, Machine, missing, start
from firmware_bridge.errors import EmulatorError
from firmware_bridge.feeding import Feeder, Wishes
from firmware_bridge.monitor import Monitor
from firmware_bridge.tape import Tape


def main(argv: Sequence[str]) -> int:
    """Run ``whylite run --board``; 0 success, 1 no window was answered, 2 wrong usage or bad input."""
    parser = _parser()
    arguments = parser.parse_args(argv[1:])
    check_build_options(parser, arguments, "port")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or what is built would stay where it was
    try:
        return _run(arguments)
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace) -> int:
    bundle, board = Bundle.open(arguments.bundle), named(arguments.board)
    fits(bundle, board)
    when = next((code for code in When if code.label == arguments.explain), None)
    wishes = Wishes(when, tuple(dict.fromkeys(arguments.method or ())))
    with (
        closing(open_source(arguments.source, bundle.manifest)) as capture,
        _board(bundle, board, arguments) as (url, machine),
        closing(Monitor(url, arguments.baud)) as monitor,
        closing(Tape(arguments.record)) as tape,
    ):
        feeder = Feeder(monitor, capture, bundle, (lambda: machine.failure) if machine else None)
        show(monitor, arguments, tape, feeder.polls(wishes, arguments.count))
        failed, ended = tape.failure is not None, capture.ended
    if not feeder.answered:
        print("the source gave no window" if ended else "no window was answered", file=sys.stderr)
    return 0 if feeder.answered and not failed else 1


@contextmanager
def _board(bundle: Bundle, board: Board, arguments: argparse.Namespace) -> Iterator[tuple[str, Machine | None]]:
    """Give the port of a board with the bundle's firmware: of a real one as it is, of a virtual one made for this."""
    if arguments.port:
        yield arguments.port, None
        return
    if lack := missing(board):
        raise EmulatorError(f"{board.name} cannot be emulated: {lack[0]}", lack[1])
    with tempfile.TemporaryDirectory(prefix="whylite-") as folder:
        firmware = build(bundle, board, Path(folder) / "firmware", build_options(arguments))
        if not arguments.json:
            took = f"{firmware.footprint.flash:,} bytes of flash, {firmware.footprint.ram:,} of RAM"
            print(f"{bundle.manifest.name} on {board.name}: {took}, by {firmware.toolchain} {firmware.optimize}")
            print(f"its times are emulated: {INSTRUCTION_NS} ns for each instruction", flush=True)
        with start(firmware.elf, board) as machine:
            yield machine.url, machine


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whylite run",
        description="Have firmware on a microcontroller predict and explain windows: on a virtual board, for which it "
        "is compiled and started, or on a real one that runs it already (--port). Without --board, `whylite run` "
        "does it here, in Python.",
        epilog="exit codes: 0 success, 1 no window was answered or the disk was full, 2 wrong usage or bad input, "
        "130 interrupted before the board was there to answer",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="what `whylite export --target micro` wrote (.why)")
    parser.add_argument("--board", required=True, metavar="NAME", help="one of `whylite boards`, or a .toml of yours")
    sources = ", ".join(f"{scheme}:..." for scheme in schemes())
    parser.add_argument("--source", required=True, metavar="SPEC", help=f"where windows come from: {sources}")
    parser.add_argument("--count", type=natural, metavar="N", help="stop after N windows")
    parser.add_argument("--method", action="append", metavar="NAME", help="explain with this method; repeat for more")
    choices = [code.label for code in When if code is not When.ON_ALARM]
    parser.add_argument("--explain", choices=choices, help="which answers (default: as the firmware does, all)")
    parser.add_argument("--port", help="a real board's: serial port, pty, socket://HOST:PORT")
    parser.add_argument("--baud", type=natural, default=DEFAULT_BAUD, help="of a serial port (default: %(default)s)")
    parser.add_argument("--record", metavar="FILE", help="record every event: .jsonl or .mcap, as `whylite monitor`")
    add_build_options(parser)
    add_views(parser)
    return parser
