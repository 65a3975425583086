"""One method of a compiled model as a function: an input and a class in, a map out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..choose import step_inputs
from ..methods import WALKS, Role
from ..shipped import Shipped

Array = NDArray[np.float32]
Explain = Callable[[Array, int], NDArray[Any]]
"""From an input (float, without the batch) and a class to the map, in the method's shape."""

STEPS = 8
"""Of Integrated Gradients, by the midpoint rule, or as many more as fill its calls: maps are held against maps made
alike only."""


def attribution(shipped: Shipped, name: str, baseline: Array) -> Explain:
    """Return a method as a function."""
    method = shipped.compiled[name]
    entry = method.entry(Role.CHOSEN, *WALKS)
    assert entry is not None
    at_once = max(method.steps_per_call, 1)
    calls = step_inputs(entry, baseline, -(-STEPS // at_once) * at_once)

    def explain(sample: Array, class_index: int) -> NDArray[Any]:
        at_layer = entry.role is Role.CHOSEN
        given = shipped.step(entry, shipped.stored(sample)) if at_layer else shipped.entered(sample)
        chosen = np.asarray([class_index], np.int32)
        parts = [shipped.runtime.call(entry.key, **given, **extra, class_index=chosen)["map"] for extra in calls]
        total = np.sum(parts, 0) * np.float32(entry.unit)
        if entry.role is Role.STEPS:
            total = total * (given["x"] - baseline[None])
        return np.asarray(total.reshape(method.map_shape))

    return explain
