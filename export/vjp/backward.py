"""The reverse walk, and the table of rules it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import UNFORESEEN, UnsupportedModelError, unforeseen
from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, Value
from ..tflite.graph import Graph, Op, Tensor, between
from ..tflite.ops import declared_activation, fused_activation
from ..tflite.options import Activation

# An op with several outputs is given a list, with None for outputs that nothing depends on.
Upstream = Any
Rule = Callable[[Op, Upstream, Emitter], Sequence[Contribution | None]]

NO_WAY_HINT = "explain at a layer after it (--layer), or choose an output that does not depend on it (--output)"
OTHER_METHOD_HINT = "choose a method that follows the gradient, as --method integrated_gradients"


class Rules(dict[str, Rule]):
    """A rule for each op that a walk may meet; ``kind`` is what an error calls the one that is missing."""

    def __init__(self, kind: str, rules: Mapping[str, Rule] = MappingProxyType({})) -> None:
        super().__init__(rules)
        self.kind = kind


GRADIENT = Rules("gradient")
"""The vector-Jacobian product of each op: from the gradient at its output, the gradient at each input."""


AFFINE: dict[str, int] = {}
"""How many operands of an op may depend on the input for the op to be affine in them."""


def rule(*codes: str, affine: int = 0) -> Callable[[Rule], Rule]:
    """Enter a function into :data:`GRADIENT` as the rule of the builtins ``codes``, and into :data:`AFFINE`."""

    def register(function: Rule) -> Rule:
        GRADIENT.update(dict.fromkeys(codes, function))
        AFFINE.update(dict.fromkeys(codes, affine))
        return function

    return register


def backward(
    graph: Graph,
    seeds: Mapping[Tensor, Value],
    targets: Sequence[Tensor],
    emit: Emitter,
    rules: Rules = GRADIENT,
) -> list[Value]:
    """Emit the gradient of the seeded tensors with respect to ``targets``, one value per target.

    Visits only ops on a way from a target to a seed. ``rules`` is the table to apply, so that a method with modified
    backward rules (Guided Backpropagation, LRP) is another table and not another walk; a fused activation is looked
    up under its own name. Raises :class:`UnsupportedModelError` where an op has no rule or no target has a gradient.
    """
    pending: dict[Tensor, list[Contribution]] = {tensor: [value] for tensor, value in seeds.items()}
    path = [op for seed in seeds for op in between(graph, set(targets), seed)]
    wanted = set(targets) | {tensor for op in path for tensor in op.outputs}
    for op in reversed([op for op in graph.ops if op in set(path)]):
        values = [emit.sum(pending.pop(tensor)) if tensor in pending else None for tensor in op.outputs]
        if not any(value is not None for value in values):
            continue
        upstream: Upstream = values[0] if len(values) == 1 else values
        # A logit at the end of its range is at no kink: only what the file declares counts there.
        activation = declared_activation(op) if op.output in seeds else fused_activation(op)
        if activation != Activation.NONE:
            (contribution,) = _applied(rules, activation.name, op, upstream, emit)
            upstream = emit.sum([contribution] if contribution is not None else [])
        gradients = _applied(rules, op.code, op, upstream, emit)
        for tensor, gradient in zip(op.inputs, gradients, strict=False):
            if tensor in wanted and gradient is not None:
                pending.setdefault(tensor, []).append(gradient)
    if not any(target in pending for target in targets):
        raise UnsupportedModelError(
            f"the explained class does not depend on tensor {targets[0]!r}", "choose a layer between input and scores"
        )
    # Beside others, a target may be read by ops that look at its shape only, or jump.
    return [
        emit.sum(pending[t]) if t in pending else Gradient(emit.builder.constant(np.zeros(t.shape))) for t in targets
    ]


def _applied(rules: Rules, code: str, op: Op, upstream: Upstream, emit: Emitter) -> Sequence[Contribution | None]:
    """Apply the rule for ``code``; where operands or options are not what its op takes, say so of the op."""
    rule = lookup(rules, code, op)
    try:
        return rule(op, upstream, emit)
    except UNFORESEEN as error:
        raise unforeseen(
            f"op {op.code} has operands or options that its {rules.kind} rule cannot take\n  at tensor {op.output!r}",
            error,
        ) from error


def lookup(rules: Rules, code: str, op: Op) -> Rule:
    """Return the rule for ``code``; :class:`UnsupportedModelError` naming op and tensor where there is none."""
    if code in rules:
        return rules[code]
    what = op.custom_code or code if op.code == "CUSTOM" else code
    raise UnsupportedModelError(
        f"op {what} has no {rules.kind} rule\n  at tensor {op.output!r}",
        NO_WAY_HINT if rules is GRADIENT else OTHER_METHOD_HINT,
    )
