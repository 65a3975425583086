"""Guided Backprop, DeconvNet and RectGrad: against TensorFlow's tape with the papers' gradients of rectifiers in it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

import edge
import export
from edge.explanation import Flag
from export import heads, tflite
from export.errors import CheckFailedError, UnsupportedModelError
from export.methods import METHODS, DeconvNet, GuidedBackprop, RectGrad, RectifiedBackward
from export.numerics import store_float, store_quantized
from export.tflite import Graph, Tensor
from export.tflite import options as tables
from export.tflite.options import Activation
from tests.export import test_methods as classifiers
from tests.export import test_reach as barred
from tests.export.test_methods import BOUND, CLASSES, Network, class_of, every_quantisation, samples
from tests.references import small_models, tensorflow_twin
from tests.references.compiled import compile_method, relative_error

Array = np.ndarray
Select = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
"""What is handed back, from a rectifier's result, the signal there, and the rectifier's slope."""


def guided(y: tf.Tensor, signal: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    return tf.where((signal > 0) & (slope > 0), signal, 0.0)


def deconvolved(y: tf.Tensor, signal: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    return tf.where(signal > 0, signal, 0.0)


def rectified(y: tf.Tensor, signal: tf.Tensor, slope: tf.Tensor) -> tf.Tensor:
    """All but 98 in 100 by what they contribute, one at the least, which must contribute."""
    contribution = (y * signal).numpy()
    order = np.argsort(contribution, axis=None)[98 * contribution.size // 100 :]
    mask = np.zeros(contribution.size)
    mask[order] = contribution.flat[order] > 0
    return signal * slope * mask.reshape(contribution.shape)


PAPERS: dict[type[RectifiedBackward], Select] = {GuidedBackprop: guided, DeconvNet: deconvolved, RectGrad: rectified}

every_method = pytest.mark.parametrize("method", PAPERS, ids=lambda method: method.name)


def with_gradient(activation: Callable[[tf.Tensor], tf.Tensor], select: Select) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return an activation whose gradient is a paper's."""

    @tf.custom_gradient
    def apply(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        y = activation(x)
        slope = tf.cast((y > 0) & (tf.equal(y, x)), y.dtype)
        return y, lambda signal: select(y, signal, slope)

    return apply


def on_the_tape(graph: Graph, logits: Tensor, x: Array, class_index: int, select: Select) -> Array:
    activations = {
        Activation.NONE: lambda x: x,
        Activation.RELU: with_gradient(tf.nn.relu, select),
        Activation.RELU6: with_gradient(tf.nn.relu6, select),
    }
    variable = tf.constant(x, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        values = tensorflow_twin.forward(graph, variable, tf.float64, activations=activations)
        score = tf.reduce_sum(values[logits][..., class_index])
    return tape.gradient(score, variable).numpy()


@every_method
@classifiers.every_head
def test_maps_are_those_of_the_tape_with_the_papers_gradients(build, method):
    model = build()
    graph = model.graphs[0]
    head = heads.find(graph)
    entry = compile_method(method(), model)[method.name]
    for x in samples(model, 2):
        for index in range(CLASSES):
            expected = on_the_tape(graph, head.logits, x, index, PAPERS[method])
            assert relative_error(entry(x=x, class_index=class_of(index))["map"], expected) < BOUND


@every_method
@every_quantisation
@pytest.mark.parametrize("store", [store_float, store_quantized], ids=["f32", "deq"])
def test_maps_of_a_quantised_model_are_those_of_its_float_twin(kind, store, method):
    model = classifiers.quantised_network(kind)
    graph = model.graphs[0]
    head = heads.find(graph)
    entry = compile_method(method(), model, store)[method.name]
    for x in samples(model, 2):
        expected = on_the_tape(graph, head.logits, x, 2, PAPERS[method])
        assert relative_error(entry(x=x, class_index=class_of(2))["map"], expected) < BOUND


@every_method
def test_a_negation_behind_a_rectifier_turns_the_signal(method):
    """The sign is carried beside the stored signal, and what selects must see it all the same."""
    network = Network(1, 6, 6, 3)
    features = network.conv(network.x, 5)
    y = network.builder.op("NEG", [features], features.shape, tables.NegOptions())
    model = network.model(network.softmax(network.dense(network.builder.reshape(y, (1, 180)), CLASSES)))
    graph = model.graphs[0]
    entry = compile_method(method(), model)[method.name]
    (x,) = samples(model, 1)
    for index in range(CLASSES):
        expected = on_the_tape(graph, heads.find(graph).logits, x, index, PAPERS[method])
        assert relative_error(entry(x=x, class_index=class_of(index))["map"], expected) < BOUND


OTHERS = ["RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "ELU", "HARD_SWISH", "GELU"]


@every_method
@pytest.mark.parametrize("code", OTHERS)
def test_other_rectifiers_select_too_and_keep_their_slope(code, method):
    options = {"LEAKY_RELU": tables.LeakyReluOptions(0.3), "GELU": tables.GeluOptions(False)}
    network = Network(1, 6, 6, 3)
    before = network.conv(network.x, 5, activation=Activation.NONE)
    y = network.builder.op(code, [before], before.shape, options.get(code))
    model = network.model(network.dense(network.builder.reshape(y, (1, 180)), CLASSES))
    graph = model.graphs[0]
    (x,) = samples(model, 1)
    forward = {
        "RELU_N1_TO_1": lambda x: tf.clip_by_value(x, -1, 1),
        "RELU_0_TO_1": lambda x: tf.clip_by_value(x, 0, 1),
        "LEAKY_RELU": lambda x: tf.nn.leaky_relu(x, 0.3),
        "ELU": tf.nn.elu,
        "HARD_SWISH": lambda x: x * tf.nn.relu6(x + 3) / 6,
        "GELU": lambda x: tf.nn.gelu(x, approximate=False),
    }[code]
    values = tensorflow_twin.forward(
        Graph("part", graph.tensors, graph.inputs, [before], graph.ops[:1]), tf.constant(x)
    )
    at = values[before]
    with tf.GradientTape() as tape:
        tape.watch(at)
        result = forward(at)
    slope = tape.gradient(result, at).numpy()
    signal = graph.producers()[graph.outputs[0]].input(1).data[1].reshape(slope.shape)
    ones = np.ones_like(slope)
    selected = PAPERS[method](result, tf.constant(signal), tf.constant(ones))
    handed_back = selected.numpy() * (slope if method.sloped else 1)
    piece = Graph("piece", graph.tensors, graph.inputs, [before], graph.ops[:1])
    expected = tensorflow_twin.vector_jacobian_product(piece, before, x, handed_back)
    measured = compile_method(method(), model)[method.name](x=x, class_index=class_of(1))["map"]
    assert relative_error(measured, expected) < 2 * BOUND


@every_method
def test_a_model_without_rectifiers_is_refused_and_the_signed_twin_named(method):
    network = Network(1, 6, 6, 3)
    features = network.conv(network.x, 5, activation=Activation.NONE)
    model = network.model(network.softmax(network.dense(network.average(features), CLASSES)))
    with pytest.raises(UnsupportedModelError, match=f"{method.name} changes what rectifiers hand back") as caught:
        export.explain(tflite.write(model), methods=[method.name])
    assert f"--method {method.signed_twin}" in caught.value.hint


# Exports


@pytest.fixture(scope="module")
def bundle() -> edge.Bundle:
    methods = [*(method.name for method in PAPERS), "saliency"]
    return export.explain(small_models.quantized_classifier(), calibration=small_models.inputs(8), methods=methods)


@every_method
def test_an_export_holds_the_map_against_its_rule_and_the_pieces_against_differences(bundle, method):
    checks = {check.name: check for check in bundle.manifest.checks}
    for what in ("against its rule", "between rectifiers against central differences"):
        check = checks[f"{method.name} {what}"]
        assert check.passed
        assert 0 < check.value < 1e-4
    assert f"{method.name} against central differences" not in checks  # it is the gradient of nothing
    assert checks["saliency against central differences"].passed


@every_method
@pytest.mark.parametrize("wrong", ["nothing is selected", "all is", "scaled"])
def test_a_wrong_rule_stops_the_export(method, wrong, monkeypatch):
    right = method.selected

    def selected(self, emit, upstream, op):
        found = right(self, emit, upstream, op)
        if wrong == "scaled":
            return emit.scale(found, 1.01)
        return upstream if wrong == "all is" else emit.times(found, emit.builder.number(0))

    monkeypatch.setattr(method, "selected", selected)
    with pytest.raises(CheckFailedError, match=f"{method.name} against its rule"):
        export.explain(small_models.float_classifier(), calibration=small_models.inputs(4), methods=[method.name])


@every_method
def test_maps_carry_the_flag_and_a_note_names_the_signed_twin(bundle, method):
    x = small_models.inputs(1)[0]
    explanation = edge.Explainer(bundle).explain(x, method.name, class_index=1)
    assert Flag.VISUAL_AID in explanation.flags
    assert explanation.map.shape == x.shape
    (note,) = [note for note in bundle.manifest.notes if note.startswith(f"{method.name}: visual aid")]
    assert note.endswith("its signed twin is saliency")


@every_method
@pytest.mark.parametrize("numerics", ["hybrid", "mixed", "int8"])
def test_integer_numerics_are_held_against_exact_ones(method, numerics):
    bundle = export.explain(
        small_models.quantized_classifier(),
        calibration=small_models.inputs(8),
        methods=[method.name],
        numerics=numerics,
    )
    assert bundle.manifest.numerics == numerics
    (fidelity,) = [check for check in bundle.manifest.checks if "fidelity" in check.name]
    assert fidelity.passed


def test_where_the_input_cannot_be_reached_the_signal_is_that_of_the_first_tensor_that_can():
    case = barred.text()
    bundle = export.explain(case.model, calibration=case.x, methods=["guided_backprop"])
    explanation = edge.Explainer(bundle).explain(case.x[0], class_index=1)
    assert Flag.NOT_AT_INPUT in explanation.flags
    assert explanation.map.shape == (barred.WORDS, barred.DEPTH)
    assert explanation.map.any()


def test_every_visual_aid_names_a_signed_twin_and_no_other_method_does():
    for method in METHODS.values():
        twin = method.signed_twin
        assert (twin is None) == method.signed
        assert twin is None or METHODS[twin].signed
