"""Building blocks of networks in the wild, from Keras through the converter and ``export.explain`` to the device.

Saliency and Integrated Gradients are held against GradientTape on the Keras model itself, GradCAM by export's own check
of its formula; each network is one that takes something other than a stack of convolutions.
"""

from __future__ import annotations

import tempfile

import numpy as np
import pytest
import tensorflow as tf

import export
from edge.explainer import Explainer
from export.tflite.fold import fold
from tests.references import networks
from tests.references.compiled import relative_error
from tests.references.runtime import Session

layers = tf.keras.layers
SHAPE, STEPS = (12, 12, 4), 8


def of(function):
    return layers.Lambda(function)


def pooled(y):
    return layers.Dense(5)(layers.GlobalAveragePooling2D()(y))


def tokens(x, width: int = 16):
    return layers.Reshape((576 // width, width))(x)


def convnext(x):
    y = layers.LayerNormalization()(layers.Conv2D(8, 4, 4)(x))
    z = layers.LayerNormalization()(layers.DepthwiseConv2D(7, padding="same")(y))
    z = of(lambda t: tf.nn.gelu(t, approximate=False))(layers.Dense(16)(z))
    return pooled(layers.Add()([y, layers.Dense(8)(z)]))


def vision_transformer(x):
    """With a token for the class, made of zeros of the shape of another."""
    y = layers.Reshape((9, 8))(layers.Conv2D(8, 4, 4)(x))
    y = of(lambda t: tf.concat([tf.zeros_like(t[:, :1]) + 0.3, t], 1))(y)
    places = tf.constant(np.random.default_rng(0).normal(0, 1, (1, 10, 8)).astype(np.float32))
    y = of(lambda t: t + places)(y)
    z = layers.LayerNormalization()(y)
    y = layers.Add()([y, layers.MultiHeadAttention(2, 4)(z, z)])
    z = layers.Dense(16, activation="gelu")(layers.LayerNormalization()(y))
    return layers.Dense(5)(of(lambda t: t[:, 0])(layers.Add()([y, layers.Dense(8)(z)])))


def mixer(x):
    y = layers.Reshape((9, 8))(layers.Conv2D(8, 4, 4)(x))
    z = layers.Dense(9, activation="gelu")(layers.Permute((2, 1))(layers.LayerNormalization()(y)))
    return layers.Dense(5)(layers.GlobalAveragePooling1D()(layers.Add()([y, layers.Permute((2, 1))(z)])))


def pooled_by_attention(x):
    """A dense layer over tokens, which the converter writes as a matrix product of as many rows."""
    y = layers.Dense(8, activation="relu")(tokens(x))
    shares = layers.Softmax(axis=1)(layers.Dense(1)(y))
    return layers.Dense(5)(of(lambda pair: tf.reduce_sum(pair[0] * pair[1], 1))([y, shares]))


def pooled_by_products(x):
    """A matrix product of a map with itself is not affine in it."""
    y = layers.Reshape((100, 6))(layers.Conv2D(6, 3)(x))
    return layers.Dense(5)(layers.Flatten()(of(lambda t: tf.matmul(t, t, transpose_a=True))(y)))


def squares_of_the_input(x):
    return pooled(layers.Conv2D(6, 3)(of(lambda t: t * t)(x)))


def attention_without_projections(x):
    y = layers.Dense(8)(tokens(x))
    return layers.Dense(5)(layers.GlobalAveragePooling1D()(layers.Attention(use_scale=True)([y, y])))


def causal_attention(x):
    y = tokens(x)
    return layers.Dense(5)(layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 4)(y, y, use_causal_mask=True)))


def channel_shuffle(x):
    left, right = tf.keras.ops.split(layers.Conv2D(8, 1)(x), 2, -1)
    y = layers.Concatenate()([left, layers.DepthwiseConv2D(3, padding="same")(right)])
    y = layers.Permute((1, 2, 4, 3))(layers.Reshape((12, 12, 2, 4))(y))
    return pooled(layers.Reshape((12, 12, 8))(y))


def group_normalisation(x):
    return pooled(layers.Activation("silu")(layers.GroupNormalization(2)(layers.Conv2D(8, 3)(x))))


