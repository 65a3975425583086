"""Constants of the forward model, and how a backward kernel made from them is stored: float32, or int8 as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedModelError
from ..tflite.graph import Quantization, Tensor
from ..tflite.ops import FLOAT, INT8, Builder

Arrange = Callable[[NDArray[Any]], NDArray[Any]]
"""Moves entries about (transposes, flips, splits into phases) and fills gaps with 0; never computes with them."""


@dataclass(frozen=True)
class Weights:
    """The constant operand of a linear op: what is stored, and the grid of integers it is stored on, if it is."""

    stored: NDArray[Any]
    quantization: Quantization | None

    @classmethod
    def of(cls, tensor: Tensor) -> Weights:
        """Return the weights in a constant tensor."""
        if tensor.data is None:
            raise ValueError(f"{tensor!r} is not a constant")
        if tensor.data.shape != tensor.shape:  # packed, sparse, or of a type that numpy lacks
            raise UnsupportedModelError(
                f"constant {tensor!r} is stored in a form that is not unpacked here",
                "convert the model with dense weights of at least 8 bits",
            )
        return cls(tensor.data, tensor.quantization if tensor.is_quantized else None)

    @property
    def values(self) -> NDArray[np.float64]:
        """The real values."""
        return (
            self.stored.astype(np.float64) if self.quantization is None else self.quantization.dequantize(self.stored)
        )

    def transposed(self, order: Sequence[int]) -> Weights:
        """Return the same weights with their dimensions in ``order``."""
        grid = self.quantization
        if grid is not None and grid.per_channel:
            grid = replace(grid, axis=list(order).index(grid.axis))
        return Weights(self.stored.transpose(order), grid)


class Store(Protocol):
    """A way to put rearranged weights into a graph; one per numerics."""

    def __call__(
        self, builder: Builder, weights: Weights, arrange: Arrange, channel_axis: int, factor: float
    ) -> Tensor:
        """Return a float32 tensor that holds ``arrange(weights) * factor``.

        ``channel_axis`` is where the arranged array has the weights' quantised dimension (repeated, if arranging
        repeated it).
        """
        ...


def store_float(builder: Builder, weights: Weights, arrange: Arrange, channel_axis: int, factor: float) -> Tensor:
    """Store the values as a float32 constant: 4 bytes a weight, nothing to unpack."""
    del channel_axis
    return builder.constant(arrange(weights.values) * factor, FLOAT)


def store_quantized(builder: Builder, weights: Weights, arrange: Arrange, channel_axis: int, factor: float) -> Tensor:
    """Store the model's own integers behind a DEQUANTIZE, which interpreters run once, when the graph is prepared.

    No rounding is added: the integers only change places and the factor goes into their scale.
    """
    grid, stored = weights.quantization, weights.stored
    if stored.dtype == np.float16 and factor == 1.0:
        return builder.dequantize(builder.constant(arrange(stored), stored.dtype))
    if grid is None or stored.dtype.itemsize > 1 or (grid.per_channel and any(grid.zero_point)):
        return store_float(builder, weights, arrange, channel_axis, factor)
    zero = grid.zero_point[0] if grid.zero_point else 0
    signed = zero - 128 if stored.dtype == np.uint8 else zero
    arranged = (arrange(stored.astype(np.int32) - zero) + signed).astype(np.int8)
    scale = np.asarray(grid.scale, np.float32) * np.float32(factor)
    if grid.per_channel:
        scale = np.tile(scale, arranged.shape[channel_axis] // len(scale))
    moved = Quantization(tuple(scale.tolist()), (signed,) * len(scale), channel_axis if grid.per_channel else 0)
    return builder.dequantize(builder.constant(arranged, INT8, moved))
