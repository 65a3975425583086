"""``whylite convert``: a recording into the other format, or into tables for data analysis."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from edge.errors import WhyLiteError
from firmware_bridge.recording.convert import RECORDINGS, convert
from firmware_bridge.recording.documents import NAMES

_EVERY = 10.0  # seconds between lines where there is no terminal
_WIDE = 40


def main(argv: Sequence[str]) -> int:
    """Run ``whylite convert``; 0 success, 2 wrong usage or bad input."""
    parser = _parser()
    arguments = parser.parse_args(argv[1:])
    suffix = Path(arguments.out).suffix.lower()
    if arguments.table and suffix not in {".parquet", ".csv"}:
        parser.error("--table is for an OUT that is one table: .parquet or .csv")
    if arguments.csv and suffix:
        parser.error("--csv is for an OUT that is a folder; end OUT in .csv for one table")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Bar(sys.stderr) as bar:
            done = convert(
                arguments.recording,
                arguments.out,
                table=arguments.table or "result",
                form=".csv" if arguments.csv else ".parquet",
                progress=bar.show,
            )
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if done.damage:
        print(f"warning: {done.damage.told(arguments.recording)}", file=sys.stderr)
    what = "events" if suffix in RECORDINGS else "rows"
    print(f"{arguments.out}: {done.written} {what}")
    return 0


class Bar:
    """Shows how far work is that takes longer than a moment: a bar on a terminal, now and then a line elsewhere."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._again = time.monotonic() + (0.5 if self._terminal else _EVERY)
        self._drawn = False

    def show(self, what: str, part: float) -> None:
        """Show that ``part`` of something is done, from 0 to 1."""
        now = time.monotonic()
        if now < self._again:
            return
        self._again = now + (0.2 if self._terminal else _EVERY)
        if self._terminal:
            full = round(part * _WIDE)
            self._stream.write(f"\r\x1b[2K{what} [{'#' * full}{'.' * (_WIDE - full)}] {part:4.0%}")
            self._drawn = True
        else:
            self._stream.write(f"{what}: {part:.0%}\n")
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawn:
            self._stream.write("\r\x1b[2K")
            self._stream.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="whylite convert",
        description="Convert a recording into the other format, or into tables. OUT must not be there yet.",
        epilog="exit codes: 0 success, 2 wrong usage or bad input, 130 interrupted: nothing is written",
    )
    parser.add_argument("recording", metavar="RECORDING", help="what `whylite monitor --record` wrote: .jsonl or .mcap")
    parser.add_argument(
        "out",
        metavar="OUT",
        help=".jsonl or .mcap: a recording; .parquet or .csv: one table; no suffix: a folder with one of each kind",
    )
    parser.add_argument("--table", choices=sorted(NAMES), help="which one table (default: result)")
    parser.add_argument("--csv", action="store_true", help="the folder's tables as CSV instead of Parquet")
    return parser
