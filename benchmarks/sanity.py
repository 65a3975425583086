"""Which methods pass the sanity checks on trained models, and what is measured of them.

``python -m benchmarks.sanity [--json FILE] [--seconds N]``.

Khakzar et al. 2020 (arXiv 2012.00362) found that methods which keep positive gradients only no longer depend on the
class nor on what the model has learned. Every method is checked on the watch example's model with its own recordings,
and on MLPerf Tiny's where they lie next to the checkout, with crops of photographs and recorded words.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.manifest import Check, Measure
from export import tables
from export.compiling import compile_methods
from export.errors import UnsupportedModelError
from export.methods import METHODS
from export.numerics import NUMERICS
from export.trust import Cascade, measures, sanity_checks
from export.trust.sanity import CLASS, EDGES, RANDOMIZATION

from .models import KWS, MLPERF_TINY, OUT, RESNET, SHARED, VWW, WATCH, watch

Array = NDArray[np.float32]
_INPUTS = 16
_TITLES = {CLASS: "class", RANDOMIZATION: "parameters", EDGES: "edges"}


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table per model and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sanity", description=__doc__)
    parser.add_argument("--json", type=Path, default=OUT / "sanity.json", help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=60.0, help="per method and model (default: %(default)s)")
    options = parser.parse_args(argv)
    rows, figures = [], []
    for name, path, x in subjects():
        print(f"\n{name}\n  {'method':<22}" + "".join(f"{title:>24}" for title in _TITLES.values()), flush=True)
        measured: list[Measure] = []
        for method in METHODS:
            checks, of_method, notes = checked(path.read_bytes(), method, x, options.seconds)
            print(line(method, checks), *notes, flush=True)
            rows += [{"model": name} | asdict(check) for check in checks]
            measured += of_method
        print("", *tables.measures(measured), sep="\n", flush=True)
        figures += [{"model": name} | asdict(measure) for measure in measured]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"checks": rows, "measures": figures}, indent=1))
    print(f"written to {options.json}")
    return 0


def subjects() -> Iterator[tuple[str, Path, Array]]:
    """Yield each model that is there, by name, with real inputs."""
    from examples.watch.data import calibration, load

    yield WATCH, watch(), calibration(load()).x[:: len(calibration(load()).x) // _INPUTS][:_INPUTS]
    if not SHARED.is_dir():
        print(f"\n{', '.join(MLPERF_TINY)}: absent, {SHARED} is not there (set WHYLITE_SHARED)")
        return
    from tests.references.inputs import photographs, words

    inputs: dict[str, Callable[[], Array]] = {
        RESNET: partial(photographs, 32, _INPUTS),
        VWW: partial(photographs, 96, _INPUTS, 1 / 255),
        KWS: partial(words, _INPUTS),
    }
    for name, make in inputs.items():
        yield name, SHARED / "models/mlperf_tiny" / MLPERF_TINY[name], make()


def checked(
    original: bytes, name: str, x: Array, seconds: float
) -> tuple[tuple[Check, ...], tuple[Measure, ...], tuple[str, ...]]:
    """Return the sanity checks and measures of one method in exact numerics, and notes."""
    again = partial(compile_methods, methods=[METHODS[name]()], numerics=NUMERICS["deq"])
    try:
        shipped = again(original)
    except UnsupportedModelError as error:
        return (), (), (error.cause,)
    baseline = np.zeros_like(x[0])
    found = sanity_checks(shipped, again, x, baseline, cascade=lambda: Cascade(original), seconds=seconds)
    measured = measures(shipped, found.maps, baseline)
    return found.checks, measured.rows, found.notes + measured.notes


def line(method: str, checks: Sequence[Check]) -> str:
    """Return one line of the table: each value with its bound, failed ones marked."""
    by_name = {check.name.removeprefix(f"{method} "): check for check in checks}
    cells = []
    for title in _TITLES:
        check = by_name.get(title)
        mark = "" if check is None or check.passed else "FAILED "
        cells.append(f"{'undecided' if check is None else f'{mark}{check.value:.2f} of {check.bound:.2f}':>24}")
    return f"  {method:<22}" + "".join(cells) + ("" if METHODS[method].signed else "  visual aid")


if __name__ == "__main__":
    raise SystemExit(main())
