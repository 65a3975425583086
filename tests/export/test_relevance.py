"""LRP: against its papers' formulas on TensorFlow's ops, what its rules promise, and what exports check of it."""

from __future__ import annotations

import numpy as np
import pytest

import edge
import export
from export import heads, tflite
from export.methods import InputXGradient, LRPAlphaBeta, LRPEpsilon, LRPZPlus
from export.numerics import store_float, store_quantized
from export.tflite import Model, Tensor
from export.tflite import options as tables
from export.tflite.ops import Builder
from export.tflite.options import Activation
from export.vjp import GRADIENT, LRP_EPSILON, LRP_Z_PLUS, lrp_epsilon
from tests.export import test_methods as classifiers
from tests.export.test_methods import CLASSES, Network, class_of, samples
from tests.export.test_state import barred_front_end, gain_and_recurrence, ring_buffer
from tests.references import more_ops, networks, relevance, small_models, tensorflow_twin
from tests.references.compiled import compile_method, relative_error
from tests.references.relevance import AlphaBeta, Epsilon

BOUND = 2e-5
METHODS = {LRPEpsilon: Epsilon(0.01), LRPAlphaBeta: AlphaBeta(2, 1), LRPZPlus: AlphaBeta(1, 0)}
NAMES = tuple(method.name for method in METHODS)


@pytest.fixture(autouse=True)
def all_ops(monkeypatch):
    monkeypatch.setattr(tensorflow_twin, "_OPS", tensorflow_twin._OPS | more_ops.MORE)


every_variant = pytest.mark.parametrize(("method", "rule"), METHODS.items(), ids=[m.name for m in METHODS])


@every_variant
@classifiers.every_head
def test_relevance_is_that_of_the_formula(build, method, rule):
    model = build()
    graph = model.graphs[0]
    head = heads.find(graph)
    entry = compile_method(method(), model)[method.name]
    for x in samples(model, 2):
        for index in range(CLASSES):
            expected = relevance.at_input(graph, head.logits, x, index, rule)
            assert relative_error(entry(x=x, class_index=class_of(index))["map"], expected) < BOUND


@every_variant
@classifiers.every_quantisation
@pytest.mark.parametrize("store", [store_float, store_quantized], ids=["f32", "deq"])
def test_relevance_in_a_quantised_model_is_that_in_its_float_twin(kind, store, method, rule):
    model = classifiers.quantised_network(kind)
    graph = model.graphs[0]
    head = heads.find(graph)
    entry = compile_method(method(), model, store)[method.name]
    for x in samples(model, 2):
        expected = relevance.at_input(graph, head.logits, x, 2, rule)
        assert relative_error(entry(x=x, class_index=class_of(2))["map"], expected) < BOUND


def deep(seed: int, *, bias: bool) -> Model:
    """Convolutions with rectifiers, overlapping maxima, a sum; with biases or without."""
    network = Network(1, 9, 8, 3, seed=seed)
    build = network.builder
    if not bias:
        network.bias = lambda count: build.constant(np.zeros(count))
    a = network.conv(network.x, 6)
    pool = tables.Pool2DOptions(tables.Padding.VALID, 1, 1, 2, 2)
    b = build.op("MAX_POOL_2D", [a], (1, 8, 7, 6), pool)
    c = build.add(b, network.conv(b, 6, activation=Activation.NONE), Activation.RELU)
    return network.model(network.softmax(network.dense(build.mean(c, (1, 2)), CLASSES)))


@pytest.mark.parametrize("seed", range(4))
def test_without_epsilon_it_is_input_times_gradient_behind_rectifiers_and_biases_keep_their_share(seed, monkeypatch):
    monkeypatch.setattr(lrp_epsilon, "EPSILON", 0.0)
    for bias in (True, False):
        model = deep(seed, bias=bias)
        graph = model.graphs[0]
        head = heads.find(graph)
        lrp = compile_method(LRPEpsilon(), model)["lrp_epsilon"]
        product = compile_method(InputXGradient(), model)["input_x_gradient"]
        for x in samples(model, 2):
            logits = tensorflow_twin.forward(graph, x)[head.logits].numpy().ravel()
            for index in range(CLASSES):
                found = lrp(x=x, class_index=class_of(index))["map"]
                assert relative_error(found, product(x=x, class_index=class_of(index))["map"]) < BOUND
                kept = abs(found.sum(dtype=np.float64) - logits[index]) < 1e-4 * np.abs(found).sum()
                assert kept != bias


