"""Rules of ops that only move elements: their transposes move them back, with zeros where nothing came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Gradient, Value
from ..tflite.graph import Op
from ..tflite.ops import INT32, elements
from ..tflite.options import (
    BatchToSpaceNDOptions,
    ConcatenationOptions,
    DepthToSpaceOptions,
    GatherOptions,
    MirrorPadOptions,
    PackOptions,
    SpaceToBatchNDOptions,
    SpaceToDepthOptions,
    StridedSliceOptions,
    UnpackOptions,
)
from .backward import rule


@rule("QUANTIZE", "DEQUANTIZE", "CAST", affine=1)
def change_of_type(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x stored otherwise, hence ∂/∂x = ∂/∂y: rounding is taken for the identity (straight-through)."""
    del emit
    return [upstream if op.input(0).dtype.kind == "f" or op.code != "CAST" else None]


@rule("RESHAPE", "EXPAND_DIMS", "SQUEEZE", affine=1)
def reshape(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y holds x's elements in their order, hence ∂/∂x = ∂/∂y in the shape of x."""
    return [emit.reshape(upstream, op.output.shape, op.input(0).shape)]


def _full(op: Op, upstream: Value, emit: Emitter) -> Gradient:
    return emit.expand(emit.dense(upstream), op.output.shape)


@rule("TRANSPOSE", affine=1)
def transpose(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y has x's dimensions in another order, hence ∂/∂x has ∂/∂y's in the old one."""
    order = emit.integers(op.input(1)).tolist()
    gradient = _full(op, upstream, emit)
    return [Gradient(emit.builder.transpose(gradient.tensor, np.argsort(order).tolist()), gradient.factor)]


@rule("PAD", "PADV2", affine=1)
def pad(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x with constants around it, hence ∂/∂x = the part of ∂/∂y that x fills."""
    before = emit.integers(op.input(1))[:, 0].tolist()
    gradient = _full(op, upstream, emit)
    shape = (gradient.tensor.shape[0], *op.input(0).shape[1:])
    return [Gradient(emit.builder.slice(gradient.tensor, before, shape), gradient.factor)]


@rule("MIRROR_PAD", affine=1)
def mirror_pad(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x with its edges reflected, hence ∂/∂x = ∂/∂y with the reflections added back."""
    assert isinstance(op.options, MirrorPadOptions)
    mode: Literal["reflect", "symmetric"] = "symmetric" if op.options.mode else "reflect"
    gradient = _full(op, upstream, emit)
    for axis, amounts in enumerate(emit.integers(op.input(1)).tolist()):
        if any(amounts):
            origin = np.pad(np.arange(op.input(0).shape[axis]), amounts, mode=mode)
            gradient = emit.along(gradient, axis, _copies(origin, op.input(0).shape[axis]))
    return [gradient]


def _copies(origin: NDArray[Any], size: int) -> NDArray[np.float64]:
    """Return the 0/1 matrix of a map along one axis: row j is 1 at ``origin[j]``."""
    return np.asarray(np.eye(size)[origin])


@rule("BROADCAST_TO", affine=1)
def broadcast_to(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x repeated along dimensions of size 1, hence ∂/∂x = ∂/∂y added up along them."""
    return [emit.reduce_to(upstream, op.output.shape, op.input(0).shape), None]


@rule("TILE", affine=1)
def tile(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = copies of x side by side, hence ∂/∂x = ∂/∂y added up over the copies."""
    gradient = _full(op, upstream, emit)
    for axis, times in enumerate(emit.integers(op.input(1)).tolist()):
        if times > 1:
            size = op.input(0).shape[axis]
            gradient = emit.along(gradient, axis, _copies(np.tile(np.arange(size), times), size))
    return [gradient, None]


@rule("REVERSE_V2", affine=1)
def reverse(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x in the opposite order along some dimensions, hence ∂/∂x = ∂/∂y in the opposite order."""
    gradient = _full(op, upstream, emit)
    operands = [gradient.tensor, emit.builder.constant(emit.integers(op.input(1)), INT32)]
    return [Gradient(emit.builder.op("REVERSE_V2", operands, gradient.tensor.shape), gradient.factor), None]


@rule("GATHER", affine=1)
def gather(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x at constant indices along an axis, hence ∂/∂x = ∂/∂y added up where each came from."""
    assert isinstance(op.options, GatherOptions)
    indices = emit.integers(op.input(1))
    source = op.input(0).shape
    axis, leading = op.options.axis % len(source), op.options.batch_dims
    leading += indices.ndim if leading < 0 else 0
    gradient = _full(op, upstream, emit)
    if not leading:
        flat = [*source[:axis], indices.size, *source[axis + 1 :]]
        gradient = emit.dense(emit.reshape(gradient, op.output.shape, flat))
        return [emit.along(gradient, axis, _copies(indices.reshape(-1), source[axis])), None]
    # Indices of their own for each entry of the leading dimensions: bring these next to the axis and join them.
    build, batch = emit.builder, gradient.tensor.shape[0]
    entries, between = batch * elements(source[1:leading]), elements(source[leading:axis])
    size, behind = source[axis], elements(source[axis + 1 :])
    rows = indices[:batch].reshape(entries, -1) + size * np.arange(entries)[:, None]
    taken = build.reshape(gradient.tensor, (entries, between, rows.shape[1], behind))
    joined = build.reshape(build.transpose(taken, (1, 0, 2, 3)), (between, rows.size, behind))
    moved = emit.along(Gradient(joined, gradient.factor), 1, _copies(rows.reshape(-1), entries * size))
    apart = build.reshape(moved.tensor, (between, entries, size, behind))
    whole = build.reshape(build.transpose(apart, (1, 0, 2, 3)), (batch, *source[1:]))
    return [Gradient(whole, gradient.factor), None]


@rule("GATHER_ND", affine=1)
def gather_nd(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x at constant positions, hence ∂/∂x = ∂/∂y added up where each came from."""
    positions = emit.integers(op.input(1))
    source, depth = op.input(0).shape, positions.shape[-1]
    rows = np.ravel_multi_index(tuple(np.moveaxis(positions, -1, 0)), source[:depth]).reshape(-1)
    gradient = _full(op, upstream, emit)
    taken = emit.builder.reshape(gradient.tensor, (1, rows.size, elements(source[depth:])))
    placed = emit.along(Gradient(taken, gradient.factor), 1, _copies(rows, elements(source[:depth])))
    return [Gradient(emit.builder.reshape(placed.tensor, source), placed.factor), None]


@rule("SLICE", affine=1)
def slice_(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = a block of x, hence ∂/∂x = ∂/∂y with zeros around it."""
    begin = emit.integers(op.input(1)).tolist()
    return [_placed(_full(op, upstream, emit), begin, op, emit)]


def _placed(gradient: Gradient, begin: Sequence[int], op: Op, emit: Emitter) -> Gradient:
    """Return a gradient inside zeros of the shape of the op's input; the batch dimension is left alone."""
    source = op.input(0).shape
    have = gradient.tensor.shape
    amounts = [(0, 0)] + [
        (first, size - first - length) for first, size, length in zip(begin[1:], source[1:], have[1:], strict=True)
    ]
    return Gradient(emit.builder.pad(gradient.tensor, amounts), gradient.factor)


@rule("STRIDED_SLICE", affine=1)
def strided_slice(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = every so many entries of x from a first to a last, hence ∂/∂x = ∂/∂y where they stood, zero elsewhere."""
    options = op.options
    assert isinstance(options, StridedSliceOptions)
    source = op.input(0).shape
    begin, end, strides = (emit.integers(op.input(index)).tolist() for index in (1, 2, 3))
    taken: list[NDArray[Any]] = []
    for position, stride in enumerate(strides):
        bit = 1 << position
        if options.new_axis_mask & bit and not options.ellipsis_mask & bit:
            continue
        if options.ellipsis_mask & bit:
            later = [1 << other for other in range(position + 1, len(strides))]
            spared = sum(not options.new_axis_mask & other for other in later)
            taken += [np.arange(size) for size in source[len(taken) : len(source) - spared]]
            continue
        size = source[len(taken)]
        if options.shrink_axis_mask & bit:
            taken.append(np.arange(size)[[begin[position]]])
            continue
        first = None if options.begin_mask & bit else begin[position]
        last = None if options.end_mask & bit else end[position] + (begin[position] if options.offset else 0)
        taken.append(np.arange(size)[first:last:stride])
    taken += [np.arange(size) for size in source[len(taken) :]]
    full = [len(indices) for indices in taken]
    gradient = emit.dense(emit.reshape(_full(op, upstream, emit), op.output.shape, full))
    for axis, indices in enumerate(taken):
        if len(indices) != source[axis] or (indices != np.arange(source[axis])).any():
            gradient = emit.along(gradient, axis, _copies(indices, source[axis]))
    return [gradient]


@rule("CONCATENATION", affine=99)
def concatenation(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = operands one after the other, hence each one's gradient is its piece of ∂/∂y."""
    assert isinstance(op.options, ConcatenationOptions)
    axis = op.options.axis % len(op.output.shape)
    gradient = _full(op, upstream, emit)
    return _pieces(gradient, axis, [op.input(index).shape[axis] for index in range(len(op.inputs))], emit)


def _pieces(gradient: Gradient, axis: int, lengths: Sequence[int], emit: Emitter) -> list[Contribution | None]:
    shape = gradient.tensor.shape
    pieces: list[Contribution | None] = []
    start = 0
    for length in lengths:
        begin = [start if position == axis else 0 for position in range(len(shape))]
        size = [length if position == axis else extent for position, extent in enumerate(shape)]
        pieces.append(Gradient(emit.builder.slice(gradient.tensor, begin, size), gradient.factor))
        start += length
    return pieces


@rule("SPLIT", "SPLIT_V", affine=1)
def split(op: Op, upstream: list[Value | None] | Value, emit: Emitter) -> list[Contribution | None]:
    """Each y is a piece of x, hence ∂/∂x = their gradients one after the other, zeros for those nothing depends on."""
    data, axis_operand = (1, 0) if op.code == "SPLIT" else (0, 2)
    source = op.input(data)
    axis = int(emit.integers(op.input(axis_operand)).item()) % len(source.shape)
    joined = emit.joined(upstream if isinstance(upstream, list) else [upstream], op.outputs, axis)
    return [None, joined] if data else [joined, None, None]


@rule("PACK", affine=99)
def pack(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = operands along a new dimension, hence each one's gradient is its slice of ∂/∂y."""
    assert isinstance(op.options, PackOptions)
    axis = op.options.axis % len(op.output.shape)
    pieces = _pieces(_full(op, upstream, emit), axis, [1] * len(op.inputs), emit)
    shape = op.output.shape
    one = [1 if position == axis else size for position, size in enumerate(shape)]
    return [
        emit.reshape(piece, one, op.input(index).shape) if isinstance(piece, Gradient) else None
        for index, piece in enumerate(pieces)
    ]


@rule("UNPACK", affine=1)
def unpack(op: Op, upstream: list[Value | None] | Value, emit: Emitter) -> list[Contribution | None]:
    """Each y is a slice of x along a dimension, hence ∂/∂x = their gradients along it."""
    assert isinstance(op.options, UnpackOptions)
    shape = op.input(0).shape
    axis = op.options.axis % len(shape)
    values = upstream if isinstance(upstream, list) else [upstream]
    one = [1 if position == axis else size for position, size in enumerate(shape)]
    lifted = [
        None if value is None else emit.reshape(_full_of(value, tensor.shape, emit), tensor.shape, one)
        for value, tensor in zip(values, op.outputs, strict=True)
    ]
    return [emit.joined(lifted, [op.output] * len(lifted), axis, tuple(one))]


def _full_of(value: Value, shape: Sequence[int], emit: Emitter) -> Gradient:
    return emit.expand(emit.dense(value), shape)


@rule("SPACE_TO_DEPTH", "DEPTH_TO_SPACE", affine=1)
def space_and_depth(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = blocks of x moved between space and channels, hence ∂/∂x = ∂/∂y moved back."""
    options = op.options
    assert isinstance(options, (SpaceToDepthOptions, DepthToSpaceOptions))
    gradient = _full(op, upstream, emit)
    back = "DEPTH_TO_SPACE" if op.code == "SPACE_TO_DEPTH" else "SPACE_TO_DEPTH"
    table = DepthToSpaceOptions if back == "DEPTH_TO_SPACE" else SpaceToDepthOptions
    shape = (gradient.tensor.shape[0], *op.input(0).shape[1:])
    moved = emit.builder.op(back, [gradient.tensor], shape, table(options.block_size))
    return [Gradient(moved, gradient.factor)]


@rule("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", affine=1)
def space_and_batch(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = blocks of x moved between space and batch, hence ∂/∂x = ∂/∂y moved back; what was cut off is padded."""
    gradient = emit.dense(upstream)
    gradient = emit.expand(gradient, op.output.shape)
    to_batch = op.code == "BATCH_TO_SPACE_ND"
    back = "SPACE_TO_BATCH_ND" if to_batch else "BATCH_TO_SPACE_ND"
    table = SpaceToBatchNDOptions() if to_batch else BatchToSpaceNDOptions()
    block, amounts = emit.integers(op.input(1)), emit.integers(op.input(2))
    blocks = int(block.prod())
    batch = gradient.tensor.shape[0]
    shape = (batch * blocks if to_batch else batch // blocks, *op.input(0).shape[1:])
    operands = [gradient.tensor, emit.builder.constant(block, INT32), emit.builder.constant(amounts, INT32)]
    return [Gradient(emit.builder.op(back, operands, shape, table), gradient.factor)]
