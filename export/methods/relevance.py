"""What the variants of layer-wise relevance propagation share: the walk over the float twin, and the map of it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from ..numerics.emitter import Emitter
from ..numerics.gradient import OneHot
from ..numerics.twin import instantiate, unfused
from ..tflite.graph import Graph
from ..tflite.ops import Builder
from ..vjp import Rules, backward
from .base import Array, Compiled, Method, Role, Source, class_input, held_inputs, named
from .input_gradient import input_entry


@dataclass(frozen=True)
class LayerwiseRelevance(Method):
    """A method that shares out the logit layer by layer, down to the input (Bach et al. 2015).

    The logit's whole value is shared out, so that the map is in logits. In all numerics the walk goes over the float
    twin's forward pass: shares are those of a layer's own result, which an integer pass does not keep where its
    activation cuts it off. What the input gets is its value times the walk's result there (see
    :mod:`export.vjp.relevance`), which the entry gives too, to be checked by.
    """

    parts: ClassVar[tuple[float, float] | None] = None
    """Alpha and beta, where positive and negative contributions are shared out apart."""

    @abstractmethod
    def rules(self) -> Rules:
        """Return the table for the walk."""

    def build(self, source: Source) -> Compiled:
        """Return one entry, for a class asked for."""
        twin = source.twin()
        builder = Builder(Graph(self.name))
        x = builder.tensor("x", twin.head.input.shape)
        held = held_inputs(builder, twin)
        logits = instantiate(builder, unfused(twin.graph).ops, {twin.head.input: x, **held}, 1)[twin.head.logits]
        index = class_input(builder)
        emit = Emitter(builder, source.store)
        (value,) = backward(builder.graph, {logits: OneHot(index, logits.shape)}, [x], emit, self.rules())
        share = emit.expand(emit.dense(value), x.shape)
        inputs = {"x": x, "class_index": index, **named(held.values())}
        outputs = {"map": emit.times(share, x).tensor, "share": share.tensor}
        entry = input_entry(builder.graph, inputs, outputs, 1 / share.factor, Role.MODIFIED)
        return Compiled([entry], source.start, source.start.shape[1:], formula=self.formula)

    @staticmethod
    def formula(x: Array, shares: Array) -> Array:
        """Return x * share."""
        return x * shares
