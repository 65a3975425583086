"""How gradient values and the constants that make them are stored, and in which arithmetic they are computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..tflite.graph import Graph
from .hybrid import use_hybrid_convolutions
from .weights import Store, store_float, store_quantized


@dataclass(frozen=True)
class Numerics:
    """A way to compute gradients. ``exact`` ones do float32 arithmetic on the model's own weights.

    ``integer_forward`` ones take them along the model's own integer forward pass instead of its float twin's;
    ``finish`` is applied to each graph of gradients when it is complete.
    """

    name: str
    store: Store
    exact: bool = True
    integer_forward: bool = False
    finish: Callable[[Graph], None] = lambda graph: None


NUMERICS = {
    numerics.name: numerics
    for numerics in (
        Numerics("f32", store_float),
        Numerics("deq", store_quantized),
        Numerics("hybrid", store_quantized, exact=False, finish=use_hybrid_convolutions),
        Numerics("mixed", store_quantized, exact=False, integer_forward=True, finish=use_hybrid_convolutions),
    )
}

__all__ = ["NUMERICS", "Numerics", "Store", "store_float", "store_quantized"]
