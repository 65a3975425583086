"""SmoothGrad, a batch of noisy copies at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from edge.manifest import LOGITS_PER_INPUT_UNIT, Noise

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient, OneHot
from ..numerics.twin import batches, repeated
from ..tflite.graph import Graph, Tensor
from ..tflite.ops import INT32, Builder
from ..tflite.options import ReducerOptions
from ..vjp import backward
from .base import Compiled, Method, Role, Source, class_input, forward, held_inputs, named
from .input_gradient import input_entry
from .integrated_gradients import PROBE, sum_of_steps

NOISE = Noise(level=0.15, samples=32, seed=0)
"""The level is in the middle of the 10 to 20 % that the paper recommends."""


@dataclass(frozen=True)
class SmoothGrad(Method):
    """Smilkov et al. 2017 (arXiv 1706.03825): the mean gradient of noisy copies of the input.

    The noise is normal; its deviation is a part (``NOISE.level``) of the range of that very input, max(x) - min(x), as
    in the paper. It comes from outside, in units of its deviation, which the graph works out. One call evaluates
    ``steps_per_call`` copies and returns their gradients summed with ``weights``.
    """

    name: ClassVar[str] = "smoothgrad"
    signed: ClassVar[bool] = True
    map_unit: ClassVar[str] = LOGITS_PER_INPUT_UNIT
    steps_per_call: int = 8

    def fitted(self, source: Source) -> SmoothGrad:
        """Return the method with one copy a call where the model mixes the entries of a batch."""
        twin = source.twin()
        apart = self.steps_per_call == 1 or batches(twin.graph, twin.head.logits, PROBE)
        return self if apart else replace(self, steps_per_call=1)

    def build(self, source: Source) -> Compiled:
        """Return the entry for a batch of copies."""
        twin, copies = source.twin(), self.steps_per_call
        builder = Builder(Graph(self.name))
        x = builder.tensor("x", twin.head.input.shape)
        noise = builder.tensor("noise", (copies * x.shape[0], *x.shape[1:]))
        weights = builder.tensor("weights", (copies,))
        index = class_input(builder)
        emit = Emitter(builder, source.store)
        points = builder.add(builder.mul(noise, builder.scaled(_range(builder, x), NOISE.level)), x)
        held = held_inputs(builder, twin)
        given = {twin.head.input: points, **repeated(builder, held, copies)}
        logits = forward(source, builder, twin, twin.graph.ops, given, copies)
        # Integers keep their range for the gradients: there the weights come last.
        last = weights if source.integer_backward else None
        seed = OneHot(index, logits.shape, None if last else weights)
        (value,) = backward(builder.graph, {logits: seed}, [points], emit)
        total = sum_of_steps(emit, _of_each(emit, emit.dense(value), points), copies, last)
        inputs = {"x": x, "noise": noise, "weights": weights, "class_index": index, **named(held.values())}
        outputs = {"map": builder.reshape(total.tensor, x.shape)}
        entry = input_entry(builder.graph, inputs, outputs, 1 / total.factor, Role.SAMPLES)
        return Compiled([entry], source.start, source.start.shape[1:], copies, noise=NOISE)


def _of_each(emit: Emitter, gradient: Gradient, points: Tensor) -> Gradient:
    """Return a gradient in full size, one entry per copy: it may be the same for all of them."""
    return Gradient(emit.builder.broadcast_to(gradient.tensor, points.shape), gradient.factor)


def _range(builder: Builder, x: Tensor) -> Tensor:
    """Return the largest value less the smallest."""
    axes = builder.constant(range(len(x.shape)), INT32)
    ones = (1,) * len(x.shape)
    largest, smallest = (
        builder.op(code, [x, axes], ones, ReducerOptions(True)) for code in ("REDUCE_MAX", "REDUCE_MIN")
    )
    return builder.sub(largest, smallest)
