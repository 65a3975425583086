"""FullGrad, its terms added up as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient
from ..tflite.ops import elements
from .base import Array, Compiled, Method, Source
from .bias_gradients import interpolation, map_shape, places, planes, resized, terms, total
from .input_gradient import input_entry


@dataclass(frozen=True)
class FullGrad(Method):
    """Srinivas & Fleuret 2019 (arXiv 1905.00780), with signs: x * gradient + sum over layers of bias * gradient there.

    Those of a layer are summed over channels and spread over the input's positions; what has none, such as a dense
    layer's, evenly over all. With the implicit biases of activations that bend, the map sums to the logit (the paper's
    completeness of full-gradients). The paper's own aggregation, which takes absolute values, is ``fullgrad_abs``.
    """

    name: ClassVar[str] = "fullgrad"
    signed: ClassVar[bool] = True
    whole: ClassVar[bool] = True
    """Whether the map has what activations add of their own, such as a clipped rectifier its ceiling."""

    def build(self, source: Source) -> Compiled:
        """Return one entry, for a class asked for; it gives the gradient at the input too."""
        over = map_shape(source.start)
        parts = terms(source, self.name)
        found = self.aggregated(parts.emit, [*parts.explicit, *(parts.implicit if self.whole else [])], over)
        gradient = parts.emit.rescale(parts.gradient, found.factor)
        outputs = {"map": found.tensor, "gradient": gradient.tensor}
        entry = input_entry(parts.emit.builder.graph, parts.inputs, outputs, 1 / found.factor)
        return Compiled([entry], source.start, over)

    def aggregated(self, emit: Emitter, parts: Sequence[Gradient], over: tuple[int, ...]) -> Gradient:
        """Emit the map of terms, ``[1, rows, columns, 1]``; the first is of the input's own shape."""
        rows, columns = planes(over)
        at_input, *others = parts
        shape = (1, rows, columns, elements(at_input.tensor.shape) // (rows * columns))
        located = {(rows, columns): [_over_channels(emit, at_input, shape)]}
        nowhere: list[Gradient] = []
        for part in others:
            found = places(part.tensor.shape, over)
            if found is None:
                nowhere.append(total(emit, part))
                continue
            shape = (1, *planes(found), part.tensor.shape[-1])
            located.setdefault(planes(found), []).append(_over_channels(emit, part, shape))
        maps = [resized(emit, _sum(emit, same), (rows, columns), conserving=True) for same in located.values()]
        if nowhere:
            evenly = emit.scale(_sum(emit, nowhere), 1 / (rows * columns))
            maps.append(Gradient(emit.builder.broadcast_to(evenly.tensor, (1, rows, columns, 1)), evenly.factor))
        return _sum(emit, maps)

    @staticmethod
    def formula_of(parts: Sequence[Array], over: tuple[int, ...]) -> Array:
        """Return the map in numpy from the terms, of the input's shape and of those of layers."""
        at_input, *others = parts
        heatmap = at_input.reshape(*planes(over), -1).sum(-1)
        for part in others:
            found = places(part.shape, over)
            if found is None:
                heatmap = heatmap + part.sum() / heatmap.size
                continue
            plane = part.reshape(*planes(found), -1).sum(-1)
            down, across = (
                interpolation(*pair, conserving=True) for pair in zip(plane.shape, planes(over), strict=True)
            )
            heatmap = heatmap + down @ plane @ across.T
        return np.asarray(heatmap.reshape(over))


def _over_channels(emit: Emitter, part: Gradient, shape: tuple[int, ...]) -> Gradient:
    """Return the sum over channels of a term, brought to ``[1, rows, columns, channels]`` first."""
    return Gradient(emit.builder.sum(emit.builder.reshape(part.tensor, shape), [3]), part.factor)


def _sum(emit: Emitter, parts: Sequence[Gradient]) -> Gradient:
    return emit.dense(emit.sum(parts))
