"""Small Keras networks of the kinds people train, and what TensorFlow's converter makes of them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import numpy as np
import tensorflow as tf

layers = tf.keras.layers
Network = Callable[[tf.Tensor], tf.Tensor]
SHAPE = (16, 16, 3)


def gate(x: tf.Tensor) -> tf.Tensor:
    """Squeeze and excite."""
    channels = x.shape[-1]
    pooled = layers.GlobalAveragePooling2D(keepdims=True)(x)
    squeezed = layers.Conv2D(channels // 4, 1, activation="relu")(pooled)
    return layers.Multiply()([x, layers.Conv2D(channels, 1, activation="hard_sigmoid")(squeezed)])


def mobilenet_v3(x):
    x = layers.Conv2D(8, 3, 2, "same", use_bias=False)(x)
    x = layers.Activation("hard_silu")(layers.BatchNormalization()(x))
    y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(16, 1)(x)))
    y = gate(layers.DepthwiseConv2D(3, padding="same")(y))
    x = layers.Activation("hard_silu")(layers.Add()([x, layers.Conv2D(8, 1)(y)]))
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))


def inception(x):
    x = layers.Conv2D(8, 3, activation="relu")(x)
    branches = [
        layers.Conv2D(4, 1, activation="relu")(x),
        layers.Conv2D(6, 3, padding="same", activation="relu")(x),
        layers.Conv2D(4, 1)(layers.MaxPool2D(3, 1, "same")(x)),
        layers.Conv2D(4, 1)(layers.AveragePooling2D(3, 1, "same")(x)),
    ]
    return layers.Dense(5)(layers.Flatten()(layers.MaxPool2D(3, 2)(layers.Concatenate()(branches))))


def u_net(x):
    def block(y, channels):
        return layers.Conv2D(channels, 3, padding="same", activation="relu")(y)

    fine = block(x, 6)
    middle = block(layers.MaxPool2D()(fine), 8)
    coarse = block(layers.MaxPool2D()(middle), 8)
    y = block(layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(coarse), middle]), 8)
    y = layers.Concatenate()([layers.Conv2DTranspose(6, 3, 2, "same")(y), fine])
    return layers.GlobalAveragePooling2D()(layers.Conv2D(5, 3, padding="same")(layers.UpSampling2D()(y)))


def leaky(x):
    x = layers.LeakyReLU()(layers.Conv2D(8, 3, 2)(x))
    x = layers.PReLU("random_normal", shared_axes=[1, 2])(layers.Conv2D(8, 3, padding="same")(x))
    x = layers.PReLU("random_normal")(layers.Conv2D(8, 3, padding="same")(x))
    return layers.Dense(5)(layers.Flatten()(x))


def max_pools(x):
    for _ in range(2):
        x = layers.MaxPool2D()(layers.Conv2D(8, 3, activation="relu")(x))
    return layers.Dense(5)(layers.Dropout(0.5)(layers.Dense(16, activation="relu")(layers.Flatten()(x))))


def dilated(x):
    x = layers.Conv2D(8, 3, dilation_rate=2, padding="same", activation="relu")(x)
    x = layers.Conv2D(8, 3, dilation_rate=3, activation="relu")(x)
    x = layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")(x)
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(x))


def residual_with_gates(x):
    x = layers.Conv2D(8, 3, activation="relu")(layers.ZeroPadding2D(((0, 1), (0, 1)))(x))
    for _ in range(2):
        y = layers.Conv2D(8, 3, padding="same", activation="swish")(x)
        x = layers.ReLU()(layers.Add()([x, gate(layers.Conv2D(8, 3, padding="same", groups=2)(y))]))
    return layers.Dense(5)(layers.GlobalMaxPooling2D()(x))


def attention(x):
    x = layers.LayerNormalization()(layers.Dense(8)(layers.Reshape((16, 48))(x)))
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)])
    x = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(x))
    return layers.Dense(5)(layers.GlobalAveragePooling1D()(x))


def sequence(x):
    x = layers.MaxPool1D(2)(layers.Conv1D(8, 5, activation="relu")(layers.Reshape((64, 12))(x)))
    x = layers.Conv1D(8, 3, dilation_rate=2, padding="causal", activation="relu")(x)
    x = layers.SeparableConv1D(8, 3, activation="elu")(x)
    return layers.Dense(5)(layers.GlobalMaxPooling1D()(x))


def dense(x):
    x = layers.Rescaling(0.25, offset=-0.5)(x)
    x = layers.Dense(16, activation="selu")(layers.Flatten()(x))
    x = layers.Dense(16, activation="softplus")(x)
    return layers.Dense(5)(layers.Dense(16, activation="tanh")(x))


NETWORKS = (
    mobilenet_v3, inception, u_net, leaky, max_pools, dilated, residual_with_gates, attention, sequence, dense,
)  # fmt: skip


def build(network: Network, shape: tuple[int, ...] = SHAPE) -> tuple[tf.keras.Model, tf.keras.Model]:
    """Return the classifier and the same without its softmax."""
    tf.keras.utils.set_random_seed(1)
    x = tf.keras.Input(shape)
    logits = network(x)
    return tf.keras.Model(x, layers.Softmax()(logits)), tf.keras.Model(x, logits)


KINDS = ("float32", "float16", "dynamic-range", "int8", "int16x8")
_OPERATIONS = {
    "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}


def convert(
    model: tf.keras.Model, kind: str = "float32", data: np.ndarray | None = None, *, stored: bool = False
) -> bytes:
    """Return a Keras model as a ``.tflite`` of one of :data:`KINDS`, its batch open.

    ``data`` (``[N, ...]``) calibrates quantised activations; ``stored`` asks for inputs and outputs as they are stored.
    """
    return run_converter(tf.lite.TFLiteConverter.from_keras_model(model), kind, data, stored)


def run_converter(
    converter: tf.lite.TFLiteConverter, kind: str = "float32", data: np.ndarray | None = None, stored: bool = False
) -> bytes:
    """Run a converter for a model of one of :data:`KINDS`, as :func:`convert` says."""
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind in _OPERATIONS:
        assert data is not None
        converter.representative_dataset = lambda: ([sample[None]] for sample in data)
        converter.target_spec.supported_ops = [_OPERATIONS[kind]]
        if stored:
            converter.inference_input_type = converter.inference_output_type = tf.int8 if kind == "int8" else tf.int16
    with contextlib.redirect_stdout(io.StringIO()):
        model: bytes = converter.convert()
    return model
