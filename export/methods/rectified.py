"""What methods share that change what a rectifier hands back: a table of rules for the same walk."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from edge.manifest import LOGITS_PER_INPUT_UNIT

from ..errors import UnsupportedModelError
from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, Value
from ..tflite.graph import Op, between
from ..tflite.ops import declared_activation, fused_activation
from ..vjp import GRADIENT, Rules
from ..vjp.backward import Rule
from .base import Array, Compiled, Method, Role, Source
from .input_gradient import input_entry, input_gradient

RECTIFIERS = ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "PRELU", "ELU", "HARD_SWISH", "GELU")
"""Activations whose backward rule is changed, fused ones among them; the papers know the first only."""


@dataclass(frozen=True)
class RectifiedBackward(Method):
    """A visual aid: a walk to the input in which each rectifier selects what it hands back.

    All else has the gradient's rules. What comes out is the gradient of nothing, so that no difference quotient can
    tell whether it is right: ``formula`` is what an export holds each rectifier against (:mod:`export.trust.pieces`).
    """

    signed: ClassVar[bool] = False
    signed_twin: ClassVar[str | None] = "saliency"
    map_unit: ClassVar[str] = LOGITS_PER_INPUT_UNIT
    sloped: ClassVar[bool]
    """Whether what is handed back is multiplied by the rectifier's own derivative."""

    @abstractmethod
    def selected(self, emit: Emitter, upstream: Gradient, op: Op) -> Gradient:
        """Emit what is selected of the signal at a rectifier's output, which is that of ``op``."""

    @staticmethod
    @abstractmethod
    def formula(activations: Array, signals: Array) -> Array:
        """Return what is selected, in numpy, from a rectifier's results and the signal there, of one shape."""

    def rules(self) -> Rules:
        """Return the table: the gradient's, but for rectifiers."""
        return Rules(self.name, GRADIENT | {code: self._rule(GRADIENT[code]) for code in RECTIFIERS})

    def _rule(self, gradient: Rule) -> Rule:
        def rule(op: Op, upstream: Value, emit: Emitter) -> Sequence[Contribution | None]:
            kept = self.selected(emit, emit.dense(upstream), op)
            return gradient(op, kept, emit) if self.sloped else [kept]

        return rule

    def build(self, source: Source) -> Compiled:
        """Return one entry, for a class asked for; refuses a model without rectifiers: that map is the gradient."""
        twin = source.twin()
        if not any(is_rectifier(op) for op in between(twin.graph, {twin.head.input}, twin.head.logits)):
            raise UnsupportedModelError(
                f"{self.name} changes what rectifiers hand back, and the model has none on the way to its logits",
                f"ask for --method {self.signed_twin}, which is the same there",
            )
        emit, inputs, signal = input_gradient(source, self.name, self.rules())
        entry = input_entry(emit.builder.graph, inputs, {"map": signal.tensor}, 1 / signal.factor, Role.MODIFIED)
        return Compiled([entry], source.start, source.start.shape[1:], formula=self.formula)


def is_rectifier(op: Op) -> bool:
    """Whether an op is a rectifier, or has one fused into it."""
    return op.code in RECTIFIERS or {declared_activation(op).name, fused_activation(op).name} & set(RECTIFIERS) != set()
