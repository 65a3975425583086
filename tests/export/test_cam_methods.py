"""The class activation maps beside GradCAM, and Input x Gradient: each against its paper's formula written out here."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import edge
import export
import whylite
from edge.explanation import Flag
from export import heads, tflite
from export.methods import (
    METHODS,
    ClassActivationMap,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    InputXGradient,
    LayerCAM,
    SignedLayerCAM,
    XGradCAM,
)
from export.numerics import store_float, store_quantized
from export.tflite import Graph, Model
from export.tflite import options as tables
from tests.export import test_methods as classifiers
from tests.export.test_methods import BOUND, CLASSES, Network, class_of, every_quantisation, samples
from tests.references import small_models, tensorflow_twin
from tests.references.compiled import compile_method, relative_error
from tests.references.runtime import Session

Array = np.ndarray

ROOT = Path(__file__).parents[2]


def hirescam(a: Array, g: Array) -> Array:
    """Draelos & Carin 2020: the sum over channels of the elementwise product."""
    return np.einsum("pk,pk->p", a, g)


def xgradcam(a: Array, g: Array) -> Array:
    """Fu et al. 2020: a map's weight is the mean of its gradients, each by its part in the map's activations."""
    heatmap = np.zeros(len(a))
    for channel in range(a.shape[1]):
        total = a[:, channel].sum()
        if total != 0:
            heatmap += np.sum(a[:, channel] / total * g[:, channel]) * a[:, channel]
    return heatmap


def layercam(a: Array, g: Array) -> Array:
    """Jiang et al. 2021: positive gradients are the weights, position by position."""
    return np.sum(np.where(g > 0, g, 0) * a, axis=1)


def gradcam_plus_plus(a: Array, g: Array) -> Array:
    """Chattopadhyay et al. 2018 with squares and cubes as printed there, the exponential of the logit left out."""
    square, cube = g**2, g**3
    below = 2 * square + a.sum(0, keepdims=True) * cube
    alpha = np.divide(square, below, out=np.zeros_like(g), where=g != 0)
    return a @ (alpha * np.where(g > 0, g, 0)).sum(0)


METHOD_AND_PAPER: dict[type[ClassActivationMap], Callable[[Array, Array], Array]] = {
    HiResCAM: hirescam,
    XGradCAM: xgradcam,
    LayerCAM: layercam,
    SignedLayerCAM: hirescam,
    GradCAMPlusPlus: gradcam_plus_plus,
}
KEEP_BOTH_SIGNS = {HiResCAM, XGradCAM}
FRACTIONS = {XGradCAM, GradCAMPlusPlus}  # with a pole where activations of both signs cancel
EVERY_CAM = list(METHOD_AND_PAPER)

every_method = pytest.mark.parametrize("method", EVERY_CAM, ids=lambda method: method.name)
# Heads in which the gradient is the same at all positions, differs between them, depends on the input; a sequence.
every_kind_of_head = pytest.mark.parametrize(
    "build",
    [
        classifiers.mean_and_dense,
        classifiers.flatten_and_dense,
        classifiers.dense_twice,
        classifiers.pixelwise_classifier,
        classifiers.one_dimensional,
        classifiers.pooling_behind_the_last_convolution,
    ],
    ids=lambda build: build.__name__,
)


def assert_map(measured: Array, method: type[ClassActivationMap], activations: Array, gradients: Array) -> None:
    """The map is the paper's, rectified or not, to within a part of its largest magnitude; zero where that is."""
    heatmap = METHOD_AND_PAPER[method](activations.astype(np.float64), gradients.astype(np.float64))
    expected = heatmap if method in KEEP_BOTH_SIGNS else np.maximum(heatmap, 0)
    assert np.abs(measured.reshape(-1) - expected).max() <= 2 * BOUND * np.abs(heatmap).max()


@every_method
@every_kind_of_head
def test_maps_are_those_of_the_paper_on_gradients_of_the_tape(build, method):
    model = build()
    graph = model.graphs[0]
    head = heads.find(graph)
    layer = heads.default_layer(graph, head)
    entries = compile_method(method(), model)
    plain = Session(tflite.write(model))
    for x in samples(model, 2):
        scores = plain.run(x)[0]
        predicted = entries[method.name](x=x)
        assert predicted["scores"].tobytes() == scores.tobytes()
        assert int(predicted["class_index"][0]) == int(scores.argmax())
        for index in range(CLASSES):
            asked = entries[f"{method.name}_class"](x=x, class_index=class_of(index))
            assert asked["scores"].tobytes() == scores.tobytes()
            assert_map(asked["map"], method, *tensorflow_twin.at_layer(graph, layer, head.logits, x, index))
            if index == int(scores.argmax()):
                np.testing.assert_allclose(predicted["map"], asked["map"], rtol=1e-5, atol=1e-7)


