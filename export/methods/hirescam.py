"""HiResCAM."""

from __future__ import annotations

from typing import ClassVar

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient
from ..tflite.graph import Tensor
from .base import Array
from .cam import ClassActivationMap, elementwise


class HiResCAM(ClassActivationMap):
    """Draelos & Carin 2020 (arXiv 2011.08891): sum_k g_k * A_k, elementwise, g the gradient at each position.

    The map keeps both signs. Where all behind the layer is affine, it sums to the logit but for the biases.
    """

    name: ClassVar[str] = "hirescam"
    signed: ClassVar[bool] = True
    rectified: ClassVar[bool] = False

    def summands(self, emit: Emitter, layer: Tensor, gradient: Gradient) -> tuple[Tensor, Gradient]:
        """Emit g * A, to be added up as it is."""
        return elementwise(emit, layer, gradient)

    @staticmethod
    def formula(activations: Array, gradients: Array) -> Array:
        """Return g_k * A_k."""
        return activations * gradients
