"""Small Keras models of the kinds people train, as TensorFlow's converter writes them, against GradientTape.

The batch is left open, as `TFLiteConverter.from_keras_model` does unless told otherwise. Float models are held against
the Keras model itself, int8 models against TensorFlow on their own weights.
"""

from __future__ import annotations

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
from tests.references.networks import NETWORKS, build, convert

STEPS = 8


INT8 = tuple(network for network in NETWORKS if network.__name__ != "dense")


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
    gradient, mean = explanations(folded(tflite.read(convert(classifier))), store_float, x, baseline, 2)

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
    model = folded(tflite.read(convert(build(network)[0], "int8", data, stored=True)))
    graph = model.graphs[0]
    head = heads.find(graph)
    monkeypatch.setattr(tensorflow_twin, "_OPS", tensorflow_twin._OPS | more_ops.MORE)
    x, baseline = data[:1], data[1:2]
    gradient, mean = explanations(model, store_quantized, x, baseline, 2)
    assert relative_error(gradient, tensorflow_twin.input_gradient(graph, head.logits, x, 2)) < 1e-4
    along = [baseline + alpha * (x - baseline) for alpha in nodes()]
    each = [tensorflow_twin.input_gradient(graph, head.logits, point, 2) for point in along]
    assert relative_error(mean, np.mean(each, 0)) < 1e-4