def gated_linear_unit(x):
    return pooled(of(lambda t: t[..., :8] * tf.sigmoid(t[..., 8:]))(layers.Conv2D(16, 3)(x)))


def temporal_convolutions(x):
    y = tokens(x)
    for dilation in (1, 2, 4):
        z = layers.Conv1D(16, 3, padding="causal", dilation_rate=dilation, activation="relu")(y)
        y = layers.Add()([y, z])
    return layers.Dense(5)(of(lambda t: t[:, -1])(y))


def bell_curves(x):
    """A negated square behind the layer GradCAM looks at."""
    y = layers.Flatten()(layers.Conv2D(4, 3)(x))
    return layers.Dense(5)(of(lambda t: tf.exp(-tf.square(t - 0.3) / 0.5))(y))


def products_over_time(x):
    y = layers.Dense(6, activation="sigmoid")(layers.Conv1D(6, 3)(tokens(x, 64)))
    return layers.Dense(5)(of(lambda t: tf.reduce_prod(t, 1))(y))


def rectified_upsampling(x):
    """The size of a transposed convolution is worked out where the batch is open."""
    return pooled(layers.Conv2DTranspose(6, 3, 2, "valid", activation="relu", output_padding=1)(x))


def cosine_head(x):
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(x))
    return layers.Dense(5, use_bias=False)(of(lambda t: tf.math.l2_normalize(t, -1))(y))


NETWORKS = (
    convnext, vision_transformer, mixer, pooled_by_attention, pooled_by_products, squares_of_the_input,
    attention_without_projections, causal_attention, channel_shuffle, group_normalisation, gated_linear_unit,
    temporal_convolutions, bell_curves, products_over_time, rectified_upsampling, cosine_head,
)  # fmt: skip


def inputs() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (6, *SHAPE)).astype(np.float32)


def gradients(logits, points: np.ndarray, class_index: int) -> np.ndarray:
    variable = tf.constant(points)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        score = tf.reduce_sum(logits(variable)[:, class_index])
    return tape.gradient(score, variable).numpy()


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_float_models(network):
    classifier, logits = networks.build(network, SHAPE)
    data = inputs()
    file = networks.convert(classifier)
    methods = ["gradcam", "saliency", "integrated_gradients"]
    bundle = export.explain(file, calibration=data, methods=methods, schedule="uniform midpoint")
    explainer = Explainer(bundle)
    sample = data[0]
    saliency = explainer.explain(sample, "saliency", class_index=2)
    np.testing.assert_array_equal(saliency.scores, Session(file).run(sample[None])[0][0])
    assert relative_error(saliency.map[None], gradients(logits, sample[None], 2)) < 1e-4
    schedule = next(one for one in bundle.manifest.head("integrated_gradients").schedules if one.steps == STEPS)
    nodes, weights = (np.asarray(part, np.float32).reshape(-1, 1, 1, 1) for part in (schedule.nodes, schedule.weights))
    expected = sample * (weights * gradients(logits, nodes * sample, 2)).sum(0)
    integrated = explainer.explain(sample, "integrated_gradients", class_index=2, steps=STEPS)
    assert relative_error(integrated.map, expected) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_int8_models(network):
    """Weights and masks are rounded, so that maps are alike and not the same."""
    classifier, logits = networks.build(network, SHAPE)
    data = inputs()
    file = networks.convert(classifier, "int8", data)
    explainer = Explainer(export.explain(file, calibration=data, methods=["gradcam", "saliency"], numerics="f32"))
    saliency = explainer.explain(data[0], "saliency", class_index=2)
    np.testing.assert_array_equal(saliency.scores, Session(file).run(data[:1])[0][0])
    expected = gradients(logits, data[:1], 2)
    assert np.corrcoef(saliency.map.ravel(), expected.ravel())[0, 1] > 0.95


