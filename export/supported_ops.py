"""The page of supported ops, written from the rules and constraints themselves: ``python -m export.supported_ops``."""

from __future__ import annotations

import sys

from .support import CONSTRAINTS, first_line, message
from .vjp import GRADIENT

_HEADER = """# Supported ops

<!-- Written by `python -m export.supported_ops > docs/supported-ops.md`; a test keeps it current. -->

What stands between a layer to look at (for gradients at the input: the input) and the explained output must have a
rule here. Everything before that layer may be any op that the interpreter runs. Each rule covers all options of its
op: strides, dilation, padding, groups, broadcasting, negative axes, masks. An activation fused into an op goes by the
rule of its own name, and so does one that a quantised model leaves to the range of the result.

| ops | what they compute, and the gradient |
| --- | --- |"""

_BETWEEN = """
## Refused

An op on the way that
"""

_FOOTER = """
Weights of convolutions and dense layers, indices, sizes and axes must be constant, or be so once shape arithmetic
(SHAPE, STRIDED_SLICE, PACK, ...) is folded at the batch size the file declares."""


def page() -> str:
    """Return the page of what can be explained, in Markdown, as the rules and constraints say it themselves."""
    by_rule: dict[str, list[str]] = {}
    for code in sorted(GRADIENT):
        by_rule.setdefault(first_line(GRADIENT[code]), []).append(code)
    rows = [f"| {', '.join(codes)} | {text.replace('|', chr(92) + '|')} |" for text, codes in by_rule.items()]
    refusals = [f"- {message(constraint)}" for constraint in CONSTRAINTS]
    return "\n".join([_HEADER, *rows, _BETWEEN, *refusals, _FOOTER])


if __name__ == "__main__":
    sys.stdout.write(page() + "\n")
