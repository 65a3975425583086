"""The rules of LRP-alpha-beta and LRP-z+, which share relevance out among positive and negative contributions apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, OneHot, Value
from ..numerics.weights import Weights
from ..tflite.graph import Op, Tensor
from ..tflite.ops import FLOAT
from .backward import GRADIENT, Rule
from .lrp_epsilon import weighed
from .relevance import relevance

NOTHING = 1e-12
"""Contributions that add up to less count as none, instead of a quotient that is not finite."""

# Where a layer has its input and its bias; its weights are the second operand of all.
_PLACES = {"TRANSPOSE_CONV": (2, 3)}
_INPUT_AND_BIAS = (0, 2)
_KEEP_SIGNS = {"ADD", "AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "CONCATENATION", "EXPAND_DIMS", "MAX_POOL_2D", "MEAN"}
_KEEP_SIGNS |= {"PAD", "RESHAPE", "SLICE", "SPACE_TO_BATCH_ND", "SQUEEZE", "STRIDED_SLICE", "SUM", "TRANSPOSE"}
_RECTIFY = {"LOGISTIC", "RELU", "RELU6", "RELU_0_TO_1", "SOFTMAX"}


@dataclass(frozen=True)
class Signs:
    """A layer with weights, and what is positive and what is negative of these: layers of their own, without biases."""

    op: Op
    positive: Tensor
    negative: Tensor

    @classmethod
    def of(cls, op: Op, emit: Emitter) -> Signs:
        """Return the parts of a layer."""
        weights = emit.weights(op.input(1))
        grid, stored = weights.quantization, weights.stored
        zero = grid.along(stored.ndim)[1] if grid is not None else 0.0
        parts = (np.maximum(stored, zero), np.minimum(stored, zero))
        return cls(op, *(emit.builder.constant(part, stored.dtype, grid) for part in parts))

    @property
    def place(self) -> int:
        """Which operand is the input."""
        return _PLACES.get(self.op.code, _INPUT_AND_BIAS)[0]

    def bias(self, emit: Emitter) -> NDArray[np.float64]:
        """Return the bias, 0 where there is none."""
        place = _PLACES.get(self.op.code, _INPUT_AND_BIAS)[1]
        given = self.op.inputs[place] if place < len(self.op.inputs) else None
        return np.zeros(self.op.output.shape[-1]) if given is None else emit.weights(given).values

    def contributions(self, above: Tensor, below: Tensor | None, emit: Emitter, *, positive: bool) -> Tensor:
        """Return the sum of all contributions of one sign, of what is positive and what is negative of the input."""
        total = self._forward(above, self._part(positive), emit)
        return total if below is None else emit.builder.add(total, self._forward(below, self._part(not positive), emit))

    def transposed(self, upstream: Value, emit: Emitter, *, positive: bool) -> Contribution:
        """Return the gradient of one part at the input."""
        part = replace(self.op, inputs=self._operands(self.op.input(self.place), self._part(positive)))
        found = GRADIENT[self.op.code](part, upstream, emit)[self.place]
        assert found is not None
        return found

    def _part(self, positive: bool) -> Tensor:
        return self.positive if positive else self.negative

    def _forward(self, x: Tensor, weights: Tensor, emit: Emitter) -> Tensor:
        axis = 0 if weights.quantization is None else weights.quantization.axis
        real = emit.store(emit.builder, Weights.of(weights), lambda values: values, axis, 1.0)
        op = self.op
        operands = self._operands(x, real, emit)
        return emit.builder.op(op.code, operands, op.output.shape, op.options, dtype=FLOAT, version=op.version)

    def _operands(self, x: Tensor, weights: Tensor, emit: Emitter | None = None) -> list[Tensor | None]:
        place, of_bias = _PLACES.get(self.op.code, _INPUT_AND_BIAS)
        none = None if emit is None or self.op.code == "BATCH_MATMUL" else emit.builder.zeros(self.op.output.shape[-1])
        swapped = {place: x, 1: weights, of_bias: none}
        return [swapped.get(at, tensor) for at, tensor in enumerate(self.op.inputs)]


def alpha_beta(alpha: float, beta: float) -> Rule:
    """Return the rule for layers with weights; ``alpha - beta`` is 1, so that relevance is kept."""

    def rule(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
        """R_i = sum_j (α (x_i w_ij)⁺ / z_j⁺ - β (x_i w_ij)⁻ / z_j⁻) R_j; a bias is in the z of its sign."""
        build, layer = emit.builder, Signs.of(op, emit)
        x = op.input(layer.place)
        above = x if is_never_negative(x, build.graph.producers()) else build.relu(x)
        below = None if above is x else build.sub(x, above)
        shares: dict[bool, Value] = {}
        for positive, part in ((True, alpha), (False, -beta)):
            if part:
                z = _with_bias(layer.contributions(above, below, emit, positive=positive), layer, emit, positive)
                shares[positive] = _per_contribution(upstream, build.scaled(op.output, part), z, emit)
        found = emit.sum([layer.transposed(share, emit, positive=sign) for sign, share in shares.items()])
        if below is not None:
            of_negative = emit.sum([layer.transposed(share, emit, positive=not sign) for sign, share in shares.items()])
            found = emit.sum([emit.gate(found, x), emit.gate(of_negative, build.scaled(x, -1))])
        return [found if place == layer.place else None for place in range(len(op.inputs))]

    return rule


def _per_contribution(upstream: Value, relevant: Tensor, z: Tensor, emit: Emitter) -> Value:
    """Return ``upstream * relevant / z``, multiplied first: where a rectifier leaves nothing, z may be nothing too."""
    if isinstance(upstream, OneHot):
        return weighed(upstream, emit.builder.div(relevant, z), emit)
    relevance = emit.times(upstream, relevant)
    return Gradient(emit.builder.div(relevance.tensor, z), relevance.factor)


def _with_bias(contributions: Tensor, layer: Signs, emit: Emitter, positive: bool) -> Tensor:
    """Return contributions with the bias's, of the sign that they have, and never 0."""
    build, bias = emit.builder, layer.bias(emit)
    if positive:
        return build.maximum(build.add(contributions, build.constant(np.maximum(bias, 0))), build.number(NOTHING))
    return build.minimum(build.add(contributions, build.constant(np.minimum(bias, 0))), build.number(-NOTHING))


def is_never_negative(tensor: Tensor, producers: Mapping[Tensor, Op]) -> bool:
    """Whether an activation comes of rectifiers, through ops that keep signs."""
    if tensor.data is not None:
        return bool(tensor.real().min(initial=0) >= 0) if tensor.dtype.kind == "f" else True
    made = producers.get(tensor)
    if made is None or made.code in _RECTIFY:
        return made is not None
    return made.code in _KEEP_SIGNS and all(t is None or is_never_negative(t, producers) for t in made.inputs)


ALPHA_BETA = (2.0, 1.0)
Z_PLUS = (1.0, 0.0)

LRP_ALPHA_BETA = relevance("LRP", alpha_beta(*ALPHA_BETA))
LRP_Z_PLUS = relevance("LRP", alpha_beta(*Z_PLUS))
