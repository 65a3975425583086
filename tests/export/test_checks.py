"""The checks of an export find what is wrong with a gradient: each is shown a wrong one here."""

import numpy as np
import pytest

import export
from export.methods import Saliency
from export.trust.agreement import agreement, distance
from export.trust.differences import error_along, errors_in_random_directions
from tests.references import small_models

WEIGHTS = np.linspace(-1, 2, 300).astype(np.float32)


SIGNS = np.where(np.arange(300) % 3, 1, -1).astype(np.float32)


def function(x):
    """Return a smooth part and one with kinks, the slopes of both signs."""
    return float(np.sin(x @ WEIGHTS / 10) + SIGNS @ np.where(x > 0, x, x / 2))


def gradient(x):
    return (np.cos(x @ WEIGHTS / 10) * WEIGHTS / 10 + SIGNS * np.where(x > 0, 1, 0.5)).astype(np.float32)


def mean(of):
    def along(low, high):
        return np.mean([of(low + f * (high - low)) for f in (np.arange(32) + 0.5) / 32], 0)

    return along


@pytest.fixture
def x():
    return np.random.default_rng(5).normal(size=300).astype(np.float32)


def random_errors(of, x):
    return errors_in_random_directions(function, mean(of), x, float(np.linalg.norm(x)), 0, np.random.default_rng(0))


def test_a_right_gradient_passes(x):
    assert error_along(function, mean(gradient), x, float(np.linalg.norm(x)), 0) < 1e-3
    assert max(random_errors(gradient, x)) < 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: 0 * x,
        lambda x: -gradient(x),
        lambda x: 1.1 * gradient(x),
        lambda x: np.abs(gradient(x)),
        lambda x: np.roll(gradient(x), 1),
        lambda x: gradient(x) * (np.arange(300) % 5 == 0),
        lambda x: np.where(x > 0, gradient(x), 0),
    ],
    ids=["nothing", "sign", "scale", "absolute", "shifted", "four in five missing", "half masked"],
)
def test_a_wrong_gradient_does_not(wrong, x):
    along = error_along(function, mean(wrong), x, float(np.linalg.norm(x)), 0)
    assert along > 2e-3 or max(random_errors(wrong, x)) > 0.1


def test_an_export_whose_saliency_lacks_most_of_its_entries_is_stopped(monkeypatch):
    """What is left of the map is right, and zero elsewhere: only directions that the map does not choose see it."""
    build = Saliency.build

    def sabotaged(self, source):
        compiled = build(self, source)
        (entry,) = compiled.entries
        builder = export.tflite.ops.Builder(entry.graph, "sabotage/")
        keep = (np.arange(np.prod(entry.outputs["map"].shape)) % 5 == 0).reshape(entry.outputs["map"].shape)
        entry.outputs["map"] = builder.mul(entry.outputs["map"], builder.constant(keep.astype(np.float32)))
        entry.graph.outputs[0] = entry.outputs["map"]
        return compiled

    monkeypatch.setattr(Saliency, "build", sabotaged)
    with pytest.raises(export.CheckFailedError, match="saliency in random directions"):
        export.explain(small_models.float_classifier(), calibration=small_models.inputs(8), methods=["saliency"])


def test_calibration_of_nothing_but_zeros_does_not_fail_a_sound_model():
    bundle = export.explain(
        small_models.float_classifier(), calibration=np.zeros((4, 12, 12, 3)), methods=["saliency", "gradcam"]
    )
    assert all(check.passed for check in bundle.manifest.checks)


def test_maps_that_are_zero_as_they_should_be_decide_nothing():
    none, right, wrong = np.zeros(4), np.arange(4.0), np.arange(4.0) + 0.1
    errors = [distance(measured, expected) for measured, expected in ((none, none), (right, right), (none, none))]
    (check,) = agreement("a against b", errors, "a").checks
    assert check.passed
    assert check.samples == 1
    assert "2 of 3 maps are zero" in check.detail
    nothing = agreement("a against b", [distance(none, none)] * 3, "a")
    assert not nothing.checks
    assert nothing.notes == ("a against b was not decided: all 3 maps are zero, as they should be",)
    for measured, expected in ((none, right), (wrong, none), (wrong, right)):
        (check,) = agreement("a against b", [*errors[::2], distance(measured, expected)], "a").checks
        assert not check.passed


def test_an_export_says_which_formula_all_maps_were_zero_by():
    """The gradient times an input of zeros."""
    bundle = export.explain(
        small_models.float_classifier(), calibration=np.zeros((4, 12, 12, 3)), methods=["input_x_gradient"]
    )
    name = "input_x_gradient against its formula"
    assert not any(check.name == name for check in bundle.manifest.checks)
    assert f"{name} was not decided: all 4 maps are zero, as they should be" in bundle.manifest.notes
