"""Integrated Gradients of 64 steps by others, on the same model, weights, input and class, in turn with ours.

Each runs in a process of its own, on one thread, at the batch of steps that suits it best, and explains once when it is
its turn; ratios are taken round by round. Maps are compared too: it must be the same work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np

from edge.bundle import Bundle
from edge.explainer import Explainer
from export import calibration, heads, tflite
from export.tflite.fold import fold

from . import exports
from .figures import Figure, Goal
from .models import OUT, ROOT
from .program import write_program

STEPS = 64
TENSORFLOW, CAPTUM, EXACT = "TensorFlow GradientTape", "Captum", "ours in exact numerics"
GOALS = {TENSORFLOW: 2.0, CAPTUM: 3.0}
_REQUIREMENTS = ROOT / "benchmarks/peers-requirements.txt"
_ROUNDS = 9
_ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclass(frozen=True)
class Worker:
    """A process that explains on request, and what it says of itself."""

    name: str
    batch: int
    process: subprocess.Popen[str]

    def ask(self, request: str) -> Any:
        """Return the answer to a request."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def measure(model: str, path: Path, shipped: Bundle | None) -> list[Figure]:
    """Return the time of each peer over ours, as it ships and in exact numerics, which do the very same work.

    Where a peer is absent, its figure is nan and says why.
    """
    quantised = any(tensor.is_quantized for tensor in tflite.read(path.read_bytes()).graphs[0].tensors)
    exact = exports.export(path, "--method", "integrated_gradients", "--numerics", "deq" if quantised else "f32").bundle
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        write_job(path, exact, folder)
        commands: dict[str, list[str]] = {}
        for key, bundle in (("ours", shipped or exact), (EXACT, exact)):
            bundle.save(folder / f"{len(commands)}.why")
            own = ["-m", "benchmarks.peer_whylite", name, str(folder / f"{len(commands)}.why")]
            commands[key] = [sys.executable, *own]
        commands[TENSORFLOW] = [sys.executable, "-m", "benchmarks.peer_tensorflow", name]
        python, why_not = torch_python()
        commands[CAPTUM] = [str(python), "-m", "benchmarks.peer_torch", name]
        workers: dict[str, Worker] = {}
        absent = {CAPTUM: why_not} if why_not else {}
        for key in [key for key in commands if key not in absent]:
            try:
                workers[key] = running.enter_context(started(commands[key]))
            except OSError as error:
                absent[key] = str(error)
        return [*_compared(model, workers, folder), *(_absent(model, *item) for item in absent.items())]


def _compared(model: str, workers: dict[str, Worker], folder: Path) -> Iterator[Figure]:
    times: dict[str, list[float]] = {key: [] for key in workers}
    for _ in range(_ROUNDS):
        for key, worker in workers.items():
            times[key].append(worker.ask("time"))
    maps = {}
    for key, worker in workers.items():
        worker.ask(f"map {folder / 'map.npy'}")
        maps[key] = np.load(folder / "map.npy")
    for key in (key for key in (TENSORFLOW, CAPTUM) if key in workers):
        for ours, goal in (("ours", Goal(least=GOALS[key])), (EXACT, None)):
            ratios = [theirs / own for theirs, own in zip(times[key], times[ours], strict=True)]
            low, middle, high = quantiles(ratios, n=4, method="inclusive")
            note = (
                f"{_told(workers[key], times[key])}; ours {_told(workers[ours], times[ours])}; "
                f"maps apart by {_difference(maps[ours], maps[key]):.1e}"
            )
            variant = "shipped" if goal else "exact"
            yield Figure(model, f"IG of 64 steps, {key}", variant, middle, low=low, high=high, note=note, goal=goal)


def _told(worker: Worker, times: Sequence[float]) -> str:
    return f"{worker.name} {median(times) * 1e3:.1f} ms at batch {worker.batch}"


def _absent(model: str, key: str, why: str) -> Figure:
    return Figure(model, f"IG of 64 steps, {key}", "", float("nan"), note=f"absent: {why}")


def _difference(left: np.ndarray, right: np.ndarray) -> float:
    """Return the norm of the difference over that of the map."""
    return float(np.linalg.norm(left.reshape(-1) - right.reshape(-1)) / np.linalg.norm(right))


def write_job(path: Path, bundle: Bundle, folder: Path, steps: int = STEPS, rule: str = "riemann_middle") -> None:
    """Leave what a worker is to explain in a folder; ``rule`` is Captum's name of one."""
    graph = fold(tflite.read(path.read_bytes()).graphs[0])
    x = calibration.synthetic(graph, heads.find(graph), 1)
    class_index = Explainer(bundle).predict(x[0]).class_index
    (folder / "model.tflite").write_bytes(path.read_bytes())
    (folder / "job.json").write_text(json.dumps({"class_index": class_index, "steps": steps, "rule": rule}))
    np.save(folder / "x.npy", x.astype(np.float32))
    write_program(graph, folder)


@contextmanager
def started(command: Sequence[str]) -> Iterator[Worker]:
    """Run a worker; raises OSError with its last words where it does not come up."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, env=_ENVIRONMENT, cwd=ROOT
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait()
            said.seek(0)
            raise OSError((said.read().strip().splitlines() or ["no message"])[-1])
        about = json.loads(line)
        try:
            yield Worker(about["name"], about["batch"], process)
        finally:
            process.communicate()


def torch_python() -> tuple[Path, str]:
    """Return the Python of the peers' environment, made on demand, and why there is none (empty where there is)."""
    return environment("peers-venv", _REQUIREMENTS)


def environment(name: str, requirements: Path) -> tuple[Path, str]:
    """Return the Python of an environment in ``out/``, made on demand, and why there is none (empty where there is)."""
    folder = OUT / name
    python, ready = folder / "bin/python", folder / ".ready"
    wanted = requirements.read_text()
    if ready.is_file() and ready.read_text() == wanted:
        return python, ""
    print(f"\nmaking {folder} of {requirements.name} ...", flush=True)
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(requirements)]
    for command in ([sys.executable, "-m", "venv", "--clear", str(folder)], install):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            words = done.stderr.strip().splitlines()
            return python, next((line for line in reversed(words) if line.startswith("ERROR")), (words or ["?"])[-1])
    ready.write_text(wanted)
    return python, ""
