"""What an export takes and leaves: its time, the size of what it makes, and the memory that explaining takes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from edge.bundle import Bundle
from export import memory, tflite
from export.methods import IntegratedGradients

from .figures import Figure, Goal
from .models import MOBILENET, ROOT, VWW
from .plan import planned

TIME_GOALS = {VWW: 10.0, MOBILENET: 60.0}
_SMALL, _PART, _WITH_STEPS = 2000, 0.02, 2.1


@dataclass(frozen=True)
class Exported:
    """A finished export: the bundle, its size as a file, and the seconds it took by the clock and of processors."""

    bundle: Bundle
    size: int
    seconds: float
    processor: float


def export(path: Path, *options: str) -> Exported:
    """Run ``whylite export`` as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "x.why"
        command = [sys.executable, "-m", "whylite", "export", str(path.resolve()), "-o", str(out), "--json", *options]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        seconds, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise RuntimeError(done.stderr)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Exported(Bundle.open(out), out.stat().st_size, seconds, processor)


def measure(model: str, path: Path) -> tuple[Exported, list[Figure]]:
    """Return an export with all defaults, and the figures of it and of one with GradCAM alone."""
    whole = export(path)
    gradcam = export(path, "--method", "gradcam")
    original = path.stat().st_size
    manifest = whole.bundle.manifest
    head = manifest.head(IntegratedGradients.name)
    figures = [
        Figure(
            model,
            "export",
            manifest.numerics,
            whole.seconds,
            "s",
            note=f"{whole.processor:.1f} s of processors, Python's start included",
            goal=Goal(most=TIME_GOALS[model], text=f"<= {TIME_GOALS[model]:g} s") if model in TIME_GOALS else None,
        ),
        _size(model, "size with GradCAM", gradcam, original, max(1 + _PART, 1 + _SMALL / original)),
        _size(model, "size with GradCAM and IG", whole, original, _WITH_STEPS),
    ]
    if head.peak_memory is not None:
        signatures = tflite.read(whole.bundle.model).signatures
        steps = next(signature.graph for signature in signatures if signature.key == head.chosen)
        (plain,) = memory.peaks(_callable(path), [["serving_default"]])
        note = (
            f"batch {head.steps_per_call}; the plain model takes {memory.spoken(plain)}; activations alive at once "
            f"{memory.spoken(planned(steps))}"
        )
        figures.append(Figure(model, "peak memory of IG", manifest.numerics, head.peak_memory, "B", note=note))
    return whole, figures


def _size(model: str, what: str, exported: Exported, original: int, most: float) -> Figure:
    """Return the size of the explained model; a bundle also holds golden vectors and the manifest."""
    size = len(exported.bundle.model)
    note = f"{size - original:+,} bytes on {original:,}; the bundle with its proofs {exported.size:,}"
    return Figure(model, what, "", size / original, note=note, goal=Goal(most=most, text=f"<= {most:.3g}"))


def _callable(path: Path) -> bytes:
    """Return the model as it came, with a signature."""
    model = tflite.read(path.read_bytes())
    graph = model.graphs[0]
    inputs, outputs = ({tensor.name: tensor for tensor in side} for side in (graph.inputs, graph.outputs))
    model.signatures = [tflite.Signature("serving_default", graph, inputs, outputs)]
    return tflite.write(model)
