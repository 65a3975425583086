"""Whether what a microcontroller computes is the model's answer, and its explanation: held against exact arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.manifest import Check

from .. import choose
from ..c import Explained
from ..clock import within
from ..methods import WALKS, Role
from ..shipped import Shipped, store_input
from ..tflite.graph import Tensor
from .model import ONE, MicroModel, interpolated, stored
from .reference import Reference

Array = NDArray[np.float32]
Explain = Callable[[Array, int | None], Array]

_SAMPLES, _SECONDS = 16, 20.0


_FEWEST = 4  # maps of which there is something to rank: half of those of the fewest inputs that are held back


@dataclass(frozen=True)
class Fidelity:
    """The check of one explanation, whose value is the median rank correlation; ``tail`` is the 5th percentile.

    Where too few maps had anything to rank there is no check, but a note.
    """

    check: Check | None
    tail: float | None
    notes: tuple[str, ...] = ()


def predictions(built: MicroModel, shipped: Shipped, x: Array) -> Check:
    """Scores against those that TensorFlow Lite Micro gives for the original model, bit for bit."""
    original, own = Reference(shipped.original), Reference(built.file())
    head = shipped.source.head
    place = shipped.source.graph.outputs.index(head.scores)
    different = compared = 0
    for sample in within(_SECONDS, x, at_least=16):
        compared += 1
        value = stored(built.input, sample)
        entered = real(built.input, value).astype(np.float32)
        expected = original.run([store_input(head.input, entered)], place + 1)[place]
        scores = own.run([value], 1)[0]
        different += real(head.scores, expected).tobytes() != real(built.scores, scores).tobytes()
    return Check(
        "microcontroller's predictions",
        different,
        0,
        different == 0,
        compared,
        "inputs whose scores differ in any bit from the original's in TensorFlow Lite Micro",
    )


def fidelities(built: MicroModel, exact: Shipped, baseline: Array, x: Array) -> list[Fidelity]:
    """Return how alike each explanation's maps are to those of exact arithmetic, of the same class at the same steps.

    Each input, as the int8 input holds it, is explained for the class that is predicted of it and for another.
    TensorFlow Lite Micro stands in for the device, ``exact`` is the model in exact arithmetic, and ``baseline`` where
    Integrated Gradients starts there. Maps that are constant on both sides, as GradCAM's of all zeros, have no part in
    it; one that is so on one side counts as 0.
    """
    found = []
    device = Reference(built.file_of_classes())
    classes = exact.source.head.classes
    given = np.stack([real(built.input, stored(built.input, sample)).reshape(sample.shape) for sample in x[:_SAMPLES]])
    given = given.astype(np.float32)
    for explanation in built.explanations:
        explain = [exactly(exact, baseline, explanation), on_device(built, device, explanation, exact)]
        found.append(_decided(explanation.method, choose.fidelities(explain, given, classes, _SECONDS, _FEWEST)[1]))
    return found


def _decided(method: str, alike: Sequence[choose.Likeness | None]) -> Fidelity:
    """Return what is decided by maps of inputs, two of each."""
    name = f"{method} fidelity on a microcontroller"
    told = [own for own in alike if own is not None]
    constant = len(alike) - len(told)
    if len(told) < _FEWEST:
        note = (
            f"{name} was not decided: {constant} of {len(alike)} maps are constant in exact arithmetic and in int8, "
            f"such as all zeros, and {len(told)} of at least {_FEWEST} are not"
        )
        return Fidelity(None, None, (note,))
    rho, signs, top = np.transpose(told)
    p50, p05 = np.quantile(rho, (0.5, 0.05)).tolist()
    check = Check(
        name,
        p50,
        choose.FIDELITY_BOUND,
        p50 >= choose.FIDELITY_BOUND and p05 >= choose.TAIL_BOUND,
        len({place // 2 for place, own in enumerate(alike) if own is not None}),
        f"median rank correlation with exact arithmetic, at least the bound; 5th percentile {p05:.3f} of "
        f"{choose.TAIL_BOUND}; beside it, signs agree in {np.median(signs):.1%} of values, largest tenths in "
        f"{np.median(top):.1%}",
        method,
    )
    if not constant:
        return Fidelity(check, p05)
    left_out = f"{constant} of {len(alike)} maps are constant on both sides, and do not count"
    return Fidelity(replace(check, detail=f"{check.detail}; {left_out}"), p05, (f"{name}: {left_out}",))


def exactly(exact: Shipped, baseline: Array, explanation: Explained) -> Explain:
    """Return a method in exact arithmetic, at the steps that the device takes."""
    method = exact.compiled[explanation.method]
    entry = method.entry(Role.CHOSEN, *WALKS)
    assert entry is not None

    def explain(sample: Array, class_index: int | None) -> Array:
        chosen = np.asarray([_class(exact, sample, class_index)], np.int32)
        at_layer = entry.role is Role.CHOSEN
        given = exact.step(entry, exact.stored(sample)) if at_layer else exact.entered(sample)
        if explanation.steps is None:
            found = exact.runtime.call(entry.key, **given, class_index=chosen)["map"]
            return np.asarray(found.reshape(explanation.shape) * np.float32(entry.unit))
        extra = _calls(explanation, baseline, method.steps_per_call)
        parts = [exact.runtime.call(entry.key, **given, **own, class_index=chosen)["map"] for own in extra]
        return np.asarray(np.sum(parts, 0)[0] * np.float32(entry.unit) * (sample - baseline))

    return explain


def _calls(explanation: Explained, baseline: Array, at_once: int) -> list[dict[str, Array]]:
    """Return the steps of an explanation as calls of so many at once, the last filled up with steps of no weight."""
    steps = explanation.steps
    assert steps is not None
    size = -(-len(steps.nodes) // at_once) * at_once
    nodes, weights = np.zeros(size, np.float32), np.zeros(size, np.float32)
    nodes[: len(steps.nodes)], weights[: len(steps.nodes)] = np.divide([steps.nodes, steps.weights], ONE)
    pairs = zip(nodes.reshape(-1, at_once), weights.reshape(-1, at_once), strict=True)
    return [{"baseline": baseline[None], "alphas": a, "weights": w} for a, w in pairs]


def on_device(built: MicroModel, device: Reference, explanation: Explained, model: Shipped) -> Explain:
    """Return a method as firmware computes it, up to the unit of its class."""
    place = built.outputs_of_classes.index(explanation.map)

    def gradient(x: NDArray[np.int8], class_index: int) -> NDArray[np.float64]:
        found = device.run([x, np.asarray([class_index], np.int32)], place + 1)[place]
        return real(explanation.map, found) * explanation.units[class_index]

    def explain(sample: Array, class_index: int | None) -> Array:
        chosen, x, steps = _class(model, sample, class_index), stored(built.input, sample), explanation.steps
        if steps is None:
            return np.asarray(gradient(x, chosen)[0], np.float32)
        pairs = zip(steps.nodes, steps.weights, strict=True)
        points = [gradient(interpolated(x, steps.baseline, node), chosen) * weight / ONE for node, weight in pairs]
        way = real(built.input, x) - real(built.input, steps.baseline)
        return np.asarray((np.sum(points, 0) * way)[0], np.float32)

    return explain


def _class(model: Shipped, sample: Array, class_index: int | None) -> int:
    return int(model.scores(model.stored(sample)).argmax()) if class_index is None else class_index


def real(tensor: Tensor, values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the real values of what a tensor holds, which may be real numbers already."""
    if values.dtype.kind == "f" or tensor.quantization is None:
        return values.astype(np.float64)
    return tensor.quantization.dequantize(values).astype(np.float32).astype(np.float64)
