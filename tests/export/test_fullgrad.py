"""FullGrad: its terms sum to the logit, whatever the ops; its map is what the paper's formulas make of them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import edge
import export
from edge.explanation import Flag
from export import heads
from export.errors import CheckFailedError, UnsupportedModelError
from export.methods import FullGrad, FullGradAbs, bias_gradients
from export.methods.bias_gradients import interpolation, map_shape, places
from export.numerics import store_float, store_quantized
from export.tflite import Tensor
from tests.export import test_methods as classifiers
from tests.export import test_reach as barred
from tests.export import test_state as streaming
from tests.export.test_methods import CLASSES, class_of, every_quantisation, samples
from tests.references import networks, small_models, tensorflow_twin
from tests.references.compiled import compile_method

sizes = st.integers(1, 40)


def assert_sums_to(heatmap: np.ndarray, logit: float) -> None:
    assert abs(heatmap.sum(dtype=np.float64) - logit) < 1e-5 * max(abs(logit), float(np.abs(heatmap).sum()))


@classifiers.every_head
@pytest.mark.parametrize("size", [1.0, 30.0], ids=["as trained", "clipped"])
def test_maps_sum_to_the_logit(build, size):
    """Inputs thirty times as large reach the ceiling of the RELU6, which adds what no weight or bias says."""
    model = build()
    graph = model.graphs[0]
    head = heads.find(graph)
    entry = compile_method(FullGrad(), model)["fullgrad"]
    for x in samples(model, 2):
        logits = tensorflow_twin.forward(graph, tf.constant(size * x))[head.logits].numpy().reshape(-1)
        for index in range(CLASSES):
            assert_sums_to(entry(x=np.float32(size) * x, class_index=class_of(index))["map"], logits[index])


@every_quantisation
@pytest.mark.parametrize("store", [store_float, store_quantized], ids=["f32", "deq"])
def test_maps_of_a_quantised_model_sum_to_the_logit_of_its_float_twin(kind, store):
    model = classifiers.quantised_network(kind)
    graph = model.graphs[0]
    head = heads.find(graph)
    entry = compile_method(FullGrad(), model, store)["fullgrad"]
    for x in samples(model, 2):
        logits = tensorflow_twin.forward(graph, tf.constant(x))[head.logits].numpy().reshape(-1)
        assert_sums_to(entry(x=x, class_index=class_of(2))["map"], logits[2])


@pytest.mark.parametrize("network", networks.NETWORKS, ids=lambda network: network.__name__)
def test_of_networks_in_the_wild_too(network):
    """Gates, attention, normalisation and curved activations have implicit biases."""
    model, logits = networks.build(network)
    x = np.random.default_rng(0).normal(size=(4, *networks.SHAPE)).astype(np.float32)
    made = export.explain(networks.convert(model), calibration=x, methods=["fullgrad"])
    explainer = edge.Explainer(made)
    for sample, expected in zip(x, logits.predict(x, verbose=0), strict=True):
        heatmap = explainer.explain(sample, class_index=1).map
        assert heatmap.shape == networks.SHAPE[:2]
        assert_sums_to(heatmap, float(expected[1]))


def test_a_streaming_models_state_adds_to_the_logit_too():
    model = streaming.gain_and_recurrence()
    x = model.inputs(8)
    made = export.explain(model.file, calibration=x, methods=["fullgrad"])
    explainer = edge.Explainer(made)
    kept = {name: tf.constant(value) for name, value in model.beginning.items()}
    for sample in x[:5]:
        logits, following = model.step(tf.constant(sample[None]), kept)
        prediction = explainer.predict(sample)
        heatmap = explainer.explain(sample, class_index=1, prediction=prediction).map
        assert_sums_to(heatmap, float(logits.numpy().reshape(-1)[1]))
        kept = following


def test_where_the_input_cannot_be_reached_the_map_is_over_the_positions_of_the_first_tensor_that_can():
    case = barred.text()
    made = export.explain(case.model, calibration=case.x, methods=["fullgrad", "fullgrad_abs"])
    explainer = edge.Explainer(made)
    logit = case.logits(case.front(case.x[0])).numpy().reshape(-1)[1]
    for method in explainer.methods:
        explanation = explainer.explain(case.x[0], method, class_index=1)
        assert Flag.NOT_AT_INPUT in explanation.flags
        assert explanation.map.shape == (barred.WORDS,)
        if method == "fullgrad":
            assert_sums_to(explanation.map, float(logit))


# From terms to a map


@settings(max_examples=60, deadline=None)
@given(size=sizes, target=sizes, seed=st.integers(0, 99))
def test_interpolation_is_tensorflows_and_conserves_what_is_to_be_conserved(size, target, seed):
    row = np.random.default_rng(seed).normal(size=size)
    expected = tf.image.resize(row[None, None, :, None], (1, target), "bilinear").numpy().reshape(-1)
    np.testing.assert_allclose(interpolation(size, target, conserving=False) @ row, expected, atol=1e-4)
    assert (interpolation(size, target, conserving=True) @ row).sum() == pytest.approx(row.sum(), abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "over", "expected"),
    [
        ((1, 5, 4, 8), (10, 8), (5, 4)),
        ((1, 1, 1, 8), (10, 8), (1, 1)),
        ((1, 8), (10, 8), None),
        ((1, 1, 20, 8), (40,), (20,)),
        ((1, 20, 8), (1, 40), (1, 20)),
        ((1, 4, 16, 16), (16,), None),
        ((1, 16, 8), (16, 16), None),
    ],
)
def test_where_a_tensors_values_are_on_a_map(shape, over, expected):
    assert places(shape, over) == expected


def test_a_map_of_three_dimensions_is_refused_by_name():
    assert map_shape(Tensor("x", (1, 30, 3), np.dtype(np.float32))) == (30,)
    with pytest.raises(UnsupportedModelError, match="FullGrad has no map over"):
        map_shape(Tensor("video", (1, 8, 8, 8, 3), np.dtype(np.float32)))


# Exports


@pytest.fixture(scope="module")
def bundle() -> edge.Bundle:
    x = small_models.inputs(8)
    return export.explain(small_models.quantized_classifier(), calibration=x, methods=["fullgrad", "fullgrad_abs"])


def test_an_export_checks_gradients_completeness_and_formula(bundle):
    checks = {check.name: check for check in bundle.manifest.checks}
    for method in ("fullgrad", "fullgrad_abs"):
        for what in ("against central differences", "in random directions", "adds up", "against its formula"):
            assert checks[f"{method} {what}"].passed


def test_the_absolute_one_alone_is_a_visual_aid_and_never_negative(bundle):
    explainer = edge.Explainer(bundle)
    x = small_models.inputs(1)[0]
    signed, absolute = (explainer.explain(x, method, class_index=1) for method in ("fullgrad", "fullgrad_abs"))
    assert Flag.VISUAL_AID not in signed.flags
    assert Flag.VISUAL_AID in absolute.flags
    assert signed.map.min() < 0 <= absolute.map.min()
    (note,) = [note for note in bundle.manifest.notes if "visual aid" in note]
    assert note.startswith("fullgrad_abs: ")
    assert note.endswith("its signed twin is fullgrad")


@pytest.mark.parametrize("numerics", ["hybrid", "mixed", "int8"])
def test_integer_numerics_walk_along_the_float_twin(numerics):
    x = small_models.inputs(8)
    methods = ["fullgrad", "fullgrad_abs"]
    made = export.explain(small_models.quantized_classifier(), calibration=x, methods=methods, numerics=numerics)
    assert all(check.passed for check in made.manifest.checks)
    said = [note for note in made.manifest.notes if "gradients are those along a float forward pass" in note]
    assert len(said) == (0 if numerics == "hybrid" else 2)


def test_a_bias_left_out_stops_the_export(monkeypatch):
    monkeypatch.setattr(bias_gradients, "_constant", lambda *_: None)
    with pytest.raises(CheckFailedError, match="fullgrad adds up"):
        export.explain(small_models.float_classifier(), calibration=small_models.inputs(4), methods=["fullgrad"])


@pytest.mark.parametrize("method", [FullGrad, FullGradAbs], ids=lambda method: method.name)
def test_a_map_that_is_not_of_its_terms_stops_the_export(method, monkeypatch):
    right = method.aggregated
    monkeypatch.setattr(method, "aggregated", lambda self, emit, parts, over: right(self, emit, parts[:-1], over))
    with pytest.raises(CheckFailedError, match=f"{method.name} against its formula"):
        export.explain(small_models.float_classifier(), calibration=small_models.inputs(4), methods=[method.name])
