"""Steps until a tolerance is met, through real compiled models, against TensorFlow's gradient on a dense path."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import edge
import export
from edge.bundle import Bundle
from edge.errors import InputError
from edge.explanation import Flag
from export import tflite
from export.methods import IntegratedGradients
from export.numerics import NUMERICS
from tests.export.test_batches import mixing_model
from tests.link import chunks
from tests.references import small_models
from tests.references.tensorflow_twin import forward, input_gradient

IG = "integrated_gradients"
DENSE = (np.arange(400) + 0.5) / 400


def exported(model: bytes | None = None, **options: object) -> Bundle:
    model = small_models.float_classifier() if model is None else model
    return export.explain(model, calibration=small_models.inputs(16), methods=[IG], refine=True, **options)


@pytest.fixture(scope="module")
def explainer():
    return edge.Explainer(exported(numerics="f32"))


def truth(x: np.ndarray, class_index: int) -> tuple[np.ndarray, float]:
    """The integral on a dense path, and the change of the logit, by TensorFlow."""
    graph = tflite.read(small_models.float_classifier()).graphs[0]
    logits = graph.producers()[graph.outputs[0]].input(0)
    points = np.stack([np.float32(node) * x for node in DENSE])
    values = [float(forward(graph, at[None])[logits][0, class_index]) for at in (np.zeros_like(x), x)]
    return input_gradient(graph, logits, points, class_index).mean(0) * x, values[1] - values[0]


def test_the_map_meets_its_tolerance_and_is_the_dense_paths(explainer):
    for x in small_models.inputs(4, seed=8):
        for class_index in (0, 2):
            expected, change = truth(x, class_index)
            errors = []
            for tolerance in (0.05, 0.005):
                e = explainer.explain(x, class_index=class_index, tolerance=tolerance, max_steps=400)
                assert e.map.sum() + e.residual == pytest.approx(change, abs=1e-4)
                assert abs(e.residual) <= tolerance * abs(change)
                assert not e.flags & (Flag.RESIDUAL_OVER_BOUND | Flag.DEADLINE | Flag.CORRECTED)
                errors.append(np.linalg.norm(e.map - expected) / np.linalg.norm(expected))
            assert errors[0] < 0.12
            assert errors[1] <= errors[0]


def test_the_entry_gives_tensorflows_gradient_and_logits_at_a_step(explainer):
    graph = tflite.read(small_models.float_classifier()).graphs[0]
    logits = graph.producers()[graph.outputs[0]].input(0)
    (x,) = small_models.inputs(1, seed=5)
    head = explainer.manifest.head(IG)
    for alpha in (0.0, 0.3, 1.0):
        point = np.float32(alpha) * x[None]
        found = explainer._runner(head.each)(
            x=x[None],
            baseline=np.zeros_like(x)[None],
            alphas=np.asarray([alpha], np.float32),
            class_index=np.asarray([3], np.int32),
        )
        expected = input_gradient(graph, logits, point, 3)
        assert np.linalg.norm(found["map"] * head.each_unit - expected) <= 1e-5 * np.linalg.norm(expected)
        np.testing.assert_allclose(found["logits"], forward(graph, point)[logits], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("numerics", [name for name in NUMERICS if name != "f32"])
def test_steps_are_exact_in_all_numerics(numerics):
    """Beside steps in integers too: with what those round away, residuals would never come down."""
    file = small_models.quantized_classifier()
    bundle = exported(file, numerics=numerics, allow_unfaithful=True)
    (check,) = (check for check in bundle.manifest.checks if check.name == f"{IG} step by step")
    assert check.passed
    assert check.value < 1e-3
    explainer = edge.Explainer(bundle)
    exact = edge.Explainer(exported(file, numerics="deq"))
    for x in small_models.inputs(4, seed=6):
        found, expected = (one.explain(x, class_index=1, tolerance=0.01, max_steps=256) for one in (explainer, exact))
        assert not found.flags & Flag.RESIDUAL_OVER_BOUND
        assert np.linalg.norm(found.map - expected.map) <= 0.05 * np.linalg.norm(expected.map)


def test_a_wrong_unit_of_the_steps_is_found_at_export(monkeypatch):
    plain = IntegratedGradients._each

    def doubled(self, source):
        entry = plain(self, source)
        return replace(entry, unit=2 * entry.unit)

    monkeypatch.setattr(IntegratedGradients, "_each", doubled)
    with pytest.raises(export.CheckFailedError, match="step by step"):
        exported(numerics="f32")


def test_a_model_that_mixes_a_batch_is_refined_all_the_same(explainer):
    mixing = edge.Explainer(exported(mixing_model(), numerics="f32"))
    (x,) = small_models.inputs(1, seed=4)
    got, expected = (one.explain(x, class_index=0, tolerance=0.02) for one in (mixing, explainer))
    assert abs(got.residual - expected.residual) < 0.05 * abs(expected.map.sum())
    assert not got.flags & Flag.RESIDUAL_OVER_BOUND


def test_a_correction_is_made_on_request_only_and_labelled_on_the_link(explainer):
    (x,) = small_models.inputs(1, seed=3)
    for asked in ({"steps": 8}, {"tolerance": 0.05}):
        raw, corrected = (explainer.explain(x, class_index=1, complete=flag, **asked) for flag in (False, True))
        assert corrected.residual == raw.residual != 0
        assert corrected.flags == raw.flags | Flag.CORRECTED
        left = raw.map.sum() + raw.residual - corrected.map.sum(dtype=np.float64)
        assert abs(left) < 0.01 * abs(raw.residual)
        (piece, *_) = chunks(0, corrected, 0, "int8")
        assert Flag(piece.flags) == corrected.flags
        assert piece.residual == pytest.approx(raw.residual)


def test_a_tolerance_below_the_usual_bound_is_the_bound(explainer):
    (x,) = small_models.inputs(1, seed=3)
    e = explainer.explain(x, class_index=1, tolerance=1e-6, max_steps=20)
    assert e.steps == 20
    assert e.flags & Flag.RESIDUAL_OVER_BOUND
    loose = explainer.explain(x, class_index=1, tolerance=0.9, max_steps=3)
    change = loose.map.sum() + loose.residual
    assert bool(loose.flags & Flag.RESIDUAL_OVER_BOUND) == (abs(loose.residual) > 0.05 * abs(change))


def test_a_deadline_leaves_a_map_of_a_step_at_least(explainer):
    (x,) = small_models.inputs(1, seed=3)
    explainer.explain(x, tolerance=0.02)
    e = explainer.explain(x, tolerance=0.02, deadline_ms=0)
    assert e.steps == 1
    assert e.flags & Flag.DEADLINE
    assert np.isfinite(e.map).all()
    assert e.map.any()


@pytest.mark.parametrize("tolerance", ["0.1", np.nan, np.inf, -0.1, 0, True, [0.1]])
def test_what_is_no_tolerance_is_refused(tolerance, explainer):
    with pytest.raises(InputError, match="is none") as caught:
        explainer.explain(small_models.inputs(1)[0], tolerance=tolerance)
    assert caught.value.hint


@pytest.mark.parametrize("most", [0, -1, 2.5, 12.0, True, "8", 1025, np.nan])
def test_what_is_no_limit_of_steps_is_refused(most, explainer):
    with pytest.raises(InputError, match="no limit"):
        explainer.explain(small_models.inputs(1)[0], tolerance=0.02, max_steps=most)


def test_options_that_exclude_one_another_are_refused(explainer):
    (x,) = small_models.inputs(1)
    with pytest.raises(InputError, match="at once"):
        explainer.explain(x, tolerance=0.02, steps=8)
    with pytest.raises(InputError, match="max_steps"):
        explainer.explain(x, max_steps=8)
    methods = ["gradcam", IG, "saliency"]
    other = edge.Explainer(export.explain(small_models.float_classifier(), methods=methods))
    with pytest.raises(InputError, match="cannot take steps until") as caught:
        other.explain(x, IG, tolerance=0.02)
    assert "--refine" in caught.value.hint
    with pytest.raises(InputError, match="cannot take steps until"):
        other.explain(x, "gradcam", tolerance=0.02)
    with pytest.raises(InputError, match="no residual to spread"):
        other.explain(x, "saliency", complete=True)


def test_a_limit_of_numpys_own_kind_is_a_number(explainer):
    e = explainer.explain(small_models.inputs(1)[0], tolerance=np.float32(1e-6), max_steps=np.int64(13))
    assert e.steps == 13
