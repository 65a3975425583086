"""A graph that predicts and explains in int8: the user's ops, the class they choose, and what explains it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..c import Explained
from ..errors import UnsupportedModelError
from ..heads import Head
from ..methods import GradCAM, InputXGradient, IntegratedGradients, Saliency, Source
from ..numerics import Calibration, store_float
from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient, OneHot
from ..tflite.graph import Graph, Model, Op, Signature, Tensor
from ..tflite.ops import INT8, INT32, Builder, prune
from ..tflite.options import ArgMaxOptions
from ..tflite.writer import require_runtime, write
from ..vjp import backward
from .core import Core, core_of
from .lowering import lower
from .reference import Reference
from .rules import RULES, on_average

Stored = NDArray[np.int8]

CLASS_INDEX = "class_index"
"""Name of the tensor (int32 ``[1]``) through which all that depends on the explained class does."""
ONE = 1 << 15
"""What nodes and weights of a schedule count in: 1 in fixed point."""
_INT32_CODE = 2  # in the schema's TensorType
_OLDEST_RUNTIME = "2.14.0"


@dataclass(frozen=True)
class MicroModel:
    """The graph from ``input`` to ``scores``, ``class_index`` and each explanation's map, in this order its outputs.

    The first ``predicting`` ops are the user's. Then one finds ``class_index``, the largest score's, through which all
    that depends on the class does: a caller may put another class there. All others only explain. ``yes_no`` is as in
    :class:`export.heads.Head`.
    """

    graph: Graph
    input: Tensor
    scores: Tensor
    logits: Tensor
    class_index: Tensor
    predicting: int
    explanations: tuple[Explained, ...]
    yes_no: bool = False

    def file(self) -> bytes:
        """Return the graph as a ``.tflite`` file."""
        return _file(self.graph)

    @property
    def outputs_of_classes(self) -> list[Tensor]:
        """The scores and maps, as :meth:`file_of_classes` begins its outputs with them."""
        return [tensor for tensor in self.graph.outputs if tensor is not self.class_index]

    def file_of_classes(self) -> bytes:
        """Return the same with ``class_index`` as a second input instead of found in the graph, and logits last."""
        graph = self.graph.copy(self.graph.name)
        graph.ops = [op for op in graph.ops if self.class_index not in op.outputs]
        graph.inputs = [self.input, self.class_index]
        graph.outputs = list(dict.fromkeys([*self.outputs_of_classes, self.logits]))
        return _file(graph)


def build(
    graph: Graph,
    head: Head,
    layers: Mapping[str, Tensor],
    samples: Sequence[NDArray[np.float32]] | NDArray[np.float32],
    baseline: NDArray[np.float32] | None = None,
) -> MicroModel:
    """Return a model with the explanations that ``layers`` maps methods of :data:`METHODS` to tensors for.

    ``samples`` are inputs that decide the grids of what explains, with points on the way there from ``baseline``, from
    which Integrated Gradients is to take steps: which ones is left open. Raises :class:`UnsupportedModelError` where
    model or method cannot be had in int8.
    """
    core = core_of(graph, head)
    layers = {name: core.input if layer is head.input else layer for name, layer in layers.items()}
    walked = core.graph.copy("micro")
    builder = Builder(walked, "why/")
    index = Builder(walked).tensor(CLASS_INDEX, (1,), INT32)
    emit = Emitter(builder, store_float)
    predicting = len(walked.ops)
    walk = _Walk(core, index, emit)
    found = {name: _positive(emit, METHODS[name](walk, layer)) for name, layer in layers.items()}
    start = stored(core.input, baseline) if baseline is not None and IntegratedGradients.name in layers else None
    seen = _calibration(core, samples, start)
    maps, units = lower(walked, core.input, index, [gradient.tensor for gradient in found.values()], seen)
    shapes = [_shape(method, layer) for method, layer in layers.items()]
    ending = Builder(walked, "maps/")  # of the constants that the walk's has, some are gone
    maps = [ending.reshape(tensor, (1, *shape)) for tensor, shape in zip(maps, shapes, strict=True)]
    axis = ending.constant(len(core.scores.shape) - 1, INT32)
    walked.ops.insert(predicting, Op("ARG_MAX", [core.scores, axis], [index], ArgMaxOptions(_INT32_CODE), 2))
    walked.inputs, walked.outputs = [core.input], list(dict.fromkeys([core.scores, index, *maps]))
    prune(walked)
    explanations = tuple(
        Explained(method, layer.name, tensor, shape, tuple((units / gradient.factor).tolist()))
        for (method, layer), gradient, tensor, shape in zip(layers.items(), found.values(), maps, shapes, strict=True)
    )
    return MicroModel(walked, core.input, core.scores, core.logits, index, predicting, explanations, head.yes_no)


class _Walk:
    """What methods emit into: the graph of a core, with the class to explain and the gradient that several share."""

    def __init__(self, core: Core, index: Tensor, emit: Emitter) -> None:
        self.core, self.index, self.emit = core, index, emit

    @cached_property
    def gradient(self) -> Gradient:
        """The gradient at the input, in full size."""
        logits, x = self.core.logits, self.core.input
        (value,) = backward(self.emit.builder.graph, {logits: OneHot(self.index, logits.shape)}, [x], self.emit, RULES)
        return self.emit.expand(self.emit.dense(value), x.shape)


def _gradcam(walk: _Walk, layer: Tensor) -> Gradient:
    """Return the map at a layer, ``[positions, 1]``."""
    core = walk.core
    if layer.dtype != INT8 or layer not in core.graph.tensors:
        raise UnsupportedModelError(f"layer {layer!r} is not int8", "choose another --layer")
    head = Head(core.input, core.scores, core.logits)
    source, rules = Source(core.graph, head, store_float), on_average(core.graph, layer)
    return GradCAM().heatmap(source, walk.emit, layer, walk.index, rules)


def _gradient(walk: _Walk, start: Tensor) -> Gradient:
    """Return the gradient at the input."""
    if start is not walk.core.input:
        raise UnsupportedModelError(
            f"gradients reach {start!r} and not the input, and target micro explains at the input",
            "ask for --method gradcam, or export it for --target pi",
        )
    return walk.gradient


def _input_x_gradient(walk: _Walk, start: Tensor) -> Gradient:
    """Return the product of the input and the gradient there."""
    return walk.emit.times(_gradient(walk, start), walk.emit.real(start))


METHODS: Mapping[str, Callable[[_Walk, Tensor], Gradient]] = {
    GradCAM.name: _gradcam,
    Saliency.name: _gradient,
    InputXGradient.name: _input_x_gradient,
    IntegratedGradients.name: _gradient,
}
"""The methods of target micro: what each emits, for the explained tensor."""


def _positive(emit: Emitter, gradient: Gradient) -> Gradient:
    """Return a gradient stored with a factor above 0, so that a map's sign is its own."""
    return gradient if gradient.factor > 0 else emit.rescale(gradient, -gradient.factor)


