"""LRP as its papers state it: relevances themselves, op by op, over TensorFlow's forward ops in float64.

Shares none of WhyLite's rules. What an op's operands contribute comes of GradientTape, one op at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from export.tflite.graph import Graph, Op, Tensor, between

from . import tensorflow_twin
from .tensorflow_twin import Value, forward

_WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
_ELEMENTWISE = {"ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "PRELU", "RELU", "RELU6", "TANH"}
_TINY = 1e-12


def _signed(z: tf.Tensor, by: float | tf.Tensor) -> tf.Tensor:
    by = tf.cast(by, z.dtype)
    return z + tf.where(z < 0, -by, by)


def _contributions(
    op: Op, value: Value, wanted: list[Tensor], quotient: Callable[[tf.Tensor], tf.Tensor]
) -> list[tf.Tensor]:
    """Return ``x * sum_j dz_j/dx quotient_j`` for each of some operands."""
    given = {tensor: tf.identity(value(tensor)) for tensor in wanted}
    with tf.GradientTape() as tape:
        tape.watch(list(given.values()))
        z = tensorflow_twin._OPS[op.code](op, lambda tensor: given[tensor] if tensor in given else value(tensor))
    slopes = tape.gradient(z, list(given.values()), quotient(z), unconnected_gradients="zero")
    return [x * slope for x, slope in zip(given.values(), slopes, strict=True)]


@dataclass(frozen=True)
class Epsilon:
    """R_i = sum_j x_i w_ij R_j / (z_j + epsilon sign z_j), epsilon in units of the root mean square of z."""

    epsilon: float

    def __call__(self, op: Op, value: Value, relevance: tf.Tensor) -> tf.Tensor:
        """Return the relevance of the op's first operand."""

        def quotient(z: tf.Tensor) -> tf.Tensor:
            return relevance / _signed(z, self.epsilon * tf.sqrt(tf.reduce_mean(z**2)) + 1e-300)

        (share,) = _contributions(op, value, [op.inputs[0]], quotient)
        return share


@dataclass(frozen=True)
class AlphaBeta:
    """R_i = sum_j (alpha (x_i w_ij)+ / z_j+ - beta (x_i w_ij)- / z_j-) R_j, z_j with the bias of its sign."""

    alpha: float
    beta: float

    def __call__(self, op: Op, value: Value, relevance: tf.Tensor) -> tf.Tensor:
        """Return the relevance of the op's first operand."""
        x, (weights, *biases) = value(op.inputs[0]), op.inputs[1:]

        def total(of_x: tf.Tensor, of_weights: tf.Tensor, of_bias: float) -> tf.Tensor:
            given = {op.inputs[0]: of_x, weights: of_weights}
            given |= {bias: tf.zeros_like(value(bias)) for bias in biases if bias is not None}
            plain = tensorflow_twin._OPS[op.code](
                op, lambda tensor: given[tensor] if tensor in given else value(tensor)
            )
            kept = [tf.nn.relu(of_bias * value(bias)) for bias in biases if bias is not None]
            return plain + of_bias * sum(kept)

        share = tf.zeros_like(x)
        for part, sign in ((self.alpha, 1.0), (-self.beta, -1.0)):
            ups, downs = tf.nn.relu(x), -tf.nn.relu(-x)
            same, other = sign * tf.nn.relu(sign * value(weights)), -sign * tf.nn.relu(-sign * value(weights))
            with tf.GradientTape(persistent=True) as tape:
                tape.watch([ups, downs])
                both = [total(ups, same, sign), total(downs, other, 0.0)]
            quotient = part * relevance / _signed(sum(both), _TINY)
            share += ups * tape.gradient(both[0], ups, quotient) + downs * tape.gradient(both[1], downs, quotient)
        return share


def at_input(graph: Graph, logits: Tensor, x: np.ndarray, class_index: int, rule: Epsilon | AlphaBeta) -> np.ndarray:
    """Return the relevance of every value of an input, whose sum is the logit less what is absorbed on the way."""
    source = graph.inputs[0]
    values = forward(graph, tf.constant(x, tf.float64), tf.float64)

    def value(tensor: Tensor) -> tf.Tensor:
        return values[tensor] if tensor in values else tf.constant(tensor.real(), tf.float64)

    wanted = tf.one_hot(class_index, logits.shape[-1], dtype=tf.float64)
    relevance = {logits: tf.reshape(tf.reshape(values[logits], [-1]) * wanted, values[logits].shape)}
    for op in reversed(between(graph, {source}, logits)):
        arrived = relevance.pop(op.output)
        if op.code in _ELEMENTWISE:
            shares = {op.inputs[0]: arrived}
        elif op.code in _WEIGHTED:
            shares = {op.inputs[0]: rule(op, value, arrived)}
        else:
            moving = list(dict.fromkeys(tensor for tensor in op.inputs if tensor in values))
            found = _contributions(op, value, moving, lambda z, r=arrived: r / _signed(z, _TINY))
            shares = dict(zip(moving, found, strict=True))
        for tensor, share in shares.items():
            relevance[tensor] = relevance[tensor] + share if tensor in relevance else share
    return relevance[source].numpy()
