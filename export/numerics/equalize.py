"""Channel equalisation: gradients of loud and of quiet channels share one int8 grid only if they are scaled alike.

Each channel is multiplied by a power of how quiet it is; the kernel that makes it takes the factor into its weights,
and the kernel that reads it the inverse, so it costs nothing at run time (cross-layer equalisation, Nagel et al. 2019,
arXiv 1906.04721, sec. 4.1, here from activations instead of weights).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..tflite.graph import Graph, Op, Tensor

Array = NDArray[np.float64]

LAYOUT = {
    "BROADCAST_TO",
    "CONCATENATION",
    "DEPTH_TO_SPACE",
    "PAD",
    "RELU",
    "RESHAPE",
    "SLICE",
    "SPACE_TO_DEPTH",
    "STRIDED_SLICE",
    "TRANSPOSE",
}
"""Ops that move int8 values about and leave them on their grid."""

# With the full inverse every channel would fill its grid, and the next weights' grids would be as uneven instead.
_POWER = -0.5
# Channels quieter than this part of the loudest are treated as if they were not.
_QUIETEST = 1 / 256


def equalizing_scales(
    graph: Graph, region: Sequence[Op], peaks: Mapping[Tensor, Array], undone: set[Tensor]
) -> dict[Tensor, Array]:
    """Return by what to multiply the channels of tensors between two kernels of ``region``, ``[channels]`` each.

    A tensor whose channels are those of another several times over (before DEPTH_TO_SPACE) has the scales repeated.
    Float ops bar what they read from being scaled, but for those that make the ``undone`` tensors.
    """
    groups = _Groups()
    inside = set(region)
    for op in region:
        _connect(op, groups)
    for op in graph.ops:
        if op not in inside and op.output not in undone:
            groups.fix(*(tensor for tensor in (*op.inputs, *op.outputs) if tensor is not None))
    groups.fix(*graph.outputs)
    scales: dict[Tensor, Array] = {}
    for members in groups.free():
        channels = min(tensor.shape[-1] for tensor in members)
        if any(tensor.shape[-1] % channels for tensor in members):
            continue
        loudest = np.max([peaks[tensor].reshape(-1, channels).max(0) for tensor in members], axis=0)
        if loudest.any():
            scale = np.maximum(loudest / loudest.max(), _QUIETEST) ** _POWER
            scales |= {tensor: np.tile(scale, tensor.shape[-1] // channels) for tensor in members}
    return scales


class _Groups:
    """Tensors whose channels must be scaled alike; some not at all."""

    def __init__(self) -> None:
        self._parent: dict[Tensor, Tensor] = {}
        self._fixed: set[Tensor] = set()

    def join(self, *tensors: Tensor) -> None:
        first = self._root(tensors[0])
        for tensor in tensors[1:]:
            self._parent[self._root(tensor)] = first

    def fix(self, *tensors: Tensor) -> None:
        self._fixed.update(tensors)

    def free(self) -> list[list[Tensor]]:
        """Return the groups that no member keeps from being scaled."""
        members: dict[Tensor, list[Tensor]] = {}
        for tensor in self._parent:
            members.setdefault(self._root(tensor), []).append(tensor)
        return [group for group in members.values() if not self._fixed.intersection(group)]

    def _root(self, tensor: Tensor) -> Tensor:
        root = self._parent.setdefault(tensor, tensor)
        while self._parent[root] is not root:
            root = self._parent[root]
        return root


def _connect(op: Op, groups: _Groups) -> None:
    """Say which operands and results of an op of the region have the same channels."""
    output = op.output
    match op.code:
        case "CONV_2D" | "FULLY_CONNECTED":
            groups.join(op.input(0))
            groups.join(output)
            if op.code == "CONV_2D" and op.input(1).shape[3] != op.input(0).shape[3]:
                groups.fix(op.input(0))  # grouped: a channel meets only some of the kernels
            if op.code == "FULLY_CONNECTED" and op.input(1).shape[1] != op.input(0).shape[-1]:
                groups.fix(op.input(0))
        case "DEPTHWISE_CONV_2D":
            groups.join(op.input(0))
            groups.join(output)
            if op.input(0).shape[3] != output.shape[3]:
                groups.fix(op.input(0), output)
        case "MUL":
            left, right = op.input(0), op.input(1)
            gradient = left if left.shape == output.shape or right.is_constant else right
            groups.join(gradient, output)
            other = right if gradient is left else left
            groups.fix(other)
            if gradient.shape[-1] != output.shape[-1]:
                groups.fix(output)
        case "ADD" | "SUB":
            groups.join(op.input(0), op.input(1), output)
            if any(tensor.is_constant or tensor.shape[-1] != output.shape[-1] for tensor in (op.input(0), op.input(1))):
                groups.fix(output)
        case _:
            operands = [tensor for tensor in op.inputs if tensor is not None and tensor.dtype.kind != "i"]
            groups.join(output, *operands)
            if not _keeps_channels(op, operands):
                groups.fix(output)


def _keeps_channels(op: Op, operands: Sequence[Tensor]) -> bool:
    """Whether channel k of the result is channel k, counted modulo the fewer channels, of what it is made of."""
    before, after = operands[0].shape[-1], op.output.shape[-1]
    match op.code:
        case "SLICE" | "STRIDED_SLICE" | "BROADCAST_TO":
            return before == after
        case "TRANSPOSE":
            order = op.input(1).data
            return order is not None and int(order[-1]) == len(order) - 1
        case "CONCATENATION":
            return before == after or len(set(operands)) == 1
        case "PAD":
            amounts = op.input(1).data
            return amounts is not None and int(amounts[-1][0]) == 0 and after % before == 0
    return before % after == 0 or after % before == 0
