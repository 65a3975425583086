"""Small int8 graphs to compile: random shapes' values, grids as converters choose them."""

from __future__ import annotations

import numpy as np

from export.tflite import Graph, Model, Quantization, Tensor, write
from export.tflite.ops import INT8, INT32, Builder


class Sketch:
    """A graph in the making, and random numbers for it."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph("main")
        self.builder = Builder(self.graph)

    def grid(self, low: float = -7, high: float = 0) -> Quantization:
        """Return a grid with a scale from 2**low to 2**high and any zero point."""
        scale = np.float32(2.0 ** self.rng.uniform(low, high))
        return Quantization((float(scale),), (int(self.rng.integers(-128, 128)),))

    def input(self, *shape: int, grid: Quantization | None = None) -> Tensor:
        """Add an int8 input."""
        tensor = self.builder.tensor(f"x{len(self.graph.inputs)}", shape, INT8, grid or self.grid())
        self.graph.inputs.append(tensor)
        return tensor

    def weights(self, *shape: int, axis: int | None = None) -> Tensor:
        """Add int8 weights on a symmetric grid, one per channel of ``axis`` if given."""
        count = 1 if axis is None else shape[axis]
        scales = tuple(float(np.float32(s)) for s in 2.0 ** self.rng.uniform(-9, -4, count))
        values = self.rng.integers(-127, 128, shape)
        return self.builder.constant(values, INT8, Quantization(scales, (0,) * count, axis or 0))

    def bias(self, x: Tensor, weights: Tensor, channels: int) -> Tensor:
        """Add a bias on the grid that the product of an input and weights has."""
        assert x.quantization is not None
        assert weights.quantization is not None
        scales = tuple(float(np.float32(x.quantization.scale[0] * s)) for s in weights.quantization.scale)
        values = self.rng.integers(-5000, 5001, channels)
        return self.builder.constant(values, INT32, Quantization(scales, (0,) * len(scales), 0))

    def done(self, *outputs: Tensor) -> Graph:
        """Return the graph."""
        self.graph.outputs = list(outputs)
        return self.graph

    def values(self, tensor: Tensor, count: int) -> np.ndarray:
        """Return random values of a tensor's type, the extremes among them."""
        limits = np.iinfo(tensor.dtype)
        drawn = self.rng.integers(limits.min, limits.max + 1, (count, *tensor.shape)).astype(tensor.dtype)
        if count > 2:
            drawn[0], drawn[1] = limits.min, limits.max
        return drawn


def file_of(graph: Graph) -> bytes:
    """Return a graph as a ``.tflite`` file."""
    return write(Model([graph], description="test"))
