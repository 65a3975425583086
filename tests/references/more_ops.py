"""Further TFLite ops for :mod:`tensorflow_twin`, each by TensorFlow's own function for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from export.tflite.graph import Op, Tensor

Value = Callable[[Tensor], tf.Tensor]


def _of_one(function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[Op, Value], tf.Tensor]:
    return lambda op, value: function(value(op.inputs[0]))


def _of_two(function: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Callable[[Op, Value], tf.Tensor]:
    return lambda op, value: function(value(op.inputs[0]), value(op.inputs[1]))


def _numbers(op: Op, index: int) -> np.ndarray:
    return np.asarray(op.inputs[index].data)


def _max_pool(op: Op, value: Value) -> tf.Tensor:
    o = op.options
    window, strides = (o.filter_height, o.filter_width), (o.stride_h, o.stride_w)
    return tf.nn.max_pool2d(value(op.inputs[0]), window, strides, o.padding.name)


def _reduce(function: Callable[..., tf.Tensor]) -> Callable[[Op, Value], tf.Tensor]:
    def reduce(op: Op, value: Value) -> tf.Tensor:
        return function(value(op.inputs[0]), np.atleast_1d(_numbers(op, 1)).tolist(), op.options.keep_dims)

    return reduce


def _resize(function: Callable[..., tf.Tensor]) -> Callable[[Op, Value], tf.Tensor]:
    def resize(op: Op, value: Value) -> tf.Tensor:
        x, o = value(op.inputs[0]), op.options
        modes = {"align_corners": o.align_corners, "half_pixel_centers": o.half_pixel_centers}
        return tf.cast(function(images=tf.cast(x, tf.float32), size=_numbers(op, 1), **modes), x.dtype)

    return resize


def _transpose_conv(op: Op, value: Value) -> tf.Tensor:
    o, kernel, x = op.options, value(op.inputs[1]), value(op.inputs[2])
    bias = value(op.inputs[3]) if len(op.inputs) > 3 and op.inputs[3] is not None else 0.0
    shape, strides = (x.shape[0], *_numbers(op, 0)[1:]), (o.stride_h, o.stride_w)
    return tf.nn.conv2d_transpose(x, tf.transpose(kernel, (1, 2, 0, 3)), shape, strides, o.padding.name) + bias


def lstm(op: Op, value: Value) -> tf.Tensor:
    """Return every state of an LSTM from zero state: gates are input, forget, cell, output."""
    x, o = value(op.inputs[0]), op.options
    kernels, recurrent, biases = (tf.concat([value(op.inputs[i]) for i in part], 0) for part in _LSTM)
    sequence = x if o.time_major else tf.transpose(x, (1, 0, 2))
    h = c = tf.zeros((sequence.shape[1], op.output.shape[-1]), x.dtype)
    states = []
    for step in tf.unstack(sequence):
        gates = tf.matmul(step, kernels, transpose_b=True) + tf.matmul(h, recurrent, transpose_b=True) + biases
        i, f, g, out = tf.split(gates, 4, 1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        c = tf.clip_by_value(c, -o.cell_clip, o.cell_clip) if o.cell_clip else c
        h = tf.sigmoid(out) * tf.tanh(c)
        states.append(h)
    return tf.stack(states, 0 if o.time_major else 1)


_LSTM = (range(1, 5), range(5, 9), range(12, 16))

MORE: dict[str, Callable[[Op, Value], tf.Tensor]] = {
    "SUB": _of_two(tf.subtract),
    "MUL": _of_two(tf.multiply),
    "DIV": _of_two(tf.divide),
    "SQUARED_DIFFERENCE": _of_two(tf.math.squared_difference),
    "MAXIMUM": _of_two(tf.maximum),
    "MINIMUM": _of_two(tf.minimum),
    "NEG": _of_one(tf.negative),
    "ABS": _of_one(tf.abs),
    "EXP": _of_one(tf.exp),
    "RSQRT": _of_one(tf.math.rsqrt),
    "LOGISTIC": _of_one(tf.nn.sigmoid),
    "TANH": _of_one(tf.nn.tanh),
    "ELU": _of_one(tf.nn.elu),
    "HARD_SWISH": _of_one(lambda x: x * tf.nn.relu6(x + 3) / 6),
    "GELU": lambda op, value: tf.nn.gelu(value(op.inputs[0]), op.options.approximate),
    "LEAKY_RELU": lambda op, value: tf.nn.leaky_relu(value(op.inputs[0]), op.options.alpha),
    "PRELU": _of_two(lambda x, alpha: tf.where(x > 0, x, x * alpha)),
    "MAX_POOL_2D": _max_pool,
    "REDUCE_MAX": _reduce(tf.reduce_max),
    "SUM": _reduce(tf.reduce_sum),
    "CONCATENATION": lambda op, value: tf.concat([value(tensor) for tensor in op.inputs], op.options.axis),
    "TILE": lambda op, value: tf.tile(value(op.inputs[0]), _numbers(op, 1)),
    "TRANSPOSE": lambda op, value: tf.transpose(value(op.inputs[0]), _numbers(op, 1)),
    "PAD": lambda op, value: tf.pad(value(op.inputs[0]), _numbers(op, 1)),
    "PADV2": lambda op, value: tf.pad(
        value(op.inputs[0]), _numbers(op, 1), constant_values=float(op.inputs[2].real().item())
    ),
    "SPACE_TO_BATCH_ND": lambda op, value: tf.space_to_batch_nd(value(op.inputs[0]), _numbers(op, 1), _numbers(op, 2)),
    "BATCH_TO_SPACE_ND": lambda op, value: tf.batch_to_space(value(op.inputs[0]), _numbers(op, 1), _numbers(op, 2)),
    "RESIZE_BILINEAR": _resize(tf.raw_ops.ResizeBilinear),
    "RESIZE_NEAREST_NEIGHBOR": _resize(tf.raw_ops.ResizeNearestNeighbor),
    "TRANSPOSE_CONV": _transpose_conv,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm,
    "REVERSE_V2": lambda op, value: tf.reverse(value(op.inputs[0]), _numbers(op, 1)),
    "STRIDED_SLICE": lambda op, value: tf.strided_slice(
        value(op.inputs[0]),
        *(_numbers(op, index) for index in (1, 2, 3)),
        **{name: bits for name, bits in vars(op.options).items() if name.endswith("_mask")},
    ),
    "BATCH_MATMUL": lambda op, value: tf.matmul(
        value(op.inputs[0]), value(op.inputs[1]), op.options.adj_x, op.options.adj_y
    ),
}
