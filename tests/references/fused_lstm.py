"""Keras models whose LSTM layers become UNIDIRECTIONAL_SEQUENCE_LSTM.

Keras 2 marked the function behind its LSTM layer for the converter, which put the fused op in its place; Keras 3 does
not, and models that people have are made with either. Here layers of Keras 3 are marked as those of Keras 2 were.
"""

from __future__ import annotations

import tempfile
import uuid

import numpy as np
import tensorflow as tf

from .networks import run_converter


def convert_fused(
    model: tf.keras.Model, kind: str = "float32", data: np.ndarray | None = None, *, time_major: bool = False
) -> bytes:
    """Return a sequential model as a ``.tflite`` of one of ``networks.KINDS``, of batch 1.

    ``time_major`` asks for LSTMs that read ``[time, batch, features]``.
    """

    def call(x: tf.Tensor) -> tf.Tensor:
        for layer in model.layers:
            x = _fused(layer, x, time_major) if isinstance(layer, tf.keras.layers.LSTM) else layer(x)
        return x

    shape = (1, *model.input_shape[1:])
    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    module.call = tf.function(call, input_signature=[tf.TensorSpec(shape, tf.float32, name="x")])
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=module.call)
        return run_converter(tf.lite.TFLiteConverter.from_saved_model(folder), kind, data)


def _fused(layer: tf.keras.layers.LSTM, x: tf.Tensor, time_major: bool) -> tf.Tensor:
    steps, units = x.shape[1], layer.units

    def standard_lstm(inputs, init_h, init_c, kernel, recurrent_kernel, bias):
        sequence = inputs if time_major else tf.transpose(inputs, (1, 0, 2))

        def step(index, h, c, states):
            i, f, g, o = tf.split(sequence[index] @ kernel + h @ recurrent_kernel + bias, 4, 1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
            return index + 1, h, c, states.write(index, h)

        states = tf.TensorArray(tf.float32, size=steps, element_shape=(1, units))
        _, h, c, states = tf.while_loop(lambda index, *_: index < steps, step, (0, init_h, init_c, states))
        outputs = states.stack() if time_major else tf.transpose(states.stack(), (1, 0, 2))
        return h, outputs, h, c, tf.constant(1.0)

    marks = {
        "api_implements": f"lstm_{uuid.uuid4()}",
        "api_preferred_device": "CPU",
        "go_backwards": layer.go_backwards,
        "time_major": time_major,
    }
    x = tf.transpose(x, (1, 0, 2)) if time_major else x
    zero = tf.zeros((1, units))
    weights = [tf.convert_to_tensor(value) for value in layer.trainable_weights]
    last, outputs, *_ = tf.function(standard_lstm, experimental_attributes=marks)(x, zero, zero, *weights)
    if not layer.return_sequences:
        return last
    return tf.transpose(outputs, (1, 0, 2)) if time_major else outputs
