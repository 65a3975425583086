"""What can be explained, decided before any work: a constraint's docstring is the message the user reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .errors import UnsupportedModelError
from .heads import Head
from .tflite.graph import Graph, Op, Tensor, between
from .tflite.ops import fused_activation
from .tflite.options import Activation, UnreadOptions
from .vjp import GRADIENT
from .vjp.backward import NO_WAY_HINT


def has_a_rule(op: Op) -> bool:
    """Has no gradient rule."""
    return op.code in GRADIENT


def activation_has_a_rule(op: Op) -> bool:
    """Has a fused activation without a gradient rule."""
    activation = fused_activation(op)
    return activation == Activation.NONE or activation.name in GRADIENT


def has_known_options(op: Op) -> bool:
    """Has options of a newer schema than the installed LiteRT's."""
    return not isinstance(op.options, UnreadOptions)


def stays_real(op: Op) -> bool:
    """Has integers for a result, through which there is no gradient."""
    return all(t.dtype.kind in "fb" or (t.is_quantized and t.dtype.itemsize <= 2) for t in op.outputs)


Constraint = Callable[[Op], bool]
CONSTRAINTS: tuple[Constraint, ...] = (has_a_rule, activation_has_a_rule, has_known_options, stays_real)


def message(constraint: Constraint) -> str:
    """Return what a constraint says of an op that it refuses."""
    text = first_line(constraint).rstrip(".")
    return text[0].lower() + text[1:]


def first_line(function: Callable[..., Any]) -> str:
    """Return what a rule or constraint says of itself."""
    return (function.__doc__ or "").strip().splitlines()[0]


def check(graph: Graph, head: Head, targets: list[Tensor]) -> None:
    """Raise :class:`UnsupportedModelError` for the first op between ``targets`` and the logits that bars the way."""
    for target in targets:
        for op in between(graph, {target}, head.logits):
            for constraint in CONSTRAINTS:
                if not constraint(op):
                    what = f"CUSTOM {op.custom_code!r}" if op.code == "CUSTOM" else op.code
                    raise UnsupportedModelError(
                        f"op {graph.ops.index(op)} {what} {message(constraint)}\n"
                        f"  at tensor {op.output!r}; its result reaches output {head.scores.name!r} "
                        f"from {target.name!r}",
                        NO_WAY_HINT,
                    )
