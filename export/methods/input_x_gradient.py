"""Input x Gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Array, Compiled, Method, Source
from .input_gradient import input_entry, input_gradient


@dataclass(frozen=True)
class InputXGradient(Method):
    """Shrikumar et al. 2016 (arXiv 1605.01713): x * gradient of the class's logit at x, elementwise, signed."""

    name: ClassVar[str] = "input_x_gradient"
    signed: ClassVar[bool] = True

    def build(self, source: Source) -> Compiled:
        """Return one entry, for a class asked for; it gives the gradient too, by which the product can be checked."""
        emit, inputs, gradient = input_gradient(source, self.name)
        product = emit.times(gradient, inputs["x"])
        outputs = {"map": product.tensor, "gradient": gradient.tensor}
        entry = input_entry(emit.builder.graph, inputs, outputs, 1 / gradient.factor)
        return Compiled([entry], source.start, source.start.shape[1:], formula=self.formula)

    @staticmethod
    def formula(x: Array, gradients: Array) -> Array:
        """Return x * gradient."""
        return x * gradients
