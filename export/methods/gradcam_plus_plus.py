"""GradCAM++, which keeps only positive gradients."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient
from ..tflite.graph import Tensor
from ..tflite.ops import elements
from .base import Array
from .cam import ClassActivationMap, spatial_mean, spatial_sum


class GradCAMPlusPlus(ClassActivationMap):
    """Chattopadhyay et al. 2018 (arXiv 1710.11063): relu(sum_k w_k A_k), w_k = sum_ij alpha_k relu(g_k).

    By eq. 19, alpha_k = g_k^2 / (2 g_k^2 + sum_ab(A_k) g_k^3) = 1 / (2 + sum_ab(A_k) g_k), and 0 where g_k is. The
    paper takes the class's score to be exp(logit), by which the whole map is multiplied: left out here, so that the map
    is in logits. At a layer that goes below zero, alpha may have a pole.

    The relu drops negative gradients: a visual aid (Khakzar et al. 2020, arXiv 2012.00362). The formula without it is
    no twin: alpha would have its pole at g_k = -2 / sum_ab(A_k) at any layer. Where alpha is nearly the same all over,
    as Lerma & Lucas 2022 (arXiv 2205.10838) find it to be, what remains without the relu is GradCAM.
    """

    name: ClassVar[str] = "gradcam_plus_plus"
    signed: ClassVar[bool] = False
    signed_twin: ClassVar[str | None] = "gradcam"
    rectified: ClassVar[bool] = True

    def summands(self, emit: Emitter, layer: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
        """Emit A and w; w as a mean over positions, of which the factor makes a sum."""
        build, activations = emit.builder, emit.real(layer)
        slopes = emit.positive(emit.rescale(gradient, 1.0)).tensor
        below = build.shifted(build.mul(slopes, spatial_sum(emit, activations)), 2.0)
        mean = spatial_mean(emit, Gradient(build.div(slopes, below)), layer)
        return activations, Gradient(mean.tensor, 1 / elements(layer.shape[1:-1]))

    @staticmethod
    def formula(activations: Array, gradients: Array) -> Array:
        """Return w_k A_k."""
        slopes = np.maximum(gradients, 0)
        return np.asarray(activations * (slopes / (2 + activations.sum(0) * slopes)).sum(0))
