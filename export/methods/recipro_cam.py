"""ReciproCAM, which asks the model instead of its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import UnsupportedModelError
from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient
from ..numerics.twin import batches, float_twin, instantiate, repeated
from ..tflite.graph import Graph, Tensor, between, reachable_from
from ..tflite.ops import FLOAT, INT32, elements
from ..tflite.options import OneHotOptions
from .base import Source
from .layer_map import LayerMap

# Values of one tensor, all positions together: 16 MB in float32.
_MOST_VALUES = 1 << 22


@dataclass(frozen=True)
class ReciproCAM(LayerMap):
    """Byun & Lee 2022 (arXiv 2209.14074): the class's logit where one position of the layer at a time is left as it is.

    The others are 0, and what is behind the layer runs once for all positions, in float32. Positions are masked one by
    one, as the authors' code does, not by its 3x3 Gaussian. Without their softmax and scaling to [0, 1]: the map is in
    logits, above that of no position at all. So where the head is affine in the layer it is HiResCAM's, and behind
    global pooling Class Activation Mapping's.
    """

    name: ClassVar[str] = "recipro_cam"
    signed: ClassVar[bool] = True  # there are no gradients to lose any of, and differences keep theirs

    def heatmap(self, source: Source, emit: Emitter, layer: Tensor, index: Tensor) -> Gradient:
        """Emit the rest of the network on a batch of masked layers."""
        build, tail = emit.builder, Tail.of(source, layer)
        positions = elements(layer.shape[1:-1])
        rows = positions + 1  # the last is of no position
        tail.check(rows)
        places = build.constant(np.append(np.arange(positions), -1), INT32)
        operands = [places, build.constant(positions, INT32), *(build.constant(np.float32(level)) for level in (1, 0))]
        masks = build.op("ONE_HOT", operands, (rows, positions), OneHotOptions(-1), dtype=FLOAT)
        masked = build.mul(emit.real(layer), build.reshape(masks, (rows, *layer.shape[1:-1], 1)))
        beside = {twin: emit.real(own) if own.is_quantized else own for own, twin in tail.beside.items()}
        given = {tail.layer: masked} | repeated(build, beside, rows)
        logits = instantiate(build, tail.graph.ops, given, rows)[tail.graph.outputs[0]]
        of_class = build.gather(build.reshape(logits, (rows, source.head.classes)), index, axis=1)
        nothing = build.slice(of_class, (positions, 0), (1, 1))
        return Gradient(build.sub(build.slice(of_class, (0, 0), (positions, 1)), nothing))


@dataclass(frozen=True)
class Tail:
    """The float twin of what is behind a layer; ``beside`` is what of the model goes past that, with its twins."""

    graph: Graph
    layer: Tensor
    beside: dict[Tensor, Tensor]

    @classmethod
    def of(cls, source: Source, layer: Tensor) -> Tail:
        """Return what is behind ``layer`` in a model."""
        graph, head = source.graph, source.head
        path = between(graph, {layer}, head.logits)
        on_path = {tensor for op in path for tensor in op.outputs}
        dependent = reachable_from(graph, {head.input, *head.states})
        crossing = {t: None for op in path for t in op.inputs if t in dependent and t not in on_path and t is not layer}
        ops = [op for op in graph.ops if op in set(path) or not dependent.intersection(op.outputs)]
        part = Graph("tail", list(graph.tensors), [layer, *(t for t in crossing if t is not None)], [head.logits], ops)
        twin, twins = float_twin(part, head.logits, source.store)
        return cls(twin, twins[layer], {tensor: twins[tensor] for tensor in part.inputs[1:]})

    def check(self, rows: int) -> None:
        """Raise :class:`UnsupportedModelError` where it cannot run for so many rows at once."""
        moving = reachable_from(self.graph, {self.layer})
        largest = max(moving, key=lambda tensor: elements(tensor.shape))
        values = elements(largest.shape)
        if rows * values > _MOST_VALUES:
            raise UnsupportedModelError(
                f"layer {self.layer!r} has {rows - 1} positions, each of which takes {values} values at "
                f"{largest.name!r}: more than the {_MOST_VALUES} that run at once",
                "choose a later layer (--layer), or another method, as --method gradcam",
            )
        if not batches(self.graph, self.graph.outputs[0], rows):
            raise UnsupportedModelError(
                f"what is behind layer {self.layer!r} mixes the entries of a batch, and cannot run for all positions",
                "choose a later layer (--layer), or another method, as --method gradcam",
            )
