"""Products of matrices that are computed: byte for byte what TensorFlow Lite Micro gives."""

import re

import numpy as np
import pytest

from export.c import Described, emit
from export.errors import UnsupportedModelError
from export.tflite import Quantization, Tensor
from export.tflite import options as tables
from export.tflite.ops import INT32
from export.tflite.options import Activation

from .graphs import Sketch
from .harness import Case, instructions, on_board, on_host
from .reference import tflm

# Scales, a weight and a value whose product is rounded otherwise if the factor is worked out in single precision.
CLOSE = [
    (0.291730135679245, 0.006779051385819912, 0.04227478429675102, 21, -87),
    (0.5652273297309875, 0.020832648500800133, 0.24616041779518127, 9, -94),
    (0.03264152631163597, 0.010181035846471786, 0.07455877214670181, 96, -111),
]


def batched(seed: int) -> Case:
    """BATCH_MATMUL of two to four axes, batches alike or broadcast, either operand transposed or constant."""
    sketch = Sketch(seed)
    rng = sketch.rng
    rows, depth, columns = (int(n) for n in rng.integers(1, 9, 3))
    batches = tuple(int(n) for n in rng.integers(1, 4, int(rng.integers(0, 3))))
    left, right = (tuple(n if rng.random() < 0.7 else 1 for n in batches) for _ in range(2))
    right = right[int(rng.integers(len(right) + 1)) :]
    options = tables.BatchMatMulOptions(bool(rng.integers(2)), bool(rng.integers(2)))
    left += (depth, rows) if options.adj_x else (rows, depth)
    right += (columns, depth) if options.adj_y else (depth, columns)
    operands = [operand(sketch, left, seed % 4 == 1), operand(sketch, right, seed % 4 == 2)]
    shape = (*np.broadcast_shapes(left[:-2], right[:-2]), rows, columns)
    y = sketch.builder.op("BATCH_MATMUL", operands, shape, options, quantization=sketch.grid(-5, 1))
    return Case(sketch.done(y), tuple(sketch.values(x, 4) for x in sketch.graph.inputs))


def operand(sketch: Sketch, shape: tuple[int, ...], constant: bool) -> Tensor:
    grid = sketch.grid(-8, -2)
    if not constant:
        return sketch.input(*shape, grid=grid)
    return sketch.builder.constant(sketch.rng.integers(-128, 128, shape), np.dtype(np.int8), grid)


def dense(seed: int) -> Case:
    """FULLY_CONNECTED with weights that are computed, or constant with a zero point."""
    sketch = Sketch(seed)
    rng = sketch.rng
    rows, depth, outputs = (int(n) for n in rng.integers(1, 12, 3))
    x = sketch.input(rows, depth, grid=sketch.grid(-8, -2))
    weights = operand(sketch, (outputs, depth), seed % 2 == 1)
    bias = sketch.bias(x, weights, outputs) if rng.random() < 0.7 else None
    options = tables.FullyConnectedOptions(Activation(int(rng.integers(4))))
    y = sketch.builder.op(
        "FULLY_CONNECTED", [x, weights, bias], (rows, outputs), options, quantization=sketch.grid(-5, 1)
    )
    return Case(sketch.done(y), tuple(sketch.values(x, 4) for x in sketch.graph.inputs))


def close(computed: bool, x_scale: float, scale: float, out: float, weight: int, value: int) -> Case:
    sketch = Sketch(0)
    x = sketch.input(1, 1, grid=Quantization((x_scale,), (0,)))
    weights = sketch.builder.constant(np.full((1, 1), weight), np.dtype(np.int8), Quantization((scale,), (0,)))
    if computed:
        weights = sketch.input(1, 1, grid=weights.quantization)
    options, quantization = tables.FullyConnectedOptions(), Quantization((out,), (0,))
    y = sketch.builder.op("FULLY_CONNECTED", [x, weights, None], (1, 1), options, quantization=quantization)
    values = [np.full((1, 1, 1), each, np.int8) for each in (value, weight)]
    return Case(sketch.done(y), tuple(values[: len(sketch.graph.inputs)]))


