"""Pooling, reductions and positions of maxima: byte for byte what TensorFlow Lite Micro gives."""

import math

import numpy as np
import pytest

from export.c import Described, emit
from export.errors import UnsupportedModelError
from export.tflite import options as tables
from export.tflite.ops import INT32
from export.tflite.options import Activation, Padding

from .graphs import Sketch
from .harness import Case
from .reference import assert_as_reference

COUNT = 18


def pool(seed: int) -> Case:
    sketch = Sketch(seed)
    rng = sketch.rng
    windows, strides = rng.integers(1, 5, 2), rng.integers(1, 4, 2)
    sizes = rng.integers(0, 7, 2) + windows
    if seed % 5 == 0:
        windows = sizes  # of the whole image
    padding = Padding(int(rng.integers(2)))
    reach = 0 if padding == Padding.SAME else windows - 1
    shape = -(-(sizes - reach) // strides)
    x = sketch.input(1, *sizes, int(rng.integers(1, 9)), grid=sketch.grid(-5))
    options = tables.Pool2DOptions(
        padding, int(strides[1]), int(strides[0]), int(windows[1]), int(windows[0]), Activation(int(rng.integers(4)))
    )
    code = "MAX_POOL_2D" if seed % 2 else "AVERAGE_POOL_2D"
    y = sketch.builder.op(code, [x], (1, *shape, x.shape[3]), options, quantization=x.quantization)
    return Case(sketch.done(y), (sketch.values(x, 4),))


def reduction(seed: int) -> Case:
    sketch = Sketch(seed)
    rng = sketch.rng
    code = ("MEAN", "SUM", "REDUCE_MAX")[seed % 3]
    rank = int(rng.integers(2, 5))
    shape = (1 if rank > 2 else 3, *rng.integers(1, 9, rank - 1).tolist())
    axes = rng.permutation(rank)[: rng.integers(1, 3)].tolist()
    if rank == 4 and rng.random() < 0.5:
        axes = [1, 2]
    keep = bool(rng.integers(2))
    x = sketch.input(*shape)
    given = [axis - rank if rng.random() < 0.3 else axis for axis in axes]
    left = np.empty(shape, np.int8).sum(tuple(axes), keepdims=keep).shape
    grid = x.quantization if code == "REDUCE_MAX" or rng.random() < 0.3 else sketch.grid()
    inputs = [x, sketch.builder.constant(given, INT32)]
    y = sketch.builder.op(code, inputs, left, tables.ReducerOptions(keep), quantization=grid)
    return Case(sketch.done(y), (sketch.values(x, 4),))


def arg_max(seed: int) -> Case:
    sketch = Sketch(seed)
    rng = sketch.rng
    rank = int(rng.integers(1, 4))
    shape = rng.integers(1, 12, rank).tolist()
    axis = int(rng.integers(-rank, rank))
    x = sketch.input(*shape)
    inputs = [x, sketch.builder.constant([axis], INT32)]
    left = np.empty(shape, np.int8).argmax(axis).shape
    y = sketch.builder.op("ARG_MAX", inputs, left, tables.ArgMaxOptions(2), dtype=INT32)
    values = sketch.values(x, 4)
    values[3] //= 64  # several are the highest
    return Case(sketch.done(y), (values,))


@pytest.mark.parametrize("make", [pool, reduction, arg_max])
def test_bytes_are_those_of_the_reference(make, tmp_path):
    assert_as_reference([make(seed) for seed in range(COUNT)], tmp_path)


def test_what_a_reduction_over_channels_and_rows_gives_is_written_over_its_input():
    sketch = Sketch(0)
    x = sketch.input(1, 16, 16, 8)
    axes = sketch.builder.constant([1, 3], INT32)
    y = sketch.builder.op("MEAN", [x, axes], (1, 16), tables.ReducerOptions(), quantization=sketch.grid())
    graph = sketch.done(y)
    assert emit(Described("mean", graph, y, y)).arena == math.prod(x.shape)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda op: op.input(0).__setattr__("shape", (2, 4, 4, 3)), "not one image"),
        (lambda op: op.output.__setattr__("shape", (1, 3, 3, 3)), r"should be \[1, 2, 2, 3\]"),
        (lambda op: op.output.__setattr__("quantization", Sketch(9).grid()), "two grids"),
        (lambda op: op.__setattr__("options", tables.Pool2DOptions(stride_w=0)), "is none"),
    ],
)
def test_what_a_pool_cannot_be_is_refused(change, says):
    sketch = Sketch(0)
    x = sketch.input(1, 4, 4, 3)
    options = tables.Pool2DOptions(Padding.VALID, 2, 2, 2, 2)
    y = sketch.builder.op("MAX_POOL_2D", [x], (1, 2, 2, 3), options, quantization=x.quantization)
    graph = sketch.done(y)
    change(graph.ops[0])
    with pytest.raises(UnsupportedModelError, match=says):
        emit(Described("pool", graph, y, y))


@pytest.mark.parametrize(("axes", "says"), [([4], "axis 4 is not among 4"), ([0.5], "no whole numbers")])
def test_axes_that_are_none_are_refused(axes, says):
    sketch = Sketch(0)
    x = sketch.input(1, 4, 4, 3)
    inputs = [x, sketch.builder.constant(axes, np.asarray(axes).dtype)]
    y = sketch.builder.op("MEAN", inputs, (1, 3), tables.ReducerOptions(), quantization=x.quantization)
    with pytest.raises(UnsupportedModelError, match=says):
        emit(Described("mean", sketch.done(y), y, y))
