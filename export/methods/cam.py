"""What class activation maps share: a target layer, its gradient, and a weighted sum over its channels."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .. import heads
from ..errors import UnsupportedModelError
from ..heads import Head
from ..layout import channels_moved
from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient, OneHot
from ..tflite.graph import Graph, Tensor
from ..tflite.ops import Builder, skip_flattening
from ..tflite.options import Activation
from ..vjp import backward
from .base import Array, Compiled, Entry, Method, Role, Source, class_input


@dataclass(frozen=True)
class ClassActivationMap(Method):
    """A method whose map is a weighted sum over the channels of a layer, the last with positions by default.

    Runs on the model's own forward pass, whose scores it returns unchanged. Where the head is affine in the target
    layer, gradients are a row of the classifier's weights and cost a GATHER (static GradCAM, Bhat & Raychowdhury,
    AICAS 2023); elsewhere the same reverse walk finds them.
    """

    rectified: ClassVar[bool]
    """Whether only what is positive of the *map* is kept, which is harmless where dropping gradients is not."""
    layer: str | None = None

    @abstractmethod
    def summands(self, emit: Emitter, layer: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
        """Emit what is summed over channels (float32, in the shape of ``layer``), and the weights ``[1, channels]``."""

    @staticmethod
    @abstractmethod
    def formula(activations: Array, gradients: Array) -> Array:
        """Return what each channel adds at each position, in numpy, all ``[positions, channels]``.

        This is what an export holds the compiled map against.
        """

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
        shape = tuple(size for size in layer.shape[1:-1] if size > 1) or (1,)
        return Compiled(entries, layer, shape, formula=self.formula, rectified=self.rectified)

    def target(self, graph: Graph, head: Head) -> Tensor:
        """Return the layer to look at; raises ``UnsupportedModelError`` where there is none of that name.

        Converters join the names of fused ops with ";": any one of them will do where it is unique. Where none is,
        "op:N" is the layer that op N of the graph gives.
        """
        if self.layer is None:
            return heads.default_layer(graph, head)
        moved = channels_moved(graph)
        maps = {t: place for place, op in enumerate(graph.ops) for t in op.outputs if heads.has_positions(t)}
        named = [tensor for tensor in maps if tensor.name == self.layer]
        named = named or [tensor for tensor in maps if self.layer in tensor.name.split(";")]
        named = named or [tensor for tensor, place in maps.items() if self.layer == f"op:{place}"]
        if len(named) == 1 and named[0] not in moved:
            return named[0]
        usable = [tensor for tensor in named if tensor not in moved] or [t for t in maps if t not in moved]
        listed = "\n    ".join(f"{t.name.split(';')[0]} {list(t.shape[1:])}, op:{maps[t]}" for t in usable)
        if len(named) == 1:
            raise UnsupportedModelError(
                f"layer {named[0]!r} does not have its channels last: a TRANSPOSE moved them",
                f"choose one before that, of\n    {listed}",
            )
        problem = "several layers" if named else "no layer"
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
        heatmap = weighted_sum(emit, *self.summands(emit, layer, emit.dense(gradient)), rectified=self.rectified)
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


def weighted_sum(emit: Emitter, features: Tensor, weights: Gradient, *, rectified: bool) -> Gradient:
    """Return the sum over channels of weight * feature, ``[positions, 1]``, what is positive of it if ``rectified``."""
    if rectified and weights.factor < 0:  # the rectifier must see the sign
        weights = emit.rescale(weights, -weights.factor)
    activation = Activation.RELU if rectified else Activation.NONE
    return Gradient(emit.builder.fully_connected(features, weights.tensor, activation), weights.factor)


def elementwise(emit: Emitter, layer: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
    """Return the summands of gradient * activation; no products where the gradient is the same at all positions."""
    if is_even(gradient):
        return emit.real(layer), spatial_mean(emit, gradient, layer)
    product = emit.times(emit.expand(gradient, layer.shape), emit.real(layer))
    ones = emit.builder.constant(np.ones((1, layer.shape[-1])))
    return product.tensor, Gradient(ones, product.factor)


def is_even(gradient: Gradient) -> bool:
    """Whether a gradient is known to be the same at all positions, as behind global pooling."""
    return all(size == 1 for size in gradient.tensor.shape[:-1])


def spatial_mean(emit: Emitter, gradient: Gradient, layer: Tensor) -> Gradient:
    """Return the mean over positions, ``[1, channels]``; nothing to compute where the gradient is the same at all."""
    channels = layer.shape[-1]
    stored = emit.builder.broadcast_to(gradient.tensor, (*gradient.tensor.shape[:-1], channels))
    positions = [axis for axis in range(1, len(stored.shape) - 1) if stored.shape[axis] > 1]
    if positions:
        stored = emit.builder.mean(stored, positions)
    return Gradient(emit.builder.reshape(stored, (1, channels)), gradient.factor)


def spatial_sum(emit: Emitter, tensor: Tensor) -> Tensor:
    """Return the sum over positions of a tensor of full size, its rank kept."""
    return emit.builder.sum(tensor, range(1, len(tensor.shape) - 1))
