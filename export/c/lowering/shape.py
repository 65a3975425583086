"""Ops that move values and leave them as they are.

Each says with numpy's views which value comes from where; what that is as loops is worked out in ``moves``, so that one
kernel serves all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ...tflite.graph import Op, Tensor
from ...tflite.options import (
    ConcatenationOptions,
    DepthToSpaceOptions,
    PackOptions,
    SpaceToDepthOptions,
    StridedSliceOptions,
    UnpackOptions,
)
from ..arithmetic import grid
from ..program import size_of
from .moves import Array, ends, fill, move
from .registry import Unit, axis_of, expect, integers, lowering, refuse, stored

Slices = tuple[slice, ...]


@lowering("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(op: Op, unit: Unit) -> None:
    """Any type; costs nothing."""
    x, y = op.input(0), op.output
    stored(op, x, y)
    if size_of(x) != size_of(y):
        raise refuse(op, f"{x!r} does not fill {y!r}")
    if not unit.view(y, x):
        unit.call("shape", "whylite_copy", unit.value(x), unit.value(y), size_of(y))


@lowering("TRANSPOSE")
def transpose(op: Op, unit: Unit) -> None:
    """Any type; the order constant."""
    order = integers(op, 1)
    rank = len(op.input(0).shape)
    if sorted(axis % rank for axis in order if -rank <= axis < rank) != list(range(rank)) or len(order) != rank:
        raise refuse(op, f"{order} is no order of {rank} axes")
    _one(op, unit, lambda x: x.transpose([axis % rank for axis in order]))


@lowering("SLICE")
def slice_(op: Op, unit: Unit) -> None:
    """Any type; begin and size constant. Costs nothing where it stays together and is most of the input."""
    begin, size = integers(op, 1), integers(op, 2)
    shape = op.input(0).shape
    taken = []
    if not len(begin) == len(size) == len(shape):
        raise refuse(op, f"it slices {len(begin)} of {len(shape)} axes")
    for first, count, length in zip(begin, size, shape, strict=True):
        end = length if count == -1 else first + count
        if not 0 <= first < end <= length:
            raise refuse(op, f"{first}:{end} is not within {length} entries")
        taken.append(slice(first, end))
    _one(op, unit, lambda x: x[tuple(taken)])


@lowering("STRIDED_SLICE")
def strided_slice(op: Op, unit: Unit) -> None:
    """Any type; begin, end and strides constant, for every axis; masks for begin, end and axes to shrink."""
    options = op.options
    assert isinstance(options, StridedSliceOptions)
    shape = op.input(0).shape
    begin, end, strides = (integers(op, place) for place in (1, 2, 3))
    if options.ellipsis_mask or options.new_axis_mask or options.offset:
        raise refuse(op, "TensorFlow Lite Micro has no ellipsis, new axes or offsets in it")
    if not len(begin) == len(end) == len(strides) == len(shape):
        raise refuse(op, f"it slices {len(begin)} of {len(shape)} axes")
    taken = []
    for axis, (first, last, stride, length) in enumerate(zip(begin, end, strides, shape, strict=True)):
        if options.shrink_axis_mask >> axis & 1:
            if not -length <= first < length:
                raise refuse(op, f"entry {first} is not among {length}")
            taken.append(slice(first % length, first % length + 1))
            continue
        if stride == 0:
            raise refuse(op, f"the stride of axis {axis} is 0")
        start = None if options.begin_mask >> axis & 1 else first
        stop = None if options.end_mask >> axis & 1 else last
        taken.append(slice(start, stop, stride))
    shrunk = tuple(axis for axis in range(len(shape)) if options.shrink_axis_mask >> axis & 1)
    _one(op, unit, lambda x: x[tuple(taken)].squeeze(shrunk))


@lowering("REVERSE_V2")
def reverse(op: Op, unit: Unit) -> None:
    """Any type; the axes constant."""
    rank = len(op.input(0).shape)
    axes = [axis_of(op, axis, rank) for axis in integers(op, 1)]
    _one(op, unit, lambda x: np.flip(x, tuple(axes)))


@lowering("BROADCAST_TO")
def broadcast_to(op: Op, unit: Unit) -> None:
    """Any type."""
    x, y = op.input(0), op.output
    if len(x.shape) > len(y.shape) or any(
        have not in (1, want) for have, want in zip(x.shape[::-1], y.shape[::-1], strict=False)
    ):
        raise refuse(op, f"{x!r} cannot be repeated to {y!r}")
    _one(op, unit, lambda x: np.broadcast_to(x, y.shape))


@lowering("DEPTH_TO_SPACE")
def depth_to_space(op: Op, unit: Unit) -> None:
    """Any type."""
    options = op.options
    assert isinstance(options, DepthToSpaceOptions)
    n, h, w, c = _images(op)
    block = options.block_size
    if block < 1 or c % (block * block):
        raise refuse(op, f"{c} channels are no blocks of {block} x {block}")
    shape = (n, h * block, w * block, c // (block * block))
    split = (n, h, w, block, block, shape[3])
    _one(op, unit, lambda x: x.reshape(split).transpose(0, 1, 3, 2, 4, 5), shape)


@lowering("SPACE_TO_DEPTH")
def space_to_depth(op: Op, unit: Unit) -> None:
    """Any type."""
    options = op.options
    assert isinstance(options, SpaceToDepthOptions)
    n, h, w, c = _images(op)
    block = options.block_size
    if block < 1 or h % block or w % block:
        raise refuse(op, f"{h} x {w} is not made of blocks of {block} x {block}")
    shape = (n, h // block, w // block, c * block * block)
    split = (n, shape[1], block, shape[2], block, c)
    _one(op, unit, lambda x: x.reshape(split).transpose(0, 1, 3, 2, 4, 5), shape)


def _images(op: Op) -> tuple[int, ...]:
    """Return how many images an op's input holds, and their height, width and channels."""
    if len(op.input(0).shape) != 4:
        raise refuse(op, f"{op.input(0)!r} is no image")
    return op.input(0).shape


