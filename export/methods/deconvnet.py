"""DeconvNet."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient
from ..tflite.graph import Op
from .base import Array
from .rectified import RectifiedBackward


class DeconvNet(RectifiedBackward):
    """Zeiler & Fergus 2013 (arXiv 1311.2901), sec. 2.1: R_l = [R_l+1 > 0] R_l+1 at each ReLU, wherever it was open.

    All other ops, max poolings with their switches among them, hand back what they do for the gradient (Simonyan et
    al. 2013, arXiv 1312.6034, sec. 4). Where several values of a pooling's window are its maximum, as zeros behind a
    rectifier often are, each gets an equal share: the paper's switch is one place, and TensorFlow picks one.
    """

    name: ClassVar[str] = "deconvnet"
    sloped: ClassVar[bool] = False

    def selected(self, emit: Emitter, upstream: Gradient, op: Op) -> Gradient:
        """Emit what is positive of the signal."""
        del op
        return emit.positive(upstream)

    @staticmethod
    def formula(activations: Array, signals: Array) -> Array:
        """Return the signal where it is positive."""
        del activations
        return np.where(signals > 0, signals, 0)
