"""What methods at the input share: the gradient there, emitted over the float twin's forward pass."""

from __future__ import annotations

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient, OneHot
from ..tflite.graph import Graph, Tensor
from ..tflite.ops import Builder, prune, skip_flattening
from ..vjp import GRADIENT, Rules, backward
from .base import Entry, Role, Source, class_input, forward, held_inputs, named


def input_gradient(source: Source, key: str, rules: Rules = GRADIENT) -> tuple[Emitter, dict[str, Tensor], Gradient]:
    """Start a graph named ``key``; return its emitter, its inputs by name and the gradient at ``x``, in full size.

    Another table of ``rules`` makes it what that says, in the gradient's place.
    """
    twin = source.twin()
    builder = Builder(Graph(key))
    x = builder.tensor("x", twin.head.input.shape)
    held = held_inputs(builder, twin)
    logits = forward(source, builder, twin, twin.graph.ops, {twin.head.input: x, **held})
    index = class_input(builder)
    emit = Emitter(builder, source.store)
    (value,) = backward(builder.graph, {logits: OneHot(index, logits.shape)}, [x], emit, rules)
    inputs = {"x": x, "class_index": index, **named(held.values())}
    return emit, inputs, emit.expand(emit.dense(value), x.shape)


def input_entry(
    graph: Graph, inputs: dict[str, Tensor], outputs: dict[str, Tensor], unit: float, role: Role = Role.GRADIENT
) -> Entry:
    """Return the entry of a graph that is complete, in place."""
    graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
    skip_flattening(graph)
    prune(graph)
    return Entry(graph.name, role, graph, inputs, outputs, unit)
