"""Golden vectors: inputs, and every byte that a device must make of them, as TensorFlow Lite Micro does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.micro import attribution_of

from .attribution import attribution
from .model import MicroModel, Stored
from .reference import Reference

_ATTRIBUTIONS = 4  # each of which takes a prediction and a gradient for every step


def vectors(built: MicroModel, inputs: Sequence[Stored]) -> dict[str, NDArray[Any]]:
    """Return the arrays of :data:`edge.micro.GOLDEN`, for at least one input as it is stored, ``[1, ...]``."""
    run, outputs = Reference(built.file()), built.graph.outputs
    found = [run.run([x], len(outputs)) for x in inputs]
    arrays: dict[str, NDArray[Any]] = {"x": np.concatenate(inputs), "scores": np.concatenate([row[0] for row in found])}
    for own in built.explanations:
        place = outputs.index(own.map)
        arrays[own.method] = np.stack([row[place].reshape(own.shape) for row in found])
    chosen = [int(row[0].argmax()) for row in found[:_ATTRIBUTIONS]]
    for own in (own for own in built.explanations if own.steps is not None):
        device = Reference(built.file_of_classes())
        summed = [attribution(built, device, own, x, index) for x, index in zip(inputs, chosen, strict=False)]
        values, scales = attribution_of(own.method)
        arrays[values] = np.stack([one.values for one in summed])
        arrays[scales] = np.stack([one.scale for one in summed])
    return arrays
