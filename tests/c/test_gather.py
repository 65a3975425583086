"""Picking by positions, resizing and transposed convolution: byte for byte what TensorFlow Lite Micro gives."""

import numpy as np
import pytest

from export.c import Described, emit
from export.errors import UnsupportedModelError
from export.tflite import options as tables
from export.tflite.ops import INT32
from export.tflite.options import Activation, Padding

from .graphs import Sketch
from .harness import Case, on_host
from .reference import assert_as_reference

COUNT = 18


def gather(seed: int) -> Case:
    sketch = Sketch(seed)
    rng = sketch.rng
    shape = rng.integers(1, 7, rng.integers(1, 4)).tolist()
    axis = int(rng.integers(len(shape)))
    batches = int(rng.integers(axis + 1)) if seed % 2 else 0
    picked = (*shape[:batches], *rng.integers(1, 5, rng.integers(3)).tolist())
    positions = rng.integers(0, shape[axis], (4, *picked)).astype(np.int32)
    if seed % 3:
        x = sketch.input(*shape)
        inputs: tuple[np.ndarray, ...] = (sketch.values(x, 4),)
    else:
        x = sketch.weights(*shape)
    if seed % 3 == 1:
        places = sketch.builder.constant(positions[0], INT32)
    else:
        places = sketch.builder.tensor("positions", picked, INT32)
        sketch.graph.inputs.append(places)
        inputs = (*inputs, positions) if seed % 3 else (positions,)
    left = (*shape[:axis], *picked[batches:], *shape[axis + 1 :])
    options = tables.GatherOptions(axis - len(shape) if seed % 4 == 3 else axis, batches)
    y = sketch.builder.op("GATHER", [x, places], left, options, quantization=x.quantization)
    return Case(sketch.done(y), inputs)


def resize(seed: int) -> Case:
    sketch = Sketch(seed)
    rng = sketch.rng
    x = sketch.input(1, *rng.integers(1, 9, 2), int(rng.integers(1, 7)))
    size = rng.integers(1, 20, 2)
    corners = seed % 3 == 1
    code = "RESIZE_BILINEAR" if seed % 2 else "RESIZE_NEAREST_NEIGHBOR"
    table = tables.ResizeBilinearOptions if seed % 2 else tables.ResizeNearestNeighborOptions
    inputs = [x, sketch.builder.constant(size, INT32)]
    options = table(corners, seed % 3 == 2)
    y = sketch.builder.op(code, inputs, (1, *size, x.shape[3]), options, quantization=x.quantization, version=3)
    return Case(sketch.done(y), (sketch.values(x, 4),))


def transpose_conv(seed: int) -> Case:
    sketch = Sketch(seed)
    rng = sketch.rng
    taps, strides = rng.integers(1, 5, 2), rng.integers(1, 4, 2)
    sizes = rng.integers(1, 6, 2)
    padding = Padding(int(rng.integers(2)))
    shape = sizes * strides if padding == Padding.SAME else (sizes - 1) * strides + np.maximum(taps, strides)
    channels, outputs = (int(n) for n in rng.integers(1, 12, 2))
    x = sketch.input(1, *sizes, channels)
    weights = sketch.weights(outputs, *taps, channels, axis=0 if outputs > 1 else None)
    size = sketch.builder.constant([1, *shape, outputs], INT32)
    bias = [sketch.bias(x, weights, outputs)] if rng.random() < 0.6 else []
    options = tables.TransposeConvOptions(padding, int(strides[1]), int(strides[0]), Activation(int(rng.integers(4))))
    y = sketch.builder.op(
        "TRANSPOSE_CONV",
        [size, weights, x, *bias],
        (1, *shape, outputs),
        options,
        dtype=x.dtype,
        quantization=sketch.grid(),
        version=3 if bias else 2,
    )
    return Case(sketch.done(y), (sketch.values(x, 4),))


@pytest.mark.parametrize("make", [gather, resize, transpose_conv])
def test_bytes_are_those_of_the_reference(make, tmp_path):
    assert_as_reference([make(seed) for seed in range(COUNT)], tmp_path)


def test_positions_outside_are_read_at_the_nearest_end(tmp_path):
    sketch = Sketch(0)
    x = sketch.weights(3, 2)
    positions = sketch.builder.tensor("positions", (4,), INT32)
    sketch.graph.inputs.append(positions)
    y = sketch.builder.op("GATHER", [x, positions], (4, 2), tables.GatherOptions(0), quantization=x.quantization)
    case = Case(sketch.done(y), (np.asarray([[-1, 3, np.iinfo(np.int32).min, np.iinfo(np.int32).max]], np.int32),))
    np.testing.assert_array_equal(on_host([case], tmp_path)[0][0][0], x.data[[0, 2, 0, 2]])


@pytest.mark.parametrize(
    ("positions", "axis", "shape", "says"),
    [
        (np.asarray([3], np.int32), 0, (1, 4), "not all within 3"),
        (np.asarray([0], np.int64), 0, (1, 4), "not int32"),
        (np.asarray([0], np.int32), 2, (1, 4), "axis 2 is not among 2"),
        (np.asarray([0], np.int32), 0, (2, 4), r"should be \[1, 4\]"),
    ],
)
def test_positions_that_are_none_are_refused(positions, axis, shape, says):
    sketch = Sketch(0)
    inputs = [sketch.input(3, 4), sketch.builder.constant(positions, positions.dtype)]
    y = sketch.builder.op("GATHER", inputs, shape, tables.GatherOptions(axis), quantization=sketch.grid())
    with pytest.raises(UnsupportedModelError, match=says):
        emit(Described("gather", sketch.done(y), y, y))
