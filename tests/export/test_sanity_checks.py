"""The sanity checks catch explanations that explain nothing, each its own liar, and let honest ones pass."""

import itertools
from functools import partial

import numpy as np
import pytest

import edge
import export
from edge.explanation import Flag
from export import tflite
from export.compiling import compile_methods
from export.methods import GradCAM, IntegratedGradients, Saliency
from export.numerics import NUMERICS
from export.trust import Cascade, sanity_checks
from export.trust.attribution import attribution
from export.trust.cascade import Draw
from export.trust.edges import edges
from export.trust.maps import classes_of
from export.trust.sanity import CLASS, EDGES, RANDOMIZATION
from tests.references import small_models

X = small_models.inputs(12)
MODULE = "export.trust.sanity"


def run(model=None, methods=None, x=X, **options):
    """Return the sanity checks of methods on a small classifier, by name, and the notes."""
    methods = methods or [Saliency()]
    model = model or small_models.float_classifier()
    again = partial(compile_methods, methods=methods, numerics=NUMERICS["f32"])
    found = sanity_checks(again(model), again, x, np.zeros_like(x[0]), cascade=lambda: Cascade(model), **options)
    return {check.name: check for check in found.checks}, found.notes


def lie(monkeypatch, liar):
    """Put ``liar(honest, sample, class)`` in place of every method."""

    def lying(shipped, name, baseline):
        honest = attribution(shipped, name, baseline)
        return lambda sample, index: liar(honest, sample, index)

    monkeypatch.setattr(f"{MODULE}.attribution", lying)


@pytest.mark.parametrize("seed", range(6))
def test_signed_methods_pass_on_any_network(seed):
    checks, notes = run(small_models.float_classifier(seed=seed), [Saliency(), GradCAM(), IntegratedGradients()])
    assert len(checks) == 9
    assert all(check.passed for check in checks.values()), checks
    assert not notes


def pattern(index, shape):
    return np.random.default_rng(index).normal(size=shape)


def logit(honest, x, index):
    """Return what the logit gains to first order."""
    return (honest(x, index) * x).sum()


def sign(honest, x, index):
    """Return the sign of that."""
    return np.sign(logit(honest, x, index))