def test_more_epsilon_leaves_less(monkeypatch):
    model = deep(0, bias=False)
    (x,) = samples(model, 1)
    left = []
    for epsilon in (0.0, 0.01, 0.1, 1.0):
        monkeypatch.setattr(lrp_epsilon, "EPSILON", epsilon)
        left.append(
            np.abs(compile_method(LRPEpsilon(), model)["lrp_epsilon"](x=x, class_index=class_of(0))["map"]).sum()
        )
    assert left == sorted(left, reverse=True)
    assert left[-1] < 0.2 * left[0]


@pytest.mark.parametrize("seed", range(3))
def test_positive_contributions_share_out_the_whole_logit_but_for_what_biases_keep(seed):
    for bias in (False, True):
        model = deep(seed, bias=bias)
        graph = model.graphs[0]
        head = heads.find(graph)
        (x,) = samples(model, 1)
        logits = tensorflow_twin.forward(graph, x)[head.logits].numpy().ravel()
        index = int(logits.argmax())
        found = compile_method(LRPZPlus(), model)["lrp_z_plus"](x=x, class_index=class_of(index))["map"]
        assert (abs(found.sum() - logits[index]) < 1e-4 * np.abs(found).sum()) != bias


# Activations, gates and products


def behind(activation: str, options: tables.Options | None = None) -> Model:
    """Return a classifier on an activation of the input."""
    network = Network(1, 5, 4, 2)
    y = network.builder.op(activation, [network.x], network.x.shape, options)
    flat = network.builder.reshape(y, (1, 40))
    dense = network.dense(flat, CLASSES)
    return network.model(network.softmax(dense))


@pytest.mark.parametrize(
    ("activation", "options"),
    [
        ("ELU", None),
        ("GELU", tables.GeluOptions(False)),
        ("HARD_SWISH", None),
        ("LEAKY_RELU", tables.LeakyReluOptions(0.2)),
        ("LOGISTIC", None),
        ("RELU6", None),
        ("TANH", None),
    ],
)
def test_an_activation_passes_relevance_on_whole(activation, options):
    """The sum over the input is that over its activations, element by element, at zero and far out as well."""
    model = behind(activation, options)
    graph = model.graphs[0]
    head = heads.find(graph)
    x = np.random.default_rng(0).normal(0, 4, (1, 5, 4, 2)).astype(np.float32)
    x[0, 0, 0] = 0.0, -30.0
    expected = relevance.at_input(graph, head.logits, x, 1, Epsilon(0.01))
    expected[x == 0] = 0.0  # has no way to carry any; only a sigmoid's result differs from 0 there
    found = compile_method(LRPEpsilon(), model)["lrp_epsilon"](x=x, class_index=class_of(1))["map"]
    assert relative_error(found, expected) < BOUND


def gated(network: Network, how: str) -> Tensor:
    build, x = network.builder, network.conv(network.x, 6)
    if how == "excitation":
        squeezed = network.dense(build.reshape(build.mean(x, (1, 2)), (1, 6)), 6, Activation.RELU)
        return build.mul(build.reshape(squeezed, (1, 1, 1, 6)), x)
    inner = network.conv(x, 6, activation=Activation.NONE)
    if how == "sigmoid":
        return build.mul(x, build.op("LOGISTIC", [inner], inner.shape))
    hard = build.op("RELU6", [build.shifted(inner, 3)], inner.shape)
    return build.mul(build.scaled(hard, 1 / 6), x)


@pytest.mark.parametrize("how", ["excitation", "sigmoid", "hard sigmoid"])
def test_a_gate_takes_none_and_the_signal_all(how):
    """As if the gate were a constant: the one that it is at the input."""
    network = Network(1, 6, 6, 3)
    product = gated(network, how)
    model = network.model(network.softmax(network.dense(network.builder.mean(product, (1, 2)), CLASSES)))
    graph = model.graphs[0]
    head = heads.find(graph)
    (x,) = samples(model, 1)
    found = compile_method(LRPEpsilon(), model)["lrp_epsilon"](x=x, class_index=class_of(3))["map"]
    multiplied = graph.producers()[product]
    gate = multiplied.input(int(how == "sigmoid"))
    value = tensorflow_twin.forward(graph, x)[gate].numpy()
    frozen = Builder(graph).constant(value)
    multiplied.inputs = [frozen if tensor is gate else tensor for tensor in multiplied.inputs]
    expected = relevance.at_input(graph, head.logits, x, 3, Epsilon(0.01))
    assert relative_error(found, expected) < BOUND


@pytest.mark.parametrize(
    ("op", "why"), [("MUL", "multiplies two activations, neither of which is a gate"), ("SOFTMAX", "no LRP rule")]
)
def test_what_has_no_rule_is_refused_by_name(op, why):
    network = Network(1, 6, 6, 3)
    x = network.conv(network.x, 6)
    y = network.builder.mul(x, x) if op == "MUL" else network.softmax(x)
    model = network.model(network.softmax(network.dense(network.builder.mean(y, (1, 2)), CLASSES)))
    with pytest.raises(export.UnsupportedModelError, match=f"op {op} .*{why}") as refusal:
        export.explain(tflite.write(model), methods=["lrp_epsilon"])
    assert f"at tensor {y!r}" in str(refusal.value)
    assert "--method integrated_gradients" in str(refusal.value)


