"""``whylite doctor``: what on this machine keeps WhyLite from running, or running well, and what to do about it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edge import vitals
from edge.arguments import natural
from edge.doctor import bundles, interpreters, machine, ports
from edge.doctor.finding import Finding, Level
from edge.doctor.serial_ports import Person
from edge.wire.port import DEFAULT_BAUD

_INDENT = 12  # columns before what is said
_WIDEST = 100
_COLOURS = {Level.OK: "32", Level.NOTE: "36", Level.WARNING: "33", Level.PROBLEM: "31;1"}


def main(argv: Sequence[str]) -> int:
    """Run ``whylite doctor``; 0 nothing keeps it from running, 1 something does, 2 wrong usage."""
    arguments = _parser().parse_args(argv[1:])
    found = examine(arguments.bundle, arguments.port, arguments.baud)
    findings = list(found) if arguments.json else list(_told(found))
    print(json.dumps(_document(findings), ensure_ascii=False, indent=2) if arguments.json else verdict(findings))
    return 1 if any(finding.level is Level.PROBLEM for finding in findings) else 0


def _told(found: Iterable[Finding]) -> Iterator[Finding]:
    """Pass findings on and print each as it comes: some take seconds."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    width = min(_WIDEST, shutil.get_terminal_size((80, 24)).columns)
    print(_title(), flush=True)
    section = ""
    for finding in found:
        print(text(finding, width, headed=finding.section != section, coloured=coloured), flush=True)
        section = finding.section
        yield finding
    print()


def examine(
    bundle: str | None = None, port: str | None = None, baud: int = DEFAULT_BAUD, root: Path = vitals.ROOT
) -> Iterator[Finding]:
    """Yield everything there is to say of this machine, and of a bundle on it.

    Of all its serial ports, none of which is opened, or of one, which is opened for a moment.
    """
    yield from _installation()
    runs = False
    for finding in interpreters.examine(root, interpreters.installed(), interpreters.probe):
        runs |= finding.level is Level.OK
        yield finding
    if bundle and runs:
        yield from bundles.examine(bundle)
    yield from machine.examine(root)
    yield machine.clock(root)
    person = Person.here()
    yield from ports.look_closer(port, baud, root, person) if port else ports.examine(root, person)


def text(finding: Finding, width: int, *, headed: bool, coloured: bool) -> str:
    """Return a finding as lines of at most ``width`` columns, under its section's name where it is the first of it.

    A command stays in one line, however long, so that it can be copied.
    """
    label = f"{finding.level.label:<{_INDENT - 2}}"
    if coloured:
        label = f"\x1b[{_COLOURS[finding.level]}m{label}\x1b[0m"
    room = max(20, width - _INDENT)
    said = textwrap.wrap(finding.what, room)
    said += textwrap.wrap(finding.advice, room, initial_indent="hint: ", subsequent_indent="  ")
    said += [f"$ {finding.command}"] if finding.command else []
    lines = [f"  {label}{said[0]}", *(" " * _INDENT + line for line in said[1:])]
    return "\n".join([*(["", finding.section] if headed else []), *lines])


def verdict(found: Sequence[Finding]) -> str:
    """Return how many findings there are of each kind that matters."""
    counts = {level: sum(finding.level is level for finding in found) for level in Level}
    parts = [
        f"{counts[level]} {level.label}{'s'[: counts[level] != 1]}"
        for level in (Level.PROBLEM, Level.WARNING, Level.NOTE)
        if counts[level]
    ]
    return ", ".join(parts) if parts else "nothing to do"


def _installation() -> Iterator[Finding]:
    """Tell of a folder with WhyLite in it that is no installation."""
    if _version() is None:
        here = Path(__file__).resolve().parents[2]
        what = f"WhyLite is not installed: Python runs it out of {here}"
        yield Finding("whylite", Level.PROBLEM, what, command=f"pip install {here}")


def _version() -> str | None:
    try:
        return version("whylite")
    except PackageNotFoundError:
        return None


def _title() -> str:
    python = f"Python {platform.python_version()}"
    return f"whylite {_version() or '(not installed)'} on {vitals.board()}, kernel {platform.release()}, {python}"


def _document(found: Sequence[Finding]) -> dict[str, object]:
    return {
        "whylite": _version(),
        "board": vitals.board(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "findings": [dataclasses.asdict(finding) | {"level": finding.level.label} for finding in found],
        "worst": max((finding.level for finding in found), default=Level.OK).label,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whylite doctor",
        description="Say what keeps WhyLite from running on this machine, or from running well, and what to do.",
        epilog="exit codes: 0 nothing keeps it from running, 1 something does, 2 wrong usage",
    )
    parser.add_argument("bundle", nargs="?", metavar="BUNDLE", help="try this one (.why), and time it")
    parser.add_argument(
        "--port",
        metavar="PORT",
        help="look closer at one serial port, and open it for a moment; that resets some boards (Arduino and its like)",
    )
    parser.add_argument("--baud", type=natural, default=DEFAULT_BAUD, help="to try with --port (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return parser