def test_bytes_are_those_of_the_reference(tmp_path):
    cases = [batched(seed) for seed in range(20)] + [dense(seed) for seed in range(10)]
    cases += [close(computed, *figures) for computed in (False, True) for figures in CLOSE]
    for case, (got,) in zip(cases, on_host(cases, tmp_path), strict=True):
        np.testing.assert_array_equal(got, tflm(case)[0], f"{case.graph.ops} {case.graph.inputs}")


@pytest.mark.parametrize("core", ["m4", "m55"])
def test_instruction_sets_compute_the_same(core, tmp_path):
    cases = [batched(seed) for seed in range(20)] + [dense(seed) for seed in range(6)] + [runs(i) for i in range(35)]
    for case, (got,) in zip(cases, on_board(cases, tmp_path, core), strict=True):
        np.testing.assert_array_equal(got, tflm(case)[0], f"{case.graph.ops} {case.graph.inputs}")


def runs(i: int) -> Case:
    """Return a product along runs: each number of rows with each of columns, short of vectors, whole ones and more.

    Either side has a zero point or none, as weights have. Values reach from 4 to 128 away from it, so that sums are
    multiplied by more than 1 or by less; every other case by a power of two, for some to be halfway between outputs.
    """
    sketch = Sketch(i)
    rng = sketch.rng
    rows, columns, depth, reach = 1 + i % 7, 1 + i % 5, (1, 15, 16, 17, 31, 64, 66, 128)[i % 8], 4 << i % 6
    zeros = [0 if none else int(rng.integers(-128, 128)) for none in (i % 3 == 0, i % 4 < 2)]
    x, weights = (
        sketch.input(count, depth, grid=Quantization((0.5,), (zero,)))
        for count, zero in zip((rows, columns), zeros, strict=True)
    )
    values = [
        np.clip(zero + rng.integers(-reach, reach, (4, *each.shape)), -128, 127).astype(np.int8)
        for each, zero in zip((x, weights), zeros, strict=True)
    ]
    bias = sketch.builder.constant(rng.integers(-reach, reach, columns), INT32, Quantization((0.25,), (0,)))
    out = 0.25 * 2.0 ** round(np.log2(reach**2 * np.sqrt(depth) / 150)) * (1 if i % 2 else float(rng.uniform(1, 2)))
    options = tables.FullyConnectedOptions(Activation.NONE if i % 5 else Activation.RELU)
    y = sketch.builder.op(
        "FULLY_CONNECTED",
        [x, weights, None if i % 3 else bias],
        (rows, columns),
        options,
        quantization=Quantization((out,), (int(rng.integers(-100, 100)),)),
    )
    return Case(sketch.done(y), tuple(values))


def test_helium_takes_an_instruction_for_two_products(tmp_path):
    """Of many rows with one column, as GradCAM has them; requantising them is part of it."""
    sketch = Sketch(0)
    x, weights = sketch.input(64, 64), sketch.input(1, 64, grid=Quantization((0.5,), (0,)))
    options = tables.FullyConnectedOptions()
    y = sketch.builder.op("FULLY_CONNECTED", [x, weights, None], (64, 1), options, quantization=sketch.grid())
    case = Case(sketch.done(y), tuple(sketch.values(each, 1) for each in (x, weights)))
    ((kernel, count),) = instructions(case, tmp_path, "m55")
    assert kernel == "whylite_multiply_runs"
    assert count <= 64 * 64 / 2


@pytest.mark.parametrize(
    ("left", "right", "shape", "message"),
    [
        ((3,), (3, 2), (2,), "[3] by [3, 2] is no product of matrices"),
        ((2, 3), (4, 2), (2, 2), "[2, 3] by [4, 2] does not make [2, 2]"),
        ((2, 2, 3), (3, 3, 2), (2, 2, 2), "operands [2] and [3] do not make [2]"),
        ((1, 32769), (32769, 1), (1, 1), "a sum of 32,769 products does not fit in 32 bits"),
    ],
)
def test_refusals_name_the_op(left, right, shape, message):
    sketch = Sketch(0)
    operands = [sketch.input(*left), sketch.input(*right)]
    y = sketch.builder.op("BATCH_MATMUL", operands, shape, tables.BatchMatMulOptions(), quantization=sketch.grid())
    with pytest.raises(UnsupportedModelError, match=re.escape(message)) as raised:
        emit(Described("one", sketch.done(y), y, y))
    assert "op BATCH_MATMUL -> '0'" in str(raised.value)