@pytest.mark.parametrize(
    "network",
    [networks.mobilenet_v3, networks.inception, networks.u_net, networks.residual_with_gates, networks.sequence],
    ids=lambda network: network.__name__,
)
def test_architectures_pass_what_exports_check(network):
    classifier, _ = networks.build(network)
    data = np.random.default_rng(0).normal(0, 1, (4, *networks.SHAPE)).astype(np.float32)
    bundle = export.explain(networks.convert(classifier), calibration=data, methods=list(NAMES))
    assert {f"{name} adds up" for name in NAMES} <= {check.name for check in bundle.manifest.checks}
    assert all(check.passed for check in bundle.manifest.checks)


# Exports


@pytest.mark.parametrize("numerics", ["f32", "deq", "hybrid", "mixed", "int8"])
def test_every_numerics_ships_it_and_says_how_faithful_it_is(numerics):
    file, x = small_models.quantized_classifier(), small_models.inputs(8)
    names = NAMES if numerics != "int8" else ["lrp_epsilon"]
    exact = edge.Explainer(export.explain(file, calibration=x, methods=names, numerics="deq"))
    made = export.explain(file, calibration=x, methods=names, numerics=numerics)
    explainer = edge.Explainer(made)
    for name in names:
        maps = [one.explain(x[0], name, class_index=1).map for one in (explainer, exact)]
        assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] > 0.9
        rounds = numerics in {"hybrid", "mixed", "int8"}
        assert any(check.name == f"{name} fidelity to float32 arithmetic" for check in made.manifest.checks) == rounds
        told = f"{name}: shares are those along a float forward pass, in numerics {numerics} too"
        assert (told in made.manifest.notes) == (numerics in {"mixed", "int8"})


def test_integers_are_too_coarse_for_quotients_of_both_signs_which_is_found_and_left_out():
    """A contribution may be one part in thousands of what it is divided by."""
    file, x = small_models.quantized_classifier(), small_models.inputs(8)
    with pytest.raises(export.CheckFailedError, match="lrp_alpha_beta fidelity"):
        export.explain(file, calibration=x, methods=["lrp_alpha_beta"], numerics="int8")
    assert export.explain(file, calibration=x, methods=["lrp_alpha_beta"]).manifest.numerics != "int8"


def test_of_positive_contributions_alone_it_is_a_visual_aid():
    made = export.explain(small_models.float_classifier(), calibration=small_models.inputs(4), methods=list(NAMES))
    assert {head.method: head.signed for head in made.manifest.heads} == dict.fromkeys(NAMES, True) | {
        "lrp_z_plus": False
    }
    (note,) = [note for note in made.manifest.notes if "visual aid" in note]
    assert note == (
        "lrp_z_plus: visual aid: keeps only positive contributions (Khakzar et al. 2020); "
        "its signed twin is lrp_epsilon"
    )


def wrong_share(op, upstream, emit):
    return GRADIENT[op.code](op, upstream, emit)


@pytest.mark.parametrize("code", ["CONV_2D", "FULLY_CONNECTED"])
@pytest.mark.parametrize(("name", "table"), [("lrp_epsilon", LRP_EPSILON), ("lrp_z_plus", LRP_Z_PLUS)])
def test_an_export_is_stopped_where_a_rule_shares_out_wrongly(code, name, table, monkeypatch):
    """A percent is enough: without its epsilon, the rule gives as much more."""
    monkeypatch.setitem(table, code, wrong_share)
    with pytest.raises(export.CheckFailedError, match=f"{name} with shares held fixed"):
        export.explain(small_models.float_classifier(), calibration=small_models.inputs(4), methods=[name])


@pytest.mark.parametrize(
    "build", [ring_buffer, gain_and_recurrence, barred_front_end], ids=lambda build: build.__name__
)
def test_relevance_in_the_state_of_a_stream(build):
    """A state is a constant of the step: it takes its share, and keeps it. So it is behind what bars the way."""
    model = build()
    bundle = export.explain(model.file, calibration=model.inputs(), methods=list(NAMES))
    assert all(check.passed for check in bundle.manifest.checks)
    for name in NAMES:
        explainer = edge.Explainer(bundle)
        before = explainer.explain(model.inputs(1)[0], name, class_index=0).map
        for sample in model.inputs(4):
            explainer.predict(sample)
        assert before.any()
        assert not np.allclose(before, explainer.explain(model.inputs(1)[0], name, class_index=0).map)
