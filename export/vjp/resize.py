"""Rules of the resizings: linear maps along rows and columns, whose matrices are read off TFLite's definitions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Value
from ..tflite.graph import Op
from ..tflite.options import ResizeBilinearOptions, ResizeNearestNeighborOptions
from .backward import rule

# (input size, output size, align_corners, half_pixel_centers) -> the matrix of the op along one axis
Matrix = Callable[[int, int, bool, bool], NDArray[np.float64]]


@rule("RESIZE_BILINEAR", affine=1)
def resize_bilinear(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x interpolated between its two nearest rows and columns, hence ∂/∂x = ∂/∂y through the same weights."""
    return _resize(op, upstream, emit, bilinear)


@rule("RESIZE_NEAREST_NEIGHBOR", affine=1)
def resize_nearest_neighbor(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x at the nearest row and column, hence ∂/∂x = ∂/∂y added up where each came from."""
    return _resize(op, upstream, emit, _nearest)


def _resize(op: Op, upstream: Value, emit: Emitter, matrix: Matrix) -> list[Contribution | None]:
    options = op.options
    assert isinstance(options, (ResizeBilinearOptions, ResizeNearestNeighborOptions))
    gradient = emit.expand(emit.dense(upstream), op.output.shape)
    for axis in (1, 2):
        sizes = op.input(0).shape[axis], op.output.shape[axis]
        gradient = emit.along(gradient, axis, matrix(*sizes, options.align_corners, options.half_pixel_centers))
    return [gradient, None]


def _scale(size: int, outputs: int, align_corners: bool) -> np.float32:
    if align_corners and outputs > 1:
        return np.float32(size - 1) / np.float32(outputs - 1)
    return np.float32(size) / np.float32(outputs)


def bilinear(size: int, outputs: int, align_corners: bool, half_pixel: bool) -> NDArray[np.float64]:
    """Return the matrix ``[outputs, size]`` that RESIZE_BILINEAR applies along an axis."""
    at = np.arange(outputs, dtype=np.float32)
    scale = _scale(size, outputs, align_corners)
    place = (at + np.float32(0.5)) * scale - np.float32(0.5) if half_pixel else at * scale
    low = np.maximum(np.floor(place), 0).astype(int)
    high = np.minimum(np.floor(place).astype(int) + 1, size - 1).clip(0)
    share = (place - low).astype(np.float64)
    matrix = np.zeros((outputs, size))
    np.add.at(matrix, (np.arange(outputs), low.clip(0, size - 1)), 1 - share)
    np.add.at(matrix, (np.arange(outputs), high), share)
    return matrix


def _nearest(size: int, outputs: int, align_corners: bool, half_pixel: bool) -> NDArray[np.float64]:
    at = np.arange(outputs, dtype=np.float32)
    place = (at + np.float32(0.5 if half_pixel else 0.0)) * _scale(size, outputs, align_corners)
    # TFLite rounds half away from zero with aligned corners, and down otherwise.
    origin = np.floor(place + np.float32(0.5)) if align_corners else np.floor(place)
    return np.asarray(np.eye(size)[np.clip(origin, 0, size - 1).astype(int)])