@every_method
@pytest.mark.parametrize("build", [classifiers.dense_twice, classifiers.mobilenet_v1], ids=lambda build: build.__name__)
def test_maps_at_any_layer(build, method):
    model = build()
    graph = model.graphs[0]
    head = heads.find(graph)
    (x,) = samples(model, 1)
    values = tensorflow_twin.forward(graph, x)
    maps = [op.output for op in graph.ops if heads.has_positions(op.output)]
    maps = [t for t in maps if method not in FRACTIONS or values[t].numpy().min() >= 0]
    assert len(maps) >= 3
    for layer in maps:
        entry = compile_method(method(layer.name), model)[f"{method.name}_class"]
        for index in (0, 2):
            measured = entry(x=x, class_index=class_of(index))["map"]
            assert_map(measured, method, *tensorflow_twin.at_layer(graph, layer, head.logits, x, index))


@every_method
@pytest.mark.parametrize("even", [True, False], ids=["behind pooling", "behind a flattening"])
def test_a_negation_behind_the_layer_turns_the_gradient(method, even):
    """The sign is carried beside the stored gradient, and rectifiers must see it all the same."""
    network = Network(1, 6, 6, 3)
    features = network.conv(network.x, 5)
    y = network.builder.op("NEG", [features], features.shape, tables.NegOptions())
    y = network.average(y) if even else network.builder.reshape(y, (1, 180))
    model = network.model(network.softmax(network.dense(y, CLASSES)))
    graph = model.graphs[0]
    head = heads.find(graph)
    entry = compile_method(method(features.name), model)[f"{method.name}_class"]
    (x,) = samples(model, 1)
    for index in range(CLASSES):
        measured = entry(x=x, class_index=class_of(index))["map"]
        assert_map(measured, method, *tensorflow_twin.at_layer(graph, features, head.logits, x, index))


@pytest.mark.parametrize("method", [XGradCAM, GradCAMPlusPlus], ids=lambda method: method.name)
def test_channels_that_are_dead_all_over_weigh_nothing(method):
    network = Network(1, 6, 6, 3)
    network.bias = lambda count: network.builder.constant(np.where(np.arange(count) % 2, -100.0, 0.1))
    features = network.conv(network.x, 6)
    model = network.model(network.softmax(network.dense(network.builder.reshape(features, (1, 216)), CLASSES)))
    graph = model.graphs[0]
    head = heads.find(graph)
    (x,) = samples(model, 1)
    activations, gradients = tensorflow_twin.at_layer(graph, features, head.logits, x, 1)
    assert not activations[:, 1::2].any()
    entry = compile_method(method(), model)[f"{method.name}_class"]
    assert_map(entry(x=x, class_index=class_of(1))["map"], method, activations, gradients)


# Quantised models


@every_method
@every_quantisation
@pytest.mark.parametrize("store", [store_float, store_quantized], ids=["f32", "deq"])
def test_maps_of_a_quantised_model_read_its_own_activations(kind, store, method):
    """The head is affine in the layer, so that integers and weights say what the map must be, exactly."""
    model = classifiers.quantised_network(kind)
    graph = model.graphs[0]
    head = heads.find(graph)
    layer = heads.default_layer(graph, head)
    entries = compile_method(method(), model, store)
    exposed = graph.copy("exposed")
    exposed.outputs = [layer, head.scores]
    reader = Session(tflite.write(Model([exposed])))
    weights = graph.producers()[head.logits].input(1).real()
    rng = np.random.default_rng(0)
    for _ in range(2):
        x = rng.integers(*((0, 256) if kind == "uint8" else (-128, 128)), (1, 6, 6, 3)).astype(graph.inputs[0].dtype)
        stored, scores = reader.run(x)
        activations = layer.quantization.dequantize(stored).reshape(-1, 5)
        assert entries[method.name](x=x)["scores"].tobytes() == scores.tobytes()
        for index in range(CLASSES):
            measured = entries[f"{method.name}_class"](x=x, class_index=class_of(index))["map"]
            gradients = np.tile(weights[index] / len(activations), (len(activations), 1))
            assert_map(measured, method, activations, gradients)


