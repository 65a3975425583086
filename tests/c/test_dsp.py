"""Kernels for DSP instructions: figures as they are packed for them, and shapes that are theirs or not quite."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.c.lowering.packing import Figures, packed, packed_figures
from export.tflite import Quantization
from export.tflite import options as tables
from export.tflite.ops import INT8, INT32
from export.tflite.options import Activation, Padding

from .graphs import Sketch
from .harness import Case, emitted, on_board, on_host
from .reference import tflm

SAME, VALID = Padding.SAME, Padding.VALID
SHAPES = [  # rows and columns, channels in and out, taps, strides, dilations, padding
    ((9, 9), 3, 8, (3, 3), (2, 2), (1, 1), SAME),  # a first layer
    ((12, 5), 1, 9, (10, 4), (2, 2), (1, 1), SAME),  # windows of which more than half is beyond the edge
    ((3, 2), 5, 6, (5, 7), (1, 1), (1, 1), SAME),  # windows larger than the input
    ((6, 5), 64, 70, (1, 1), (1, 1), (1, 1), VALID),
    ((5, 6), 17, 5, (1, 1), (2, 3), (1, 1), SAME),
    ((4, 5), 70, 33, (3, 3), (1, 1), (1, 1), SAME),  # more taps than are summed at once
    ((7, 9), 6, 7, (3, 3), (1, 1), (2, 2), SAME),  # no run of taps
    ((7, 9), 6, 7, (2, 3), (1, 2), (2, 1), VALID),
    ((40, 1), 7, 6, (9, 1), (2, 1), (1, 1), SAME),  # signals, either way
    ((1, 40), 7, 6, (1, 9), (1, 2), (1, 1), SAME),
    ((30, 1), 12, 4, (4, 1), (1, 1), (3, 1), SAME),
    ((3, 45), 4, 4, (3, 3), (1, 1), (1, 1), SAME),  # longer rows than a depthwise kernel reads at once
    ((5, 37), 9, 9, (4, 5), (3, 2), (1, 1), VALID),
]


def fitting(sketch: Sketch, x, weights, taps: int) -> Quantization:
    """Return a grid that outputs use most of."""
    scale = x.quantization.scale[0] * np.median(weights.quantization.scale) * np.sqrt(taps) * 100
    return Quantization((float(np.float32(scale)),), (int(sketch.rng.integers(-128, 128)),))


def convolution(seed: int, shape: tuple, code: str) -> Case:
    size, channels, outputs, taps, stride, dilation, padding = shape
    sketch = Sketch(seed)
    outputs = channels if code == "DEPTHWISE_CONV_2D" else outputs
    x = sketch.input(1, *size, channels)
    spatial = (stride[1], stride[0])
    activation = Activation(int(sketch.rng.integers(4)))
    if code == "CONV_2D":
        weights = sketch.weights(outputs, *taps, channels, axis=0)
        options = tables.Conv2DOptions(padding, *spatial, activation, dilation[1], dilation[0])
    else:
        weights = sketch.weights(1, *taps, channels, axis=3)
        options = tables.DepthwiseConv2DOptions(padding, *spatial, 1, activation, dilation[1], dilation[0])
    reach = [(t - 1) * d if padding == VALID else 0 for t, d in zip(taps, dilation, strict=True)]
    out = [-(-(n - r) // s) for n, r, s in zip(size, reach, stride, strict=True)]
    inputs = [x, weights, sketch.bias(x, weights, outputs)]
    count = int(np.prod(weights.shape)) // outputs
    y = sketch.builder.op(code, inputs, (1, *out, outputs), options, quantization=fitting(sketch, x, weights, count))
    return Case(sketch.done(y), (sketch.values(x, 4),))


def product(seed: int, rows: int, depth: int, outputs: int) -> Case:
    sketch = Sketch(seed)
    x, weights = sketch.input(rows, depth), sketch.weights(outputs, depth, axis=0)
    y = sketch.builder.op(
        "FULLY_CONNECTED",
        [x, weights, sketch.bias(x, weights, outputs)],
        (rows, outputs),
        tables.FullyConnectedOptions(Activation.NONE),
        quantization=fitting(sketch, x, weights, depth),
    )
    return Case(sketch.done(y), (sketch.values(x, 4),))


def check(cases, outputs):
    for case, got in zip(cases, outputs, strict=True):
        for ours, theirs in zip(got, tflm(case), strict=True):
            np.testing.assert_array_equal(ours, theirs, f"{case.graph.ops}")


@pytest.fixture(scope="module")
def shapes():
    cases = [convolution(i, shape, code) for i, shape in enumerate(SHAPES) for code in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    return cases + [product(i, rows, *sizes) for i, (rows, *sizes) in enumerate([(1, 3, 1), (3, 70, 10), (1, 1100, 6)])]


@pytest.mark.parametrize("core", ["m0", "m4", "m33", "m55"])
def test_shapes_are_computed_as_by_the_reference(shapes, core, tmp_path):
    check(shapes, on_board(shapes, tmp_path, core))


@pytest.mark.parametrize("flags", [("-O0",), ("-O3", "-flto"), ("-Os", "-mno-unaligned-access")])
def test_assembly_stands_whatever_the_compiler_does_around_it(shapes, flags, tmp_path):
    some = shapes[::4] + shapes[-3:]
    check(some, on_board(some, tmp_path, "m4", *flags))


def test_shapes_are_computed_on_the_host_too(shapes, tmp_path):
    check(shapes, on_host(shapes, tmp_path))


def extreme(sketch: Sketch, y_scale: float, bias: list[int], least: int = -127) -> Case:
    x = sketch.input(1, 3, 3, 8, grid=Quantization((0.5,), (3,)))
    weights = sketch.builder.constant(
        np.where(sketch.rng.random((8, 1, 1, 8)) < 0.5, least, 127), INT8, Quantization((0.25,) * 8, (0,) * 8, 0)
    )
    constant = sketch.builder.constant(np.array(bias), INT32, Quantization((0.125,) * 8, (0,) * 8, 0))
    options = tables.Conv2DOptions(VALID, 1, 1, Activation.NONE, 1, 1)
    y = sketch.builder.op(
        "CONV_2D", [x, weights, constant], (1, 3, 3, 8), options, quantization=Quantization((y_scale,), (100,))
    )
    return Case(sketch.done(y), (sketch.values(x, 4),))


def test_figures_that_do_not_fit_are_computed_with_care(tmp_path):
    """Shifts to the left, none, and far to the right; sums beyond 30 bits; channels of each kind next to each other."""
    tiny, large = (
        [1, -2, 3, -4, 5, -6, 7, -8],
        [1 << 30, 5, -(1 << 30), 6, (1 << 31) - 130000, 7, 130000 - (1 << 31), 8],
    )
    scales = [0.01, 0.125, 0.2, 0.25, 1.0, 700.0, 2.0**18, 2.0**21, 2.0**23]
    cases = [extreme(Sketch(i), scale, bias) for i, scale in enumerate(scales) for bias in (tiny, large)]
    check(cases, on_board(cases, tmp_path, "m4"))


def test_sums_at_their_largest_are_right(tmp_path):
    cases = [product(0, 1, depth, 5) for depth in (512, 1024)]
    for case in cases:
        weights = case.graph.ops[0].input(1)
        weights.data[:] = np.array([127, -127, 127, 127, -127])[:, None]
    check(cases, on_board(cases, tmp_path, "m4"))


def test_weights_of_minus_128_are_for_other_kernels(tmp_path):
    cases = [extreme(Sketch(0), 30.0, [0] * 8, -128), extreme(Sketch(0), 30.0, [0] * 8, -127)]
    assert [one.operations[0].kernel for one in emitted(cases)] == ["whylite_conv_2d", "whylite_conv_2d_fast"]
    check(cases, on_board(cases, tmp_path, "m4"))


@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 9), st.integers(0, 99))
def test_packed_weights_hold_both_channels(channels, runs, taps, seed):
    kernel = np.random.default_rng(seed).integers(-127, 128, (channels, runs, taps)).astype(np.int8)
    halves = packed(kernel).view("<i2").reshape(-(-channels // 4), -1, 2, 2, 2)  # group, four, word, pair, half
    even = (halves & 255).astype(np.uint8).view(np.int8)
    odd = (halves - even) >> 8
    filled = runs * -(-taps // 4)
    for channel in range(channels):
        own = (odd if channel % 2 else even)[channel // 4, :, :, channel % 4 // 2]
        in_order = own.transpose(0, 2, 1).reshape(
            runs, filled * 4 // runs
        )  # taps 0 2 are the first word's, 1 3 the next
        np.testing.assert_array_equal(in_order[:, :taps], kernel[channel])
        assert not in_order[:, taps:].any()


def test_figures_say_what_does_not_fit():
    kernel = np.full((6, 1, 4), 127, np.int8)
    figures = Figures(
        np.array([10, 10, 10, 1 << 30, 0, 10], np.int32),
        np.array([1 << 30] * 4 + [0, 1 << 30], np.int32),
        np.array([-1, 0, -22, -3, 0, -23], np.int8),
    )
    special = packed_figures(kernel, figures)
    assert special.shift.tolist() == [0, -64, 21, -67, 0, -87]
    assert special.bias.tolist() == [20, 10, 20, 1 << 30, 0, 10]
