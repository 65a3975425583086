"""What the link survives: ``python -m benchmarks.faults [--frames N] [--disconnects N] [--lives N]``.

Frames of whole sessions go through a channel that damages them, to the host's receiver and tracker, and what comes out
is held against what was sent; cables between real ports are pulled, and real devices killed, while a monitor watches.
The exit code is 1 where an invariant breaks: something wrong accepted, something lost and not counted, or a host still
in doubt after a SESSION.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from tests.link_faults.campaign import Outcome, to_board, to_host
from tests.link_faults.channel import FAULTS
from tests.link_faults.doomed import PHASES
from tests.link_faults.lives import (
    PtyCable,
    SocketCable,
    disconnects,
    faults_of_disconnects,
    faults_of_lives,
    lives,
)
from tests.link_faults.traffic import PERIOD

from .models import OUT

_ALL, _TO_BOARD = "all", "all, to the board"
ROWS = (*FAULTS, _ALL, _TO_BOARD)
_ROUND = 50
TITLES = ("fault", "frames", "faults", "delivered", "lost", "damaged", "stale", "maps", "wrong", "recovery")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and write the JSON; 1 where an invariant breaks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, help="over all faults (default: %(default)s)")
    parser.add_argument("--disconnects", type=int, default=1_000, help="of ptys and sockets (default: %(default)s)")
    parser.add_argument("--lives", type=int, default=240, help="of devices that are killed (default: %(default)s)")
    parser.add_argument("--only", action="append", metavar="FAULT", help=f"of {', '.join(ROWS)}; may be repeated")
    parser.add_argument("--json", type=Path, default=OUT / "faults.json", help="default: %(default)s")
    options = parser.parse_args(argv)
    begin = time.monotonic()
    _print(*TITLES)
    rows = campaign(options.frames, options.only or ROWS)
    print(f"{sum(row.frames for row in rows):,} frames, {sum(row.faults for row in rows):,} faults")
    violations = [violation for row in rows for violation in row.violations]
    violations += pulled(options.disconnects) + killed(options.lives)
    print(f"{len(violations)} violations", *violations, sep="\n")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print(f"{time.monotonic() - begin:.0f} s; written to {options.json}")
    return 1 if violations else 0


def campaign(frames: int, names: Sequence[str]) -> list[Outcome]:
    """Send so many frames, through every fault alone, all of them together, and from the host to the board."""
    share = frames // len(ROWS)
    return [_shown(_row(name, share)) for name in ROWS if name in names]


def _row(name: str, share: int) -> Outcome:
    seed = ROWS.index(name)
    if name == _TO_BOARD:
        return to_board(FAULTS, share, seed, name=name)
    return to_host(FAULTS if name == _ALL else [name], share, seed, name=name)


def pulled(times: int) -> list[str]:
    """Pull cables so often, in rounds of 50; print what came of it and return what the host got wrong."""
    wrong, windows, lost, reconnects = [], 0, 0, 0
    for seed in range(times // _ROUND):
        with (
            tempfile.TemporaryDirectory() as folder,
            closing(PtyCable(Path(folder)) if seed % 2 else SocketCable()) as cable,
        ):
            summary, seen, sent = disconnects(cable, _ROUND, seed)
        wrong += faults_of_disconnects(_ROUND, summary, seen, sent)
        windows += summary.windows
        lost += summary.lost_frames
        reconnects += summary.reconnects
    print(f"{times} disconnects: {windows} results delivered, {lost} frames lost and counted, {reconnects} reconnects")
    return wrong


def killed(times: int) -> list[str]:
    """Kill so many devices, at every phase equally often; print what came of it and return what the host got wrong."""
    phases = random.Random(0).sample([*PHASES] * -(-times // len(PHASES)), times)
    wrong, windows, torn = [], 0, 0
    for at in range(0, times, _ROUND):
        lot = [*phases[at : at + _ROUND], "after goodbye"]
        summary, seen = lives(lot)
        wrong += faults_of_lives(lot, summary, seen)
        windows += summary.windows
        torn += sum(summary.bad.values())
    print(
        f"{times} devices killed at {len(PHASES)} phases: {windows} results delivered, {torn} frames torn and counted"
    )
    return wrong


def _shown(row: Outcome) -> Outcome:
    """Print one row of the table, the longest recovery in SESSION periods."""
    _print(row.fault, *(getattr(row, title) for title in TITLES[1:-1]), f"{row.recovery / PERIOD:.2f}")
    return row


def _print(fault: str, *values: object) -> None:
    print(f"{fault:<18}" + "".join(f"{value:>10}" for value in values), flush=True)


if __name__ == "__main__":
    sys.exit(main())
