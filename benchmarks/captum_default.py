"""Wall-clock time of Captum's default (Gauss-Legendre, 50 steps) over ours for no more residual and map error."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles

from export import tflite

from . import exports, peers
from .figures import Figure, Goal

STEPS, RULE = 50, "gausslegendre"
GOAL = Goal(least=8.0)
_ROUNDS = 9
_METHOD = ("--method", "integrated_gradients")


def compare(model: str, path: Path, steps: int) -> Figure:
    """Return the ratio of times, round by round, with ours in exact numerics at a static schedule of ``steps``.

    On one thread each, Captum at the batch of steps that suits it best. Where the steps lie takes no time, so any of
    that many are timed. The figure is nan, and says why, where Captum is absent.
    """
    what, variant = "IG by Captum's default", "exact"
    python, why_not = peers.torch_python()
    if why_not:
        return Figure(model, what, variant, float("nan"), note=f"absent: {why_not}")
    quantised = any(tensor.is_quantized for tensor in tflite.read(path.read_bytes()).graphs[0].tensors)
    bundle = exports.export(path, *_METHOD, "--numerics", "deq" if quantised else "f32").bundle
    with tempfile.TemporaryDirectory() as theirs, tempfile.TemporaryDirectory() as own, ExitStack() as running:
        peers.write_job(path, bundle, Path(theirs), STEPS, RULE)
        peers.write_job(path, bundle, Path(own), steps)
        bundle.save(Path(own) / "ours.why")
        ours = [sys.executable, "-m", "benchmarks.peer_whylite", own, str(Path(own) / "ours.why")]
        workers = [
            running.enter_context(peers.started(command))
            for command in ([str(python), "-m", "benchmarks.peer_torch", theirs], ours)
        ]
        times = [[worker.ask("time") for worker in workers] for _ in range(_ROUNDS)]
    low, middle, high = quantiles([captum / whylite for captum, whylite in times], n=4, method="inclusive")
    note = ", ".join(
        f"{worker.name}: {sorted(column)[_ROUNDS // 2] * 1e3:.1f} ms at batch {worker.batch}"
        for worker, column in zip(workers, zip(*times, strict=True), strict=True)
    )
    note += f"; {STEPS} steps and {steps}"
    return Figure(model, what, variant, middle, low=low, high=high, note=note, goal=GOAL)
