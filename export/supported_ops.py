"""The page of supported ops, written from the rules and constraints themselves: ``python -m export.supported_ops``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from .support import CONSTRAINTS, first_line, message, takes_real
from .vjp import GRADIENT, LRP_ALPHA_BETA, LRP_EPSILON
from .vjp.relevance import WEIGHTED

_HEADER = """# Supported ops

<!-- Written by `python -m export.supported_ops > docs/supported-ops.md`; a test keeps it current. -->

What stands between a layer to look at (for gradients at the input: the input) and the explained output must have a
rule here. Everything before that layer may be any op that the interpreter runs. Each rule covers all options of its
op: strides, dilation, padding, groups, broadcasting, negative axes, masks. An activation fused into an op goes by the
rule of its own name, and so does one that a quantised model leaves to the range of the result. Recurrent layers are
written out step by step, from zero state.

| ops | what they compute, and the gradient |
| --- | --- |"""

_BETWEEN = """
## Refused

An op on the way that
"""

_FOOTER = """
bars the way. Where it stands between the layer of a class activation map and the output, that map is refused. Where it
bars the way to the input, methods at the input explain at the first tensor that can be reached: the first, in the order
of execution, that everything the input does to the output goes through, and from which there is a gradient all the way.
Where there is none, they are refused by the name of the op.

Weights of convolutions and dense layers, indices, sizes and axes must be constant, or be so once shape arithmetic
(SHAPE, STRIDED_SLICE, PACK, ...) is folded at the batch size the file declares. Sparse ones (DENSIFY) are unpacked."""


_RELEVANCE = """
## Layer-wise relevance propagation

`lrp_epsilon`, `lrp_alpha_beta` and `lrp_z_plus` walk back by rules of their own, over ops in float32 whose activations
are taken apart from them. What each operand takes of the relevance R of a result; the first row is `lrp_epsilon`'s, the
second that of the others, with β = 0 for `lrp_z_plus`:

| ops | rule |
| --- | --- |"""

_AS_THE_GRADIENT = """
As the gradient above goes R over the value, through ops whose result is proportional to what their operands contribute:
a sum and an average share R out in proportion, a maximum gives it to the winner, and what only moves values moves it.
What a bias or a constant contributes, it keeps. These are: """

_WITHOUT = """.

Any other op on the way is refused by name; exponentials, powers and attention are."""


def page() -> str:
    """Return the page of what can be explained, in Markdown, as the rules and constraints say it themselves."""
    refusals: list[Callable[..., bool]] = [*CONSTRAINTS, takes_real]
    reasons = [f"- {message(constraint)}" for constraint in refusals]
    own = {code: rule for code, rule in LRP_EPSILON.items() if rule is not GRADIENT.get(code)}
    epsilon, *others = rows(own)
    (signs,) = rows({code: LRP_ALPHA_BETA[code] for code in WEIGHTED})
    shared = _AS_THE_GRADIENT + ", ".join(sorted(LRP_EPSILON.keys() - own)) + _WITHOUT
    return "\n".join(
        [_HEADER, *rows(GRADIENT), _BETWEEN, *reasons, _FOOTER, _RELEVANCE, epsilon, signs, *others, shared]
    )


def rows(rules: Mapping[str, Callable[..., Any]]) -> list[str]:
    """Return ops and what the rule of each says of itself, a row of a table for each rule."""
    by_rule: dict[str, list[str]] = {}
    for code in sorted(rules):
        by_rule.setdefault(first_line(rules[code]), []).append(code)
    return [f"| {', '.join(codes)} | {text.replace('|', chr(92) + '|')} |" for text, codes in by_rule.items()]


if __name__ == "__main__":
    sys.stdout.write(page() + "\n")
