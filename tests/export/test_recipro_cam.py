"""ReciproCAM: against the model asked one position at a time, and what it must be where the head is affine."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import edge
import export
from export import heads, tflite
from export.methods import HiResCAM, ReciproCAM
from export.methods import recipro_cam as module
from export.numerics import store_float, store_quantized
from export.tflite import Model
from export.tflite import options as tables
from export.tflite.graph import Tensor
from tests.export import test_methods as classifiers
from tests.export.test_methods import CLASSES, Network, class_of, samples
from tests.export.test_state import ring_buffer
from tests.references import small_models, tensorflow_twin
from tests.references.compiled import compile_method, relative_error
from tests.references.runtime import Session

BOUND = 1e-5


def one_at_a_time(model: Model, layer: Tensor, x: np.ndarray, index: int) -> np.ndarray:
    """Return the logit of a class for each position of a layer alone, less that for none, ``[positions]``."""
    graph = model.graphs[0]
    logits = heads.find(graph).logits
    activations = tensorflow_twin.forward(graph, tf.constant(x))[layer].numpy()

    def logit(masked: np.ndarray) -> float:
        values = tensorflow_twin.forward(graph, tf.constant(x), given={layer: tf.constant(masked)})
        return float(values[logits].numpy().reshape(-1)[index])

    found = []
    for place in np.ndindex(activations.shape[1:-1]):
        masked = np.zeros_like(activations)
        masked[(0, *place)] = activations[(0, *place)]
        found.append(logit(masked) - logit(np.zeros_like(activations)))
    return np.asarray(found)


@classifiers.every_head
def test_maps_are_what_the_model_says_of_single_positions(build):
    model = build()
    graph = model.graphs[0]
    head = heads.find(graph)
    layer = heads.default_layer(graph, head)
    entries = compile_method(ReciproCAM(), model)
    plain = Session(tflite.write(model))
    (x,) = samples(model, 1)
    scores = plain.run(x)[0]
    predicted = entries["recipro_cam"](x=x)
    assert predicted["scores"].tobytes() == scores.tobytes()
    assert int(predicted["class_index"][0]) == int(scores.argmax())
    for index in range(CLASSES):
        asked = entries["recipro_cam_class"](x=x, class_index=class_of(index))
        assert asked["scores"].tobytes() == scores.tobytes()
        assert relative_error(asked["map"].reshape(-1), one_at_a_time(model, layer, x, index)) < BOUND
        if index == int(scores.argmax()):
            np.testing.assert_allclose(predicted["map"], asked["map"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("build", [classifiers.dense_twice, classifiers.mobilenet_v1], ids=lambda build: build.__name__)
def test_maps_at_any_layer(build):
    """What goes past the layer, as a residual does, stays what it is."""
    model = build()
    graph = model.graphs[0]
    (x,) = samples(model, 1)
    layers = [op.output for op in graph.ops if heads.has_positions(op.output)]
    assert len(layers) >= 4
    for layer in layers:
        entry = compile_method(ReciproCAM(layer.name), model)["recipro_cam_class"]
        found = entry(x=x, class_index=class_of(1))["map"].reshape(-1)
        assert relative_error(found, one_at_a_time(model, layer, x, 1)) < BOUND


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**16), index=st.integers(0, CLASSES - 1))
def test_behind_global_pooling_it_is_class_activation_mapping_but_for_a_factor(seed, index):
    """Zhou et al. 2016: sum_k w_k A_k; here divided by the positions that are averaged over."""
    model = classifiers.mean_and_dense()
    graph = model.graphs[0]
    head = heads.find(graph)
    layer = heads.default_layer(graph, head)
    (x,) = samples(model, 1, seed)
    activations = tensorflow_twin.forward(graph, tf.constant(x))[layer].numpy().reshape(-1, layer.shape[-1])
    weights = graph.producers()[head.logits].input(1).real()[index]
    found = compile_method(ReciproCAM(), model)["recipro_cam_class"](x=x, class_index=class_of(index))["map"]
    assert relative_error(found.reshape(-1), activations @ weights / len(activations)) < BOUND


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**16), index=st.integers(0, CLASSES - 1))
def test_where_the_head_is_affine_it_is_hirescam_and_elsewhere_it_is_not(seed, index):
    for build, affine in ((classifiers.flatten_and_dense, True), (classifiers.dense_twice, False)):
        model = build()
        (x,) = samples(model, 1, seed)
        recipro, hires = (
            compile_method(method(), model)[f"{method.name}_class"](x=x, class_index=class_of(index))["map"]
            for method in (ReciproCAM, HiResCAM)
        )
        assert (relative_error(recipro, hires) < BOUND) == affine


@classifiers.every_quantisation
@pytest.mark.parametrize("store", [store_float, store_quantized], ids=["f32", "deq"])
def test_a_quantised_model_is_asked_about_its_own_activations(kind, store):
    model = classifiers.quantised_network(kind)
    graph = model.graphs[0]
    head = heads.find(graph)
    layer = heads.default_layer(graph, head)
    exposed = graph.copy("exposed")
    exposed.outputs = [layer, head.scores]
    low = 0 if kind == "uint8" else -128
    x = np.random.default_rng(0).integers(low, low + 256, (1, 6, 6, 3)).astype(graph.inputs[0].dtype)
    stored, scores = Session(tflite.write(Model([exposed]))).run(x)
    activations = layer.quantization.dequantize(stored).reshape(-1, 5)
    weights = graph.producers()[head.logits].input(1).real()
    entries = compile_method(ReciproCAM(), model, store)
    assert entries["recipro_cam"](x=x)["scores"].tobytes() == scores.tobytes()
    for index in range(CLASSES):
        found = entries["recipro_cam_class"](x=x, class_index=class_of(index))["map"]
        assert relative_error(found.reshape(-1), activations @ weights[index] / len(activations)) < BOUND


@pytest.mark.parametrize("numerics", ["deq", "mixed", "int8"])
def test_exports_hold_it_against_the_model_behind_the_layer(numerics):
    file, x = small_models.quantized_classifier(), small_models.inputs(6)
    bundle = export.explain(file, calibration=x, methods=["recipro_cam"], numerics=numerics)
    (check,) = [check for check in bundle.manifest.checks if check.name == "recipro_cam against its formula"]
    assert check.passed
    assert bundle.manifest.head("recipro_cam").signed
    explainer = edge.Explainer(bundle)
    predicted = explainer.explain(x[0])
    assert predicted.map.shape == (6, 6)
    assert predicted.map.any()
    asked = explainer.explain(x[0], class_index=predicted.class_index)
    np.testing.assert_allclose(predicted.map, asked.map, rtol=1e-5, atol=1e-6)


def test_an_export_is_stopped_where_it_is_not_what_the_model_says(monkeypatch):
    repeated = module.repeated

    def smaller(build, tensors, rows):
        return repeated(build, {key: build.scaled(value, 0.9) for key, value in tensors.items()}, rows)

    monkeypatch.setattr(module, "repeated", smaller)
    file, layer = tflite.write(classifiers.flatten_and_dense()), "op:0"
    export.explain(file, methods=["recipro_cam"])  # nothing goes past the last layer
    with pytest.raises(export.CheckFailedError, match="recipro_cam against its formula"):
        export.explain(tflite.write(past_a_layer()), methods=["recipro_cam"], layer=layer)


def past_a_layer() -> Model:
    """A product with what goes past the first layer."""
    network = Network(1, 8, 8, 3)
    first, other = network.conv(network.x, 6), network.conv(network.x, 6)
    product = network.builder.mul(network.conv(first, 6), other)
    return network.model(network.softmax(network.dense(network.builder.mean(product, (1, 2)), CLASSES)))


def test_a_stream_is_asked_in_its_state():
    model = ring_buffer()
    bundle = export.explain(model.file, calibration=model.inputs(), methods=["recipro_cam"])
    assert all(check.passed for check in bundle.manifest.checks)
    assert edge.Explainer(bundle).explain(model.inputs(1)[0], class_index=1).map.any()


def test_too_many_positions_are_refused_by_name_and_number():
    network = Network(1, 96, 96, 3)
    y = network.conv(network.x, 8)
    model = network.model(network.softmax(network.dense(network.average(y), CLASSES)))
    with pytest.raises(
        export.UnsupportedModelError, match="9216 positions, each of which takes 73728 values"
    ) as refusal:
        export.explain(tflite.write(model), methods=["recipro_cam"])
    assert repr(y) in str(refusal.value)
    assert "--method gradcam" in str(refusal.value)


def test_a_model_that_mixes_the_entries_of_a_batch_is_refused():
    network = Network(1, 4, 4, 3)
    build, y = network.builder, network.conv(network.x, 6)
    turned = build.transpose(build.reshape(y, (1, 16, 6)), (1, 0, 2))
    back = build.reshape(build.transpose(turned, (1, 0, 2)), (1, 96))
    model = network.model(network.softmax(network.dense(back, CLASSES)))
    with pytest.raises(export.UnsupportedModelError, match="mixes the entries of a batch"):
        export.explain(tflite.write(model), methods=["recipro_cam"], layer=y.name)


def test_the_maximum_of_positions_is_what_one_of_them_gives():
    """Not affine: each position alone may be the maximum of all."""
    network = Network(1, 6, 6, 3)
    features = network.conv(network.x, 5)
    pooled = network.builder.op(
        "MAX_POOL_2D", [features], (1, 1, 1, 5), tables.Pool2DOptions(tables.Padding.VALID, 1, 1, 6, 6)
    )
    model = network.model(network.softmax(network.dense(pooled, CLASSES)))
    graph = model.graphs[0]
    (x,) = samples(model, 1)
    activations = tensorflow_twin.forward(graph, tf.constant(x), given={pooled: tf.zeros((1, 1, 1, 5))})[features]
    weights = graph.producers()[heads.find(graph).logits].input(1).real()
    found = compile_method(ReciproCAM(), model)["recipro_cam_class"](x=x, class_index=class_of(2))["map"]
    assert relative_error(found.reshape(-1), activations.numpy().reshape(-1, 5) @ weights[2]) < BOUND
