"""How two operands run along the shape that they are broadcast to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...tflite.graph import Op
from .registry import refuse

_AXES = 4

Shape = tuple[int, ...]


def axes(op: Op, left: Shape, right: Shape, shape: Shape) -> NDArray[np.int32]:
    """Return four axes ``[3, 4]``: their sizes, and how far the left and the right operand move along each.

    Neighbouring axes that both run along, or that one stays at, are one.
    """
    sizes = [(1,) * (len(shape) - len(own)) + own for own in (left, right)]
    if any(len(own) != len(shape) for own in sizes) or tuple(map(max, *sizes, (1,) * len(shape))) != shape:
        raise refuse(
            op, f"operands {list(left)} and {list(right)} do not make {list(shape)}", "convert the model again"
        )
    merged: list[list[int]] = []
    for size, *own in zip(shape, *sizes, strict=True):
        if not {1, size}.issuperset(own):
            raise refuse(op, f"operands {list(left)} and {list(right)} do not fit", "convert the model again")
        if size == 1:
            continue
        moves = [int(each == size) for each in own]
        if merged and merged[-1][1:] == moves:
            merged[-1][0] *= size
        else:
            merged.append([size, *moves])
    if len(merged) > _AXES:
        why = f"operands {list(left)} and {list(right)} are broadcast along more than {_AXES} groups of axes"
        raise refuse(op, why, "reshape them")
    counts, *moving = np.array([[1, 0, 0]] * (_AXES - len(merged)) + merged, np.int32).T
    return np.array([counts, *(_steps(counts, own) for own in moving)], np.int32)


def _steps(sizes: NDArray[np.int32], moves: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return how far an operand moves along each axis, 0 where it stays: as far as all axes further in reach."""
    reach = np.cumprod(np.where(moves, sizes, 1)[::-1])[::-1]
    steps: NDArray[np.int32] = moves * np.append(reach[1:], 1).astype(np.int32)
    return steps
