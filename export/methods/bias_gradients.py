"""What a logit is made of: input times gradient, and for every op what it adds of its own, times the gradient there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedModelError
from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, OneHot, Value
from ..numerics.twin import instantiate, unfused
from ..tflite.graph import Graph, Op, Tensor, reachable_from
from ..tflite.ops import Builder, elements
from ..vjp import GRADIENT, Rules, backward
from ..vjp.backward import AFFINE, Rule
from ..vjp.resize import bilinear
from .base import Source, class_input, held_inputs, named

# Where layers with weights have their bias.
_BIAS = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
# Affine, but what they join may not depend on the input.
_JOINED = {"ADD_N", "CONCATENATION", "PACK", "PADV2"}
# Their results grow as their operands do where no kink is crossed: they add nothing of their own.
_HOMOGENEOUS = {"ABS", "LEAKY_RELU", "MAX_POOL_2D", "PRELU", "REDUCE_MAX", "REDUCE_MIN", "RELU"}


@dataclass(frozen=True)
class Terms:
    """The graph so far, its inputs by name, the gradient at ``x`` in full size, and the terms, which sum to the logit.

    The first of ``explicit`` is input times gradient, the others are biases and what else is added to what depends on
    the input, times the gradient there. ``implicit`` are those of activations that bend. Terms have the shapes of what
    ops give, or are given.
    """

    emit: Emitter
    inputs: dict[str, Tensor]
    gradient: Gradient
    explicit: list[Gradient]
    implicit: list[Gradient]


def terms(source: Source, key: str) -> Terms:
    """Emit the terms of a class's logit; the ops between them and the map are for the caller to add.

    In all numerics they are those of the float twin: an integer pass knows no bias apart from its rounding.
    """
    twin = source.twin()
    builder = Builder(Graph(key))
    x = builder.tensor("x", twin.head.input.shape)
    held = held_inputs(builder, twin)
    logits = instantiate(builder, unfused(twin.graph).ops, {twin.head.input: x, **held}, 1)[twin.head.logits]
    index = class_input(builder)
    emit = Emitter(builder, source.store)
    explicit: list[Gradient] = []
    implicit: list[Gradient] = []
    moving = reachable_from(builder.graph, {x})

    def watched(rule: Rule) -> Rule:
        def watch(op: Op, upstream: Value, emit: Emitter) -> Sequence[Contribution | None]:
            contributions = rule(op, upstream, emit)
            constant = _constant(op, emit, moving)
            if constant is not None:
                explicit.append(emit.times(emit.expand(emit.dense(upstream), op.output.shape), constant))
            elif _bends(op, moving):
                implicit.extend(_bent(op, upstream, contributions, emit, moving))
            return contributions

        return watch

    rules = Rules(GRADIENT.kind, {code: watched(rule) for code, rule in GRADIENT.items()})
    (value,) = backward(builder.graph, {logits: OneHot(index, logits.shape)}, [x], emit, rules)
    gradient = emit.expand(emit.dense(value), x.shape)
    inputs = {"x": x, "class_index": index, **named(held.values())}
    return Terms(emit, inputs, gradient, [emit.times(gradient, x), *explicit], implicit)


def _constant(op: Op, emit: Emitter, moving: set[Tensor]) -> Tensor | None:
    """Return what an op adds to what depends on the input: a bias, or an operand that does not."""
    if op.code in _BIAS:
        bias = op.inputs[_BIAS[op.code]] if len(op.inputs) > _BIAS[op.code] else None
        values = np.zeros(1) if bias is None else emit.weights(bias).values
        return emit.builder.constant(values) if values.any() else None
    still = [tensor for tensor in op.inputs if tensor not in moving]
    if op.code not in {"ADD", "SUB"} or not still or still[0] is None:
        return None
    value = emit.real(still[0])
    return emit.builder.scaled(value, -1) if op.code == "SUB" and op.input(1) is still[0] else value


def _bends(op: Op, moving: set[Tensor]) -> bool:
    """Whether an op may add something of its own that is no constant of the model."""
    operands = sum(tensor in moving for tensor in op.inputs)
    linear = operands <= AFFINE.get(op.code, 0) and (op.code not in _JOINED or operands == len(op.inputs))
    return not linear and op.code not in _HOMOGENEOUS and len(op.outputs) == 1


def _bent(
    op: Op, upstream: Value, contributions: Sequence[Contribution | None], emit: Emitter, moving: set[Tensor]
) -> list[Gradient]:
    """Return gradient times value of an op's result, less that of its operands: what the paper calls implicit bias."""
    own, elsewhere = emit.times(emit.expand(emit.dense(upstream), op.output.shape), emit.real(op.output)), []
    for tensor, part in zip(op.inputs, contributions, strict=False):
        if tensor is None or tensor not in moving or part is None:
            continue
        taken = _times(part, tensor, emit)
        if tensor.shape == op.output.shape:
            own = emit.minus(own, taken)
        else:
            elsewhere.append(emit.scale(taken, -1))
    return [own, *elsewhere]


