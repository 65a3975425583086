"""What the networks are, as data: layers, weights and inputs, known to numpy alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

CLASSES = 4
SAMPLES = 2
EXPLAINED = (0, 2)
"""The classes explained of every input."""
FIXTURES = Path(__file__).parents[1] / "fixtures"


@dataclass(frozen=True)
class Layer:
    """One op, which reads the layer before, or those named in ``inputs``.

    ``op`` is "conv" and "depthwise" (``outputs``, ``taps``, ``stride``; zeros around, as TFLite's SAME padding), "max"
    and "average" (windows of ``taps`` by ``taps`` without padding), "add", "mean" (over all positions), "flatten" and
    "dense". ``activation`` is "relu", "relu6" or none.
    """

    name: str
    op: str
    outputs: int = 0
    taps: int = 1
    stride: int = 1
    activation: str = ""
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """A classifier up to its logits.

    ``shape`` is that of its features, ``[height, width, channels]``. A ``bare`` signal comes as ``[width]``: without
    batch, height and channels. ``target`` is the layer of class activation maps.
    """

    name: str
    shape: tuple[int, int, int]
    layers: tuple[Layer, ...]
    target: str
    bare: bool = False
    seed: int = 0

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every layer's output without the batch, and of the input, called "x"."""
        found: dict[str, tuple[int, ...]] = {"x": self.shape}
        for layer in self.layers:
            found[layer.name] = _shape_of(layer, found[self.inputs_of(layer)[0]])
        return found

    def inputs_of(self, layer: Layer) -> tuple[str, ...]:
        """Return the names of the layers that a layer reads."""
        place = self.layers.index(layer)
        return layer.inputs or (("x", *(before.name for before in self.layers))[place],)

    @cached_property
    def weights(self) -> dict[str, tuple[Array, Array]]:
        """Kernel and bias of each layer that has them, kernels as TFLite stores them: outputs first."""
        random = np.random.default_rng(self.seed)
        found = {}
        for layer in self.layers:
            inputs = self.shapes[self.inputs_of(layer)[0]]
            kernel = _kernel_shape(layer, inputs)
            if kernel:
                fan = int(np.prod(kernel[1:3] if layer.op == "depthwise" else kernel[1:]))
                values = random.normal(size=kernel) * np.sqrt(2 / fan)
                bias = random.normal(size=kernel[-1] if layer.op == "depthwise" else kernel[0]) * 0.3
                found[layer.name] = (values.astype(np.float32), bias.astype(np.float32))
        return found

    @cached_property
    def x(self) -> Array:
        """The inputs, ``[SAMPLES, height, width, channels]``."""
        return np.random.default_rng(self.seed + 1).normal(size=(SAMPLES, *self.shape)).astype(np.float32)

    @cached_property
    def baseline(self) -> Array:
        """Where integration starts, ``[height, width, channels]``."""
        return (np.random.default_rng(self.seed + 2).normal(size=self.shape) * 0.1).astype(np.float32)


def _shape_of(layer: Layer, shape: tuple[int, ...]) -> tuple[int, ...]:
    if layer.op in {"conv", "depthwise"}:
        height, width = (-(-size // layer.stride) for size in shape[:2])
        return height, width, layer.outputs or shape[2]
    if layer.op in {"max", "average"}:
        height, width = ((size - min(layer.taps, size)) // layer.stride + 1 for size in shape[:2])
        return height, width, shape[2]
    if layer.op == "mean":
        return shape[2:]
    if layer.op == "flatten":
        return (int(np.prod(shape)),)
    return (layer.outputs,) if layer.op == "dense" else shape


def _kernel_shape(layer: Layer, inputs: tuple[int, ...]) -> tuple[int, ...]:
    if layer.op == "dense":
        return layer.outputs, *inputs
    taps = tuple(min(layer.taps, size) for size in inputs[:2])
    if layer.op == "conv":
        return layer.outputs, *taps, inputs[2]
    return (1, *taps, inputs[2]) if layer.op == "depthwise" else ()


PLAIN = Network(
    "plain",
    (10, 9, 3),
    (
        Layer("first", "conv", 6, taps=3, stride=2, activation="relu"),
        Layer("second", "conv", 8, taps=3, activation="relu"),
        Layer("flat", "flatten"),
        Layer("hidden", "dense", 10, activation="relu"),
        Layer("logits", "dense", CLASSES),
    ),
    target="second",
    seed=8,
)
RESIDUAL = Network(
    "residual",
    (12, 12, 3),
    (
        Layer("stem", "conv", 8, taps=3, activation="relu"),
        Layer("pooled", "max", taps=2, stride=2),
        Layer("filtered", "depthwise", taps=3, activation="relu6"),
        Layer("mixed", "conv", 8),
        Layer("joined", "add", activation="relu", inputs=("mixed", "pooled")),
        Layer("last", "conv", 10, taps=3, activation="relu"),
        Layer("averaged", "average", taps=3, stride=3),
        Layer("wide", "conv", 12, activation="relu"),
        Layer("mean", "mean"),
        Layer("logits", "dense", CLASSES),
    ),
    target="last",
    seed=16,
)
SIGNAL = Network(
    "signal",
    (1, 64, 1),
    (
        Layer("first", "conv", 6, taps=5, stride=2, activation="relu"),
        Layer("second", "conv", 8, taps=3, activation="relu"),
        Layer("pooled", "max", taps=2, stride=2),
        Layer("third", "conv", 8, taps=3, activation="relu"),
        Layer("flat", "flatten"),
        Layer("logits", "dense", CLASSES),
    ),
    target="third",
    bare=True,
    seed=23,
)
NETWORKS = {network.name: network for network in (PLAIN, RESIDUAL, SIGNAL)}
