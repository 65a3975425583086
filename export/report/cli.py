"""``whylite report``: the page that shows a bundle's explanations, written out or made anew."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from edge.bundle import REPORT, Bundle, ensure_writable, write_whole
from edge.errors import BundleError, WhyLiteError
from edge.sources import npz


def main(argv: Sequence[str]) -> int:
    """Run ``whylite report``; ``argv[0]`` is the subcommand's name."""
    arguments = parser().parse_args(argv[1:])
    given = Path(arguments.bundle)
    path = Path(arguments.output_file or (given.with_suffix(".html") if given.name else given))
    try:
        for file in filter(None, (arguments.bundle, arguments.data)):
            # What is not there, or is no name of a file, is said where it is read.
            with contextlib.suppress(OSError, ValueError):
                if path.samefile(file):
                    raise BundleError(f"cannot write {path}: it is an input ({file})", "name another file with -o")
        ensure_writable(path)
        page = _page(Bundle.open(given), arguments.data)
        write_whole(path, page)
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{path}: {len(page):,} bytes; open it in a browser".encode("utf-8", "backslashreplace").decode())
    return 0


def _page(bundle: Bundle, data: str | None) -> bytes:
    if data is not None:
        from .page import make

        stored = npz.read(data, bundle.manifest.input_shape, len(bundle.manifest.labels))
        return make(bundle, stored.x, stored.y)
    if REPORT not in bundle.members:
        raise BundleError(
            f"bundle {bundle.manifest.name!r} holds no report: it was exported without one",
            "pass inputs to make one with: --data X.npz",
        )
    return bundle.members[REPORT]


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``whylite report``."""
    result = argparse.ArgumentParser(
        prog="whylite report",
        description="Write the page that shows what a model looked at, what that was held against and what it costs: "
        "one HTML file that opens offline in any browser. `whylite export` puts it into the bundle.",
        epilog="exit codes: 0 success, 2 wrong usage or bad input",
    )
    result.add_argument("bundle", metavar="BUNDLE", help="what `whylite export` wrote (.why)")
    result.add_argument("-o", "--output-file", metavar="FILE.html", help="where to put it (default: beside the bundle)")
    result.add_argument(
        "--data",
        metavar="X.npz",
        help="make it anew on these inputs: x [N, ...], and perhaps y [N], their true classes (without maps in exact "
        "numerics beside those that ship, which only export has)",
    )
    return result
