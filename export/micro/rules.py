"""The rules of gradients for microcontrollers: those of floats but for ops whose own have no int8 form."""

from __future__ import annotations

import numpy as np

from ..methods.cam import spatial_mean
from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, Value
from ..tflite.graph import Graph, Op, Tensor
from ..tflite.ops import elements
from ..vjp.backward import GRADIENT, Rules
from .activation import hard_swish
from .largest import reduce_max
from .pooling import max_pool_2d

_REARRANGED = {"EXPAND_DIMS", "QUANTIZE", "RESHAPE", "SQUEEZE"}

RULES = Rules(
    GRADIENT.kind, GRADIENT | {"HARD_SWISH": hard_swish, "MAX_POOL_2D": max_pool_2d, "REDUCE_MAX": reduce_max}
)
"""The rules of gradients, for microcontrollers."""


def on_average(graph: Graph, layer: Tensor) -> Rules:
    """Return the rules for a gradient at ``layer`` of which only the mean over positions is asked, as GradCAM does.

    The mean is the same wherever in its window a gradient goes, so that no rule of max pooling of the layer has to
    tell: whatever the windows and ties, it is exact, and where the rest is affine it depends on the class alone.
    """
    same = {layer}
    for op in graph.ops:
        if op.code in _REARRANGED and op.input(0) in same and op.output.shape[-1:] == layer.shape[-1:]:
            same.add(op.output)

    def rule(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
        if op.input(0) in same and _over_positions(op, emit):
            return [_mean(op, upstream, emit)]
        return list(RULES[op.code](op, upstream, emit))

    return Rules(RULES.kind, RULES | dict.fromkeys(("MAX_POOL_2D", "REDUCE_MAX"), rule))


def _over_positions(op: Op, emit: Emitter) -> bool:
    """Whether a maximum is taken over positions, of each channel by itself."""
    if op.code == "MAX_POOL_2D":
        return True
    rank = len(op.input(0).shape)
    return all(int(axis) % rank not in (0, rank - 1) for axis in np.ravel(emit.integers(op.input(1))))


def _mean(op: Op, upstream: Value, emit: Emitter) -> Gradient:
    """Return the mean over positions of the gradient at the operand of max pooling."""
    x, y = op.input(0).shape, op.output
    mean = emit.scale(spatial_mean(emit, emit.dense(upstream), y), elements(y.shape) / elements(x))
    return Gradient(emit.builder.reshape(mean.tensor, (1,) * (len(x) - 1) + x[-1:]), mean.factor)
