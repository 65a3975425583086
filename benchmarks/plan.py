"""The least memory that the activations of a graph take, from their lifetimes alone."""

from __future__ import annotations

import math

from export.tflite.graph import Graph, Tensor


def planned(graph: Graph) -> int:
    """Return the bytes of activations that live at once in a graph, at their most: no interpreter can do with less.

    From lifetimes alone: inputs and outputs live all the time, everything else from the op that makes it to the last
    that reads it. Weights are not counted, unpacked or not.
    """
    sizes = _activations(graph)
    last = {tensor: len(graph.ops) for tensor in (*graph.inputs, *graph.outputs)}
    for position, op in reversed(list(enumerate(graph.ops))):
        for tensor in (*op.inputs, *op.outputs):
            if tensor in sizes:
                last.setdefault(tensor, position)
    ending: dict[int, int] = {}
    for tensor, position in last.items():
        ending[position] = ending.get(position, 0) + sizes.get(tensor, 0)
    born: set[Tensor] = set(graph.inputs)
    live = peak = sum(sizes.get(tensor, 0) for tensor in born)
    for position, op in enumerate(graph.ops):
        live += sum(sizes[tensor] for tensor in op.outputs if tensor in sizes and tensor not in born)
        born.update(op.outputs)
        peak = max(peak, live)
        live -= ending.get(position, 0)
    return peak


def _activations(graph: Graph) -> dict[Tensor, int]:
    """Return the sizes of tensors that are computed from the input."""
    fixed: set[Tensor] = set()
    sizes = {tensor: _bytes(tensor) for tensor in graph.inputs}
    for op in graph.ops:
        if all(tensor is None or tensor.is_constant or tensor in fixed for tensor in op.inputs):
            fixed.update(op.outputs)
        else:
            sizes |= {tensor: _bytes(tensor) for tensor in op.outputs}
    return sizes


def _bytes(tensor: Tensor) -> int:
    return math.prod(max(size, 1) for size in tensor.shape) * tensor.dtype.itemsize
