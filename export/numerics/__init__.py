"""How gradient values and the constants that make them are stored, and in which arithmetic they are computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..tflite.graph import Graph, Tensor
from .hybrid import use_hybrid_convolutions
from .integers import use_integers
from .peaks import Calibration
from .weights import Store, store_float, store_quantized

Tensors = dict[str, Tensor]
Finish = Callable[[Graph, Tensors, Tensors, Calibration | None], None]


def _as_it_is(graph: Graph, inputs: Tensors, outputs: Tensors, calibration: Calibration | None) -> None:
    """Leave a graph of gradients in float32."""


def _hybrid(graph: Graph, inputs: Tensors, outputs: Tensors, calibration: Calibration | None) -> None:
    """Let convolutions of a graph of gradients read int8 weights."""
    del inputs, outputs, calibration
    use_hybrid_convolutions(graph)


@dataclass(frozen=True)
class Numerics:
    """A way to compute gradients. ``exact`` ones do float32 arithmetic on the model's own weights.

    ``integer_forward`` ones take them along the model's own integer forward pass instead of its float twin's, and
    ``integer_backward`` ones walk back in integers too; ``finish`` is applied to each graph of gradients when it is
    complete, with its named inputs and outputs, in place.
    """

    name: str
    store: Store
    exact: bool = True
    integer_forward: bool = False
    integer_backward: bool = False
    finish: Finish = _as_it_is


NUMERICS = {
    numerics.name: numerics
    for numerics in (
        Numerics("f32", store_float),
        Numerics("deq", store_quantized),
        Numerics("hybrid", store_quantized, exact=False, finish=_hybrid),
        Numerics("mixed", store_quantized, exact=False, integer_forward=True, finish=_hybrid),
        Numerics(
            "int8", store_quantized, exact=False, integer_forward=True, integer_backward=True, finish=use_integers
        ),
    )
}

__all__ = ["NUMERICS", "Calibration", "Numerics", "Store", "store_float", "store_quantized"]
