"""GradCAM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .. import heads
from ..errors import UnsupportedModelError
from ..heads import Head
from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient, OneHot
from ..tflite.graph import Graph, Tensor
from ..tflite.ops import Builder, skip_flattening
from ..tflite.options import Activation
from ..vjp import backward
from .base import Compiled, Entry, Method, Role, Source, class_input


@dataclass(frozen=True)
class GradCAM(Method):
    """Selvaraju et al. 2017 (arXiv 1610.02391), eq. 1-2: relu(sum_k alpha_k A_k), alpha_k the mean gradient of map k.

    Runs on the model's own forward pass, whose scores it returns unchanged. Where the head is affine in the target
    layer, alpha is a row of the classifier's weights and costs a GATHER (static GradCAM, Bhat & Raychowdhury, AICAS
    2023); elsewhere the same reverse walk finds it.
    """

    name: ClassVar[str] = "gradcam"
    signed: ClassVar[bool] = True  # the relu is on the map, not on gradients
    layer: str | None = None

    def build(self, source: Source) -> Compiled:
        """Return two entries: for the class predicted in the graph, and for a class asked for.

        The former stands in for a prediction. In a streaming model it would have to leave the state to the next step
        as a prediction does, and could not be asked a second time; there it is left out.
        """
        layer = self.target(source.graph, source.head)
        entries = [self._entry(source, layer, chosen=True)]
        if not source.streams:
            entries.insert(0, self._entry(source, layer, chosen=False))
        # A 1-D model has one dimension of positions only.
        return Compiled(entries, layer, tuple(size for size in layer.shape[1:-1] if size > 1) or (1,))

    def target(self, graph: Graph, head: Head) -> Tensor:
        """Return the layer to look at; raises ``UnsupportedModelError`` where there is none of that name.

        Converters join the names of fused ops with ";": any one of them will do where it is unique.
        """
        if self.layer is None:
            return heads.default_layer(graph, head)
        maps = [t for op in graph.ops for t in op.outputs if heads.has_positions(t)]
        named = [tensor for tensor in maps if tensor.name == self.layer]
        named = named or [tensor for tensor in maps if self.layer in tensor.name.split(";")]
        if len(named) == 1:
            return named[0]
        problem = "several layers" if named else "no layer"
        listed = "\n    ".join(f"{t.name.split(';')[0]} {list(t.shape[1:])}" for t in named or maps)
        raise UnsupportedModelError(
            f"the model has {problem} {self.layer!r} with spatial positions", f"choose one of\n    {listed}"
        )

    def _entry(self, source: Source, layer: Tensor, *, chosen: bool) -> Entry:
        key = f"{self.name}_class" if chosen else self.name
        graph = source.graph.copy(key)
        builder = Builder(graph, "why/")
        head = source.head
        index = class_input(builder) if chosen else builder.arg_max(head.scores)
        index = builder.reshape(index, (1,))
        emit = Emitter(builder, source.store)
        (gradient,) = backward(graph, {head.logits: OneHot(index, head.logits.shape)}, [layer], emit)
        heatmap = weighted_sum(emit, layer, spatial_mean(emit, emit.dense(gradient), layer))
        outputs = {"map": heatmap.tensor}
        if not chosen:
            outputs["class_index"] = index
        outputs["scores"] = head.scores
        graph.outputs = list(outputs.values())
        skip_flattening(graph)
        inputs = source.step_inputs(graph, "x")
        if chosen:
            inputs["class_index"] = index
            graph.inputs.append(index)
        return Entry(key, Role.CHOSEN if chosen else Role.PREDICTED, graph, inputs, outputs, 1 / heatmap.factor)


def spatial_mean(emit: Emitter, gradient: Gradient, layer: Tensor) -> Gradient:
    """Return the mean over positions, ``[1, channels]``; nothing to compute where the gradient is the same at all."""
    channels = layer.shape[-1]
    stored = emit.builder.broadcast_to(gradient.tensor, (*gradient.tensor.shape[:-1], channels))
    positions = [axis for axis in range(1, len(stored.shape) - 1) if stored.shape[axis] > 1]
    if positions:
        stored = emit.builder.mean(stored, positions)
    return Gradient(emit.builder.reshape(stored, (1, channels)), gradient.factor)


def weighted_sum(emit: Emitter, layer: Tensor, weights: Gradient) -> Gradient:
    """Return relu(sum over channels of weight * activation), ``[positions, 1]``."""
    if weights.factor < 0:  # the rectifier must see the sign
        weights = emit.rescale(weights, -weights.factor)
    heatmap = emit.builder.fully_connected(emit.real(layer), weights.tensor, Activation.RELU)
    return Gradient(heatmap, weights.factor)