def _shape(method: str, layer: Tensor) -> tuple[int, ...]:
    """Return a map's shape, as :class:`export.methods.base.Compiled` has it."""
    if method != GradCAM.name:
        return layer.shape[1:]
    return tuple(size for size in layer.shape[1:-1] if size > 1) or (1,)


def _calibration(
    core: Core, samples: Sequence[NDArray[np.float32]] | NDArray[np.float32], baseline: Stored | None
) -> Calibration:
    """Return what decides the grids: each input with the class predicted of it and with others in turn.

    Where steps are taken from a ``baseline``, also points on the way from there.
    """
    random = np.random.default_rng(0)
    reference = Reference(_file(core.graph))
    given: list[dict[str, NDArray[Any]]] = []
    for sample in samples:
        x = stored(core.input, sample)
        (scores,) = reference.run([x], 1)
        predicted = {"class_index": np.asarray([scores.argmax()], np.int32)}
        given += [{"x": x}, {"x": x, **predicted}]
        if baseline is not None:
            node = int(random.integers(1, ONE))
            given.append({"x": interpolated(x, baseline, node), **predicted})
    return Calibration(given, np.zeros(core.input.shape[1:], np.float32), core.logits.shape[-1])


def stored(tensor: Tensor, sample: NDArray[np.floating[Any]]) -> Stored:
    """Return one float input as the int8 input stores it, with its batch dimension."""
    assert tensor.quantization is not None
    return tensor.quantization.quantize(sample.reshape(tensor.shape), INT8)


def in_fixed_point(nodes: Sequence[float], weights: Sequence[float]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return a schedule in 1/32768; its weights, whose sum is 1, sum to 32768 exactly.

    What rounding leaves goes to the weights that it took most of.
    """
    exact = np.asarray(weights, np.float64) * ONE
    whole = np.floor(exact).astype(int)
    whole[np.argsort(whole - exact, kind="stable")[: ONE - whole.sum()]] += 1
    return tuple(np.rint(np.asarray(nodes) * ONE).astype(int).tolist()), tuple(whole.tolist())


def interpolated(x: Stored, baseline: Stored, node: int) -> Stored:
    """Return the point ``node`` / 32768 of the way from ``baseline`` to ``x``, rounded to nearest, ties upwards."""
    way = x.astype(np.int32) - baseline
    return (baseline + ((way * node + ONE // 2) >> 15)).astype(np.int8)


def _file(graph: Graph) -> bytes:
    inputs, outputs = ({tensor.name: tensor for tensor in side} for side in (graph.inputs, graph.outputs))
    model = Model([graph], [Signature("serving_default", graph, inputs, outputs)])
    require_runtime(model, _OLDEST_RUNTIME)
    return write(model)
