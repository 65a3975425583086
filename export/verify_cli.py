"""``whylite verify``: a bundle's promises, checked again on any data."""

from __future__ import annotations

import argparse
import json
import sys

from edge.codec import to_json
from edge.errors import WhyLiteError

from . import calibration, tables
from .progress import StageLines
from .trust.sanity import SECONDS
from .verify import Verification, verify


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``whylite verify``."""
    result = argparse.ArgumentParser(
        prog="whylite verify",
        description="Check a bundle again: golden vectors, completeness, sanity checks and measures, on any data; "
        "of one for microcontrollers also what these compute (needs whylite[micro]).",
        epilog="exit codes: 0 success, 1 a check failed, 2 wrong usage or bad input",
    )
    result.add_argument("bundle", metavar="BUNDLE", help="a .why bundle")
    result.add_argument("--data", metavar="X.npz", help="inputs: x [N, ...], float as the model was trained on")
    result.add_argument(
        "--seconds", type=float, default=SECONDS, help="that sanity checks may take (default: %(default)g)"
    )
    result.add_argument("--json", action="store_true", help="print one JSON document")
    return result


def main(argv: list[str]) -> int:
    """Run ``whylite verify``; ``argv[0]`` is the subcommand's name."""
    arguments = parser().parse_args(argv[1:])
    try:
        x = calibration.read(arguments.data)[0] if arguments.data else None
        with StageLines(sys.stderr) as progress:
            found = verify(arguments.bundle, x, seconds=arguments.seconds, progress=progress)
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(to_json(found) | {"passed": found.passed}, indent=1) if arguments.json else table(found))
    return 0 if found.passed else 1


def table(found: Verification) -> str:
    """Return what was found, as a person wants to read it."""
    lines = [f"{found.name}: {'all checks hold' if found.passed else 'a check FAILED'}", ""]
    lines += [f"  {'check':<48}{'measured':>10}{'bound':>18}{'inputs':>8}"]
    for check in found.checks:
        verdict = "ok" if check.passed else "FAILED" if check.gating else "over its bound, which decides nothing"
        lines.append(
            f"  {check.name:<48}{tables.measured(check):>10}{tables.bound(check):>18}{check.samples:>8}  {verdict}"
        )
    methods = list(dict.fromkeys(check.method for check in found.checks if check.method))
    lines += tables.undecided(methods, found.checks)
    if found.measures:
        lines += ["", *tables.measures(found.measures), ""]
    lines += [f"  note: {note}" for note in found.notes]
    return "\n".join(lines)
