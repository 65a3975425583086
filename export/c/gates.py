"""What a gradient's way back needs of most activations is whether they are above 0: a bit each is kept, not the values.

A graph that explains has a mask for that, the QUANTIZE of a rectified activation onto a grid so fine that all but 0
saturates, and a MUL by it. Where predicting makes the activation, C packs the mask into bits as soon as that is there,
so that its bytes are free once predicting is past it. The MUL passes or stops values by bits, and gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..tflite.graph import Graph, Op, Tensor
from ..tflite.ops import INT8
from .arithmetic import grid
from .lowering.elementwise import product
from .lowering.registry import Lowering, Unit
from .lowering.unary import rescaled, saturated, stored
from .program import size_of

_LOWEST = -128


def gated(graph: Graph, predicting: Sequence[Op]) -> tuple[Graph, list[Op]]:
    """Return a graph that explains by bits where it can, and ``predicting`` with what packs them."""
    inside = set(predicting)
    made = {tensor for op in predicting for tensor in op.outputs}
    explaining = [op for op in graph.ops if op.code == "QUANTIZE" and op not in inside]
    masks = {op.output: op.input(0) for op in explaining if op.input(0) in made}
    masks = {mask: activation for mask, activation in masks.items() if _level(activation, mask) is not None}
    bits: dict[Tensor, Tensor] = {}
    ops = [op if op in inside else _as_gate(op, masks, bits) for op in graph.ops]
    found, extended = graph.copy(graph.name), []
    found.ops = []
    for op in ops:
        packing = [Op("PACK_BITS", [tensor], [bits[tensor]]) for tensor in op.outputs if tensor in bits]
        found.ops += [op, *packing]
        extended += [op, *packing] if op in inside else []
    return found, extended


def _level(activation: Tensor, mask: Tensor) -> int | None:
    """Return what a mask holds where an activation is above its lowest value; None where it is no mask."""
    if activation.dtype != INT8 or mask.dtype != INT8:
        return None
    levels = saturated(rescaled(activation, mask), mask)
    above = levels[stored() > _LOWEST]
    is_mask = levels[stored() == _LOWEST] == grid(mask)[1] and (above == above[0]).all()
    return int(above[0]) if is_mask else None


def _as_gate(op: Op, masks: Mapping[Tensor, Tensor], bits: dict[Tensor, Tensor]) -> Op:
    """Return a MUL by a mask as a gate; all else as it is. ``bits`` are those of activations, by these."""
    if op.code != "MUL":
        return op
    for place in (0, 1):
        mask, value = op.input(place), op.input(1 - place)
        if mask not in masks or mask.shape != op.output.shape or value.is_constant or not _repeats(value, op.output):
            continue
        together, _ = product(op)
        level = _level(masks[mask], mask)
        assert level is not None
        stopped, passed = (
            together(*((np.full(256, other), stored()) if place == 0 else (stored(), np.full(256, other))))
            for other in (grid(mask)[1], level)
        )
        if stopped.any():
            continue
        activation = masks[mask]
        size = -(-size_of(activation) // 8)
        kept = bits.setdefault(activation, Tensor(f"{activation.name}/bits", (size,), INT8))
        return Op("GATE", [value, kept], [op.output], extras={"table": passed.astype(np.int8)})
    return op


def _repeats(value: Tensor, output: Tensor) -> bool:
    """Whether a tensor has an output's shape, or is repeated to it in whole bytes of bits."""
    if value.shape == output.shape:
        return True
    inner = len(value.shape) - next((at for at, size in enumerate(value.shape) if size > 1), len(value.shape))
    same = inner > 0 and value.shape[-inner:] == output.shape[-inner:]
    return same and math.prod(value.shape) % 8 == 0


def _pack(op: Op, unit: Unit) -> None:
    x = op.input(0)
    unit.call("gate", "whylite_pack", unit.value(x), unit.value(op.output), size_of(x))


def _gate(op: Op, unit: Unit) -> None:
    x, bits, y = op.input(0), op.input(1), op.output
    table = op.extras["table"]
    same = np.array_equal(table, stored())
    source, passing = unit.value(x), unit.value(bits)
    if size_of(x) == size_of(y):
        unit.in_place(y, x)
    made = None if same else unit.constant(table, np.int8, "table")
    unit.call("gate", "whylite_gate", made, source, size_of(x), passing, unit.value(y), size_of(y))


GATES: dict[str, Lowering] = {"PACK_BITS": _pack, "GATE": _gate}
"""Lowerings of ops that no model has: they are only made here."""
