"""What explaining costs in time: every entry that WhyLite compiles, against one plain inference of the same model.

In LiteRT on one thread; how that is timed and how far to trust it is told in ``benchmarks.timing``. Only ``invoke`` is
timed, on a file whose primary subgraph is the entry, without the Python around signatures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export import calibration, heads, tflite
from export.compiling import compile_methods
from export.errors import UnsupportedModelError
from export.methods import GradCAM, IntegratedGradients, Method, Saliency
from export.numerics import Calibration, Numerics
from export.targets import PI
from export.tflite.fold import fold

from .figures import Figure, Goal
from .models import KWS, MOBILENET, RESNET, VWW
from .partitions import DELEGATE, executed
from .timing import Ratio, Setting, ratios

AGAIN = "plain model again (A/A)"
PREDICT = "predict beside explanations"
GRADCAM, GRADCAM_CLASS = "gradcam, predicted class", "gradcam, any class"
STEP, GRADIENT = "IG step, best batch", "input gradient, batch 1"
GRADCAM_GOALS = {RESNET: 1.005, VWW: 1.005, KWS: 1.02, MOBILENET: 1.002}
STEP_GOAL, GRADIENT_GOAL = 2.0, 2.3
BATCHES = (1, 2, 4, 8, 16)
_SLOW_US = 2000.0


@dataclass(frozen=True)
class Candidate:
    """A compiled entry as a file of its own; ``steps`` interpolation steps share one run of it."""

    what: str
    numerics: str
    file: bytes
    steps: int = 1


def measure(model: str, file: bytes, effort: int, shipped: str | None) -> list[Figure]:
    """Return a figure for each candidate of a model, and first one for the model itself.

    ``shipped`` is the numerics that ``export`` chose: what goals are about. What adds a per cent is told from noise by
    many fresh instances, what multiplies by a few.
    """
    quantised = any(tensor.is_quantized for tensor in tflite.read(file).graphs[0].tensors)
    numerics = PI.candidates("auto", quantized=quantised)
    close = [Candidate(AGAIN, "", file), *_gradcam(file, numerics[0])]
    far = [candidate for kind in numerics for candidate in _gradients(file, kind)]
    slow = _time(file, close[:1], instances=1, rounds=1)[close[0]].reference_us > _SLOW_US
    timed = _time(file, close, instances=(3 if slow else 8) * effort, rounds=10)
    rounds = 5 if slow else 15
    timed |= _time(file, far, instances=1 + effort // 2, rounds=rounds)
    return [_figure(model, candidate, timed, close[0], shipped) for candidate in (*close, *far)]


def _gradcam(file: bytes, numerics: Numerics) -> Iterator[Candidate]:
    methods: list[Method] = [GradCAM(), IntegratedGradients()]
    try:
        compiled = compile_methods(file, methods, numerics)
    except UnsupportedModelError as error:
        print(f"gradcam: {error.cause.splitlines()[0]}")
        return
    yield Candidate(PREDICT, numerics.name, compiled.file)
    for entry, what in zip(compiled.compiled[GradCAM.name].entries, (GRADCAM, GRADCAM_CLASS), strict=True):
        yield Candidate(what, numerics.name, _alone(file, entry.graph))


def _gradients(file: bytes, numerics: Numerics) -> Iterator[Candidate]:
    """Yield the input gradient, and steps of Integrated Gradients in the batch that is fastest per step."""
    try:
        found = list(_entries(file, numerics))
    except UnsupportedModelError as error:
        print(f"gradients: {error.cause.splitlines()[0]}")
        return
    yield found[0]
    steps = found[1:]
    quick = _time(file, steps, instances=1, rounds=3)
    yield min(steps, key=lambda candidate: quick[candidate].per(candidate.steps).median)


def _entries(file: bytes, numerics: Numerics) -> Iterator[Candidate]:
    seen = _calibration(file)
    saliency = compile_methods(file, [Saliency()], numerics, seen).compiled[Saliency.name]
    yield Candidate(GRADIENT, numerics.name, _alone(file, saliency.entries[0].graph))
    for batch in BATCHES:
        method = compile_methods(file, [IntegratedGradients(batch)], numerics, seen).compiled[IntegratedGradients.name]
        yield Candidate(STEP, numerics.name, _alone(file, method.entries[0].graph), batch)


def _calibration(file: bytes) -> Calibration:
    """Return a few made-up inputs, for numerics that ask for some."""
    graph = fold(tflite.read(file).graphs[0])
    head = heads.find(graph)
    x = calibration.synthetic(graph, head, 4)
    return Calibration([{"x": one[None]} for one in x], np.zeros(x.shape[1:], np.float32), head.classes)


def _alone(file: bytes, graph: tflite.Graph) -> bytes:
    return tflite.write(tflite.Model([graph], origin=tflite.read(file).origin))


def _time(file: bytes, found: list[Candidate], *, instances: int, rounds: int) -> dict[Candidate, Ratio]:
    def set_up() -> Setting:
        return ready(file).invoke, {str(index): ready(c.file).invoke for index, c in enumerate(found)}

    timed = ratios(set_up, instances=instances, rounds=rounds)
    return {candidate: timed[str(index)] for index, candidate in enumerate(found)}


def _figure(
    model: str, candidate: Candidate, timed: dict[Candidate, Ratio], again: Candidate, shipped: str | None
) -> Figure:
    ratio = timed[candidate].per(candidate.steps)
    run = executed(ready(candidate.file))
    parts = f"{ratio.candidate_us:.1f} us, {run[DELEGATE]} delegated + {sum(run.values()) - run[DELEGATE]} ops"
    at = f"batch {candidate.steps}, " if candidate.what == STEP else ""
    goal = None
    if candidate.what == PREDICT:
        noise = max(abs(bound - 1) for bound in (timed[again].low, timed[again].high))
        goal = Goal(most=1 + noise, text=f"<= 1 + {noise:.2g} (A/A)")
    elif candidate.what == GRADCAM and model in GRADCAM_GOALS:
        goal = Goal(most=GRADCAM_GOALS[model])
    elif candidate.numerics == shipped and candidate.what in (STEP, GRADIENT):
        goal = Goal(most=STEP_GOAL if candidate.what == STEP else GRADIENT_GOAL)
    numerics = "" if candidate.what in (AGAIN, PREDICT, GRADCAM, GRADCAM_CLASS) else candidate.numerics
    return Figure(
        model, candidate.what, numerics, ratio.median, low=ratio.low, high=ratio.high, note=at + parts, goal=goal
    )


def ready(file: bytes) -> Interpreter:
    """Return an interpreter on one thread whose inputs hold something."""
    interpreter = Interpreter(model_content=file, num_threads=1)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for port in interpreter.get_input_details():
        shape, dtype = port["shape"], np.dtype(port["dtype"])
        if port["name"] in {"alphas", "weights"}:
            value = (np.arange(shape[0]) + 0.5) / shape[0]
        elif dtype == np.int32:  # the class
            value = np.zeros(shape)
        else:
            value = rng.normal(0, 1, shape) if dtype.kind == "f" else rng.integers(0, 100, shape)
        interpreter.set_tensor(port["index"], value.astype(dtype))
    interpreter.invoke()
    return interpreter
