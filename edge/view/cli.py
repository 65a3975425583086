"""``whylite explain``: the explanation of one input as a picture."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..arguments import natural, positive
from ..bundle import ensure_writable, write_whole
from ..errors import EdgeError, InputError, WhyLiteError
from ..explainer import Explainer
from ..explanation import Explanation, Flag
from ..interpreter import RUNTIMES
from ..manifest import LOGITS, Manifest
from ..sources import npz
from .words import figures_of, flags_of, subject_of

_BEST = 5


def main(argv: Sequence[str]) -> int:
    """Run ``whylite explain``; 0 success, 2 wrong usage or bad input."""
    arguments = parser().parse_args(argv[1:])
    try:
        said = _explain(arguments)
    except WhyLiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(said.encode("utf-8", "backslashreplace").decode())
    return 0


def _explain(arguments: argparse.Namespace) -> str:
    path = None if arguments.output_file is None else Path(arguments.output_file)
    if path is not None:
        _ensure_drawable(path, (arguments.bundle, arguments.input))
    explainer = Explainer.load(arguments.bundle, interpreter=arguments.interpreter)
    manifest = explainer.manifest
    method = manifest.head(arguments.method or manifest.heads[0].method).method
    stored = npz.read(arguments.input, manifest.input_shape, len(manifest.labels))
    if not 0 <= arguments.index < len(stored):
        raise InputError(
            f"{arguments.input} has no input {arguments.index}", f"it has {len(stored)}, counted from 0: --index"
        )
    for sample in stored.x[: arguments.index] if manifest.state is not None else ():
        explainer.predict(sample)  # a streaming model is in the state in which this input finds it
    x = stored.x[arguments.index]
    explanation = explainer.explain(
        x, method, class_index=arguments.class_index, steps=arguments.steps, tolerance=arguments.tolerance
    )
    if path is not None:
        from .picture import draw

        write_whole(path, draw(x, explanation, manifest))
    return json.dumps(_document(explanation, manifest)) if arguments.json else _line(explanation, manifest)


def _ensure_drawable(path: Path, inputs: Sequence[str]) -> None:
    for file in inputs:
        # What is not there, or is no name of a file, is said where it is read.
        with contextlib.suppress(OSError, ValueError):
            if path.samefile(file):
                raise InputError(f"cannot write {path}: it is an input ({file})", "name another file with -o")
    if importlib.util.find_spec("matplotlib") is None:
        raise EdgeError("drawing takes matplotlib, which is not installed", "pip install 'whylite[plot]'")
    ensure_writable(path)


def _line(explanation: Explanation, manifest: Manifest) -> str:
    score = explanation.scores[explanation.class_index]
    what = f"{explanation.method} for {subject_of(explanation, manifest)} (score {score:.3g})"
    return ", ".join([what, *figures_of(explanation, manifest.head(explanation.method)), *flags_of(explanation)])


def _document(explanation: Explanation, manifest: Manifest) -> dict[str, object]:
    best = np.argsort(-explanation.scores, kind="stable")[:_BEST].tolist()
    finite = np.where(np.isfinite(explanation.map), explanation.map, 0)
    residual = explanation.residual
    unit = manifest.head(explanation.method).map_unit
    return {
        "method": explanation.method,
        "layer": explanation.layer,
        "class_index": explanation.class_index,
        "label": manifest.labels[explanation.class_index],
        "scores": [
            {"class_index": i, "label": manifest.labels[i], "score": float(explanation.scores[i])} for i in best
        ],
        "map": {
            "shape": list(explanation.map.shape),
            "unit": unit or None,
            "sum": float(finite.sum(dtype=np.float64)) if unit == LOGITS else None,
            "minimum": float(finite.min()),
            "maximum": float(finite.max()),
        },
        "residual": residual if residual is None or np.isfinite(residual) else None,
        "steps": explanation.steps,
        "flags": [str(flag.name) for flag in Flag if flag and flag in explanation.flags],
        "warnings": flags_of(explanation),
    }


def parser() -> argparse.ArgumentParser:
    """Return the parser of ``whylite explain``."""
    result = argparse.ArgumentParser(
        prog="whylite explain",
        description="Explain one input: print what the map amounts to, and draw it as a picture with -o (which needs "
        "whylite[plot]).",
        epilog="exit codes: 0 success, 2 wrong usage or bad input",
    )
    add = result.add_argument
    add("bundle", metavar="BUNDLE", help="what `whylite export` wrote (.why)")
    add("--input", required=True, metavar="X.npz", help="inputs: x [N, ...], float as the model was trained on")
    add("--index", type=int, default=0, metavar="N", help="which of them, counted from 0 (default: 0)")
    add("--method", metavar="NAME", help="explain with this method (default: the bundle's first)")
    add("--class", type=int, dest="class_index", metavar="C", help="explain this class (default: the predicted one)")
    add(
        "--steps",
        type=natural,
        metavar="N",
        help="of Integrated Gradients, as many as one of the bundle's schedules has; of SmoothGrad, noisy copies",
    )
    add(
        "--tolerance",
        type=positive,
        metavar="PART",
        help="take steps of Integrated Gradients until no more than this part of the logit's change is unexplained",
    )
    add("-o", "--output-file", metavar="OUT.png", help="where to put the picture")
    add("--json", action="store_true", help="print the figures as one JSON document")
    add(
        "--interpreter",
        choices=("auto", *RUNTIMES),
        default="auto",
        help="which TFLite to use (default: the first of them that is installed)",
    )
    return result
