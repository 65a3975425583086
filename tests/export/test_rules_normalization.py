"""Softmax and the normalisations, against TensorFlow's gradient."""

from __future__ import annotations

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from export.tflite import options as tables
from tests.references.single_op import Drawing, check, examples

seeds = st.integers(0, 1 << 16)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(lambda sizes: (1, *sizes))


@examples(20)
@given(seeds, shapes, st.sampled_from([1.0, 0.5, 3.0]))
def test_softmax(seed, shape, beta):
    """Anywhere in a network, of any rank."""
    drawing = Drawing(seed, *shape)
    y = drawing.builder.op("SOFTMAX", [drawing.x], shape, tables.SoftmaxOptions(beta))
    check(drawing, y, lambda x: tf.nn.softmax(beta * x))


def test_softmax_of_a_gradient_that_is_the_same_everywhere():
    """A softmax sums to 1, so that nothing comes back from its mean."""
    drawing = Drawing(0, 1, 4, 6)
    builder = drawing.builder
    y = builder.op("SOFTMAX", [drawing.x], (1, 4, 6), tables.SoftmaxOptions(1.0))
    check(drawing, builder.mean(y, (2,)), lambda x: tf.reduce_mean(tf.nn.softmax(x), 2, True))
    check(drawing, builder.mean(y, (1,)), lambda x: tf.reduce_mean(tf.nn.softmax(x), 1, True))


@examples(20)
@given(seeds, shapes)
def test_log_softmax(seed, shape):
    drawing = Drawing(seed, *shape)
    y = drawing.builder.op("LOG_SOFTMAX", [drawing.x], shape, tables.LogSoftmaxOptions())
    check(drawing, y, tf.nn.log_softmax)


@examples(20)
@given(seeds, shapes, st.sampled_from([1.0, 100.0, 1e-3]))
def test_l2_normalization(seed, shape, size):
    drawing = Drawing(seed, *shape)
    sized = drawing.builder.scaled(drawing.x, size)
    y = drawing.builder.op("L2_NORMALIZATION", [sized], shape, tables.L2NormOptions())
    check(drawing, y, lambda x: x / tf.norm(x, axis=-1, keepdims=True))


@pytest.mark.parametrize("beta", [0.5, 0.75, 1.0])
@examples(12)
@given(seeds, st.integers(1, 4), st.integers(1, 7), st.integers(0, 8), st.floats(0.1, 2), st.floats(0.5, 2))
def test_local_response_normalization(beta, seed, size, channels, radius, alpha, bias):
    drawing = Drawing(seed, 1, size, size, channels)
    options = tables.LocalResponseNormalizationOptions(radius, bias, alpha, beta)
    y = drawing.builder.op("LOCAL_RESPONSE_NORMALIZATION", [drawing.x], drawing.x.shape, options)

    def reference(x):
        padded = tf.pad(x * x, ((0, 0), (0, 0), (0, 0), (radius, radius)))
        near = sum(padded[..., shift : shift + channels] for shift in range(2 * radius + 1))
        return x / (bias + alpha * near) ** beta

    check(drawing, y, reference)
