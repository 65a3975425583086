"""Numerics: what hybrid convolutions keep of exact maps, and how one is chosen."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edge
import export
from edge.manifest import Candidate
from export import choose, tflite
from export.alike import sign_agreement, top_overlap
from export.numerics import NUMERICS
from export.targets import PI
from tests.references import small_models

QUANTIZED = ("deq", "hybrid", "mixed", "int8")
METHODS = ["integrated_gradients", "saliency", "gradcam"]


@pytest.fixture(scope="module")
def model():
    return small_models.quantized_classifier()


def export_with(numerics, model, **more):
    return export.explain(model, calibration=small_models.inputs(16), methods=METHODS, numerics=numerics, **more)


def test_hybrid_convolutions_read_int8_weights_and_keep_the_map(model):
    exact, hybrid = (export_with(numerics, model) for numerics in ("deq", "hybrid"))
    assert hybrid.manifest.numerics == "hybrid"
    graphs = {s.key: s.graph for s in tflite.read(hybrid.model).signatures}
    convolutions = [op for op in graphs["saliency"].ops if op.code == "CONV_2D"]
    assert {str(op.input(0).dtype) for op in convolutions} == {"float32"}
    # Small convolutions of single pixels stay float: rounding their input would cost more than it saves.
    small = [op for op in convolutions if op.input(1).shape[1:3] == (1, 1)]
    assert {str(op.input(1).dtype) for op in small} == {"float32"}
    assert {str(op.input(1).dtype) for op in convolutions if op not in small} == {"int8"}
    # What the residual is measured against, and GradCAM, stay exact.
    assert not [op for op in graphs["logits"].ops if op.code == "CONV_2D" and op.input(1).dtype == np.int8]
    one, other = edge.Explainer(exact), edge.Explainer(hybrid)
    correlations = []
    for x in small_models.inputs(8, seed=11):
        np.testing.assert_array_equal(one.predict(x).scores, other.predict(x).scores)
        np.testing.assert_array_equal(one.explain(x, "gradcam").map, other.explain(x, "gradcam").map)
        for method in ("saliency", "integrated_gradients"):
            maps = [explainer.explain(x, method).map.ravel() for explainer in (one, other)]
            correlations.append(np.corrcoef(*maps)[0, 1])
    assert np.mean(correlations) > 0.97


def test_mixed_numerics_run_the_models_own_integer_ops_forward(model):
    exact = edge.Explainer(export_with("deq", model))
    bundle = export_with("mixed", model, allow_unfaithful=True)
    mixed = edge.Explainer(bundle)
    graphs = {s.key: s.graph for s in tflite.read(bundle.model).signatures}
    forward = [op for op in graphs["saliency"].ops if op.code.endswith("CONV_2D") and op.output.is_quantized]
    assert len(forward) == 3
    # Masks die where activations round to 0, so maps lose something; what stays points the same way.
    correlations = []
    for x in small_models.inputs(8, seed=11):
        np.testing.assert_array_equal(exact.predict(x).scores, mixed.predict(x).scores)
        maps = [explainer.explain(x, "integrated_gradients").map.ravel() for explainer in (exact, mixed)]
        correlations.append(np.corrcoef(*maps)[0, 1])
    assert 0.8 < np.mean(correlations) < 1


def test_fidelity_is_a_check_of_what_ships(model):
    bundle = export_with("hybrid", model)
    fidelity = [check for check in bundle.manifest.checks if "fidelity" in check.name]
    assert {check.name.split()[0] for check in fidelity} == {"integrated_gradients", "saliency"}
    assert all(check.passed and 0.9 <= check.value <= 1 for check in fidelity)
    # Gradients are held against differences in exact numerics, where that means something.
    assert any(check.name == "saliency against central differences" for check in bundle.manifest.checks)


def test_numerics_that_lose_the_map_do_not_ship(model, monkeypatch):
    monkeypatch.setattr(choose, "FIDELITY_BOUND", 1.01)
    with pytest.raises(export.CheckFailedError, match="fidelity"):
        export_with("hybrid", model)
    shipped = export_with("hybrid", model, allow_unfaithful=True)
    assert "failed checks" in " ".join(shipped.manifest.notes)
    assert export_with("auto", model).manifest.numerics == "deq"


def test_auto_says_what_it_decided_from(model):
    manifest = export_with("auto", model).manifest
    assert {(row.numerics, row.method) for row in manifest.candidates} == {
        (numerics, method) for numerics in QUANTIZED for method in ("integrated_gradients", "saliency")
    }
    rows = {name: [row for row in manifest.candidates if row.numerics == name] for name in QUANTIZED}
    faithful = [name for name in QUANTIZED if all(choose.is_faithful(row) for row in rows[name])]
    costs = {name: sum(row.cost_ratio for row in rows[name]) for name in faithful}
    assert costs[manifest.numerics] <= 1.03 * min(costs.values())
    assert all(row.fidelity == pytest.approx(1) for row in manifest.candidates if row.numerics == "deq")


def test_signs_and_largest_tenths_are_reported_beside_the_fidelity(model):
    """In the check and the manifest, as maps of both bundles have them; and they decide nothing."""
    x = small_models.inputs(16)
    options = {"calibration": x, "methods": ["saliency"], "batch": 8, "report": False}
    exact, coarse = (edge.Explainer(export.explain(model, numerics=name, **options)) for name in ("deq", "int8"))
    (candidate,) = (found for found in coarse.manifest.candidates if found.numerics == "int8")
    signs, top = [], []
    for sample in x:
        class_index = exact.predict(sample).class_index
        one, other = (e.explain(sample, "saliency", class_index=class_index).map.ravel() for e in (exact, coarse))
        signs.append(np.mean((one * other > 0)[one != 0]))
        count = round(one.size / 10)
        threshold, others = np.sort(np.abs(one))[-count], np.sort(np.abs(other))[-count]
        top.append(np.mean(np.abs(other[np.abs(one) >= threshold]) >= others))
    assert candidate.sign_agreement == pytest.approx(np.median(signs), abs=0.05)
    assert candidate.top_overlap == pytest.approx(np.median(top), abs=0.1)
    (check,) = (c for c in coarse.manifest.checks if "fidelity" in c.name)
    assert f"signs agree in {candidate.sign_agreement:.1%} of values" in check.detail
    assert f"largest tenths in {candidate.top_overlap:.1%}" in check.detail
    assert choose.is_alike(replace(candidate, sign_agreement=0.0, top_overlap=0.0))


def test_sign_agreement_and_overlap_by_hand():
    exact = np.array([3.0, -2.0, 0.0, 1.0] + [0.5] * 16)
    assert sign_agreement(exact, exact) == top_overlap(exact, exact) == 1
    assert sign_agreement(exact, -exact) == 0
    assert top_overlap(exact, -exact) == 1  # by magnitude
    other = exact.copy()
    other[1], other[3] = 0.0, -9.0
    assert sign_agreement(exact, other) == pytest.approx(17 / 19)
    assert top_overlap(exact, other) == 0.5
    nothing = np.zeros(20)
    for of in (sign_agreement, top_overlap):
        assert of(nothing, nothing) == 1
        assert of(nothing, exact) == of(exact, nothing) == 0


def row(numerics, cost, fidelity=1.0, tail=1.0, method="saliency"):
    return Candidate(numerics, method, cost, fidelity, tail)


CANDIDATES = [(NUMERICS["deq"], None), (NUMERICS["hybrid"], None)]


@pytest.mark.parametrize(
    ("hybrid", "index"),
    [
        (row("hybrid", 1.0), 1),
        (row("hybrid", 3.0), 0),
        (row("hybrid", 1.0, fidelity=0.89), 0),
        (row("hybrid", 1.0, fidelity=0.95, tail=0.69), 0),
    ],
)
def test_the_cheapest_faithful_candidate_wins(hybrid, index):
    assert choose.ranking(CANDIDATES, [row("deq", 2.0), hybrid])[0] == index


def test_of_candidates_that_cost_the_same_the_most_faithful_wins():
    candidates = [(NUMERICS[name], None) for name in ("deq", "hybrid", "mixed", "int8")]
    rows = [row("deq", 2.0), row("hybrid", 1.01, 0.99), row("mixed", 1.0, 0.95), row("int8", 1.2, 0.97)]
    assert choose.ranking(candidates, rows) == [1, 2, 3, 0]


def test_one_unfaithful_method_bars_a_candidate():
    rows = [row("deq", 2.0), row("hybrid", 1.0), row("deq", 9.0, method="ig"), row("hybrid", 1.0, 0.5, method="ig")]
    assert choose.ranking(CANDIDATES, rows) == [0]


def test_a_target_refuses_what_it_cannot_run_and_tries_what_it_can():
    assert [n.name for n in PI.candidates("auto", quantized=True)] == list(QUANTIZED)
    assert [n.name for n in PI.candidates("auto", quantized=False)] == ["f32"]
    assert [n.name for n in PI.candidates("hybrid", quantized=True)] == ["deq", "hybrid"]
    assert [n.name for n in PI.candidates("int8", quantized=True)] == ["deq", "mixed", "int8"]
    assert [n.name for n in PI.candidates("f32", quantized=True)] == ["f32"]
    with pytest.raises(export.UnsupportedModelError) as caught:
        PI.candidates("hybrid", quantized=False)
    assert "f32" in caught.value.hint


def naive_ranks(values):
    return np.array([(values < v).sum() + (values == v).sum() / 2 for v in values])


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=40))
def test_rank_correlation_is_spearmans_with_ties(pairs):
    left, right = np.array(pairs, np.float32).T
    got = choose.rank_correlation(left, right)
    if left.std() and right.std():
        assert got == pytest.approx(np.corrcoef(naive_ranks(left), naive_ranks(right))[0, 1], abs=1e-9)
    else:
        assert got in (0.0, 1.0)
