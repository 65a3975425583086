"""FullGrad as published, which takes absolute values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from edge.manifest import NO_UNIT

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient
from ..tflite.graph import Tensor
from ..tflite.ops import INT32, elements
from ..tflite.options import ReducerOptions
from .base import Array
from .bias_gradients import interpolation, places, planes, resized
from .fullgrad import FullGrad

# A term whose values are all alike has no range to be scaled by.
_NOTHING = 1e-30


class FullGradAbs(FullGrad):
    """Srinivas & Fleuret 2019 (arXiv 1905.00780): psi(x * gradient) + sum over layers of psi(bias * gradient).

    psi takes absolute values, scales each term to 0 to 1 by its least and largest value, interpolates bilinearly and
    sums over channels. Terms without positions, such as a dense layer's, are left out, as in the authors' program, and
    so are implicit biases: where they are zero, psi would make rounding as large as all else. The map is in no unit of
    the model's.

    The absolute values make what speaks for and against alike: a visual aid (Khakzar et al. 2020, arXiv 2012.00362).
    """

    name: ClassVar[str] = "fullgrad_abs"
    signed: ClassVar[bool] = False
    signed_twin: ClassVar[str | None] = "fullgrad"
    keeps: ClassVar[str] = "only absolute values of gradients"
    map_unit: ClassVar[str] = NO_UNIT
    whole: ClassVar[bool] = False

    def aggregated(self, emit: Emitter, parts: Sequence[Gradient], over: tuple[int, ...]) -> Gradient:
        """Emit the map of terms, ``[1, rows, columns, 1]``."""
        rows, columns = planes(over)
        at_input, *others = parts
        located: dict[tuple[int, int], list[Gradient]] = {}
        located[rows, columns] = [_scaled(emit, at_input.tensor, (rows, columns))]
        for part in others:
            found = places(part.tensor.shape, over)
            if found is not None:
                located.setdefault(planes(found), []).append(_scaled(emit, part.tensor, planes(found)))
        same = [emit.dense(emit.sum(group)) for group in located.values()]
        maps = [resized(emit, plane, (rows, columns), conserving=False) for plane in same]
        return emit.rescale(emit.dense(emit.sum(maps)), 1.0)

    @staticmethod
    def formula_of(parts: Sequence[Array], over: tuple[int, ...]) -> Array:
        """Return the map in numpy from the terms, of the input's shape and of those of layers."""
        heatmap = np.zeros(planes(over))
        for number, part in enumerate(parts):
            found = over if number == 0 else places(part.shape, over)
            if found is None:
                continue
            size = np.abs(part)
            plane = (size - size.min()) / max(size.max() - size.min(), _NOTHING)
            plane = plane.reshape(*planes(found), -1).sum(-1)
            pairs = zip(plane.shape, planes(over), strict=True)
            down, across = (interpolation(*pair, conserving=False) for pair in pairs)
            heatmap += down @ plane @ across.T
        return heatmap.reshape(over)


def _scaled(emit: Emitter, part: Tensor, plane: tuple[int, int]) -> Gradient:
    """Return absolute values scaled to 0 to 1 and summed over channels, ``[1, rows, columns, 1]``."""
    build = emit.builder
    size = build.op("ABS", [part], part.shape)
    axes, ones = build.constant(range(len(part.shape)), INT32), (1,) * len(part.shape)
    least, largest = (build.op(code, [size, axes], ones, ReducerOptions(True)) for code in ("REDUCE_MIN", "REDUCE_MAX"))
    extent = build.maximum(build.sub(largest, least), build.number(_NOTHING))
    scaled = build.div(build.sub(size, least), extent)
    channels = elements(part.shape) // (plane[0] * plane[1])
    return Gradient(build.sum(build.reshape(scaled, (1, *plane, channels)), [3]))
