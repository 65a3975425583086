"""LayerCAM as published, which keeps only positive gradients."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient
from ..tflite.graph import Tensor
from .base import Array
from .cam import ClassActivationMap, elementwise


class LayerCAM(ClassActivationMap):
    """Jiang et al. 2021 (IEEE TIP 30, LayerCAM): relu(sum_k relu(g_k) * A_k), elementwise.

    The inner relu drops negative gradients: a visual aid (Khakzar et al. 2020, arXiv 2012.00362).
    """

    name: ClassVar[str] = "layercam"
    signed: ClassVar[bool] = False
    signed_twin: ClassVar[str | None] = "layercam_signed"
    rectified: ClassVar[bool] = True

    def summands(self, emit: Emitter, layer: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
        """Emit relu(g) * A, to be added up as it is."""
        return elementwise(emit, layer, emit.positive(gradient))

    @staticmethod
    def formula(activations: Array, gradients: Array) -> Array:
        """Return relu(g_k) * A_k."""
        return activations * np.maximum(gradients, 0)
