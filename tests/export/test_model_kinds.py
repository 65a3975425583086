"""The ways the converter stores a model, through ``export.explain`` and the device's own program.

The gradient is held against TensorFlow's GradientTape on the model's own weights, dequantised; GradCAM against its
formula on the activations that gradient is taken at; predictions against the file as it came, bit for bit.
"""

from __future__ import annotations

import numpy as np
import pytest

import export
from edge.explainer import Explainer
from export import heads, tflite
from export.tflite.fold import fold
from tests.references import more_ops, networks, tensorflow_twin
from tests.references.compiled import relative_error
from tests.references.networks import convert
from tests.references.runtime import Session

# The converter has no 16-bit kernels for what these are made of, nor the reference the decisions of a SELU.
NOT_IN_16_BIT = {networks.mobilenet_v3, networks.leaky, networks.attention, networks.sequence, networks.dense}
NETWORKS = [network for network in networks.NETWORKS if network is not networks.dense]
QUICK = (networks.max_pools,)
KINDS = ("float16", "dynamic-range", "int16x8")  # float32 and int8 are in test_keras_models
EACH = [
    pytest.param(network, kind, marks=() if network in QUICK else pytest.mark.slow, id=f"{network.__name__} {kind}")
    for network in NETWORKS
    for kind in KINDS
    if kind != "int16x8" or network not in NOT_IN_16_BIT
]


@pytest.fixture(autouse=True)
def all_ops(monkeypatch):
    monkeypatch.setattr(tensorflow_twin, "_OPS", tensorflow_twin._OPS | more_ops.MORE)


def inputs(count: int = 16) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (count, *networks.SHAPE)).astype(np.float32)


@pytest.mark.parametrize(("network", "kind"), EACH)
def test_gradient_and_predictions_of_every_kind(network, kind):
    data = inputs()
    file = convert(networks.build(network)[0], kind, data)
    # Exact numerics: what others cost in fidelity is theirs to say.
    bundle = export.explain(file, calibration=data[:8], methods=["saliency"], numerics="f32")
    explainer, graph = Explainer(bundle), fold(tflite.read(file).graphs[0])
    logits = heads.find(graph).logits
    original = Session(file)
    for sample in data[:3]:
        explanation = explainer.explain(sample, "saliency", class_index=2)
        (scores,) = original.run(sample[None])
        np.testing.assert_array_equal(explanation.scores, scores[0])
        expected = tensorflow_twin.input_gradient(graph, logits, sample[None], 2)
        assert relative_error(explanation.map[None], expected) < 1e-5


KIND_NAMES = {
    "float32": "float32",
    "float16": "float16 weights",
    "dynamic-range": "dynamic-range",
    "int8": "int8",
    "int16x8": "int16x8",
}


STORED = [pytest.param(kind, True, id=f"{kind} inside and out") for kind in ("int8", "int16x8")]


@pytest.mark.parametrize(("kind", "stored"), [*((kind, False) for kind in KIND_NAMES), *STORED])
def test_the_manifest_says_what_kind_it_is_and_gradcam_keeps_its_formula(kind, stored):
    data = inputs()
    file = convert(networks.build(networks.u_net)[0], kind, data, stored=stored)
    bundle = export.explain(file, calibration=data[:8], methods=["gradcam"])
    assert bundle.manifest.kind == KIND_NAMES[kind]
    explainer, graph = Explainer(bundle), fold(tflite.read(file).graphs[0])
    head = heads.find(graph)
    layer = next(tensor for tensor in graph.tensors if tensor.name == bundle.manifest.head("gradcam").layer)
    for sample in data[:3]:
        explanation = explainer.explain(sample, "gradcam")
        before = tensorflow_twin.gradcam(graph, layer, head.logits, sample[None], explanation.class_index)
        expected = np.maximum(before, 0)
        error = np.abs(explanation.map.ravel() - expected).max() / np.abs(before).max()
        # Activations are the model's own, those of the reference are not rounded.
        assert error < {"int8": 0.1, "int16x8": 1e-3, "dynamic-range": 0.05}.get(kind, 1e-5)
        assert explanation.class_index == explainer.predict(sample).class_index
        np.testing.assert_array_equal(explanation.scores, explainer.predict(sample).scores)


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("network", [networks.attention, networks.sequence])
def test_gradcam_of_tokens_and_sequences(network, kind):
    """Maps of rank 3: a value per token or time step."""
    data = inputs()
    file = convert(networks.build(network)[0], kind, data)
    bundle = export.explain(file, calibration=data[:8], methods=["gradcam"])
    explainer, graph = Explainer(bundle), fold(tflite.read(file).graphs[0])
    layer = next(tensor for tensor in graph.tensors if tensor.name == bundle.manifest.head("gradcam").layer)
    logits = heads.find(graph).logits
    for sample in data[:3]:
        explanation = explainer.explain(sample, "gradcam")
        before = tensorflow_twin.gradcam(graph, layer, logits, sample[None], explanation.class_index)
        assert explanation.map.shape == before.shape
        error = np.abs(explanation.map - np.maximum(before, 0)).max() / np.abs(before).max()
        assert error < (0.1 if kind == "int8" else 1e-5)


def test_biases_of_64_bits_are_read_on_the_grid_of_the_products():
    """Beside 16-bit activations biases have 64 bits; with one wrong by a factor nothing else would be right."""
    file = convert(networks.build(networks.max_pools)[0], "int16x8", inputs())
    graph = fold(tflite.read(file).graphs[0])
    biases = [op.input(2) for op in graph.ops if op.code == "CONV_2D"]
    assert {tensor.dtype for tensor in biases} == {np.dtype(np.int64)}
    convolution = next(op for op in graph.ops if op.code == "CONV_2D")
    x, weights, bias = (convolution.input(index) for index in range(3))
    assert bias.quantization is not None
    products = np.float32(x.quantization.scale[0]) * np.asarray(weights.quantization.scale, np.float32)
    np.testing.assert_allclose(bias.quantization.scale, products, rtol=1e-6)
    shifted = inputs(1)
    twin = tensorflow_twin.forward(graph, shifted)[heads.find(graph).scores]
    assert relative_error(Session(file).run(shifted)[0], twin.numpy()) < 1e-2
