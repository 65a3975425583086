"""GradCAM."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient
from ..tflite.graph import Tensor
from .base import Array
from .cam import ClassActivationMap, spatial_mean


class GradCAM(ClassActivationMap):
    """Selvaraju et al. 2017 (arXiv 1610.02391), eq. 1-2: relu(sum_k alpha_k A_k), alpha_k the mean gradient of A_k."""

    name: ClassVar[str] = "gradcam"
    signed: ClassVar[bool] = True  # the relu is on the map, not on gradients
    rectified: ClassVar[bool] = True

    def summands(self, emit: Emitter, layer: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
        """Emit A and alpha."""
        alpha = spatial_mean(emit, gradient, layer)
        return emit.real(layer), alpha

    @staticmethod
    def formula(activations: Array, gradients: Array) -> Array:
        """Return alpha_k A_k."""
        return np.asarray(activations * gradients.mean(0))
