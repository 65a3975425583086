"""XGradCAM."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient
from ..tflite.graph import Tensor
from .base import Array
from .cam import ClassActivationMap, is_even, spatial_mean, spatial_sum

# Sums of activations below this count as none: a channel that is dead all over has no weight, instead of 0/0.
_NOTHING = 1e-12


class XGradCAM(ClassActivationMap):
    """Fu et al. 2020 (arXiv 2008.02312): sum_k w_k A_k, w_k = sum_ij(g_k * A_k) / sum_ij(A_k).

    The map keeps both signs, so that it sums to what HiResCAM's does (the paper's axiom of conservation). Where the
    activations of a channel cancel, as they may without a rectifier, its weight has a pole.
    """

    name: ClassVar[str] = "xgradcam"
    signed: ClassVar[bool] = True
    rectified: ClassVar[bool] = False

    def summands(self, emit: Emitter, layer: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
        """Emit A and w; w is the gradient itself where that is the same at all positions."""
        build, activations = emit.builder, emit.real(layer)
        if is_even(gradient):
            return activations, spatial_mean(emit, gradient, layer)
        product = emit.times(emit.expand(gradient, layer.shape), activations)
        attributed, total = spatial_sum(emit, product.tensor), spatial_sum(emit, activations)
        weights = build.div(build.mul(attributed, total), build.shifted(build.mul(total, total), _NOTHING**2))
        return activations, Gradient(build.reshape(weights, (1, layer.shape[-1])), product.factor)

    @staticmethod
    def formula(activations: Array, gradients: Array) -> Array:
        """Return w_k A_k."""
        total = activations.sum(0)
        weights = (gradients * activations).sum(0) * total / (total**2 + _NOTHING**2)
        return np.asarray(activations * weights)