@every_method
def test_maps_of_a_quantised_model_behind_a_mask(method):
    """The target layer lies before a ReLU of the int8 pass, whose own rounded values are the mask."""
    model = classifiers.quantised_network("int8 per channel")
    graph = model.graphs[0]
    head = heads.find(graph)
    layer, second, summed = graph.ops[0].output, graph.ops[1], graph.ops[2].output
    entry = compile_method(method(layer.name), model, store_quantized)[f"{method.name}_class"]
    exposed = graph.copy("exposed")
    exposed.outputs = [layer, summed]
    reader = Session(tflite.write(Model([exposed])))
    x = np.random.default_rng(0).integers(-128, 128, (1, 6, 6, 3)).astype(np.int8)
    stored, masking = reader.run(x)
    activations = layer.quantization.dequantize(stored)
    mask = (masking > summed.quantization.zero_point[0]).astype(np.float64)
    upstream = mask * graph.producers()[head.logits].input(1).real()[2] / mask.shape[1] / mask.shape[2]
    piece = Graph("piece", inputs=[layer], outputs=[second.output], ops=[second], tensors=graph.tensors)
    through = tensorflow_twin.vector_jacobian_product(piece, second.output, activations, upstream)
    measured = entry(x=x, class_index=class_of(2))["map"]
    assert_map(measured, method, activations.reshape(-1, 5), (upstream + through).reshape(-1, 5))


# Identities between the methods


def maps_of(model: Model, x: Array, index: int, methods: list[type[ClassActivationMap]]) -> list[Array]:
    entries = [compile_method(method(), model)[f"{method.name}_class"] for method in methods]
    return [entry(x=x, class_index=class_of(index))["map"].reshape(-1).astype(np.float64) for entry in entries]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**16), index=st.integers(0, CLASSES - 1))
def test_behind_global_pooling_gradcam_is_the_positive_part_of_hirescam_and_xgradcam(seed, index):
    model = classifiers.mean_and_dense()
    (x,) = samples(model, 1, seed)
    gradcam, hires, xgrad, signed = maps_of(model, x, index, [GradCAM, HiResCAM, XGradCAM, SignedLayerCAM])
    size = np.abs(hires).max()
    np.testing.assert_allclose(xgrad, hires, atol=BOUND * size)
    np.testing.assert_allclose(gradcam, np.maximum(hires, 0), atol=BOUND * size)
    np.testing.assert_allclose(signed, gradcam, atol=BOUND * size)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**16), index=st.integers(0, CLASSES - 1))
def test_hirescam_and_xgradcam_sum_to_the_logit_but_for_its_bias_where_the_head_is_affine(seed, index):
    model = classifiers.flatten_and_dense()
    graph = model.graphs[0]
    head = heads.find(graph)
    (x,) = samples(model, 1, seed)
    hires, xgrad, signed, positive = maps_of(model, x, index, [HiResCAM, XGradCAM, SignedLayerCAM, LayerCAM])
    bias = graph.producers()[head.logits].input(2).data[index]
    logit = tensorflow_twin.forward(graph, x)[head.logits].numpy().reshape(-1)[index]
    size = np.abs(hires).sum()
    assert abs(hires.sum() - (logit - bias)) < BOUND * size
    assert abs(xgrad.sum() - hires.sum()) < BOUND * size
    np.testing.assert_allclose(signed, np.maximum(hires, 0), atol=BOUND * size)
    assert (positive >= signed - BOUND * size).all()  # what speaks against the class is missing
    assert not np.allclose(xgrad, hires, atol=1e-2 * size / len(hires))


FINITE = arrays.arrays(np.float64, (6, 3), elements=st.floats(0.01, 10))


@every_method
@settings(max_examples=25, deadline=None)
@given(activations=FINITE, gradients=FINITE)
def test_a_method_is_a_visual_aid_if_and_only_if_it_ignores_negative_gradients(method, activations, gradients):
    against = method.formula(activations, -gradients)
    assert (not against.any()) == (not method.signed)


# Input x Gradient


@classifiers.every_head
def test_input_x_gradient_is_the_product_of_both(build):
    model = build()
    graph = model.graphs[0]
    head = heads.find(graph)
    entry = compile_method(InputXGradient(), model)["input_x_gradient"]
    (x,) = samples(model, 1)
    for index in range(CLASSES):
        gradient = tensorflow_twin.input_gradient(graph, head.logits, x, index)
        measured = entry(x=x, class_index=class_of(index))
        assert relative_error(measured["map"], x * gradient) < BOUND
        assert relative_error(measured["gradient"] * entry.entry.unit, gradient) < BOUND


@every_quantisation
@pytest.mark.parametrize("store", [store_float, store_quantized], ids=["f32", "deq"])
def test_input_x_gradient_of_a_quantised_model_is_that_of_its_float_twin(kind, store):
    model = classifiers.quantised_network(kind)
    graph = model.graphs[0]
    head = heads.find(graph)
    entry = compile_method(InputXGradient(), model, store)["input_x_gradient"]
    for x in samples(model, 2):
        expected = x * tensorflow_twin.input_gradient(graph, head.logits, x, 2)
        assert relative_error(entry(x=x, class_index=class_of(2))["map"], expected) < BOUND


# Exports


