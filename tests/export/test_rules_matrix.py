"""Products of matrices that both depend on the input, and the attention made of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from export.tflite import Tensor
from export.tflite import options as tables
from tests.references.single_op import Drawing, check, exact, examples

seeds = st.integers(0, 1 << 16)
counts = st.integers(1, 4)


def turned(shape: tuple[int, ...], transpose: bool) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2]) if transpose else shape


@examples(40)
@given(seeds, counts, counts, counts, st.lists(counts, max_size=2), st.booleans(), st.booleans(), st.data())
def test_batch_matmul_with_a_constant(seed, rows, inner, columns, leading, adj_x, adj_y, data):
    """On either side, read transposed or not, broadcast over leading dimensions or short of them."""
    left, right = turned((1, *leading, rows, inner), adj_x), turned((1, *leading, inner, columns), adj_y)
    first = data.draw(st.booleans())
    shape, other_shape = (left, right) if first else (right, left)
    kept = tuple(data.draw(st.sampled_from((1, size))) for size in leading)
    drop = data.draw(st.integers(0, len(leading) + 1))
    other_shape = (1, *kept, *other_shape[-2:])[drop:]
    drawing = Drawing(seed, *shape)
    other = drawing.constant(*other_shape)
    operands = [drawing.x, other] if first else [other, drawing.x]
    y = drawing.builder.op(
        "BATCH_MATMUL", operands, (1, *leading, rows, columns), tables.BatchMatMulOptions(adj_x, adj_y)
    )

    def reference(x):
        pair = (x, exact(other)) if first else (exact(other), x)
        return tf.matmul(*pair, adj_x, adj_y)

    check(drawing, y, reference)


@examples(30)
@given(seeds, counts, counts, st.lists(counts, max_size=2), st.booleans(), st.booleans(), st.data())
def test_batch_matmul_of_two_values_that_depend_on_the_input(seed, rows, inner, leading, adj_x, adj_y, data):
    """x with a transposed copy of itself, averaged over some of the leading dimensions, over which it is broadcast."""
    drawing = Drawing(seed, 1, *leading, rows, inner)
    builder = drawing.builder
    rank = len(leading) + 3
    averaged = tuple(axis for axis in range(1, rank - 2) if data.draw(st.booleans()))
    other = builder.mul(drawing.x, drawing.constant(rows, inner))
    other = builder.mean(other, averaged) if averaged else other
    swap = (*range(rank - 2), rank - 1, rank - 2)
    left = builder.transpose(drawing.x, swap) if adj_x else drawing.x
    right = other if adj_y else builder.transpose(other, swap)
    y = builder.op("BATCH_MATMUL", [left, right], (1, *leading, rows, rows), tables.BatchMatMulOptions(adj_x, adj_y))
    weights = next(op.input(1) for op in builder.graph.ops if op.code == "MUL")

    def reference(x):
        second = x * exact(weights)
        second = tf.reduce_mean(second, averaged, True) if averaged else second
        return tf.matmul(x, second, transpose_b=True)

    check(drawing, y, reference)


def dense(drawing: Drawing, x: Tensor, outputs: int) -> tuple[Tensor, Tensor]:
    weights = drawing.constant(outputs, x.shape[-1])
    options = tables.FullyConnectedOptions(keep_num_dims=True)
    shape = (*x.shape[:-1], outputs)
    return drawing.builder.op("FULLY_CONNECTED", [x, weights, None], shape, options, version=5), weights


@pytest.mark.parametrize("heads", [1, 3])
def test_attention(heads):
    """softmax(Q Kᵀ / √d) V with several heads, as converters write it: reshapes, transposes, two products."""
    length, width = 5, 4
    drawing = Drawing(heads, 1, length, heads * width)
    builder = drawing.builder
    parts, matrices = [], []
    for _ in "qkv":
        projected, weights = dense(drawing, drawing.x, heads * width)
        split = builder.reshape(projected, (1, length, heads, width))
        parts.append(builder.transpose(split, (0, 2, 1, 3)))
        matrices.append(weights)
    q, k, v = parts
    scores = builder.scaled(builder.batch_matmul(q, k, transpose_b=True), 1 / np.sqrt(width))
    shares = builder.op("SOFTMAX", [scores], scores.shape, tables.SoftmaxOptions(1.0))
    mixed = builder.transpose(builder.batch_matmul(shares, v), (0, 2, 1, 3))
    y = builder.add(builder.reshape(mixed, (1, length, heads * width)), drawing.x)

    def reference(x):
        batch = x.shape[0]
        q, k, v = (
            tf.transpose(tf.reshape(x @ tf.transpose(exact(w)), (batch, length, heads, width)), (0, 2, 1, 3))
            for w in matrices
        )
        mixed = tf.nn.softmax(q @ tf.transpose(k, (0, 1, 3, 2)) / np.sqrt(width)) @ v
        return tf.reshape(tf.transpose(mixed, (0, 2, 1, 3)), x.shape) + x

    check(drawing, y, reference, bound=3e-5)