def _times(part: Contribution, tensor: Tensor, emit: Emitter) -> Gradient:
    return emit.times(emit.expand(emit.dense(emit.sum([part])), tensor.shape), emit.real(tensor))


# From terms to a map


def map_shape(start: Tensor) -> tuple[int, ...]:
    """Return the shape of the map: the input's, without batch and channels; raises where it has more dimensions."""
    shape = start.shape[1:-1] if len(start.shape) > 2 else start.shape[-1:]
    if len(shape) > 2:
        raise UnsupportedModelError(
            f"FullGrad has no map over {start!r}, of {len(shape)} dimensions of positions",
            "choose another method, as --method integrated_gradients",
        )
    return shape


def places(shape: Sequence[int], over: Sequence[int]) -> tuple[int, ...] | None:
    """Return where a tensor's values are, as sizes along the dimensions of a map; None where they are nowhere on it.

    Dimensions of size 1 may be missing or too many, as those that converters add around a 1-D convolution.
    """
    found = tuple(shape[1:-1])
    if len(found) == len(over):
        return found
    extents = iter(size for size in found if size > 1)
    fitted = tuple(next(extents, 0) if size > 1 else 1 for size in over)
    return None if 0 in fitted or next(extents, 0) else fitted


def resized(emit: Emitter, value: Gradient, over: Sequence[int], *, conserving: bool) -> Gradient:
    """Return values at positions ``[1, h, w, 1]`` interpolated over a map: bilinear, pixels having extents.

    ``conserving`` values are spread, so that they sum to what they did.
    """
    for axis, (size, target) in enumerate(zip(value.tensor.shape[1:3], over, strict=True), start=1):
        if size != target:
            value = emit.along(value, axis, interpolation(size, target, conserving=conserving).T)
    return value


def interpolation(size: int, target: int, *, conserving: bool) -> NDArray[np.float64]:
    """Return the matrix ``[target, size]`` of an interpolation along an axis; columns sum to 1 if ``conserving``."""
    if size > target and conserving:
        return bilinear(target, size, False, True).T
    matrix = bilinear(size, target, False, True)
    return matrix / matrix.sum(0) if conserving else matrix


def planes(over: Sequence[int]) -> tuple[int, int]:
    """Return a map's shape as rows and columns."""
    return (1, over[0]) if len(over) == 1 else (over[0], over[1])


def total(emit: Emitter, value: Gradient) -> Gradient:
    """Return the sum of all, ``[1, 1, 1, 1]``."""
    flat = emit.builder.reshape(value.tensor, (1, elements(value.tensor.shape)))
    return Gradient(emit.builder.reshape(emit.builder.sum(flat, [1]), (1, 1, 1, 1)), value.factor)
