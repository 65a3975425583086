"""Poolings, reductions, resizings and transposed convolutions, with all their options."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given
from hypothesis import strategies as st

from export.tflite import options as tables
from export.tflite.ops import FLOAT, same_padding
from export.tflite.options import Activation, Padding
from tests.references.compiled import VectorJacobianProduct
from tests.references.single_op import Drawing, check, exact, examples

seeds = st.integers(0, 1 << 16)
sizes = st.integers(1, 9)
pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
paddings = st.sampled_from(Padding)


def outputs(size: int, taps: int, stride: int, padding: Padding) -> int:
    return -(-size // stride) if padding == Padding.SAME else (size - taps) // stride + 1


@examples(50)
@given(seeds, sizes, sizes, st.integers(1, 5), pairs, pairs, paddings)
def test_max_pool_2d(seed, height, width, channels, window, stride, padding):
    """Tiling, overlapping, with gaps, reaching over the edges; negative values among them."""
    assume(padding == Padding.SAME or (window[0] <= height and window[1] <= width))
    drawing = Drawing(seed, 1, height, width, channels)
    shape = [outputs(*along, padding) for along in zip((height, width), window, stride, strict=True)]
    options = tables.Pool2DOptions(padding, stride[1], stride[0], window[1], window[0])
    y = drawing.builder.op("MAX_POOL_2D", [drawing.x], (1, *shape, channels), options)
    check(drawing, y, lambda x: tf.nn.max_pool2d(x, window, stride, padding.name), smooth=False)


def test_max_pool_2d_of_negative_values_beyond_the_edges():
    """What lies beyond the edge is no candidate, however small the values inside."""
    drawing = Drawing(0, 1, 5, 5, 2)
    low = drawing.builder.shifted(drawing.x, -50.0)
    options = tables.Pool2DOptions(Padding.SAME, 2, 2, 3, 3)
    y = drawing.builder.op("MAX_POOL_2D", [low], (1, 3, 3, 2), options)
    check(drawing, y, lambda x: tf.nn.max_pool2d(x - 50, 3, 2, "SAME"), smooth=False)


def test_max_pool_2d_with_a_fused_activation():
    drawing = Drawing(0, 1, 6, 6, 3)
    options = tables.Pool2DOptions(Padding.VALID, 2, 2, 2, 2, Activation.RELU)
    y = drawing.builder.op("MAX_POOL_2D", [drawing.builder.shifted(drawing.x, -1.0)], (1, 3, 3, 3), options)
    check(drawing, y, lambda x: tf.nn.relu(tf.nn.max_pool2d(x - 1, 2, 2, "VALID")), smooth=False)


@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 1), (3, 2)])
def test_poolings_of_poolings_count_a_repeated_maximum_once(window, stride):
    """As inception modules do it. TensorFlow gives all to the first of the ties, which comes to the same value."""
    drawing = Drawing(0, 1, 9, 8, 3)
    builder = drawing.builder
    repeated = tables.Pool2DOptions(Padding.SAME, 1, 1, 3, 3)
    first = builder.op("MAX_POOL_2D", [drawing.x], drawing.x.shape, repeated)
    shape = [outputs(size, window, stride, Padding.VALID) for size in (9, 8)]
    options = tables.Pool2DOptions(Padding.VALID, stride, stride, window, window)
    y = builder.op("MAX_POOL_2D", [first], (1, *shape, 3), options)

    def reference(x):
        return tf.nn.max_pool2d(tf.nn.max_pool2d(x, 3, 1, "SAME"), window, stride, "VALID")

    check(drawing, y, reference, smooth=False)


@pytest.mark.parametrize("code", ["MAX_POOL_2D", "REDUCE_MAX"])
def test_ties_share_the_gradient(code):
    """There is no telling which of equal values came first; what they add up to is right."""
    drawing = Drawing(0, 1, 2, 2, 1)
    operands = [drawing.x] if code == "MAX_POOL_2D" else [drawing.x, drawing.integers(1, 2)]
    options = tables.Pool2DOptions(Padding.VALID, 2, 2, 2, 2) if len(operands) == 1 else tables.ReducerOptions(True)
    y = drawing.builder.op(code, operands, (1, 1, 1, 1), options)
    values = np.asarray((3, 1, 3, 3), np.float32).reshape(1, 2, 2, 1)
    gradient, _ = VectorJacobianProduct(drawing.builder.graph, y)(values, np.full((1, 1, 1, 1), 6, np.float32))
    np.testing.assert_allclose(gradient.ravel(), [2, 0, 2, 2], rtol=1e-6, atol=1e-6)


REDUCTIONS = {
    "SUM": tf.reduce_sum,
    "MEAN": tf.reduce_mean,
    "REDUCE_MAX": tf.reduce_max,
    "REDUCE_MIN": tf.reduce_min,
    "REDUCE_PROD": tf.reduce_prod,
}


@pytest.mark.parametrize("code", REDUCTIONS)
@examples(25)
@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=3), st.booleans(), st.data())
def test_reductions(code, seed, trailing, keep_dims, data):
    shape = (1, *trailing)
    rank = len(shape)
    axes = data.draw(st.lists(st.integers(1, rank - 1), min_size=1, max_size=rank - 1, unique=True))
    stored = [axis - rank if data.draw(st.booleans()) else axis for axis in axes]
    left = [1 if position in axes else size for position, size in enumerate(shape)]
    left = left if keep_dims else [size for position, size in enumerate(shape) if position not in axes]
    drawing = Drawing(seed, *shape)
    y = drawing.builder.op(code, [drawing.x, drawing.integers(*stored)], left, tables.ReducerOptions(keep_dims))
    check(drawing, y, lambda x: REDUCTIONS[code](x, axes, keep_dims), smooth=code in {"SUM", "MEAN"})


@pytest.mark.parametrize("zeros", [1, 2])
def test_a_product_with_zeros_among_its_factors(zeros):
    """One zero: it alone has a gradient. Two: nothing has."""
    drawing = Drawing(0, 1, 2, 5)
    y = drawing.builder.op("REDUCE_PROD", [drawing.x, drawing.integers(2)], (1, 2), tables.ReducerOptions(False))
    x = drawing.inputs()
    x[0, 0, :zeros] = 0
    check(drawing, y, lambda x: tf.reduce_prod(x, 2), x=x)


RESIZINGS = {
    "RESIZE_BILINEAR": (tables.ResizeBilinearOptions, tf.raw_ops.ResizeBilinear),
    "RESIZE_NEAREST_NEIGHBOR": (tables.ResizeNearestNeighborOptions, tf.raw_ops.ResizeNearestNeighbor),
}


@pytest.mark.parametrize("code", RESIZINGS)
@pytest.mark.parametrize("mode", ["plain", "align_corners", "half_pixel_centers"])
@examples(20)
@given(seeds, sizes, sizes, sizes, sizes, st.integers(1, 3))
def test_resize(code, mode, seed, height, width, rows, columns, channels):
    options, function = RESIZINGS[code]
    modes = {"align_corners": mode == "align_corners", "half_pixel_centers": mode == "half_pixel_centers"}
    drawing = Drawing(seed, 1, height, width, channels)
    operands = [drawing.x, drawing.integers(rows, columns)]
    y = drawing.builder.op(code, operands, (1, rows, columns, channels), options(**modes))

    def reference(x):  # TensorFlow resizes to float32 only
        return tf.cast(function(images=tf.cast(x, tf.float32), size=(rows, columns), **modes), tf.float64)

    check(drawing, y, reference)


@examples(40)
@given(seeds, sizes, sizes, pairs, st.tuples(st.integers(1, 3), st.integers(1, 3)), paddings, st.data())
def test_transpose_conv(seed, height, width, taps, stride, padding, data):
    """The output size is an operand: of those that come to this input size, any may be asked for."""
    inputs, channels = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    whole = []
    for size, extent, step in zip((height, width), taps, stride, strict=True):
        fitting = [n for n in range(1, size * step + extent + 1) if n >= extent or padding == Padding.SAME]
        fitting = [n for n in fitting if outputs(n, extent, step, padding) == size]
        whole.append(data.draw(st.sampled_from(fitting)))
    drawing = Drawing(seed, 1, height, width, inputs)
    kernel = drawing.constant(channels, *taps, inputs)
    shape = (1, *whole, channels)
    options = tables.TransposeConvOptions(padding, stride[1], stride[0])
    y = drawing.builder.op("TRANSPOSE_CONV", [drawing.integers(*shape), kernel, drawing.x], shape, options, dtype=FLOAT)

    def reference(x):
        result = tf.zeros((x.shape[0], *whole, channels), tf.float64)
        pads = [
            same_padding(n, extent, step)[0] if padding == Padding.SAME else 0
            for n, extent, step in zip(whole, taps, stride, strict=True)
        ]
        for row in range(taps[0]):
            for column in range(taps[1]):
                part = tf.einsum("nhwi,oi->nhwo", x, exact(kernel)[:, row, column])
                down = place(height, whole[0], stride[0], row - pads[0])
                right = place(width, whole[1], stride[1], column - pads[1])
                result += tf.einsum("hH,wW,nhwo->nHWo", down, right, part)
        return result

    check(drawing, y, reference)


def place(size: int, whole: int, step: int, shift: int) -> tf.Tensor:
    """Return the matrix that puts entry j at ``j * step + shift``, where that is inside."""
    matrix = np.zeros((size, whole))
    for entry in range(size):
        if 0 <= entry * step + shift < whole:
            matrix[entry, entry * step + shift] = 1
    return tf.constant(matrix)


def test_transpose_conv_with_bias_and_activation():
    drawing = Drawing(0, 1, 4, 5, 3)
    kernel, bias = drawing.constant(2, 3, 3, 3), drawing.constant(2)
    shape = (1, 8, 10, 2)
    options = tables.TransposeConvOptions(Padding.SAME, 2, 2, Activation.RELU)
    operands = [drawing.integers(*shape), kernel, drawing.x, bias]
    y = drawing.builder.op("TRANSPOSE_CONV", operands, shape, options, dtype=FLOAT, version=4)

    def reference(x):
        turned = tf.transpose(exact(kernel), (1, 2, 0, 3))
        return tf.nn.relu(tf.nn.conv2d_transpose(x, turned, (x.shape[0], *shape[1:]), 2, "SAME") + exact(bias))

    check(drawing, y, reference, smooth=False)
