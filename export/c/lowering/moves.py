"""Values that move: from views of tensors to the loops of the one kernel that moves them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...tflite.graph import Op, Tensor
from ..program import Parameters, size_of
from .registry import Unit, stored

_LOOPS = 4
_FILL = 16

Array = NDArray[Any]
Loop = tuple[int, int, int]
"""How often, and how far from one to the next at both ends, in bytes."""


def ends(tensor: Tensor) -> Array:
    """Return an array that is laid out as a tensor is; its values are of no account."""
    return np.empty(tensor.shape, tensor.dtype)


def fill(unit: Unit, y: Tensor, value: int) -> None:
    """Give all of a tensor one value, as a short run of it that is moved time and again."""
    size = size_of(y)
    run = math.gcd(size, _FILL)
    values = np.full(run // y.dtype.itemsize, value, y.dtype)
    layout = _layout(0, 0, run, [(size // run, 0, run)])
    unit.call("shape", "whylite_move", layout, unit.constant(values, y.dtype, "fill"), unit.value(y))


def move(op: Op, unit: Unit, x: Tensor, source: Array, y: Tensor, target: Array, share: int = 0) -> None:
    """Move a view of ``x`` to a view of ``y``, or let ``y`` be a part of ``x``.

    That is done where ``y`` has all of its bytes from there as they lie, and ``share``, what of ``x`` goes on to be
    used, makes up for keeping the rest of it.
    """
    stored(op, x, y)
    run, loops = _loops(source, target)
    begin, to = _begin(source), _begin(target)
    if not loops and run == size_of(y) and 2 * share >= size_of(x) and unit.view(y, x, begin):
        return
    outer = loops[: max(len(loops) - _LOOPS, 0)]
    for index in np.ndindex(*(count for count, _, _ in outer)):
        here = begin + sum(i * step for i, (_, step, _) in zip(index, outer, strict=True))
        there = to + sum(i * step for i, (_, _, step) in zip(index, outer, strict=True))
        layout = _layout(here, there, run, loops[len(outer) :])
        unit.call("shape", "whylite_move", layout, unit.value(x), unit.value(y))


def _loops(source: Array, target: Array) -> tuple[int, list[Loop]]:
    """Return how many bytes lie together in two views of one shape, and the loops around them, outermost first."""
    loops: list[Loop] = []
    for count, here, there in zip(source.shape, source.strides, target.strides, strict=True):
        if count == 1:
            continue
        if loops and loops[-1][1:] == (count * here, count * there):
            loops[-1] = (loops[-1][0] * count, here, there)
        else:
            loops.append((count, here, there))
    run = source.dtype.itemsize
    if loops and loops[-1][1:] == (run, run):
        run *= loops.pop()[0]
    return run, loops


def _begin(view: Array) -> int:
    """Return how far into the array it is of a view begins, in bytes."""
    owner = view
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return int(view.__array_interface__["data"][0] - owner.__array_interface__["data"][0])


def _layout(begin: int, to: int, run: int, loops: Sequence[Loop]) -> Parameters:
    """Return the struct ``whylite_layout``."""
    fields = {"from": begin, "to": to, "run": run}
    for place, loop in enumerate([*([(1, 0, 0)] * (_LOOPS - len(loops))), *loops]):
        fields |= dict(zip((f"times[{place}]", f"from_step[{place}]", f"to_step[{place}]"), loop, strict=True))
    return Parameters("whylite_layout", fields)
