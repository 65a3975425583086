"""What the link survives: ``python -m benchmarks.faults [--frames N] [--disconnects N] [--lives N] [--json FILE]``.

Frames of whole sessions go through a channel that damages them, to the host's receiver and tracker, and what comes out
is held against what was sent; cables between real ports are pulled, and real devices killed, while a monitor watches.
The exit code is 1 where an invariant breaks: something wrong accepted, something lost and not counted, or a host still
in doubt after a SESSION.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.link_faults.campaign import Outcome, to_board, to_host
from tests.link_faults.channel import FAULTS
from tests.link_faults.traffic import PERIOD

from .models import OUT

TITLES = ("fault", "frames", "faults", "delivered", "lost", "damaged", "stale", "maps", "wrong", "recovery")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and write the JSON; 1 where an invariant breaks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="over all faults (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=OUT / "faults.json", help="default: %(default)s")
    options = parser.parse_args(argv)
    begin = time.monotonic()
    _print(*TITLES)
    rows = campaign(options.frames)
    violations = [violation for row in rows for violation in row.violations]
    wrong = sum(row.wrong for row in rows)
    print(
        f"\n{sum(row.frames for row in rows):,} frames, {sum(row.faults for row in rows):,} faults, {wrong} violations"
    )
    print(*violations, sep="\n")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print(f"{time.monotonic() - begin:.0f} s; written to {options.json}")
    return 1 if wrong else 0


def campaign(frames: int) -> list[Outcome]:
    """Send so many frames, through every fault alone, all of them together, and from the host to the board."""
    share = frames // (len(FAULTS) + 2)
    rows = []
    for seed, fault in enumerate(FAULTS):
        rows.append(_shown(to_host([fault], share, seed)))
    rows.append(_shown(to_host(FAULTS, share, len(FAULTS), name="all")))
    rows.append(_shown(to_board(FAULTS, share, len(FAULTS), name="all, to the board")))
    return rows


def _shown(row: Outcome) -> Outcome:
    """Print one row of the table, the longest recovery in SESSION periods."""
    _print(row.fault, *(getattr(row, title) for title in TITLES[1:-1]), f"{row.recovery / PERIOD:.2f}")
    return row


def _print(fault: str, *values: object) -> None:
    print(f"{fault:<18}" + "".join(f"{value:>10}" for value in values), flush=True)


if __name__ == "__main__":
    sys.exit(main())
