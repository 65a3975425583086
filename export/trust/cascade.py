"""A model with the weights of its last layers drawn anew: the same graph, and nothing left of its training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import heads, tflite
from ..compiling import enter
from ..reach import first_reachable
from ..tflite.graph import Graph, Op, Tensor, between, reachable_from

# Adding and multiplying by constants is how normalisation is written: there a sign is no matter of chance.
_ELEMENTWISE = {"ADD", "DIV", "MUL", "PRELU", "SUB"}
# A table of ids is no layer, and the op's other constants are sizes.
_NO_LAYERS = {"EMBEDDING_LOOKUP", "GATHER", "PAD", "PADV2"}


@dataclass(frozen=True)
class Draw:
    """How weights are drawn: from which seed, and whether the last layer's are then negated.

    A draw and its ``mirrored`` twin have opposite logits, so that what follows the logits' sign cancels over the pair.
    """

    seed: int
    mirrored: bool = False


class Cascade:
    """The layers of a model, from the explained tensor to the logits, as something to be randomised from the end."""

    def __init__(self, original: bytes, output: str | None = None, signature: str | None = None) -> None:
        self._model = tflite.read(original)
        entered = heads.graph_of(self._model, signature)
        step, graph, head = enter(self._model, entered, output)
        places = dict(zip(graph.tensors, step.tensors, strict=True))
        start, logits = (places[tensor] for tensor in (first_reachable(graph, head), head.logits))
        self._layers = list(_layers(step, start, logits))
        self._weights = {tensor: tensor.data for layer in self._layers for tensor, _ in layer}

    def __len__(self) -> int:
        return len(self._layers)

    def randomized(self, count: int, draw: Draw) -> bytes:
        """Return the model's file with the weights of its last ``count`` layers drawn anew.

        Each tensor keeps its own values, in a random order, and kernels and biases random signs: its distribution and
        its grid stay what they are (Adebayo et al. 2018, sec. 3: cascading randomisation, from the logits down).
        """
        random = np.random.default_rng(draw.seed)
        for depth, layer in enumerate(reversed(self._layers)):
            for tensor, signed in layer:
                weights = self._weights[tensor]
                assert weights is not None
                tensor.data = weights
                if depth < count:
                    tensor.data = _drawn(tensor, random, signed=signed, negated=draw.mirrored and not depth)
        return tflite.write(self._model)


def _layers(graph: Graph, start: Tensor, logits: Tensor) -> Iterator[list[tuple[Tensor, bool]]]:
    """Yield the parameters of each op on the way that has some, each with whether its sign is learned too."""
    producers = graph.producers()
    dependent = reachable_from(graph, set(graph.inputs))
    seen: set[Tensor] = set()
    for op in between(graph, {start}, logits):
        if op.code in _NO_LAYERS:
            continue
        found = [
            (constant, op.code not in _ELEMENTWISE)
            for operand in op.inputs
            if operand is not None and operand not in dependent
            for constant in _constants(operand, producers)
            if _is_parameter(constant) and constant not in seen
        ]
        seen.update(tensor for tensor, _ in found)
        if found:
            yield found


def _constants(tensor: Tensor, producers: dict[Tensor, Op]) -> Iterator[Tensor]:
    """Yield the constants that a tensor is computed from, such as weights behind a DEQUANTIZE."""
    if tensor.is_constant:
        yield tensor
    elif tensor in producers:
        for operand in producers[tensor].inputs:
            if operand is not None:
                yield from _constants(operand, producers)


def _is_parameter(tensor: Tensor) -> bool:
    """Whether a constant holds real numbers, more than one."""
    return tensor.data is not None and tensor.data.size > 1 and (tensor.is_quantized or tensor.dtype.kind == "f")


def _drawn(tensor: Tensor, random: np.random.Generator, *, signed: bool, negated: bool) -> NDArray[Any]:
    """Return a parameter's values in a random order, with random signs where it is ``signed``."""
    assert tensor.data is not None
    grid = tensor.quantization if tensor.is_quantized else None
    zero = _zero_points(grid.zero_point, tensor.data, grid.axis) if grid is not None else np.zeros(())
    values = tensor.data.astype(np.float64) - zero
    values = random.permutation(values.ravel()).reshape(values.shape)
    if signed:
        values *= random.choice((-1.0, 1.0), values.shape)
    values = zero + (-values if negated and signed else values)
    if tensor.dtype.kind in "iu":
        limits = np.iinfo(tensor.dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return values.astype(tensor.dtype)


def _zero_points(zero_point: Sequence[int], data: NDArray[Any], axis: int) -> NDArray[Any]:
    """Return the zero points, shaped to broadcast over the tensor."""
    zero = np.asarray(zero_point or (0,), np.float64)
    if zero.size == 1:
        return zero.reshape(())
    shape = [1] * data.ndim
    shape[axis] = -1
    return zero.reshape(shape)
