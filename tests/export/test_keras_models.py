"""Small Keras models of the kinds people train, as TensorFlow's converter writes them, against GradientTape.

The batch is left open, as `TFLiteConverter.from_keras_model` does unless told otherwise. Float models are held against
the Keras model itself, int8 models against TensorFlow on their own weights.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import tensorflow as tf

from export import heads, tflite
from export.methods import IntegratedGradients, Saliency
from export.numerics import store_float, store_quantized
from export.tflite import Model
from export.tflite.fold import fold
from tests.references import more_ops, tensorflow_twin
from tests.references.compiled import compile_method, relative_error

layers = tf.keras.layers
STEPS = 8


def gate(x):
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
INT8 = (mobilenet_v3, inception, u_net, leaky, max_pools, dilated, residual_with_gates, attention, sequence)


def build(network) -> tuple[tf.keras.Model, tf.keras.Model]:
    """Return the classifier and the same without its softmax."""
    tf.keras.utils.set_random_seed(1)
    x = tf.keras.Input((16, 16, 3))
    logits = network(x)
    return tf.keras.Model(x, layers.Softmax()(logits)), tf.keras.Model(x, logits)


def convert(model: tf.keras.Model, data: np.ndarray | None = None) -> Model:
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if data is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample[None]] for sample in data)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    with contextlib.redirect_stdout(io.StringIO()):
        return folded(tflite.read(converter.convert()))


def folded(model: Model) -> Model:
    model.graphs[0] = fold(model.graphs[0])
    model.signatures.clear()
    return model


def explanations(model: Model, store, x: np.ndarray, baseline: np.ndarray, class_index: int):
    """Return the gradient at x, and the mean gradient at the nodes, from all steps at once."""
    index = np.asarray([class_index], np.int32)
    gradient = compile_method(Saliency(), model, store)["saliency"](x=x, class_index=index)["map"]
    integrate = compile_method(IntegratedGradients(STEPS), model, store)["integrated_gradients"]
    assert integrate.entry.inputs["alphas"].shape == (STEPS,), "the steps must run as one batch"
    weights = np.full(STEPS, 1 / STEPS, np.float32)
    mean = integrate(x=x, baseline=baseline, alphas=nodes(), weights=weights, class_index=index)["map"]
    return gradient, mean


def nodes() -> np.ndarray:
    return ((np.arange(STEPS) + 0.5) / STEPS).astype(np.float32)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_float_models_with_an_open_batch(network):
    classifier, logits = build(network)
    rng = np.random.default_rng(0)
    x, baseline = (rng.normal(0, 1, (1, 16, 16, 3)).astype(np.float32) for _ in range(2))
    gradient, mean = explanations(convert(classifier), store_float, x, baseline, 2)

    def expected(points: np.ndarray) -> np.ndarray:
        variable = tf.constant(points)
        with tf.GradientTape() as tape:
            tape.watch(variable)
            score = tf.reduce_sum(logits(variable)[:, 2])
        return tape.gradient(score, variable).numpy()

    assert relative_error(gradient, expected(x)) < 1e-4
    along = np.concatenate([baseline + alpha * (x - baseline) for alpha in nodes()])
    assert relative_error(mean, expected(along).mean(0, keepdims=True)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("network", INT8, ids=lambda network: network.__name__)
def test_int8_models_with_an_open_batch(network, monkeypatch):
    rng = np.random.default_rng(0)
    data = rng.normal(0, 1, (32, 16, 16, 3)).astype(np.float32)
    model = convert(build(network)[0], data)
    graph = model.graphs[0]
    head = heads.find(graph)
    monkeypatch.setattr(tensorflow_twin, "_OPS", tensorflow_twin._OPS | more_ops.MORE)
    x, baseline = data[:1], data[1:2]
    gradient, mean = explanations(model, store_quantized, x, baseline, 2)
    assert relative_error(gradient, tensorflow_twin.input_gradient(graph, head.logits, x, 2)) < 1e-4
    along = [baseline + alpha * (x - baseline) for alpha in nodes()]
    each = [tensorflow_twin.input_gradient(graph, head.logits, point, 2) for point in along]
    assert relative_error(mean, np.mean(each, 0)) < 1e-4
