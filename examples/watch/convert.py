"""From Keras to TFLite: ``python -m examples.watch.convert`` writes both files and says what int8 costs."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from examples.watch import model as network
from examples.watch.data import TEST_SUBJECTS, calibration, cut, load, of_subjects
from examples.watch.predict import scores
from export import tflite
from export.frontends.keras import to_tflite


def operators(model: bytes) -> list[str]:
    """Return the builtin ops of a ``.tflite``, in order."""
    return [op.code for graph in tflite.read(model).graphs for op in graph.ops]


def main(argv: Sequence[str] | None = None) -> int:
    """Convert, compare int8 with float on the test subjects, write ``watch.tflite`` and ``watch_int8.tflite``."""
    parser = argparse.ArgumentParser(prog="python -m examples.watch.convert", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("out"), help="folder (default: %(default)s)")
    folder = parser.parse_args(argv).output
    recordings = load()
    model = network.load()
    tested = cut(of_subjects(recordings, TEST_SUBJECTS))
    with redirect_stdout(io.StringIO()):  # Keras lists every variable it exports
        files = {"watch.tflite": to_tflite(model), "watch_int8.tflite": to_tflite(model, calibration(recordings).x)}
    folder.mkdir(parents=True, exist_ok=True)
    answers = {name: scores(content, tested.x) for name, content in files.items()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
        share = (answers[name].argmax(axis=1) == tested.y).mean()
        print(f"{folder / name}: {len(content)} bytes, {share:.1%} of {len(tested)} windows of unseen subjects")
        print(f"  {' '.join(operators(content))}")
    exact, rounded = answers.values()
    agreement = (exact.argmax(axis=1) == rounded.argmax(axis=1)).mean()
    print(f"int8 and float give the same answer on {agreement:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