@pytest.fixture(scope="module")
def bundle() -> edge.Bundle:
    methods = [*(method.name for method in EVERY_CAM), "input_x_gradient"]
    return export.explain(small_models.quantized_classifier(), calibration=small_models.inputs(8), methods=methods)


def test_every_method_is_held_against_its_formula(bundle):
    checks = {check.name: check for check in bundle.manifest.checks}
    for head in bundle.manifest.heads:
        assert checks[f"{head.method} against its formula"].passed
    assert all(check.passed for check in checks.values() if check.gating)


def test_visual_aids_and_only_these_are_marked_on_every_map_and_noted(bundle):
    aids = {LayerCAM.name, GradCAMPlusPlus.name}
    explainer = edge.Explainer(bundle)
    x = small_models.inputs(1)[0]
    for head in bundle.manifest.heads:
        assert head.signed == (head.method not in aids)
        for explanation in (explainer.explain(x, head.method), explainer.explain(x, head.method, class_index=1)):
            assert (Flag.VISUAL_AID in explanation.flags) == (head.method in aids)
    said = "visual aid: keeps only positive gradients (Khakzar et al. 2020); its signed twin is"
    assert [note for note in bundle.manifest.notes if "visual aid" in note] == [
        f"layercam: {said} layercam_signed",
        f"gradcam_plus_plus: {said} gradcam",
    ]
    signed = export.explain(small_models.float_classifier(), methods=["hirescam"])
    assert not any("visual aid" in note for note in signed.manifest.notes)


@pytest.mark.parametrize("numerics", ["deq", "hybrid", "mixed", "int8"])
def test_input_x_gradient_in_every_numerics_multiplies_the_gradient_that_ships(numerics):
    file, x = small_models.quantized_classifier(), small_models.inputs(8)
    made = export.explain(file, calibration=x, methods=["input_x_gradient", "saliency"], numerics=numerics)
    explainer = edge.Explainer(made)
    product, gradient = (explainer.explain(x[0], name, class_index=1).map for name in ("input_x_gradient", "saliency"))
    assert product.any()
    np.testing.assert_allclose(product, x[0] * gradient, rtol=1e-5, atol=1e-6 * np.abs(product).max())


def test_the_command_says_which_methods_are_visual_aids(tmp_path, capsys):
    model = tmp_path / "shapes.tflite"
    model.write_bytes(small_models.float_classifier())
    assert whylite.main(["export", str(model), "--method", "layercam", "--method", "layercam_signed"]) == 0
    assert "note: layercam: visual aid: keeps only positive gradients (Khakzar et al. 2020)" in capsys.readouterr().out
    assert whylite.main(["export", str(model)]) == 0
    assert "visual aid" not in capsys.readouterr().out  # none is made without being asked for by name


@every_method
def test_the_command_takes_a_layer_for_any_class_activation_map_alone(method, tmp_path):
    model = tmp_path / "shapes.tflite"
    model.write_bytes(small_models.float_classifier())
    layer = export.tflite.read(model).graphs[0].ops[0].output.name
    assert whylite.main(["export", str(model), "--method", method.name, "--layer", layer]) == 0
    assert edge.Bundle.open(model.with_suffix(".why")).manifest.head(method.name).map_shape == (12, 12)


def test_the_layer_that_is_named_is_that_of_all_class_activation_maps():
    file = small_models.float_classifier()
    layer = export.tflite.read(file).graphs[0].ops[0].output.name
    names = [name for name, method in METHODS.items() if issubclass(method, ClassActivationMap)]
    made = export.explain(file, calibration=small_models.inputs(4), methods=[*names, "input_x_gradient"], layer=layer)
    assert len(names) == 6
    assert {head.layer for head in made.manifest.heads if head.method in names} == {layer}
    assert {head.map_shape for head in made.manifest.heads if head.method in names} == {(12, 12)}
    assert all(check.passed for check in made.manifest.checks if check.gating)


def test_an_export_is_stopped_where_a_map_is_not_its_formula(monkeypatch):
    monkeypatch.setattr(LayerCAM, "summands", SignedLayerCAM.summands)
    monkeypatch.setattr(InputXGradient, "formula", staticmethod(lambda x, gradients: x * np.abs(gradients)))
    for name in ("layercam", "input_x_gradient"):
        with pytest.raises(export.CheckFailedError, match=f"{name} against its formula"):
            export.explain(small_models.float_classifier(), calibration=small_models.inputs(4), methods=[name])


def test_the_page_on_adding_a_method_shows_what_is_in_the_tree():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/adding-a-method.md").read_text(), re.DOTALL)
    sources = [ROOT / "export/methods/hirescam.py", Path(__file__), ROOT / "export/methods/guided_backprop.py"]
    assert len(blocks) == len(sources)
    for block, source in zip(blocks, sources, strict=True):
        assert block in source.read_text()
