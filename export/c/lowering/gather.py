"""Ops that pick entries by their positions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ...tflite.graph import Op
from ...tflite.options import GatherOptions, ResizeBilinearOptions, ResizeNearestNeighborOptions
from ..program import Parameters
from .registry import Unit, axis_of, expect, int8, integers, lowering, one_image, refuse


@lowering("GATHER")
def gather(op: Op, unit: Unit) -> None:
    """Of int8 by int32 positions, constant or not; those outside are taken for the nearest end."""
    options = op.options
    assert isinstance(options, GatherOptions)
    x, positions, y = op.input(0), op.input(1), op.output
    int8(op, x, y)
    if positions.dtype != np.int32:
        raise refuse(op, f"positions {positions!r} are not int32")
    axis = axis_of(op, options.axis, len(x.shape))
    batches = options.batch_dims + (len(positions.shape) if options.batch_dims < 0 else 0)
    if not 0 <= batches <= min(axis, len(positions.shape)) or x.shape[:batches] != positions.shape[:batches]:
        raise refuse(op, f"{positions!r} and {x!r} have no {options.batch_dims} batch dimensions in common")
    expect(op, y, (*x.shape[:axis], *positions.shape[batches:], *x.shape[axis + 1 :]))
    if positions.data is not None and not ((positions.data >= 0) & (positions.data < x.shape[axis])).all():
        raise refuse(op, f"positions {positions!r} are not all within {x.shape[axis]} entries")
    parameters = Parameters(
        "whylite_picks",
        {
            "batches": math.prod(x.shape[:batches]),
            "outer": math.prod(x.shape[batches:axis]),
            "size": x.shape[axis],
            "count": math.prod(positions.shape[batches:]),
            "inner": math.prod(x.shape[axis + 1 :]),
        },
    )
    unit.call("gather", "whylite_gather", parameters, unit.value(x), unit.value(positions), unit.value(y))


@lowering("RESIZE_NEAREST_NEIGHBOR")
def resize_nearest(op: Op, unit: Unit) -> None:
    """On int8, aligned at corners, at the centres of pixels or at neither; the size constant, a batch of one."""
    options = op.options
    assert isinstance(options, ResizeNearestNeighborOptions)
    (height, width, channels), (out_height, out_width, _) = _resized(op)
    rows = _nearest(height, out_height, options.align_corners, options.half_pixel_centers)
    columns = _nearest(width, out_width, options.align_corners, options.half_pixel_centers)
    parameters = Parameters(
        "whylite_nearest",
        {
            "rows": unit.constant(rows, np.uint16, "rows"),
            "columns": unit.constant(columns, np.uint16, "columns"),
            "in_width": width,
            "channels": channels,
            "out_height": out_height,
            "out_width": out_width,
        },
    )
    unit.call("gather", "whylite_resize_nearest", parameters, unit.value(op.input(0)), unit.value(op.output))


def _nearest(size: int, out: int, corners: bool, centres: bool) -> NDArray[np.int64]:
    """Return which entry of an axis each of the resized one takes; in single precision, as the reference has it."""
    aligned = corners and out > 1
    scale = np.float32(size - aligned) / np.float32(out - aligned)
    places = (np.arange(out, dtype=np.float32) + np.float32(0.5 * centres)) * scale
    taken = np.floor(places + np.float32(0.5)) if corners else np.floor(places)
    return np.asarray(np.clip(taken, 0, size - 1), np.int64)


@lowering("RESIZE_BILINEAR")
def resize_bilinear(op: Op, unit: Unit) -> None:
    """On int8, aligned at corners, at the centres of pixels or at neither; the size constant, a batch of one."""
    options = op.options
    assert isinstance(options, ResizeBilinearOptions)
    (height, width, channels), (out_height, out_width, _) = _resized(op)
    fields = {"in_height": height, "in_width": width, "channels": channels}
    fields |= {"out_height": out_height, "out_width": out_width}
    for name, size, out in (("row", height, out_height), ("column", width, out_width)):
        aligned = options.align_corners and out > 1
        length, steps = size - aligned, out - aligned
        scale = (1024 * length + steps // 2) // steps
        offset = scale // 2 - 512 if options.half_pixel_centers else 0
        if ((out - 1) * scale + offset) // 1024 >= size:
            raise refuse(op, f"{op.input(0)!r} is resized so much that the reference reads beyond its edge")
        fields |= {f"{name}_scale": scale, f"{name}_offset": offset}
    parameters = Parameters("whylite_bilinear", fields)
    unit.call("bilinear", "whylite_resize_bilinear", parameters, unit.value(op.input(0)), unit.value(op.output))


def _resized(op: Op) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Return the height, width and channels of an image before and after an op resizes it."""
    x, y = op.input(0), op.output
    int8(op, x, y)
    before = one_image(op, x)
    expect(op, y, (1, *integers(op, 1), before[2]))
    return before, one_image(op, y)
