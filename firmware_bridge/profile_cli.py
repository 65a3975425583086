"""``whylite profile``: what a bundle costs on a board, and what has changed."""

from __future__ import annotations

import argparse
import importlib.util
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge.arguments import natural, positive
from edge.bundle import Bundle, ensure_writable, write_whole
from edge.codec import to_json
from edge.errors import WhyLiteError
from edge.wire.port import DEFAULT_BAUD
from firmware_bridge.arguments import add_build_options, build_options, check_build_options, given_build_option
from firmware_bridge.boards import Board, named
from firmware_bridge.convert_cli import Bar
from firmware_bridge.errors import InvalidProfileError, ProfileError
from firmware_bridge.profile import firmware, linux, tables
from firmware_bridge.profile.compare import compare
from firmware_bridge.profile.document import Energy, Profile, read, write

_DEFAULT = "unicorn-cortex-m4"


def main(argv: Sequence[str]) -> int:
    """Run ``whylite profile``; 0 success, 1 a count that cannot be true, 2 wrong usage or bad input."""
    parser = _parser()
    arguments = parser.parse_args(argv[1:])
    _check(parser, arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or what is built would stay where it was
    try:
        if arguments.compare:
            _compare(arguments)
        else:
            _profile(arguments)
    except InvalidProfileError as error:
        print(f"invalid: {error}", file=sys.stderr)
        return 1
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if bool(arguments.compare) == bool(arguments.bundle):
        parser.error("give a BUNDLE, or --compare A.json B.json")
    if arguments.compare and (arguments.plot or arguments.board or arguments.port or arguments.recording):
        parser.error("--compare takes two profiles and --json alone")
    check_build_options(parser, arguments, "port", "recording", "compare")
    if bool(arguments.meter) != bool(arguments.joules):
        parser.error("--meter NAME says what measured, --joules PART=J what it read: give both")
    if arguments.recording and (arguments.port or not arguments.board):
        parser.error("--recording is of a --board with Linux, and takes no --port")


def _compare(arguments: argparse.Namespace) -> None:
    before, after = arguments.compare
    compared = compare(read(before), read(after))
    document = json.dumps(to_json(compared), indent=1)
    _deliver(arguments.json, document, tables.comparison(compared, Path(before).name, Path(after).name))


def _profile(arguments: argparse.Namespace) -> None:
    for path in (arguments.plot, None if arguments.json == "-" else arguments.json):
        if path is not None:
            ensure_writable(Path(path))
    if arguments.plot and importlib.util.find_spec("matplotlib") is None:
        raise ProfileError("drawing takes matplotlib, which is not installed", "pip install 'whylite[plot]'")
    bundle = Bundle.open(arguments.bundle)
    with Bar(sys.stderr) as bar:
        profile = _measured(bundle, arguments, bar)
    if arguments.meter:
        profile = replace(profile, energy=_metered(profile, arguments.meter, arguments.joules))
    if arguments.plot:
        from firmware_bridge.profile.plot import draw

        write_whole(Path(arguments.plot), draw(profile))
    _deliver(arguments.json, write(profile), tables.table(profile))


def _measured(bundle: Bundle, arguments: argparse.Namespace, bar: Bar) -> Profile:
    """Return the profile of the board that was named; without a name, of what the bundle was exported for."""
    name = arguments.board
    here = name is None and bundle.manifest.micro is None
    board = None if here else named(name or _DEFAULT)
    if (option := given_build_option(arguments)) and (board is None or board.linux):
        raise ProfileError(f"{option} has no effect: nothing is compiled to be profiled on Linux", "leave it out")
    if board is None:
        return linux.here(bundle, arguments.windows or linux.WINDOWS, bar.show)
    if board.linux:
        return _streamed(bundle, board, arguments, bar)
    if arguments.recording:
        raise ProfileError(f"{board.name} runs firmware, which is not profiled from a recording", "give --port")
    if arguments.port:
        print(f"waiting for firmware at {arguments.port} that calls whylite_profile", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="whylite-") as folder:
        profile = firmware.profile(
            bundle,
            board,
            Path(folder),
            build_options(arguments),
            port=arguments.port,
            baud=arguments.baud,
            windows=arguments.windows or firmware.WINDOWS,
            progress=bar.show,
        )
    if profile.windows < (arguments.windows or 0):
        print(f"the bundle has {profile.windows} golden windows, which are all that is measured", file=sys.stderr)
    return profile


def _streamed(bundle: Bundle, board: Board, arguments: argparse.Namespace, bar: Bar) -> Profile:
    if arguments.recording:
        return linux.recorded(bundle, board.name, arguments.recording)
    if arguments.port:
        windows = arguments.windows or linux.WINDOWS
        return linux.listened(bundle, board.name, arguments.port, arguments.baud, windows, bar.show)
    raise ProfileError(
        f"{board.name} runs Linux, and this machine's latencies are not its",
        "stream from it with `whylite run` and give --port or --recording; or run `whylite profile BUNDLE` there",
    )


def _metered(profile: Profile, meter: str, readings: Sequence[tuple[str, float]]) -> Energy:
    joules = dict(readings)
    unknown = [name for name in joules if profile.part(name) is None]
    if unknown:
        there = ", ".join(part.name for part in profile.parts)
        raise ProfileError(f"--joules of {unknown[0][:40]!r}: there is no such part", f"there are {there}")
    return Energy(joules, measured=True, source=meter)


def _deliver(json_path: str | None, document: str, table: str) -> None:
    """Write the JSON where it is wanted, and print the table unless the JSON is what stdout is for."""
    if json_path == "-":
        print(document)
        return
    if json_path is not None:
        write_whole(Path(json_path), document.encode() + b"\n")
    print(table.encode("utf-8", "backslashreplace").decode())


def _joules(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text} is no PART=JOULES")
    return name, positive(value)


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > 200:
        raise argparse.ArgumentTypeError("a meter's name is a short line of text")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whylite profile",
        description="What predicting and explaining cost on a board: instructions (virtual boards), cycles (hardware) "
        "or latencies (Linux) per operation and in total, arena, stack, flash by section and source, and which boards "
        "have room for it. Measured on the bundle's golden windows, whose answers must come out as recorded.",
        epilog="exit codes: 0 success, 1 what was counted cannot be true, 2 wrong usage or bad input",
    )
    add = parser.add_argument
    add("bundle", metavar="BUNDLE", nargs="?", help="what `whylite export` wrote (.why)")
    add(
        "--board",
        metavar="NAME",
        help=f"of `whylite boards`, or a .toml (default: {_DEFAULT} for --target micro, this machine for others)",
    )
    add("--port", metavar="PORT", help="of a real board: its firmware runs whylite_profile; with Linux, `whylite run`")
    add("--baud", type=natural, default=DEFAULT_BAUD, help="of the port (default: %(default)s)")
    add("--recording", metavar="FILE", help="what `whylite monitor --record` wrote of a --board with Linux")
    add("--windows", type=natural, metavar="N", help="to measure (default: 4 of the bundle's golden ones, 50 timed)")
    add_build_options(parser)
    add("--json", metavar="FILE", help="write the profile there; - for stdout, in place of the table")
    add("--plot", metavar="FILE.png", help="draw it (needs whylite[plot])")
    add("--meter", metavar="NAME", type=_name, help="external meter that measured energy, such as 'Nordic PPK2'")
    add(
        "--joules",
        metavar="PART=J",
        type=_joules,
        action="append",
        help="what it read for one window of a part, predict or a method; may be repeated",
    )
    add("--compare", nargs=2, metavar=("A.json", "B.json"), help="what has changed from A to B, as ratios")
    return parser
