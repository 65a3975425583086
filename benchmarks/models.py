"""The models that are measured: real ones from next to the checkout, the rest made here and kept in ``out/``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
OUT = ROOT / "out"
SHARED = Path(os.environ.get("WHYLITE_SHARED", ROOT.parent / "shared"))
RESNET, VWW, KWS, MOBILENET, WATCH = "ResNet-8", "VWW", "KWS", "MobileNet v2", "watch"
MLPERF_TINY = {RESNET: "pretrainedResnet_quant.tflite", VWW: "vww_96_int8.tflite", KWS: "kws_ref_model.tflite"}


def models(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Yield the models to measure by name, and say which of the usual ones are absent."""
    if paths:
        yield from ((path.stem, path) for path in paths)
        return
    for name, file in MLPERF_TINY.items():
        path = SHARED / "models/mlperf_tiny" / file
        if path.is_file():
            yield name, path
        else:
            print(f"\n{name}: absent, {path} is not there (set WHYLITE_SHARED)")
    yield WATCH, watch()
    yield MOBILENET, mobilenet()


def watch() -> Path:
    """Return the watch example's model in int8, converted if it was not yet."""
    path = OUT / "watch_int8.tflite"
    if not path.is_file():
        _make(path, "examples.watch.convert", "-o", str(path.parent))
    return path


def mobilenet() -> Path:
    """Return MobileNet v2 of 1000 classes at 224 pixels in int8, made if it was not yet.

    Its weights are random, its batch normalisation fits them: cost and size are those of a trained one, answers mean
    nothing.
    """
    path = OUT / "mobilenet_v2_int8.tflite"
    if not path.is_file():
        _make(path, "benchmarks.make_mobilenet", str(path))
    return path


def _make(path: Path, module: str, *arguments: str) -> None:
    """Run a module that makes a model, in a process of its own: TensorFlow is not to be about when things are timed."""
    print(f"\nmaking {path.name} ...", flush=True)
    path.parent.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
