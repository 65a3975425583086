"""Which axis of a map holds its channels: TFLite's kernels put them last, and models rearrange them behind."""

from __future__ import annotations

from collections.abc import Mapping

from .tflite.graph import Graph, Op, Tensor
from .tflite.ops import elements

# What computes new channels and puts them last, or (poolings) knows no others than the last.
_KERNELS = {"CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL"}
_KERNELS |= {"AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
_REDUCTIONS = {"MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM"}
_RESHAPES = {"RESHAPE", "SQUEEZE", "EXPAND_DIMS"}


def channels_moved(graph: Graph) -> set[Tensor]:
    """Return the tensors whose last axis is not the channels of the last kernel before them.

    Converters of channels-first models write them: a TRANSPOSE before the flattening, and what is computed behind it.
    Where it is not known any more, as behind a RESHAPE that splits the channels, the last axis is taken for them.
    """
    axes: dict[Tensor, int] = {}
    for op in graph.ops:
        for tensor in op.outputs:
            axis = _channels(op, tensor, axes)
            if axis is not None:
                axes[tensor] = axis
    return {tensor for tensor, axis in axes.items() if axis != len(tensor.shape) - 1}


def _channels(op: Op, output: Tensor, axes: Mapping[Tensor, int]) -> int | None:
    """Return the axis of channels of an op's output, from those known before it; None where there is none."""
    rank = len(output.shape)
    if op.code in _KERNELS:
        return rank - 1
    known = [tensor for tensor in op.inputs if tensor is not None and tensor in axes]
    if not known:
        return None
    source = known[0]
    axis = axes[source]
    if op.code == "TRANSPOSE":
        order = _integers(op.input(1))
        return order.index(axis) if axis in order else None
    if op.code in _RESHAPES:
        return _reshaped(source.shape, axis, output.shape)
    if op.code in _REDUCTIONS and rank < len(source.shape):
        gone = {place % len(source.shape) for place in _integers(op.input(1))}
        return None if axis in gone else axis - sum(place < axis for place in gone)
    # Of operands that disagree, as a branch that mixed the positions and a short cut around it, one with channels last.
    same = [axes[tensor] for tensor in known if len(tensor.shape) == rank]
    return max(same, default=None)


def _integers(tensor: Tensor) -> list[int]:
    return [] if tensor.data is None else [int(value) for value in tensor.data.ravel()]


def _reshaped(source: tuple[int, ...], axis: int, target: tuple[int, ...]) -> int | None:
    """Return where an axis went: it has its size, and as many elements stand before it."""
    before = elements(source[:axis])
    for place, size in enumerate(target):
        if size == source[axis] and elements(target[:place]) == before and (size > 1 or place == len(target) - 1):
            return place
    return None
