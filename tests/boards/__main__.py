"""Hold boards against this machine: ``python -m tests.boards PYTHON...``.

Each PYTHON is a command that runs Python as the board does: a path, or `.ci/emulated ARCHITECTURE` where the board's
system is emulated. The demo's network is exported here and then, on each board, opened, explained by the kernels that
its runtime prefers and by the reference ones, and streamed over a pty. Exit code 0 where all is as it should be.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import export
from edge.errors import WhyLiteError
from examples.watch import demo
from examples.watch.data import LABELS, TEST_SUBJECTS, Windows, calibration, cut, load, of_subjects

from .answers import BUNDLES, KERNELS, Answers, answer
from .verdict import Check, judge, judge_link, table

STREAMED = 13  # every so many of the windows; the explained ones are among them


def main(argv: Sequence[str] | None = None) -> int:
    """Export, ask every board, print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.boards", description=__doc__.splitlines()[0])
    parser.add_argument("boards", nargs="+", metavar="PYTHON", help="command that runs Python as the board does")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("out/boards/watch"), help="folder (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    folder = options.output.resolve()
    windows = prepare(folder)
    here = answer(folder, dict.fromkeys(KERNELS, BUNDLES))
    try:
        verdicts = [examine(shlex.split(command), folder, windows, here) for command in options.boards]
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(verdicts))
    return 0 if all(check.passed for _, checks in verdicts for check in checks) else 1


def prepare(folder: Path) -> Windows:
    """Write the demo's network and bundles of it, and the windows that are asked about, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    model = demo.convert(folder)
    recordings = load()
    seen, windows = calibration(recordings), cut(of_subjects(recordings, TEST_SUBJECTS))
    np.savez(folder / "windows.npz", x=windows.x)
    for name in BUNDLES:
        export.explain(
            folder / "watch.tflite" if name == "f32" else model,
            calibration=seen.x,
            methods=demo.METHODS,
            labels=LABELS,
            numerics="auto" if name == "watch" else name,
            allow_unfaithful=name == "int8",  # its maps need not be good to be compared
        ).save(folder / f"{name}.why")
    return windows


def examine(python: Sequence[str], folder: Path, windows: Windows, here: Answers) -> tuple[str, list[Check]]:
    """Return what a board is, and the checks of its answers and of its link."""
    out = folder / "board.npz"
    out.unlink(missing_ok=True)
    subprocess.run([*python, "-m", "tests.boards.answers", str(folder), str(out)], check=False)
    if not out.exists():
        raise WhyLiteError(f"{shlex.join(python)} gave no answers", "what it said is above")
    with np.load(out) as file:
        board = dict(file)
    sent = range(0, len(windows), STREAMED)
    some = Windows(windows.x[sent], windows.y[sent], windows.subject[sent], windows.start_s[sent])
    heard, summary = demo.stream(folder, some, python)
    about = f"{board['about']}, {board['runtime']}"
    return about, judge(board, here) + judge_link(board, sent, heard, summary)


if __name__ == "__main__":
    sys.exit(main())
