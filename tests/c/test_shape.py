"""Ops that move values: byte for byte what TensorFlow Lite Micro gives."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from export.c import Described, emit
from export.errors import UnsupportedModelError
from export.tflite import Op
from export.tflite import options as tables
from export.tflite.ops import INT32

from .graphs import Sketch, file_of
from .harness import Case, on_host
from .reference import assert_as_reference

COUNT = 6


class Moving(Sketch):
    """A graph of one op that moves values."""

    def drawn(self, low: int = 1, high: int = 5) -> list[int]:
        return self.rng.integers(1, 7, int(self.rng.integers(low, high))).tolist()

    def numbers(self, values):
        return self.builder.constant(values, INT32)

    def case(self, code, inputs, shape, options=None, version=1) -> Case:
        grid = self.graph.inputs[0].quantization
        y = self.builder.op(code, inputs, shape, options, quantization=grid, version=version)
        return Case(self.done(y), tuple(self.values(x, 3) for x in self.graph.inputs))

    def several(self, code, inputs, shapes, options=None) -> Case:
        grid = self.graph.inputs[0].quantization
        outputs = [self.builder.tensor(f"y{i}", shape, np.dtype(np.int8), grid) for i, shape in enumerate(shapes)]
        self.graph.ops.append(Op(code, inputs, outputs, options, 2))
        return Case(self.done(*outputs), (self.values(self.graph.inputs[0], 3),))


def transpose(m: Moving) -> Case:
    x = m.input(*m.drawn(2))
    order = m.rng.permutation(len(x.shape))
    return m.case("TRANSPOSE", [x, m.numbers(order)], np.take(x.shape, order))


def slice_(m: Moving) -> Case:
    x = m.input(*m.drawn())
    begin = [int(m.rng.integers(n)) for n in x.shape]
    size = [int(m.rng.integers(1, n - b + 1)) for n, b in zip(x.shape, begin, strict=True)]
    given = [-1 if b + s == n else s for b, s, n in zip(begin, size, x.shape, strict=True)]
    return m.case("SLICE", [x, m.numbers(begin), m.numbers(given)], size, tables.SliceOptions())


def strided_slice(m: Moving) -> Case:
    x = m.input(*m.drawn())
    rank, rng = len(x.shape), m.rng
    for _ in range(1000):
        begin, end = rng.integers(-8, 9, (2, rank)).tolist()
        strides = rng.choice([-2, -1, 1, 1, 2], rank).tolist()
        begin_mask, end_mask, shrink = (int(rng.integers(1 << rank)) & int(rng.integers(1 << rank)) for _ in range(3))
        taken = []
        for i, (first, last, stride, length) in enumerate(zip(begin, end, strides, x.shape, strict=True)):
            if shrink >> i & 1:
                begin[i] = first % length
                strides[i] = 1
                begin_mask &= ~(1 << i)
                taken.append(begin[i])
            else:
                bounds = (None if begin_mask >> i & 1 else first, None if end_mask >> i & 1 else last)
                taken.append(slice(*bounds, stride))
        shape = np.empty(x.shape)[tuple(taken)].shape
        if np.prod(shape):
            break
    options = tables.StridedSliceOptions(begin_mask, end_mask, 0, 0, shrink)
    return m.case("STRIDED_SLICE", [x, *map(m.numbers, (begin, end, strides))], shape, options)


def pad(m: Moving) -> Case:
    x = m.input(*m.drawn(2))
    around = m.rng.integers(0, 3, (len(x.shape), 2)) * (m.rng.random() < 0.9)
    shape = np.asarray(x.shape) + around.sum(1)
    if m.rng.random() < 0.5:
        return m.case("PAD", [x, m.numbers(around)], shape, tables.PadOptions(), 2)
    value = m.builder.constant([m.rng.integers(-128, 128)], np.dtype(np.int8), x.quantization)
    return m.case("PADV2", [x, m.numbers(around), value], shape, tables.PadV2Options(), 2)


def concatenation(m: Moving) -> Case:
    shape, grid = m.drawn(), m.grid()
    axis = int(m.rng.integers(-len(shape), len(shape)))
    sizes = m.rng.integers(1, 6, m.rng.integers(1, 5)).tolist()
    inputs = []
    for size in sizes:
        shape[axis] = size
        inputs.append(m.input(*shape, grid=grid))
    shape[axis] = sum(sizes)
    return m.case("CONCATENATION", inputs, shape, tables.ConcatenationOptions(axis))


def pack(m: Moving) -> Case:
    shape, grid = m.drawn(1, 4), m.grid()
    inputs = [m.input(*shape, grid=grid) for _ in range(m.rng.integers(1, 5))]
    axis = int(m.rng.integers(len(shape) + 1))
    return m.case("PACK", inputs, np.insert(shape, axis, len(inputs)), tables.PackOptions(len(inputs), axis))


def split(m: Moving) -> Case:
    shape, count = m.drawn(), int(m.rng.integers(1, 4))
    axis = int(m.rng.integers(-len(shape), len(shape)))
    parts = [list(shape) for _ in range(count)]
    shape[axis] *= count
    return m.several("SPLIT", [m.numbers(axis), m.input(*shape)], parts, tables.SplitOptions(count))


def split_v(m: Moving) -> Case:
    shape = m.drawn()
    axis = int(m.rng.integers(len(shape)))
    sizes = (m.rng.integers(1, 4, m.rng.integers(1, 4)) * (4 if m.rng.random() < 0.5 else 1)).tolist()
    parts = [[*shape[:axis], size, *shape[axis + 1 :]] for size in sizes]
    shape[axis] = sum(sizes)
    options = tables.SplitVOptions(len(sizes))
    return m.several("SPLIT_V", [m.input(*shape), m.numbers(sizes), m.numbers(axis)], parts, options)


def unpack(m: Moving) -> Case:
    shape = m.drawn(2)
    axis = int(m.rng.integers(len(shape)))
    parts = [shape[:axis] + shape[axis + 1 :]] * shape[axis]
    return m.several("UNPACK", [m.input(*shape)], parts, tables.UnpackOptions(shape[axis], axis))


def depth_to_space(m: Moving) -> Case:
    (h, w, c), block = m.rng.integers(1, 5, 3).tolist(), int(m.rng.integers(2, 4))
    options = tables.DepthToSpaceOptions(block)
    return m.case("DEPTH_TO_SPACE", [m.input(1, h, w, c * block**2)], (1, h * block, w * block, c), options)


def space_to_depth(m: Moving) -> Case:
    (h, w, c), block = m.rng.integers(1, 5, 3).tolist(), int(m.rng.integers(2, 4))
    options = tables.SpaceToDepthOptions(block)
    return m.case("SPACE_TO_DEPTH", [m.input(1, h * block, w * block, c)], (1, h, w, c * block**2), options)


def blocks(m: Moving) -> tuple:
    count = int(m.rng.integers(1, 3))
    sizes, around = m.rng.integers(1, 4, count), m.rng.integers(0, 3, (count, 2))
    outer = m.rng.integers(1, 5, count) + -(-around.sum(1) // sizes)
    return sizes, around, outer, int(m.rng.integers(1, 6)), int(m.rng.integers(1, 3))


def space_to_batch(m: Moving, padded: bool = False) -> Case:
    sizes, around, outer, channels, batch = blocks(m)
    around *= padded
    x = m.input(batch, *(outer * sizes - around.sum(1)), channels)
    shape = (batch * sizes.prod(), *outer, channels)
    return m.case("SPACE_TO_BATCH_ND", [x, m.numbers(sizes), m.numbers(around)], shape, tables.SpaceToBatchNDOptions())


def batch_to_space(m: Moving) -> Case:
    sizes, around, outer, channels, batch = blocks(m)
    x = m.input(batch * sizes.prod(), *outer, channels)
    shape = (batch, *(outer * sizes - around.sum(1)), channels)
    return m.case("BATCH_TO_SPACE_ND", [x, m.numbers(sizes), m.numbers(around)], shape, tables.BatchToSpaceNDOptions())


def broadcast_to(m: Moving) -> Case:
    shape = m.drawn()
    x = m.input(*(1 if m.rng.random() < 0.5 else n for n in shape[m.rng.integers(len(shape)) :]))
    return m.case("BROADCAST_TO", [x, m.numbers(shape)], shape, tables.BroadcastToOptions(), 2)


def reverse(m: Moving) -> Case:
    x = m.input(*m.drawn())
    return m.case("REVERSE_V2", [x, m.numbers([int(m.rng.integers(len(x.shape)))])], x.shape, tables.ReverseV2Options())


MOVES = [
    *(transpose, slice_, strided_slice, pad, concatenation, pack, split, split_v, unpack, depth_to_space),
    *(space_to_depth, space_to_batch, batch_to_space, broadcast_to, reverse),
]


def test_bytes_are_those_of_the_reference(tmp_path):
    assert_as_reference([make(Moving(seed)) for make in MOVES for seed in range(COUNT)], tmp_path)


def test_blocks_are_padded_with_the_zero_point(tmp_path):
    """As LiteRT does: TensorFlow Lite Micro pads with what happens to be in memory."""
    cases = [space_to_batch(Moving(seed), padded=True) for seed in range(COUNT)]
    for case, (got,) in zip(cases, on_host(cases, tmp_path), strict=True):
        interpreter = Interpreter(model_content=file_of(case.graph))
        interpreter.allocate_tensors()
        for x, ours in zip(case.inputs[0], got, strict=True):
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
            interpreter.invoke()
            theirs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
            np.testing.assert_array_equal(ours, theirs, repr(case.graph.ops))


def test_shares_of_the_first_axis_and_axes_of_one_entry_are_not_copied():
    m = Moving(0)
    x = m.input(8, 1, 6, 4)
    grid = x.quantization
    order, axis = m.numbers([1, 0, 2, 3]), m.numbers(1)
    y = m.builder.op("TRANSPOSE", [x, order], (1, 8, 6, 4), quantization=grid)
    halves = [m.builder.tensor(f"half{i}", (1, 4, 6, 4), np.dtype(np.int8), grid) for i in range(2)]
    m.graph.ops.append(Op("SPLIT", [axis, y], halves, tables.SplitOptions(2)))
    compiled = emit(Described("views", m.done(*halves), *halves))
    assert not compiled.operations
    assert compiled.arena == 8 * 6 * 4


def refused(case: Case, says: str) -> None:
    output = case.graph.outputs[0]
    with pytest.raises(UnsupportedModelError, match=says):
        emit(Described("refused", case.graph, output, output))


@pytest.mark.parametrize(
    ("code", "operands", "shape", "options", "says"),
    [
        ("TRANSPOSE", [[0, 0, 1]], (2, 3, 4), None, "no order of 3 axes"),
        ("TRANSPOSE", [[2, 1, 0]], (2, 3, 4), None, r"should be \[4, 3, 2\]"),
        ("SLICE", [[0, 0, 3], [-1, -1, 2]], (2, 3, 2), None, "3:5 is not within 4"),
        ("SLICE", [[0], [1]], (1,), None, "1 of 3 axes"),
        ("STRIDED_SLICE", [[0] * 3, [2] * 3, [0] * 3], (2, 2, 2), tables.StridedSliceOptions(), "stride of axis 0"),
        ("STRIDED_SLICE", [[0] * 3, [2] * 3, [1] * 3], (2, 2), tables.StridedSliceOptions(new_axis_mask=1), "new axes"),
        ("STRIDED_SLICE", [[5] * 3, [2] * 3, [1] * 3], (), tables.StridedSliceOptions(shrink_axis_mask=7), "entry 5"),
        ("PAD", [[[0, 1]]], (2, 3, 5), None, "no margins of 3 axes"),
        ("PAD", [[[0, -1]] * 3], (1, 2, 3), None, "no margins of 3 axes"),
        ("BROADCAST_TO", [[2, 2, 4]], (2, 2, 4), None, "cannot be repeated"),
        ("DEPTH_TO_SPACE", [], (2, 6, 2), tables.DepthToSpaceOptions(2), "is no image"),
        ("SPACE_TO_BATCH_ND", [[2], [[0, 0]]], (4, 1, 4), None, "not made of blocks"),
        ("BATCH_TO_SPACE_ND", [[2, 2, 2], [[0, 0]] * 3], (4, 1, 4), None, "has no blocks"),
        ("REVERSE_V2", [[-4]], (2, 3, 4), None, "axis -4 is not among 3"),
        ("PACK", [], (2, 2, 3, 4), tables.PackOptions(1, 0), "do not make up"),
        ("CONCATENATION", [], (2, 3, 5), tables.ConcatenationOptions(2), "not as wide"),
        ("CONCATENATION", [], (2, 3, 4), tables.ConcatenationOptions(3), "axis 3"),
        ("RESHAPE", [[2, 3, 5]], (2, 3, 5), None, "does not fill"),
    ],
)
def test_what_an_op_cannot_be_is_refused(code, operands, shape, options, says):
    m = Moving(0)
    x = m.input(2, 3, 4)
    refused(m.case(code, [x, *map(m.numbers, operands)], shape, options), f"{code}.*{says}")


def test_operands_that_are_computed_and_grids_that_differ_are_refused():
    m = Moving(0)
    x, order = m.input(2, 3), m.builder.tensor("order", (2,), INT32)
    m.graph.inputs.append(order)
    refused(m.case("TRANSPOSE", [x, order], (3, 2)), "'order'.* is not a constant")
    m = Moving(0)
    refused(m.case("CONCATENATION", [m.input(2), m.input(2)], (4,), tables.ConcatenationOptions(0)), "another grid")
    m = Moving(0)
    refused(m.several("SPLIT", [m.numbers(0), m.input(5)], [(2,), (2,)], tables.SplitOptions(2)), "cannot be split")
