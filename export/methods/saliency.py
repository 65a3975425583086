"""Saliency: the gradient itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge.manifest import LOGITS_PER_INPUT_UNIT

from .base import Compiled, Method, Source
from .input_gradient import input_entry, input_gradient


@dataclass(frozen=True)
class Saliency(Method):
    """Simonyan et al. 2013 (arXiv 1312.6034), sec. 3: the gradient of the class's logit at the input, signed."""

    name: ClassVar[str] = "saliency"
    signed: ClassVar[bool] = True
    map_unit: ClassVar[str] = LOGITS_PER_INPUT_UNIT

    def build(self, source: Source) -> Compiled:
        """Return one entry, for a class asked for."""
        emit, inputs, gradient = input_gradient(source, self.name)
        entry = input_entry(emit.builder.graph, inputs, {"map": gradient.tensor}, 1 / gradient.factor)
        return Compiled([entry], source.start, source.start.shape[1:])
