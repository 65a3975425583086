"""Guided Backpropagation."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient
from ..tflite.graph import Op
from .base import Array
from .rectified import RectifiedBackward


class GuidedBackprop(RectifiedBackward):
    """Springenberg et al. 2014 (arXiv 1412.6806): R_l = [f_l > 0] [R_l+1 > 0] R_l+1 at each ReLU.

    Of other rectifiers, likewise: the positive part of the signal, times the derivative. Values of a max pooling's
    window that tie share the signal equally, where TensorFlow hands all of it to one of them.
    """

    name: ClassVar[str] = "guided_backprop"
    sloped: ClassVar[bool] = True

    def selected(self, emit: Emitter, upstream: Gradient, op: Op) -> Gradient:
        """Emit what is positive of the signal."""
        del op
        return emit.positive(upstream)

    @staticmethod
    def formula(activations: Array, signals: Array) -> Array:
        """Return the signal where it is positive."""
        del activations
        return np.where(signals > 0, signals, 0)
