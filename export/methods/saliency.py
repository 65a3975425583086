"""Saliency: the gradient itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..numerics.emitter import Emitter
from ..numerics.gradient import OneHot
from ..tflite.graph import Graph
from ..tflite.ops import Builder, prune, skip_flattening
from ..vjp import backward
from .base import Compiled, Entry, Method, Role, Source, class_input, forward, held_inputs, named


@dataclass(frozen=True)
class Saliency(Method):
    """Simonyan et al. 2013 (arXiv 1312.6034), sec. 3: the gradient of the class's logit at the input, signed."""

    name: ClassVar[str] = "saliency"
    signed: ClassVar[bool] = True

    def build(self, source: Source) -> Compiled:
        """Return one entry, for a class asked for."""
        twin = source.twin()
        builder = Builder(Graph(self.name))
        graph = builder.graph
        x = builder.tensor("x", twin.head.input.shape)
        held = held_inputs(builder, twin)
        logits = forward(source, builder, twin, twin.graph.ops, {twin.head.input: x, **held})
        index = class_input(builder)
        emit = Emitter(builder, source.store)
        (value,) = backward(graph, {logits: OneHot(index, logits.shape)}, [x], emit)
        gradient = emit.expand(emit.dense(value), x.shape)
        inputs = {"x": x, "class_index": index, **named(held.values())}
        graph.inputs = list(inputs.values())
        outputs = {"map": gradient.tensor}
        graph.outputs = [gradient.tensor]
        skip_flattening(graph)
        prune(graph)
        entry = Entry(self.name, Role.GRADIENT, graph, inputs, outputs, 1 / gradient.factor)
        return Compiled([entry], source.start, source.start.shape[1:])
