"""Hybrid convolutions: int8 weights as they are, float32 activations, integer arithmetic between them.

The interpreter quantises a convolution's input by itself, each image on its own range, multiplies integers, and gives
float32 back. On processors with integer dot products that is up to three times as fast as float32 arithmetic; masks
are still read off float32 activations, so small ones do not die as they do when activations are stored in int8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..tflite.graph import Graph, Op, Quantization, Tensor
from ..tflite.ops import FLOAT, INT8, Builder, elements, prune

# Rounding the input costs the same however little is computed from it. A convolution of single pixels with fewer
# weights than this is faster in float32 (measured: 11 times at 128 weights, 1.9 at 1024, 1.0 at 2304, 0.7 at 4096).
_FEWEST_WEIGHTS = 2304
_HYBRID_VERSION = 5  # of CONV_2D: float32 input, int8 weights with a scale per output channel
# Channels whose weights are all but zero get a scale no smaller than this part of the largest.
SMALLEST_SCALE = 1e-5


def use_hybrid_convolutions(graph: Graph) -> None:
    """Let the convolutions that unpack int8 weights, and gain by it, read them as they are, in place.

    Weights must lie on a grid per output channel for that; where they lie on another, they are rounded onto one.
    """
    producers = graph.producers()
    builder = Builder(graph, "hybrid/")
    for op in graph.ops:
        weights = _unpacked(op, producers)
        if weights is not None:
            op.inputs[1] = builder.constant(*_per_output_channel(weights))
            op.version = _HYBRID_VERSION
    prune(graph)


def _unpacked(op: Op, producers: dict[Tensor, Op]) -> Tensor | None:
    """Return the int8 constant behind a float convolution's weights."""
    if op.code != "CONV_2D" or op.input(0).dtype != FLOAT:
        return None
    unpack = producers.get(op.input(1))
    if unpack is None or unpack.code != "DEQUANTIZE":
        return None
    constant = unpack.input(0)
    worthwhile = elements(constant.shape[1:3]) > 1 or elements(constant.shape) >= _FEWEST_WEIGHTS
    return constant if constant.is_constant and constant.dtype == INT8 and worthwhile else None


def _per_output_channel(weights: Tensor) -> tuple[NDArray[np.int8], np.dtype[np.int8], Quantization]:
    grid, data = weights.quantization, weights.data
    assert grid is not None
    assert data is not None
    if grid.per_channel and grid.axis == 0 and not any(grid.zero_point):
        return data, INT8, grid
    real = weights.real()
    largest = np.abs(real).max(axis=(1, 2, 3))
    smallest = max(float(largest.max()) * SMALLEST_SCALE, float(np.finfo(np.float32).tiny))
    scale = np.maximum(largest, smallest) / 127
    stored = np.clip(np.rint(real / scale[:, None, None, None]), -127, 127).astype(np.int8)
    return stored, INT8, Quantization(tuple(scale.astype(np.float32).tolist()), (0,) * len(scale), 0)
