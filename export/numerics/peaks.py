"""What calibration inputs show of a graph of gradients: the largest absolute value of each channel."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import interpreter

from ..clock import within
from ..tflite.graph import Graph, Model, Signature, Tensor
from ..tflite.ops import INT32, Builder, prune
from ..tflite.options import ReducerOptions
from ..tflite.writer import write

_SECONDS = 4.0
_CLASSES_PER_INPUT = 4


@dataclass(frozen=True)
class Calibration:
    """What entries of gradients are given for real inputs, the baseline of integration, and how many classes there are.

    Each of ``given`` holds ``x`` with its batch dimension, and whatever else belongs to that input. Where it does not
    name the ``class_index``, classes take turns.
    """

    given: Sequence[Mapping[str, NDArray[Any]]]
    baseline: NDArray[np.float32]
    classes: int


def find(
    graph: Graph,
    inputs: Mapping[str, Tensor],
    wanted: Sequence[Tensor],
    calibration: Calibration,
    seconds: float = _SECONDS,
) -> dict[Tensor, NDArray[np.float64]]:
    """Return the peaks of the ``wanted`` float tensors, ``[channels]`` each, over calibration inputs and classes.

    They are reduced in the graph, so that activations need no more memory than they do when it runs. Calls for which
    there is no time in ``seconds`` are left out.
    """
    watched = graph.copy("peaks")
    builder = Builder(watched, "peak/")
    outputs = {}
    for number, tensor in enumerate(wanted):
        size = builder.op("ABS", [tensor], tensor.shape)
        axes = builder.constant(np.arange(len(tensor.shape) - 1), INT32)
        outputs[f"p{number}"] = builder.op("REDUCE_MAX", [size, axes], tensor.shape[-1:], ReducerOptions())
    watched.outputs = list(outputs.values())
    instance, _ = interpreter.load(write(Model([watched], [Signature("peaks", watched, dict(inputs), outputs)])))
    run = instance.get_signature_runner("peaks")
    peaks = {tensor: np.zeros(tensor.shape[-1]) for tensor in wanted}
    for given in within(seconds, _calls(inputs, calibration)):
        found = run(**given)
        for number, tensor in enumerate(wanted):
            np.maximum(peaks[tensor], found[f"p{number}"], out=peaks[tensor])
    return peaks


def _calls(inputs: Mapping[str, Tensor], calibration: Calibration) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield what to call a saliency or integration entry with: every input in turn, each time with another class."""
    random = np.random.default_rng(0)
    classes = itertools.cycle(random.permutation(calibration.classes))
    undecided = [own for own in calibration.given if "class_index" not in own]
    decided = [own for own in calibration.given if "class_index" in own]
    for own in [*decided, *undecided * _CLASSES_PER_INPUT]:
        given = {"class_index": np.asarray([next(classes)], np.int32), **own}
        if "alphas" in inputs:
            steps = inputs["alphas"].shape[0]
            given["alphas"] = ((np.arange(steps) + random.uniform(size=steps)) / steps).astype(np.float32)
            given["weights"] = np.full(steps, 1 / steps, np.float32)
            given["baseline"] = calibration.baseline[None]
        if "noise" in inputs:
            given["noise"] = random.normal(size=inputs["noise"].shape).astype(np.float32)
            given["weights"] = np.full(inputs["weights"].shape, 1 / inputs["weights"].shape[0], np.float32)
        yield given


def of_classes(graph: Graph, index: Tensor, seeds: Sequence[Tensor], classes: int) -> list[NDArray[np.float64]]:
    """Return the ``seeds``, which depend on the class alone, for each class, ``[classes, ...]`` each."""
    part = graph.copy("seeds")
    part.inputs, part.outputs = [index], list(seeds)
    prune(part)
    names = {f"s{number}": seed for number, seed in enumerate(seeds)}
    instance, _ = interpreter.load(write(Model([part], [Signature("seeds", part, {"index": index}, names)])))
    run = instance.get_signature_runner("seeds")
    found = [run(index=np.asarray([number], np.int32)) for number in range(classes)]
    return [np.asarray([values[name] for values in found], np.float64) for name in names]


def size_of_classes(seeds: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the largest absolute value of all seeds, for each class."""
    return np.asarray(np.max([np.abs(seed).reshape(len(seed), -1).max(1) for seed in seeds], axis=0))
