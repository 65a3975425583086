"""What class activation maps share: a target layer, its gradient, and a weighted sum over its channels."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient, OneHot
from ..tflite.graph import Tensor
from ..tflite.options import Activation
from ..vjp import GRADIENT, Rules, backward
from .base import Array, Compiled, Source
from .layer_map import LayerMap


@dataclass(frozen=True)
class ClassActivationMap(LayerMap):
    """A method whose map is a weighted sum over the channels of a layer.

    Where the head is affine in the target layer, gradients are a row of the classifier's weights and cost a GATHER
    (static GradCAM, Bhat & Raychowdhury, AICAS 2023); elsewhere the same reverse walk finds them.
    """

    rectified: ClassVar[bool]
    """Whether only what is positive of the *map* is kept, which is harmless where dropping gradients is not."""

    @abstractmethod
    def summands(self, emit: Emitter, layer: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
        """Emit what is summed over channels (float32, in the shape of ``layer``), and the weights ``[1, channels]``."""

    @staticmethod
    @abstractmethod
    def formula(activations: Array, gradients: Array) -> Array:
        """Return what each channel adds at each position, in numpy, all ``[positions, channels]``.

        This is what an export holds the compiled map against.
        """

    def build(self, source: Source) -> Compiled:
        """Return the entries, and the formula to hold them against."""
        return replace(super().build(source), formula=self.formula, rectified=self.rectified)

    def heatmap(self, source: Source, emit: Emitter, layer: Tensor, index: Tensor, rules: Rules = GRADIENT) -> Gradient:
        """Emit the gradient at the layer, by ``rules``, and the weighted sum."""
        logits = source.head.logits
        (gradient,) = backward(emit.builder.graph, {logits: OneHot(index, logits.shape)}, [layer], emit, rules)
        return weighted_sum(emit, *self.summands(emit, layer, emit.dense(gradient)), rectified=self.rectified)


def weighted_sum(emit: Emitter, features: Tensor, weights: Gradient, *, rectified: bool) -> Gradient:
    """Return the sum over channels of weight * feature, ``[positions, 1]``, what is positive of it if ``rectified``."""
    if rectified and weights.factor < 0:  # the rectifier must see the sign
        weights = emit.rescale(weights, -weights.factor)
    activation = Activation.RELU if rectified else Activation.NONE
    return Gradient(emit.builder.fully_connected(features, weights.tensor, activation), weights.factor)


def elementwise(emit: Emitter, layer: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
    """Return the summands of gradient * activation; no products where the gradient is the same at all positions."""
    if is_even(gradient):
        return emit.real(layer), spatial_mean(emit, gradient, layer)
    product = emit.times(emit.expand(gradient, layer.shape), emit.real(layer))
    ones = emit.builder.constant(np.ones((1, layer.shape[-1])))
    return product.tensor, Gradient(ones, product.factor)


def is_even(gradient: Gradient) -> bool:
    """Whether a gradient is known to be the same at all positions, as behind global pooling."""
    return all(size == 1 for size in gradient.tensor.shape[:-1])


def spatial_mean(emit: Emitter, gradient: Gradient, layer: Tensor) -> Gradient:
    """Return the mean over positions, ``[1, channels]``; nothing to compute where the gradient is the same at all."""
    channels = layer.shape[-1]
    stored = emit.builder.broadcast_to(gradient.tensor, (*gradient.tensor.shape[:-1], channels))
    positions = [axis for axis in range(1, len(stored.shape) - 1) if stored.shape[axis] > 1]
    if positions:
        stored = emit.builder.mean(stored, positions)
    return Gradient(emit.builder.reshape(stored, (1, channels)), gradient.factor)


def spatial_sum(emit: Emitter, tensor: Tensor) -> Tensor:
    """Return the sum over positions of a tensor of full size, its rank kept."""
    return emit.builder.sum(tensor, range(1, len(tensor.shape) - 1))
