"""Ops that move elements about, with all their options, against TensorFlow's gradient of the same movement."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st

from export import explain, tflite
from export.errors import UnsupportedModelError
from export.tflite import Model, Op, Tensor
from export.tflite import options as tables
from export.tflite.ops import FLOAT, INT32
from export.tflite.options import Activation
from tests.references.single_op import Drawing, check, exact, examples

seeds = st.integers(0, 1 << 16)
trailing = st.lists(st.integers(1, 5), min_size=1, max_size=3)
shapes = trailing.map(lambda sizes: (1, *sizes))


def some_axis(data, rank: int, first: int = 1) -> tuple[int, int]:
    """An axis other than the batch, and how the file says it: counted from either end."""
    axis = data.draw(st.integers(first, rank - 1))
    return axis, data.draw(st.sampled_from((axis, axis - rank)))


@examples(20)
@given(seeds, shapes, st.data())
def test_transpose(seed, shape, data):
    order = (0, *data.draw(st.permutations(range(1, len(shape)))))
    drawing = Drawing(seed, *shape)
    check(drawing, drawing.builder.transpose(drawing.x, order), lambda x: tf.transpose(x, order))


def test_transpose_of_the_batch_too():
    drawing = Drawing(0, 1, 3, 4)
    y = drawing.builder.transpose(drawing.x, (1, 0, 2))
    check(drawing, y, lambda x: tf.transpose(x, (1, 0, 2)), batch=None)


def test_transpose_of_the_batch_and_back():
    """Time first and back again: the entries stay apart, but not in a batch of several with the sizes as they are."""
    drawing = Drawing(0, 1, 3, 4)
    builder = drawing.builder
    moved = builder.transpose(drawing.x, (1, 0, 2))
    y = builder.transpose(builder.mul(moved, moved), (1, 0, 2))
    check(drawing, y, tf.square, batch=None)


@pytest.mark.parametrize("code", ["PAD", "PADV2"])
@examples(15)
@given(seeds, shapes, st.data())
def test_pad(code, seed, shape, data):
    amounts = [(0, 0), *(data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3))) for _ in shape[1:])]
    padded = [size + sum(amount) for size, amount in zip(shape, amounts, strict=True)]
    drawing = Drawing(seed, *shape)
    sizes = drawing.builder.constant(np.asarray(amounts), INT32)
    value = [drawing.builder.number(-1.5)] if code == "PADV2" else []
    options = tables.PadV2Options() if value else tables.PadOptions()
    y = drawing.builder.op(code, [drawing.x, sizes, *value], padded, options)
    check(drawing, y, lambda x: tf.pad(x, amounts, constant_values=-1.5 if value else 0.0))


@pytest.mark.parametrize("mode", ["REFLECT", "SYMMETRIC"])
@examples(20)
@given(seeds, shapes, st.data())
def test_mirror_pad(mode, seed, shape, data):
    limits = [size - (mode == "REFLECT") for size in shape]
    amounts = [(0, 0)]
    amounts += [data.draw(st.tuples(st.integers(0, limit), st.integers(0, limit))) for limit in limits[1:]]
    padded = [size + sum(amount) for size, amount in zip(shape, amounts, strict=True)]
    drawing = Drawing(seed, *shape)
    sizes = drawing.builder.constant(np.asarray(amounts), INT32)
    options = tables.MirrorPadOptions(int(mode == "SYMMETRIC"))
    y = drawing.builder.op("MIRROR_PAD", [drawing.x, sizes], padded, options)
    check(drawing, y, lambda x: tf.pad(x, amounts, mode))


@examples(25)
@given(seeds, shapes, st.data())
def test_gather(seed, shape, data):
    """Indices of any rank, repeated, in any order."""
    axis, stored = some_axis(data, len(shape))
    size = data.draw(st.lists(st.integers(1, 3), max_size=2))
    drawing = Drawing(seed, *shape)
    indices = drawing.rng.integers(0, shape[axis], size)
    taken = (*shape[:axis], *size, *shape[axis + 1 :])
    operands = [drawing.x, drawing.builder.constant(indices, INT32)]
    y = drawing.builder.op("GATHER", operands, taken, tables.GatherOptions(stored))
    check(drawing, y, lambda x: tf.gather(x, indices, axis=axis))


@examples(30)
@given(seeds, trailing, st.data())
def test_gather_with_indices_of_their_own_for_each_entry(seed, sizes, data):
    """``batch_dims``: the leading dimensions of operand and indices go together, counted from either end."""
    shape = (1, *sizes)
    axis, stored = some_axis(data, len(shape))
    leading = data.draw(st.integers(1, axis))
    size = data.draw(st.lists(st.integers(1, 3), max_size=2))
    drawing = Drawing(seed, *shape)
    indices = drawing.rng.integers(0, shape[axis], (*shape[:leading], *size))
    taken = (*shape[:axis], *size, *shape[axis + 1 :])
    batch_dims = data.draw(st.sampled_from((leading, leading - indices.ndim))) if size else leading
    operands = [drawing.x, drawing.builder.constant(indices, INT32)]
    y = drawing.builder.op("GATHER", operands, taken, tables.GatherOptions(stored, batch_dims))

    def reference(x):
        repeated = np.concatenate([indices] * x.shape[0])
        return tf.gather(x, repeated, axis=axis, batch_dims=leading)

    check(drawing, y, reference)


@examples(25)
@given(seeds, shapes, st.data())
def test_gather_nd(seed, shape, data):
    """Any positions, with or without the last dimensions, repeated."""
    depth = data.draw(st.integers(1, len(shape)))
    size = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=2))
    drawing = Drawing(seed, *shape)
    positions = np.stack([drawing.rng.integers(0, extent, size) for extent in shape[:depth]], -1)
    operands = [drawing.x, drawing.builder.constant(positions, INT32)]
    y = drawing.builder.op("GATHER_ND", operands, (*size, *shape[depth:]), tables.GatherNdOptions())
    check(drawing, y, lambda x: tf.gather_nd(x, positions), batch=None)


@examples(25)
@given(seeds, shapes, st.data())
def test_slice(seed, shape, data):
    """A size of -1 means up to the end."""
    begin, stored, taken = [0], [data.draw(st.sampled_from((1, -1)))], [1]
    for extent in shape[1:]:
        begin.append(data.draw(st.integers(0, extent - 1)))
        taken.append(data.draw(st.integers(1, extent - begin[-1])))
        to_the_end = begin[-1] + taken[-1] == extent and data.draw(st.booleans())
        stored.append(-1 if to_the_end else taken[-1])
    drawing = Drawing(seed, *shape)
    operands = [drawing.x, drawing.integers(*begin), drawing.integers(*stored)]
    y = drawing.builder.op("SLICE", operands, taken, tables.SliceOptions())
    check(drawing, y, lambda x: tf.slice(x, begin, taken))


@examples(60)
@given(seeds, shapes, st.data())
def test_strided_slice(seed, shape, data):
    """Every mask, negative begins, ends and strides, ends beyond the end, fewer indices than dimensions."""
    drawing = Drawing(seed, *shape)
    begin, end, strides = [0], [1], [1]
    masks = {"begin": data.draw(st.integers(0, 1)), "end": data.draw(st.integers(0, 1)), "shrink_axis": 0}
    for position in range(1, data.draw(st.integers(1, len(shape)))):
        size = shape[position]
        kind = data.draw(st.sampled_from(["range", "open", "backwards", "shrink"]))
        begin.append(data.draw(st.integers(-size, size - 1)))
        stride = data.draw(st.integers(1, 3))
        if kind == "shrink":
            masks["shrink_axis"] |= 1 << position
            end.append(begin[-1] + 1)
            strides.append(1)
        elif kind == "backwards":
            end.append(data.draw(st.integers(-size - 1, size)))
            strides.append(-stride)
        else:
            end.append(data.draw(st.integers(-size, size + 1)))
            strides.append(stride)
        if kind == "open":
            masks["begin"] |= data.draw(st.integers(0, 1)) << position
            masks["end"] |= data.draw(st.integers(0, 1)) << position

    def function(x):
        named = {f"{name}_mask": bits for name, bits in masks.items()}
        whole = dict(named, begin_mask=named["begin_mask"] | 1, end_mask=named["end_mask"] | 1)
        return tf.strided_slice(x, begin, end, strides, **whole)

    taken = function(np.zeros(shape)).shape
    assume(0 not in taken)
    operands = [drawing.x, *(drawing.integers(*values) for values in (begin, end, strides))]
    options = tables.StridedSliceOptions(masks["begin"], masks["end"], 0, 0, masks["shrink_axis"])
    check(drawing, drawing.builder.op("STRIDED_SLICE", operands, taken, options), function)


@examples(40)
@given(seeds, shapes, st.data())
def test_strided_slice_with_an_ellipsis_and_new_dimensions(seed, shape, data):
    """An ellipsis for any number of dimensions, new ones and dropped ones behind it."""
    rank = len(shape)
    spared = data.draw(st.integers(1, rank))
    kinds = [
        "ellipsis",
        *data.draw(st.permutations(["taken"] * (rank - spared) + ["new"] * data.draw(st.integers(0, 1)))),
    ]
    begin, end, strides = [], [], []
    masks = dict.fromkeys(("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0)
    dimension = 0
    for position, kind in enumerate(kinds):
        bit, size = 1 << position, 1
        if kind == "ellipsis":
            masks["ellipsis_mask"] |= bit
            dimension += spared
        elif kind == "new":
            masks["new_axis_mask"] |= bit
        else:
            size = shape[dimension]
            dimension += 1
            if data.draw(st.booleans()):
                masks["shrink_axis_mask"] |= bit
        begin.append(data.draw(st.integers(0, size - 1)))
        last = begin[-1] + 1 if masks["shrink_axis_mask"] & bit else data.draw(st.integers(begin[-1] + 1, size))
        end.append(last)
        strides.append(data.draw(st.integers(1, 2)) if kind == "taken" and not masks["shrink_axis_mask"] & bit else 1)

    def function(x):
        return tf.strided_slice(x, begin, end, strides, **masks)

    drawing = Drawing(seed, *shape)
    operands = [drawing.x, *(drawing.integers(*values) for values in (begin, end, strides))]
    options = tables.StridedSliceOptions(**masks)
    y = drawing.builder.op("STRIDED_SLICE", operands, function(np.zeros(shape)).shape, options)
    check(drawing, y, function)


@examples(20)
@given(seeds, shapes, st.data())
def test_strided_slice_with_ends_counted_from_the_begins(seed, shape, data):
    begin, taken, strides = [0], [1], [1]
    for size in shape[1:]:
        begin.append(data.draw(st.integers(0, size - 1)))
        taken.append(data.draw(st.integers(1, size - begin[-1])))
        strides.append(data.draw(st.integers(1, 3)))
    end = [first + count for first, count in zip(begin, taken, strict=True)]

    def function(x):
        return tf.strided_slice(x, begin, [x.shape[0], *end[1:]], strides)

    drawing = Drawing(seed, *shape)
    operands = [drawing.x, *(drawing.integers(*values) for values in (begin, taken, strides))]
    options = tables.StridedSliceOptions(offset=True)
    y = drawing.builder.op("STRIDED_SLICE", operands, function(np.zeros(shape)).shape, options, version=8)
    check(drawing, y, function)


def test_strided_slice_with_all_masks_at_once():
    """x[..., ::2, tf.newaxis, 1]"""
    drawing = Drawing(0, 1, 3, 5, 4)
    bounds = [(0, 0, 0, 1), (0, 0, 0, 2), (1, 2, 1, 1)]
    masks = {"begin_mask": 2, "end_mask": 2, "ellipsis_mask": 1, "new_axis_mask": 4, "shrink_axis_mask": 8}
    operands = [drawing.x, *(drawing.integers(*values) for values in bounds)]
    options = tables.StridedSliceOptions(**masks)
    y = drawing.builder.op("STRIDED_SLICE", operands, (1, 3, 3, 1), options)
    check(drawing, y, lambda x: tf.strided_slice(x, *bounds, **masks))


@examples(25)
@given(seeds, shapes, st.data())
def test_concatenation(seed, shape, data):
    """The input twice, and what was made of it."""
    axis, stored = some_axis(data, len(shape))
    drawing = Drawing(seed, *shape)
    builder = drawing.builder
    squared = builder.mul(drawing.x, drawing.x)
    joined = [size * 3 if position == axis else size for position, size in enumerate(shape)]
    options = tables.ConcatenationOptions(stored)
    y = builder.op("CONCATENATION", [drawing.x, squared, drawing.x], joined, options)
    check(drawing, y, lambda x: tf.concat([x, x * x, x], axis))


def test_concatenation_with_a_fused_activation_is_no_model():
    """The schema has a field for it, but the kernel refuses it and the delegate forgets it: so must we."""
    drawing = Drawing(0, 1, 4)
    graph = drawing.builder.graph
    options = tables.ConcatenationOptions(1, Activation.RELU)
    graph.outputs = [drawing.builder.op("CONCATENATION", [drawing.x, drawing.x], (1, 8), options)]
    with pytest.raises(UnsupportedModelError, match=r"does not run.*CONCATENATION"):
        explain(tflite.write(Model([graph])), methods=["saliency"])


def test_concatenation_with_a_constant():
    """As a class token joins the patches of a transformer."""
    drawing = Drawing(0, 1, 4, 3)
    token = drawing.constant(1, 1, 3)
    y = drawing.builder.concatenate([token, drawing.x], 1)
    check(drawing, y, lambda x: tf.concat([tf.repeat(exact(token), x.shape[0], 0), x], 1))


def outputs_of(drawing: Drawing, code: str, operands: list[Tensor], sizes: list[tuple[int, ...]], options):
    results = [drawing.builder.tensor(f"part{index}", size) for index, size in enumerate(sizes)]
    drawing.builder.graph.ops.append(Op(code, operands, results, options))
    return results


@examples(25)
@given(seeds, shapes, st.integers(1, 3), st.data())
def test_split(seed, shape, parts, data):
    """Some parts are used twice, others not at all."""
    axis, stored = some_axis(data, len(shape))
    whole = [size * parts if position == axis else size for position, size in enumerate(shape)]
    drawing = Drawing(seed, *whole)
    one = drawing.builder.constant(stored, INT32)
    results = outputs_of(drawing, "SPLIT", [one, drawing.x], [shape] * parts, tables.SplitOptions(parts))
    chosen = data.draw(st.lists(st.integers(0, parts - 1), min_size=1, max_size=3))
    y = drawing.builder.concatenate([results[index] for index in chosen], 1)

    def reference(x):
        pieces = tf.split(x, parts, axis)
        return tf.concat([pieces[index] for index in chosen], 1)

    check(drawing, y, reference)


@examples(25)
@given(seeds, shapes, st.lists(st.integers(1, 3), min_size=1, max_size=3), st.data())
def test_split_v(seed, shape, lengths, data):
    axis, stored = some_axis(data, len(shape))
    resized = [
        [n if position == axis else size for position, size in enumerate(shape)] for n in (*lengths, sum(lengths))
    ]
    drawing = Drawing(seed, *resized.pop())
    operands = [drawing.x, drawing.integers(*lengths), drawing.builder.constant(stored, INT32)]
    results = outputs_of(drawing, "SPLIT_V", operands, resized, tables.SplitVOptions(len(lengths)))
    chosen = data.draw(st.integers(0, len(lengths) - 1))
    y = drawing.builder.mul(results[chosen], results[chosen])
    check(drawing, y, lambda x: tf.split(x, lengths, axis)[chosen] ** 2)


@examples(20)
@given(seeds, shapes, st.data())
def test_pack(seed, shape, data):
    rank = len(shape) + 1
    axis, stored = some_axis(data, rank)
    drawing = Drawing(seed, *shape)
    squared = drawing.builder.mul(drawing.x, drawing.x)
    packed = [*shape[:axis], 2, *shape[axis:]]
    y = drawing.builder.op("PACK", [drawing.x, squared], packed, tables.PackOptions(2, stored))
    check(drawing, y, lambda x: tf.stack([x, x * x], axis))


@examples(20)
@given(seeds, shapes, st.data())
def test_unpack(seed, shape, data):
    assume(len(shape) > 2)
    axis, stored = some_axis(data, len(shape))
    drawing = Drawing(seed, *shape)
    one = [size for position, size in enumerate(shape) if position != axis]
    results = outputs_of(drawing, "UNPACK", [drawing.x], [one] * shape[axis], tables.UnpackOptions(shape[axis], stored))
    first, second = (data.draw(st.integers(0, shape[axis] - 1)) for _ in range(2))
    y = drawing.builder.mul(results[first], results[second])

    def reference(x):
        pieces = tf.unstack(x, axis=axis)
        return pieces[first] * pieces[second]

    check(drawing, y, reference)


@pytest.mark.parametrize("code", ["SPACE_TO_DEPTH", "DEPTH_TO_SPACE"])
@examples(10)
@given(seeds, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_space_and_depth(code, seed, rows, columns, channels, block):
    fine, deep = (1, rows * block, columns * block, channels), (1, rows, columns, channels * block * block)
    if code == "SPACE_TO_DEPTH":
        shape, moved, options, function = fine, deep, tables.SpaceToDepthOptions(block), tf.nn.space_to_depth
    else:
        shape, moved, options, function = deep, fine, tables.DepthToSpaceOptions(block), tf.nn.depth_to_space
    drawing = Drawing(seed, *shape)
    y = drawing.builder.op(code, [drawing.x], moved, options)
    check(drawing, y, (lambda x: function(x, block)) if block > 1 else tf.identity)


@examples(20)
@given(seeds, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.data())
def test_space_to_batch_and_back(seed, rows, columns, down, right, data):
    """As dilated convolutions are written: blocks to the batch, something there, and back with the edges cut off."""
    drawing = Drawing(seed, 1, rows * down, columns * right, 2)
    grown = [rows * down, columns * right]
    amounts = []
    for position, block in enumerate((down, right)):
        before = data.draw(st.integers(0, 2))
        after = data.draw(st.integers(0, 1)) * block + (-(grown[position] + before)) % block
        amounts.append((before, after))
        grown[position] += before + after
    builder = drawing.builder
    block = drawing.integers(down, right)
    pads = builder.constant(np.asarray(amounts), INT32)
    cells = (down * right, grown[0] // down, grown[1] // right, 2)
    spread = builder.op("SPACE_TO_BATCH_ND", [drawing.x, block, pads], cells, tables.SpaceToBatchNDOptions())
    weighted = builder.mul(spread, drawing.constant(1, *cells[1:]))
    back = [drawing.x, block, pads]
    y = builder.op("BATCH_TO_SPACE_ND", [weighted, *back[1:]], drawing.x.shape, tables.BatchToSpaceNDOptions())
    weights = weighted and next(op for op in builder.graph.ops if op.code == "MUL").input(1)

    def reference(x):
        moved = tf.space_to_batch_nd(x, (down, right), amounts) * exact(weights)
        return tf.batch_to_space(moved, (down, right), amounts)

    check(drawing, y, reference)


@examples(10)
@given(seeds, st.integers(1, 6), st.integers(2, 3))
def test_space_to_batch_of_sequences(seed, length, block):
    """Rank 3: dilated convolutions along time."""
    drawing = Drawing(seed, 1, length * block, 2)
    operands = [drawing.x, drawing.integers(block), drawing.builder.constant(np.zeros((1, 2)), INT32)]
    spread = drawing.builder.op("SPACE_TO_BATCH_ND", operands, (block, length, 2), tables.SpaceToBatchNDOptions())
    y = drawing.builder.mul(spread, spread)
    check(drawing, y, lambda x: tf.square(tf.space_to_batch_nd(x, [block], [[0, 0]])), batch=None)


def test_cast_between_floats():
    drawing = Drawing(0, 1, 3, 4)
    y = drawing.builder.op("CAST", [drawing.x], (1, 3, 4), tables.CastOptions(0, 0), dtype=FLOAT)
    check(drawing, y, tf.identity)


@examples(20)
@given(seeds, shapes, st.data())
def test_broadcast_to(seed, shape, data):
    """Along any dimensions of size 1."""
    small = (1, *(data.draw(st.sampled_from((1, size))) for size in shape[1:]))
    drawing = Drawing(seed, *small)
    sizes = drawing.integers(*shape)
    y = drawing.builder.op("BROADCAST_TO", [drawing.x, sizes], shape, tables.BroadcastToOptions(), version=2)
    check(drawing, y, lambda x: tf.broadcast_to(x, (x.shape[0], *shape[1:])))


@examples(20)
@given(seeds, shapes, st.data())
def test_tile(seed, shape, data):
    times = (1, *(data.draw(st.integers(1, 3)) for _ in shape[1:]))
    drawing = Drawing(seed, *shape)
    whole = [size * count for size, count in zip(shape, times, strict=True)]
    y = drawing.builder.op("TILE", [drawing.x, drawing.integers(*times)], whole, tables.TileOptions())
    check(drawing, y, lambda x: tf.tile(x, times))


@examples(20)
@given(seeds, shapes, st.data())
def test_reverse(seed, shape, data):
    axis, stored = some_axis(data, len(shape))
    drawing = Drawing(seed, *shape)
    y = drawing.builder.op("REVERSE_V2", [drawing.x, drawing.integers(stored)], shape, tables.ReverseV2Options())
    check(drawing, y, lambda x: tf.reverse(x, [axis]))


@examples(20)
@given(seeds, shapes, st.booleans(), st.booleans(), st.data())
def test_cumsum(seed, shape, exclusive, reverse, data):
    axis, stored = some_axis(data, len(shape))
    drawing = Drawing(seed, *shape)
    operands = [drawing.x, drawing.builder.constant(stored, INT32)]
    y = drawing.builder.op("CUMSUM", operands, shape, tables.CumsumOptions(exclusive, reverse))
    check(drawing, y, lambda x: tf.cumsum(x, axis, exclusive, reverse))


@examples(10)
@given(seeds, shapes, st.data())
def test_reshape_with_an_open_size(seed, shape, data):
    """The size operand may leave one to be worked out, and the batch may be that one."""
    drawing = Drawing(seed, *shape)
    flat = int(np.prod(shape))
    sizes = data.draw(st.sampled_from([(1, -1), (-1, flat)]))
    operands = [drawing.x, drawing.integers(*sizes)]
    y = drawing.builder.op("RESHAPE", operands, (1, flat), tables.ReshapeOptions(sizes))
    check(drawing, drawing.builder.mul(y, y), lambda x: tf.reshape(x, (x.shape[0], flat)) ** 2)


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("code", ["MEAN", "SUM"])
def test_reductions_over_the_first_dimension_once_the_batch_is_gone(code, squared):
    """Rows of a matrix are no batch."""
    drawing = Drawing(0, 1, 6, 4)
    builder = drawing.builder
    rows = builder.reshape(drawing.x, (6, 4))
    rows = builder.mul(rows, rows) if squared else rows
    y = builder.op(code, [rows, drawing.integers(0)], (4,), tables.ReducerOptions(False))
    reduce = tf.reduce_mean if code == "MEAN" else tf.reduce_sum
    check(drawing, y, lambda x: reduce(tf.reshape(x, (-1, 4)) ** (2 if squared else 1), 0), batch=None)