def test_gradcam_sees_the_sign_of_a_gradient_that_was_negated():
    classifier, logits = networks.build(bell_curves, SHAPE)
    data = inputs()
    explainer = Explainer(export.explain(networks.convert(classifier), calibration=data, methods=["gradcam"]))
    convolution = next(layer for layer in logits.layers if isinstance(layer, layers.Conv2D))
    behind = logits.layers[logits.layers.index(convolution) + 1 :]
    for sample in data[:3]:
        explanation = explainer.explain(sample, "gradcam")
        activations = convolution(sample[None])

        def tail(y):
            for layer in behind:
                y = layer(y)
            return y

        weights = gradients(tail, activations.numpy(), explanation.class_index).mean((0, 1, 2))
        expected = np.maximum(activations.numpy()[0] @ weights, 0)
        assert relative_error(explanation.map, expected) < 1e-4


def test_gradcam_at_a_reshaped_layer():
    """Nothing needs the RESHAPE itself, which the shipped graph does without."""
    classifier, _ = networks.build(pooled_by_attention, SHAPE)
    file = networks.convert(classifier)
    graph = fold(export.tflite.read(file).graphs[0])
    layer = next(op.output for op in graph.ops if op.code == "RESHAPE" and op.output.shape == (1, 36, 8))
    bundle = export.explain(file, calibration=inputs(), methods=["gradcam"], layer=layer.name)
    assert bundle.manifest.head("gradcam").map_shape == (36,)


# Several outputs, several signatures


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_one_of_several_outputs(kind):
    tf.keras.utils.set_random_seed(1)
    x = tf.keras.Input(SHAPE)
    shared = layers.Conv2D(8, 3, activation="relu")(x)
    features = layers.GlobalAveragePooling2D()(shared)
    what, how_much = layers.Dense(5)(features), layers.Dense(1)(features)
    model = tf.keras.Model(x, [layers.Softmax()(what), how_much, layers.Dense(1, activation="sigmoid")(features)])
    data = inputs()
    file = networks.convert(model, kind, data)
    shapes = {output.name: output.shape for output in export.tflite.read(file).graphs[0].outputs}
    with pytest.raises(export.UnsupportedModelError, match="3 outputs"):
        export.explain(file)
    answers = []
    for output, shape in shapes.items():
        explainer = Explainer(export.explain(file, calibration=data, methods=["saliency", "gradcam"], output=output))
        classes = len(explainer.manifest.labels)
        explanation = explainer.explain(data[0], "saliency", class_index=classes - 1)
        assert len(explanation.scores) == classes
        answers.append((shape[-1], classes))
        if shape[-1] > 1:
            expected = gradients(tf.keras.Model(x, what), data[:1], 4)
            assert np.corrcoef(explanation.map.ravel(), expected.ravel())[0, 1] > (
                0.99999 if kind == "float32" else 0.95
            )
    assert sorted(answers) == [(1, 1), (1, 2), (5, 5)]  # one sigmoid is a yes or a no


def test_one_of_several_signatures():
    rng = np.random.default_rng(0)
    module = tf.Module()
    module.weights = [tf.Variable(rng.normal(0, 1, (3, 3, 4, 6)).astype(np.float32))]
    module.weights += [tf.Variable(rng.normal(0, 1, (6, 5)).astype(np.float32)) for _ in range(2)]

    def network(x, head: int):
        y = tf.nn.relu(tf.nn.conv2d(x, module.weights[0], 1, "SAME"))
        return tf.matmul(tf.reduce_mean(y, (1, 2)), module.weights[1 + head])

    wanted = [tf.TensorSpec((1, *SHAPE), tf.float32, name="x")]
    module.first = tf.function(lambda x: {"scores": network(x, 0)}, input_signature=wanted)
    module.second = tf.function(lambda x: {"scores": network(x, 1)}, input_signature=wanted)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"first": module.first, "second": module.second})
        file = networks.run_converter(tf.lite.TFLiteConverter.from_saved_model(folder, ["first", "second"]))
    sample = inputs()[0]
    for head, signature in enumerate(("first", "second")):
        explainer = Explainer(export.explain(file, methods=["saliency", "gradcam"], signature=signature))
        explanation = explainer.explain(sample, "saliency", class_index=3)
        expected = gradients(lambda x, head=head: network(x, head), sample[None], 3)
        assert relative_error(explanation.map[None], expected) < 1e-5
        np.testing.assert_allclose(explanation.scores, network(sample[None], head)[0], rtol=1e-4, atol=1e-5)