@lowering("CONCATENATION")
def concatenation(op: Op, unit: Unit) -> None:
    """Any type, without an activation; on int8 all on one grid."""
    options = op.options
    assert isinstance(options, ConcatenationOptions)
    y = op.output
    axis = axis_of(op, options.axis, len(y.shape))
    if options.fused_activation_function:
        raise refuse(op, "TensorFlow Lite Micro has no activation fused into it", "use the op of its own instead")
    inputs = [op.input(place) for place in range(len(op.inputs))]
    sizes = [x.shape[axis] if len(x.shape) == len(y.shape) else 0 for x in inputs]
    room, begin = ends(y), 0
    for x, size in zip(inputs, sizes, strict=True):
        if x.is_quantized and grid(x) != grid(y):
            raise refuse(op, f"{x!r} is on another grid than {y!r}", "convert the model again: a QUANTIZE is missing")
        shape = (*y.shape[:axis], size, *y.shape[axis + 1 :])
        if x.shape != shape or sum(sizes) != y.shape[axis]:
            raise refuse(op, f"{x!r} is not as wide as {y!r}")
        move(op, unit, x, ends(x), y, np.moveaxis(np.moveaxis(room, axis, 0)[begin : begin + size], 0, axis))
        begin += size


@lowering("PACK")
def pack(op: Op, unit: Unit) -> None:
    """Any type."""
    options = op.options
    assert isinstance(options, PackOptions)
    y = op.output
    axis = axis_of(op, options.axis, len(y.shape))
    room = np.moveaxis(ends(y), axis, 0)
    if len(op.inputs) != len(room):
        raise refuse(op, f"{len(op.inputs)} tensors do not make up {y!r}")
    for place, target in enumerate(room):
        x = op.input(place)
        expect(op, x, target.shape)
        move(op, unit, x, ends(x), y, target)


