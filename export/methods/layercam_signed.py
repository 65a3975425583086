"""LayerCAM with the gradients' signs kept."""

from __future__ import annotations

from typing import ClassVar

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient
from ..tflite.graph import Tensor
from .base import Array
from .cam import ClassActivationMap, elementwise


class SignedLayerCAM(ClassActivationMap):
    """Jiang et al. 2021 (LayerCAM) without the relu on gradients: relu(sum_k g_k * A_k), elementwise.

    That is what is positive of HiResCAM's map.
    """

    name: ClassVar[str] = "layercam_signed"
    signed: ClassVar[bool] = True  # the relu is on the map, not on gradients
    rectified: ClassVar[bool] = True

    def summands(self, emit: Emitter, layer: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
        """Emit g * A, to be added up as it is."""
        return elementwise(emit, layer, gradient)

    @staticmethod
    def formula(activations: Array, gradients: Array) -> Array:
        """Return g_k * A_k."""
        return activations * gradients
