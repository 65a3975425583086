"""The page of supported ops, written from the rules and constraints themselves: ``python -m export.supported_ops``."""

from __future__ import annotations

import sys
from collections.abc import Callable

from .support import CONSTRAINTS, first_line, message, takes_real
from .vjp import GRADIENT

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


def page() -> str:
    """Return the page of what can be explained, in Markdown, as the rules and constraints say it themselves."""
    by_rule: dict[str, list[str]] = {}
    for code in sorted(GRADIENT):
        by_rule.setdefault(first_line(GRADIENT[code]), []).append(code)
    rows = [f"| {', '.join(codes)} | {text.replace('|', chr(92) + '|')} |" for text, codes in by_rule.items()]
    refusals: list[Callable[..., bool]] = [*CONSTRAINTS, takes_real]
    reasons = [f"- {message(constraint)}" for constraint in refusals]
    return "\n".join([_HEADER, *rows, _BETWEEN, *reasons, _FOOTER])


if __name__ == "__main__":
    sys.stdout.write(page() + "\n")