@lowering("SPLIT")
def split(op: Op, unit: Unit) -> None:
    """Any type; the axis constant. Costs nothing along the first axis, where parts begin at multiples of 4 bytes."""
    x = op.input(1)
    axis = axis_of(op, integers(op, 0)[0], len(x.shape))
    _parted(op, unit, x, axis, [x.shape[axis] // len(op.outputs)] * len(op.outputs))


@lowering("SPLIT_V")
def split_v(op: Op, unit: Unit) -> None:
    """As SPLIT; the sizes constant."""
    x, sizes = op.input(0), integers(op, 1)
    axis = axis_of(op, integers(op, 2)[0], len(x.shape))
    rest = x.shape[axis] - sum(size for size in sizes if size != -1)
    _parted(op, unit, x, axis, [rest if size == -1 else size for size in sizes])


@lowering("UNPACK")
def unpack(op: Op, unit: Unit) -> None:
    """As SPLIT."""
    options = op.options
    assert isinstance(options, UnpackOptions)
    x = op.input(0)
    axis = axis_of(op, options.axis, len(x.shape))
    _parted(op, unit, x, axis, [1] * len(op.outputs), squeezed=(axis,))


@lowering("PAD", "PADV2")
def pad(op: Op, unit: Unit) -> None:
    """Any type; the paddings constant, and the value; it is the zero point where none is given."""
    x, y = op.input(0), op.output
    around = _pairs(op, 1, len(x.shape))
    expect(op, y, [size + before + after for size, (before, after) in zip(x.shape, around, strict=True)])
    if any(map(any, around)):
        fill(unit, y, integers(op, 2)[0] if len(op.inputs) > 2 and op.inputs[2] is not None else _zero(y))
    inner = tuple(slice(before, before + size) for size, (before, _) in zip(x.shape, around, strict=True))
    move(op, unit, x, ends(x), y, ends(y)[inner])


@lowering("SPACE_TO_BATCH_ND")
def space_to_batch(op: Op, unit: Unit) -> None:
    """Any type; blocks and paddings constant; padded with the zero point, which TensorFlow Lite Micro leaves open."""
    x, y = op.input(0), op.output
    blocks, around = _blocks(op, x)
    padded = [size + sum(pair) for size, pair in zip(x.shape[1:], around, strict=False)]
    if any(size % block for size, block in zip(padded, blocks, strict=True)):
        raise refuse(op, f"{padded} is not made of blocks of {blocks}")
    outer = [size // block for size, block in zip(padded, blocks, strict=True)]
    expect(op, y, (x.shape[0] * math.prod(blocks), *outer, *x.shape[1 + len(blocks) :]))
    if any(map(any, around)):
        fill(unit, y, _zero(y))
    space = ends(x)
    for position, taken, put in _in_blocks(blocks, [before for before, _ in around], x.shape[1:], outer):
        batches = ends(y).reshape(*blocks, *x.shape[:1], *y.shape[1:])
        move(op, unit, x, space[taken], y, batches[position][put])


@lowering("BATCH_TO_SPACE_ND")
def batch_to_space(op: Op, unit: Unit) -> None:
    """Any type; blocks and crops constant."""
    x, y = op.input(0), op.output
    blocks, around = _blocks(op, x)
    outer = x.shape[1 : 1 + len(blocks)]
    sizes = [size * block - sum(pair) for size, block, pair in zip(outer, blocks, around, strict=True)]
    if x.shape[0] % math.prod(blocks):
        raise refuse(op, f"a batch of {x.shape[0]} is not made of blocks of {blocks}")
    expect(op, y, (x.shape[0] // math.prod(blocks), *sizes, *x.shape[1 + len(blocks) :]))
    space = ends(y)
    for position, put, taken in _in_blocks(blocks, [before for before, _ in around], sizes, outer):
        batches = ends(x).reshape(*blocks, *y.shape[:1], *x.shape[1:])
        move(op, unit, x, batches[position][taken], y, space[put])


def _blocks(op: Op, x: Tensor) -> tuple[list[int], list[tuple[int, int]]]:
    """Return the block's size along each axis between batch and channels, and the margins of these axes."""
    blocks = integers(op, 1)
    if len(blocks) >= len(x.shape) or min(blocks) < 1:
        raise refuse(op, f"{x!r} has no blocks of {blocks}")
    return blocks, _pairs(op, 2, len(blocks))


def _in_blocks(
    blocks: Sequence[int], before: Sequence[int], sizes: Sequence[int], outer: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], Slices, Slices]]:
    """Yield each position in a block, where its values are in space ``sizes``, and where among its ``outer`` ones.

    Space lies ``before`` entries into the blocks.
    """
    for position in np.ndindex(*blocks):
        space, own = [slice(None)], [slice(None)]
        for at, block, skipped, size, count in zip(position, blocks, before, sizes, outer, strict=False):
            first = max(0, -(-(skipped - at) // block))
            last = min(count, -(-(skipped + size - at) // block))
            start = first * block + at - skipped
            own.append(slice(first, max(first, last)))
            space.append(slice(start, start + block * max(last - first, 0), block))
        if all(each.stop > each.start for each in own[1:]):
            yield position, tuple(space), tuple(own)


def _parted(op: Op, unit: Unit, x: Tensor, axis: int, sizes: Sequence[int], squeezed: tuple[int, ...] = ()) -> None:
    """Write each of an op's outputs with its share of ``x``."""
    if len(sizes) != len(op.outputs) or min(sizes) < 1 or sum(sizes) != x.shape[axis]:
        raise refuse(op, f"axis {axis} of {x!r} cannot be split into {list(sizes)}")
    begin = 0
    for y, size in zip(op.outputs, sizes, strict=True):
        part = np.moveaxis(np.moveaxis(ends(x), axis, 0)[begin : begin + size], 0, axis).squeeze(squeezed)
        expect(op, y, part.shape)
        move(op, unit, x, part, y, ends(y), share=sum(map(size_of, op.outputs)))
        begin += size


def _one(op: Op, unit: Unit, view: Callable[[Array], Array], shape: Sequence[int] | None = None) -> None:
    """Move a view of an op's first input to its output; ``shape`` is the output's where the view is split further."""
    x, y = op.input(0), op.output
    source = view(ends(x))
    expect(op, y, source.shape if shape is None else shape)
    move(op, unit, x, source, y, ends(y).reshape(source.shape), share=size_of(y))


def _zero(tensor: Tensor) -> int:
    """Return what stands for 0 in a tensor."""
    return grid(tensor)[1] if tensor.is_quantized else 0


def _pairs(op: Op, place: int, count: int) -> list[tuple[int, int]]:
    """Return a constant operand ``[count, 2]``: what is added or cut before and after each axis."""
    flat = integers(op, place)
    if len(flat) != 2 * count or min(flat) < 0:
        raise refuse(op, f"{flat} are no margins of {count} axes")
    return list(zip(flat[::2], flat[1::2], strict=True))
