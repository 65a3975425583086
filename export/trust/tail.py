"""The part of a model behind a layer, as a float function of that layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..methods.base import Entry, Source, class_input, named
from ..numerics.emitter import Emitter
from ..numerics.gradient import OneHot
from ..numerics.twin import float_twin
from ..shipped import Runtime, is_recurrent, real
from ..tflite import Model, write
from ..tflite.graph import Graph, Signature, Tensor, between, reachable_from
from ..tflite.ops import Builder, fused_activation, prune
from ..vjp import backward
from ..vjp.backward import AFFINE
from .agreement import points

Array = NDArray[np.float32]


class Tail:
    """The float function from a layer's activations to the logits, everything that by-passes the layer held fixed."""

    def __init__(self, source: Source, layer: Tensor, entry: Entry) -> None:
        graph, head = source.graph, source.head
        path = between(graph, {layer}, head.logits)
        on_path = {tensor for op in path for tensor in op.outputs}
        given = [head.input, *head.states]
        dependent = reachable_from(graph, set(given))
        crossing = {t: None for op in path for t in op.inputs if t in dependent and t not in on_path}
        # Quantised activations, or float ones that an op with quantised weights rounds by itself.
        self.rounds = any(tensor.is_quantized for op in path for tensor in op.inputs if tensor is not None)
        self.has_kinks = any(fused_activation(op) or not AFFINE.get(op.code) for op in path)
        self._layer = layer
        self._names = {tensor: f"t{index}" for index, tensor in enumerate(crossing)}
        self._before = _runtime_for(source, entry.graph, given, [head.scores, *crossing], "before")
        ops = [op for op in graph.ops if op in set(path) or not dependent & set(op.outputs)]
        part = Graph("tail", list(graph.tensors), list(crossing), [head.logits], ops)
        self._after = self._compile(*float_twin(part, head.logits, source.store), source, crossing)
        self._fixed: dict[str, Array] = {}
        self._class = np.zeros(1, np.int32)

    def _compile(self, twin: Graph, twins: dict[Tensor, Tensor], source: Source, crossing: Iterable[Tensor]) -> Runtime:
        inputs = {self._names[tensor]: twins[tensor] for tensor in crossing}
        (logits,) = twin.outputs
        slopes = twin.copy("gradient")
        builder = Builder(slopes)
        index = class_input(builder)
        emit = Emitter(builder, source.store)
        (value,) = backward(slopes, {logits: OneHot(index, logits.shape)}, [twins[self._layer]], emit)
        gradient = emit.expand(emit.rescale(emit.dense(value), 1.0), twins[self._layer].shape).tensor
        slopes.inputs, slopes.outputs = [*twin.inputs, index], [gradient]
        signatures = [
            Signature("tail", twin, inputs, {"logits": logits}),
            Signature("gradient", slopes, {**inputs, "class_index": index}, {"gradient": gradient}),
        ]
        return Runtime(write(Model([twin, slopes], signatures)))

    def enter(self, given: Mapping[str, NDArray[Any]], class_index: int) -> Array:
        """Run the model up to the layer, hold what by-passes it, and return the layer's activations."""
        outputs = self._before.call("before", **given)
        self._fixed = {name: real(t, outputs[f"output{k}"]) for k, (t, name) in enumerate(self._names.items(), 1)}
        self._class = np.asarray([class_index], np.int32)
        return self._fixed[self._names[self._layer]]

    def _inputs(self, at: Array) -> dict[str, Array]:
        return {**self._fixed, self._names[self._layer]: at}

    def logit(self, at: Array) -> float:
        """Return the logit of the class for these activations of the layer."""
        return float(self._after.call("tail", **self._inputs(at))["logits"].reshape(-1)[self._class[0]])

    def gradient(self, at: Array) -> Array:
        """Return its gradient."""
        outputs = self._after.call("gradient", **self._inputs(at), class_index=self._class)
        return np.asarray(outputs["gradient"], np.float32)

    def mean_gradient(self, low: Array, high: Array) -> Array:
        """Return the mean of its gradient between two activations."""
        return np.asarray(np.mean([self.gradient(low + f * (high - low)) for f in points(low, high)], 0), np.float32)


def _runtime_for(source: Source, shipped: Graph, inputs: list[Tensor], outputs: list[Tensor], key: str) -> Runtime:
    """Return the forward pass of a graph that ships, with more outputs.

    On the same ops, for other kernels round otherwise; the scores stay an output, so that nothing is fused differently.
    Where one of the outputs was left out as needless (a RESHAPE), on those of ``source``.
    """
    there = {tensor.name for tensor in shipped.tensors}.issuperset(tensor.name for tensor in outputs)
    part = (shipped if there else source.graph).copy(key)
    inputs, outputs = ([_in_graph(part, tensor) for tensor in side] for side in (inputs, outputs))
    part.inputs, part.outputs = inputs, outputs
    prune(part)
    found = {f"output{index}": tensor for index, tensor in enumerate(outputs)}
    file = write(Model([part, *source.called], [Signature(key, part, {"x": inputs[0], **named(inputs[1:])}, found)]))
    return Runtime(file, recurrent=is_recurrent(part))


def _in_graph(graph: Graph, tensor: Tensor) -> Tensor:
    """Return what ``graph`` has of a tensor: itself, or the one of which it is the twin of a known shape."""
    return tensor if tensor in set(graph.tensors) else graph.tensor(tensor.name)
