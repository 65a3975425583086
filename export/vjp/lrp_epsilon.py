"""The rule of LRP-epsilon."""

from __future__ import annotations

from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, OneHot, Value
from ..tflite.graph import Op, Tensor
from .backward import GRADIENT
from .relevance import relevance

EPSILON = 0.01
"""Epsilon, in units of the root mean square of what a layer computes.

It absorbs a hundredth of what a typical value takes, and more where contributions cancel. That multiplies over layers:
with a quarter, next to nothing comes through the 50 of MobileNetV2.
"""

# No layer's values are all so small, unless they are all 0.
_NOTHING = 1e-30


def epsilon_rule(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """R_i = sum_j x_i w_ij R_j / (z_j + ε sign z_j), z the result with its bias, which keeps its share."""
    return list(GRADIENT[op.code](op, weighed(upstream, _kept(op.output, emit), emit), emit))


def _kept(z: Tensor, emit: Emitter) -> Tensor:
    """Return z / (z + ε sign z): what is left of the relevance."""
    build = emit.builder
    size = build.op("ABS", [z], z.shape)
    power = build.mean(build.mul(z, z), range(len(z.shape)))
    epsilon = build.shifted(build.scaled(build.op("SQRT", [power], power.shape), EPSILON), _NOTHING)
    return build.div(size, build.add(size, epsilon))


def weighed(upstream: Value, by: Tensor, emit: Emitter) -> Value:
    """Return ``upstream * by``, elementwise; of a seed, only the entry of its class is taken."""
    if not isinstance(upstream, OneHot):
        return emit.times(upstream, by)
    build = emit.builder
    own = build.gather(build.reshape(by, by.shape[-1:]), upstream.index)
    return OneHot(upstream.index, upstream.shape, own if upstream.weights is None else build.mul(own, upstream.weights))


LRP_EPSILON = relevance("LRP", epsilon_rule)
