"""Convolutions and matrix products: byte for byte what TensorFlow Lite Micro gives."""

import numpy as np
import pytest

from export.tflite import options as tables
from export.tflite.options import Activation, Padding

from .graphs import Sketch
from .harness import CORES, Case, on_board, on_host
from .reference import tflm

COUNT = 24


def out(size: int, taps: int, stride: int, dilation: int, padding: Padding) -> int:
    reach = (taps - 1) * dilation + 1
    return -(-size // stride) if padding == Padding.SAME else -(-(size - reach + 1) // stride)


def window(sketch: Sketch) -> tuple:
    rng = sketch.rng
    taps = rng.integers(1, 6, 2) if rng.random() < 0.7 else np.array([1, 1])
    stride = rng.integers(1, 4, 2)
    dilation = rng.integers(1, 3, 2) if rng.random() < 0.3 else np.array([1, 1])
    sizes = rng.integers(1, 8, 2) + (taps - 1) * dilation
    padding = Padding(int(rng.integers(2)))
    along = zip(*(values.tolist() for values in (sizes, taps, stride, dilation)), strict=True)
    shape = [out(*axis, padding) for axis in along]
    return sizes, taps, stride, dilation, padding, shape


def conv(seed: int, most: int = 21) -> Case:
    sketch = Sketch(seed)
    rng = sketch.rng
    sizes, taps, stride, dilation, padding, shape = window(sketch)
    channels, outputs = (int(c) for c in rng.integers(1, most + 1, 2))
    x = sketch.input(1, *sizes, channels)
    weights = sketch.weights(outputs, *taps, channels, axis=0 if rng.random() < 0.8 else None)
    activation = Activation(int(rng.integers(4)))
    options = tables.Conv2DOptions(
        padding, int(stride[1]), int(stride[0]), activation, int(dilation[1]), int(dilation[0])
    )
    inputs = [x, weights, sketch.bias(x, weights, outputs)]
    y = sketch.builder.op("CONV_2D", inputs, (1, *shape, outputs), options, quantization=sketch.grid())
    return Case(sketch.done(y), (sketch.values(x, 4),))


def depthwise(seed: int, most: int = 19) -> Case:
    sketch = Sketch(seed)
    rng = sketch.rng
    sizes, taps, stride, dilation, padding, shape = window(sketch)
    channels, times = int(rng.integers(1, most + 1)), int(rng.integers(1, 3))
    x = sketch.input(1, *sizes, channels)
    weights = sketch.weights(1, *taps, channels * times, axis=3)
    options = tables.DepthwiseConv2DOptions(
        padding,
        int(stride[1]),
        int(stride[0]),
        times,
        Activation(int(rng.integers(4))),
        int(dilation[1]),
        int(dilation[0]),
    )
    inputs = [x, weights, sketch.bias(x, weights, channels * times)]
    y = sketch.builder.op(
        "DEPTHWISE_CONV_2D", inputs, (1, *shape, channels * times), options, quantization=sketch.grid()
    )
    return Case(sketch.done(y), (sketch.values(x, 4),))


def dense(seed: int, most: int = 39) -> Case:
    sketch = Sketch(seed)
    rng = sketch.rng
    rows, depth, outputs = (int(n) for n in rng.integers(1, most + 1, 3))
    x = sketch.input(rows if rng.random() < 0.3 else 1, depth)
    weights = sketch.weights(outputs, depth, axis=0 if rng.random() < 0.5 else None)
    bias = sketch.bias(x, weights, outputs) if rng.random() < 0.8 else None
    options = tables.FullyConnectedOptions(Activation(int(rng.integers(4))))
    y = sketch.builder.op(
        "FULLY_CONNECTED", [x, weights, bias], (x.shape[0], outputs), options, quantization=sketch.grid()
    )
    return Case(sketch.done(y), (sketch.values(x, 4),))


def check(cases, outputs):
    for case, got in zip(cases, outputs, strict=True):
        for ours, theirs in zip(got, tflm(case), strict=True):
            np.testing.assert_array_equal(ours, theirs, f"{case.graph.ops}")


@pytest.mark.parametrize("make", [conv, depthwise, dense])
def test_bytes_are_those_of_the_reference(make, tmp_path):
    cases = [make(seed) for seed in range(COUNT)]
    check(cases, on_host(cases, tmp_path))


@pytest.mark.parametrize("core", CORES)
def test_boards_compute_the_same(core, tmp_path):
    cases = [make(seed) for seed in range(10) for make in (conv, depthwise, dense)]
    check(cases, on_board(cases, tmp_path, core))


@pytest.mark.parametrize("core", ["m4", "m55"])
def test_vectors_and_what_is_left_of_them_are_computed(core, tmp_path):
    """Up to 70 channels: some vectors and a rest, for each of the kernels that take several values at once."""
    cases = [make(seed, 70) for seed in range(100, 108) for make in (conv, depthwise, dense)]
    check(cases, on_board(cases, tmp_path, core))