LIARS = {
    "one map for all classes": (lambda honest, x, index: honest(x, 0), CLASS),
    "nearly one map for all classes": (lambda honest, x, index: honest(x, 0) + 0.2 * honest(x, index), CLASS),
    "always the same map": (lambda honest, x, index: pattern(0, x.shape), CLASS),
    "edges": (lambda honest, x, index: edges(x), EDGES),
    "edges, by a grain of salt for each class": (lambda honest, x, index: edges(x) + 0.1 * honest(x, index), EDGES),
    "the input": (lambda honest, x, index: x, EDGES),
    "the input's negative": (lambda honest, x, index: -x, EDGES),
    "a pattern for each class": (lambda honest, x, index: pattern(index, x.shape), RANDOMIZATION),
    "the input times a pattern for each class": (lambda honest, x, index: x * pattern(index, x.shape), RANDOMIZATION),
    "magnitudes": (lambda honest, x, index: np.abs(honest(x, index)), RANDOMIZATION),
    "edges, with the logit's sign": (lambda honest, x, index: edges(x) * sign(honest, x, index), EDGES),
    "the input times the logit": (lambda honest, x, index: x * logit(honest, x, index), EDGES),
    "the input's sizes times the logit": (lambda honest, x, index: abs(x) * logit(honest, x, index), RANDOMIZATION),
    "a pattern, with the logit's sign": (
        lambda honest, x, index: pattern(0, x.shape) * sign(honest, x, index),
        RANDOMIZATION,
    ),
    "the input, times the logit": (lambda honest, x, index: x * logit(honest, x, index), RANDOMIZATION),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", LIARS)
def test_each_liar_is_caught_by_its_check(name, seed, monkeypatch):
    liar, check = LIARS[name]
    lie(monkeypatch, liar)
    checks, _ = run(small_models.float_classifier(seed=seed))
    assert not checks[f"saliency {check}"].passed, checks


def test_a_constant_map_is_no_honest_one(monkeypatch):
    lie(monkeypatch, lambda honest, x, index: np.full(x.shape, 1.0 + index))
    checks, _ = run()
    assert not checks[f"saliency {CLASS}"].passed


def test_maps_that_are_zero_decide_nothing(monkeypatch):
    lie(monkeypatch, lambda honest, x, index: np.zeros(x.shape))
    checks, notes = run()
    assert not checks
    assert len(notes) == 3
    assert all("was not decided" in note for note in notes)


def test_zero_maps_of_randomised_models_are_counted(monkeypatch):
    model = small_models.float_classifier()
    trained = compile_methods(model, [Saliency()], NUMERICS["f32"]).source.graph.tensors

    def dead_if_randomised(shipped, name, baseline):
        honest = attribution(shipped, name, baseline)
        both = zip(shipped.source.graph.tensors, trained, strict=True)
        same = all(np.array_equal(one.data, other.data) for one, other in both if one.data is not None)
        return honest if same else lambda sample, index: np.zeros(sample.shape)

    monkeypatch.setattr(f"{MODULE}.attribution", dead_if_randomised)
    checks, notes = run(model)
    assert set(checks) == {f"saliency {CLASS}"}
    assert "80 of 80 maps zero" in " ".join(notes)


def test_equal_inputs_give_equal_checks():
    assert run() == run()


def test_a_check_says_what_it_is_held_against():
    checks, _ = run()
    for check in checks.values():
        low, high = check.band
        assert low < high
        assert check.seeds == (0, 1, 2, 3, 4)
        assert check.method == "saliency"
        assert check.samples == 8


def test_too_few_different_inputs_decide_nothing():
    checks, notes = run(x=np.repeat(X[:3], 4, 0))
    assert not checks
    assert notes == ("sanity checks and measures were not made: too few different inputs, 3 of 4",)


class Clock:
    """Time that passes with maps only."""

    def __init__(self, seconds_per_map):
        self.now, self.maps, self.each = 0.0, 0, seconds_per_map

    def map(self, honest, sample, index):
        self.now += self.each
        self.maps += 1
        return honest(sample, index)


@pytest.mark.parametrize(
    ("seconds_per_map", "decided", "most"),
    [
        (0.01, {CLASS, EDGES, RANDOMIZATION}, 20),
        (0.1, {CLASS, EDGES, RANDOMIZATION}, 20),
        (0.4, {CLASS}, 20),
        (5, set(), 40),
    ],
)
def test_the_time_is_bounded_and_what_it_leaves_open_is_said(seconds_per_map, decided, most, monkeypatch):
    clock = Clock(seconds_per_map)
    lie(monkeypatch, clock.map)
    monkeypatch.setattr(f"{MODULE}.time.monotonic", lambda: clock.now)
    checks, notes = run()
    assert {name.removeprefix("saliency ") for name in checks} == decided
    assert clock.now <= most
    assert all(check.passed for check in checks.values())
    assert bool(notes) == (seconds_per_map > 0.01)
    if seconds_per_map == 0.1:
        assert notes[0].startswith("saliency: not randomised: last 4, 2 of 4 layers: 10 randomised models take more")


def test_where_time_is_short_the_cheapest_method_is_decided(monkeypatch):
    clock = Clock(0)

    def slow(shipped, name, baseline):
        honest = attribution(shipped, name, baseline)

        def explain(sample, index):
            clock.now += {"saliency": 0.2, "gradcam": 0.001}[name]
            return honest(sample, index)

        return explain

    monkeypatch.setattr(f"{MODULE}.attribution", slow)
    monkeypatch.setattr(f"{MODULE}.time.monotonic", lambda: clock.now)
    checks, notes = run(methods=[Saliency(), GradCAM()], seconds=10.0)
    assert f"gradcam {RANDOMIZATION}" in checks
    assert f"saliency {RANDOMIZATION}" not in checks
    assert f"saliency {CLASS}" in checks
    assert [note.split(":")[0] for note in notes] == ["saliency"] * 3


def test_an_export_stops_at_a_method_that_explains_nothing(monkeypatch):
    lie(monkeypatch, lambda honest, x, index: edges(x))
    model = small_models.float_classifier()
    with pytest.raises(export.CheckFailedError) as caught:
        export.explain(model, calibration=X, methods=["saliency"])
    assert "saliency no edge detector" in caught.value.cause
    assert "bound" in caught.value.cause
    assert "--method" in caught.value.hint
    bundle = export.explain(model, calibration=X, methods=["saliency"], allow_unfaithful=True)
    assert edge.Explainer(bundle).explain(X[0]).flags & Flag.UNFAITHFUL
    assert "shipped with failed checks (--allow-unfaithful)" in bundle.manifest.notes


def test_the_hint_names_the_methods_that_passed(monkeypatch):
    def lying(shipped, name, baseline):
        honest = attribution(shipped, name, baseline)
        return honest if name == "gradcam" else lambda sample, index: edges(sample)

    monkeypatch.setattr(f"{MODULE}.attribution", lying)
    with pytest.raises(export.CheckFailedError) as caught:
        export.explain(small_models.float_classifier(), calibration=X, methods=["saliency", "gradcam"])
    assert "leave --method saliency out (gradcam passed)" in caught.value.hint


def test_a_visual_aid_fails_and_ships_as_what_it_is():
    """GradCAM++ weighs by positive gradients only; it must not depend on luck that this network shows it."""
    bundle = export.explain(
        small_models.float_classifier(seed=3), calibration=X, methods=["gradcam_plus_plus", "gradcam"]
    )
    failed = [check for check in bundle.manifest.checks if not check.passed]
    assert failed
    assert all(check.method == "gradcam_plus_plus" and not check.gating for check in failed)
    explainer = edge.Explainer(bundle)
    assert explainer.explain(X[0], "gradcam_plus_plus").flags & (Flag.VISUAL_AID | Flag.UNFAITHFUL) == Flag.VISUAL_AID
    assert not explainer.explain(X[0], "gradcam").flags & Flag.UNFAITHFUL


def test_without_calibration_nothing_is_decided():
    bundle = export.explain(small_models.float_classifier(), methods=["saliency"])
    assert not any(check.band for check in bundle.manifest.checks)
    assert any("sanity checks and measures were not made" in note for note in bundle.manifest.notes)


@pytest.mark.parametrize("make", [small_models.float_classifier, small_models.quantized_classifier])
def test_a_cascade_randomises_from_the_end_within_each_tensor(make):
    original = make()
    cascade = Cascade(original)
    assert len(cascade) == 4
    before = {t.name: t for t in tflite.read(original).graphs[0].tensors if t.data is not None}
    changed = []
    for count in range(1, 5):
        after = tflite.read(cascade.randomized(count, Draw(7))).graphs[0].tensors
        different = set()
        for tensor in after:
            if tensor.data is not None and not np.array_equal(tensor.data, before[tensor.name].data):
                different.add(tensor.name)
                assert tensor.quantization == before[tensor.name].quantization
                sizes = [np.sort(np.abs(each.data.astype(float)), None) for each in (tensor, before[tensor.name])]
                np.testing.assert_allclose(*sizes, atol=1)  # -128 has no counterpart
        changed.append(different)
    assert changed[0]
    assert all(fewer < more for fewer, more in itertools.pairwise(changed))
    assert cascade.randomized(2, Draw(7)) == cascade.randomized(2, Draw(7)) != cascade.randomized(2, Draw(8))


def test_a_mirrored_draw_has_opposite_gradients():
    cascade = Cascade(small_models.float_classifier())
    maps = []
    for mirrored in (False, True):
        shipped = compile_methods(cascade.randomized(3, Draw(1, mirrored)), [Saliency()], NUMERICS["f32"])
        maps.append(shipped.runtime.call("saliency", x=X[:1], class_index=np.asarray([2], np.int32))["map"])
    assert maps[0].any()
    np.testing.assert_allclose(maps[0], -maps[1], rtol=1e-5)


def test_the_least_probable_class_is_that_of_the_logits_where_scores_are_tied():
    scores = np.asarray([-128, 127, -128, -128])
    assert classes_of(scores, np.asarray([-3.0, 9, -5, -4])) == [1, 2]
    assert classes_of(scores, np.asarray([-3.0, 8, -5, 9])) == [1, 2]
    assert classes_of(scores, np.asarray([-3.0, -8, -5, 9])) == [1, 2]
    assert classes_of(np.asarray([7]), np.asarray([2.0])) == [0]
