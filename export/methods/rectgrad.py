"""RectGrad."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient
from ..tflite.graph import Op
from ..tflite.ops import INT32, elements
from .base import Array
from .rectified import RectifiedBackward

_PERCENT = 98  # of a rectifier's results are dropped, as in most of the paper's figures
_SMALLEST = float(np.finfo(np.float32).tiny)


class RectGrad(RectifiedBackward):
    """Kim et al. 2019 (arXiv 1902.04615): R_l = [a_l R_l+1 > tau] R_l+1 at each ReLU, tau a percentile of a_l R_l+1.

    Kept are the 2 % of a rectifier's results that contribute most, one at the least, and none that contribute nothing
    or speak against. The proportional redistribution rule, which the paper adds at choice, is left out.
    """

    name: ClassVar[str] = "rectgrad"
    sloped: ClassVar[bool] = True

    def selected(self, emit: Emitter, upstream: Gradient, op: Op) -> Gradient:
        """Emit the signal where it contributes enough: by TOPK_V2, GREATER_EQUAL and SELECT_V2."""
        build = emit.builder
        signal = emit.expand(upstream, op.output.shape)
        if signal.factor < 0:  # the comparison must see the sign
            signal = emit.rescale(signal, -signal.factor)
        contribution = build.mul(signal.tensor, emit.real(op.output))
        size = elements(contribution.shape)
        kept = _kept(size)
        largest, places = build.tensor(f"{len(build.graph.ops)}", (kept,)), build.tensor("places", (kept,), INT32)
        flat = build.reshape(contribution, (size,))
        build.graph.ops.append(Op("TOPK_V2", [flat, build.constant(kept, INT32)], [largest, places]))
        threshold = build.maximum(build.slice(largest, (kept - 1,), (1,)), build.number(_SMALLEST))
        enough = build.op("GREATER_EQUAL", [contribution, threshold], contribution.shape, dtype=np.dtype(np.bool_))
        operands = [enough, signal.tensor, build.number(0)]
        return Gradient(build.op("SELECT_V2", operands, contribution.shape, dtype=signal.tensor.dtype), signal.factor)

    @staticmethod
    def formula(activations: Array, signals: Array) -> Array:
        """Return the signal where activation * signal is among the largest, and positive."""
        contributions = activations * signals
        threshold = np.sort(contributions, axis=None)[-_kept(contributions.size)]
        return np.where((contributions >= threshold) & (contributions > 0), signals, 0)


def _kept(size: int) -> int:
    return size - size * _PERCENT // 100
