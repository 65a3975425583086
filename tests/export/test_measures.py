"""Measures that decide nothing: known answers, what a good map, a random one and a reversed one get, and bounds."""

import copy
import dataclasses
import itertools
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import export
from edge.bundle import Bundle
from edge.errors import InterpreterError
from edge.manifest import Measure
from export import tables, trust
from export.compiling import compile_methods
from export.methods import GradCAM, Saliency
from export.numerics import NUMERICS
from export.tflite import Graph, Model, Op, Signature, write
from export.tflite.ops import FLOAT, Builder
from export.tflite.options import SoftmaxOptions
from export.trust import Cascade, measures, sanity_checks
from export.trust.answers import Answers
from export.trust.maps import OfInputs
from export.trust.perturbation import Positions, area, change, gini, mu_fidelity, order, removals, subsets
from tests.references import small_models

SIDE, CLASSES = 8, 3
RANDOM = np.random.default_rng(5)
WEIGHTS = RANDOM.normal(size=(CLASSES, SIDE * SIDE * 2)).astype(np.float32) * 0.1
X = RANDOM.normal(size=(24, SIDE, SIDE, 2)).astype(np.float32)
BASELINE = np.full((SIDE, SIDE, 2), 0.25, np.float32)


def linear_model(*, squashed=True):
    graph = Graph("main")
    build = Builder(graph)
    x = build.tensor("x", (1, SIDE, SIDE, 2))
    logits = build.fully_connected(build.reshape(x, (1, SIDE * SIDE * 2)), build.constant(WEIGHTS, FLOAT))
    scores = build.tensor("scores", (1, CLASSES)) if squashed else logits
    if squashed:
        graph.ops.append(Op("SOFTMAX", [logits], [scores], SoftmaxOptions(1.0)))
    graph.inputs, graph.outputs = [x], [scores]
    return write(Model([graph], [Signature("serving_default", graph, {"x": x}, {"scores": scores})]))


@pytest.fixture(scope="module")
def linear():
    return compile_methods(linear_model(), [Saliency()], NUMERICS["f32"])


def logits_of(x):
    return x.reshape(len(x), -1).astype(np.float64) @ WEIGHTS.T.astype(np.float64)


def best_of(x):
    return logits_of(x).argmax(1)


def true_maps(x=X):
    return (x - BASELINE) * WEIGHTS[best_of(x)].reshape(x.shape)


def figures(shipped, maps, noisy=None, **options):
    own = OfInputs(list(X), [[values] for values in maps], noisy or [[] for _ in maps])
    found = measures(shipped, {"saliency": own}, BASELINE, **options)
    return {row.name: row for row in found.rows}, found.notes


def test_the_true_map_beats_random_orders_a_random_one_does_not_and_its_reverse_is_worse(linear):
    maps = true_maps()
    true, _ = figures(linear, maps)
    reversed_, _ = figures(linear, -maps)
    draws = [figures(linear, np.random.default_rng(seed).normal(size=X.shape))[0] for seed in range(5)]
    for name in ("deletion", "insertion"):
        assert true[name].interval[0] > 0.05
        assert reversed_[name].interval[1] < -0.05
        assert abs(np.mean([random[name].value for random in draws])) < 0.15 * true[name].value
        assert true[name].reference == 0
        assert true[name].samples == len(X)


def test_a_linear_models_own_contributions_have_a_fidelity_of_1(linear):
    assert figures(linear, true_maps())[0]["MuFidelity"].value == pytest.approx(1, abs=1e-5)
    assert figures(linear, -3 * true_maps())[0]["MuFidelity"].value == pytest.approx(-1, abs=1e-5)
    assert abs(figures(linear, true_maps())[0]["MuFidelity"].reference) < 0.2


def test_deletion_insertion_and_fidelity_are_what_their_formulas_say(linear):
    """Written anew: one pixel after the other, for maps without ties."""
    maps = true_maps().astype(np.float32)

    def score(x, k):
        shifted = np.exp(logits_of(x[None])[0] - logits_of(x[None]).max())
        return shifted[k] / shifted.sum()

    def areas(x, pixels, k):
        gone, come = x.copy(), BASELINE.copy()
        curves = [[score(gone, k)], [score(come, k)]]
        for start in range(0, SIDE * SIDE, SIDE * SIDE // 16):
            for pixel in pixels[start : start + SIDE * SIDE // 16]:
                place = divmod(int(pixel), SIDE)
                gone[place], come[place] = BASELINE[place], x[place]
            curves[0].append(score(gone, k))
            curves[1].append(score(come, k))
        return [sum((a + b) / 2 / 16 for a, b in itertools.pairwise(curve)) for curve in curves]

    own = [areas(x, np.argsort(-m.sum(-1).ravel()), k) for x, m, k in zip(X, maps, best_of(X), strict=True)]
    randoms = []
    for place, (x, k) in enumerate(zip(X, best_of(X), strict=True)):
        each = []
        for seed in range(5):
            random = np.random.default_rng((place, seed))
            each.append(areas(x, order(random.permutation(maps[0].size).reshape(maps[0].shape).sum(-1), random), k)[0])
        randoms.append(np.mean(each))
    found, _ = figures(linear, maps)
    deleted, inserted = np.asarray(own).T
    assert found["deletion"].value == pytest.approx(np.mean(np.asarray(randoms) - deleted), abs=1e-5)
    assert found["insertion"].value == pytest.approx(np.mean(inserted - np.asarray(randoms)), abs=1e-5)


def test_the_interval_is_that_of_the_mean_over_inputs(linear):
    row = figures(linear, true_maps())[0]["deletion"]
    assert row.interval[0] < row.value < row.interval[1]
    maps = true_maps()
    row = figures(linear, maps, [[1.25 * values] for values in maps])[0]["sensitivity to noise"]
    assert row.interval == pytest.approx((0.25, 0.25))


def test_maps_of_equal_values_are_random_orders(linear):
    found, _ = figures(linear, np.ones(X.shape))
    assert abs(found["deletion"].value) < 0.05
    assert found["MuFidelity"].value == 0
    assert found["sparseness"].value == pytest.approx(0)


def test_noise_moves_a_map_by_its_relative_length(linear):
    maps = true_maps()
    noisy = [[1.5 * values, 0.9 * values] for values in maps]
    row = figures(linear, maps, noisy)[0]["sensitivity to noise"]
    assert row.value == pytest.approx(0.3)
    assert "largest 0.5" in row.detail
    assert row.reference > 1


def test_zero_maps_have_no_sparseness(linear):
    found, _ = figures(linear, np.zeros(X.shape), [[np.zeros(X[0].shape)] for _ in X])
    assert not {"sparseness", "sensitivity to noise"} & set(found)


def test_answers_are_the_models_own_in_its_own_numerics():
    for make in (small_models.float_classifier, small_models.quantized_classifier):
        shipped = compile_methods(make(), [GradCAM()], NUMERICS["deq"])
        x = small_models.inputs(3)
        scores, logits = Answers(shipped)(x)
        head = shipped.source.head
        stored = np.concatenate([shipped.scores(shipped.stored(sample)) for sample in x])
        grid = head.scores.quantization
        expected = stored if grid is None else (stored.astype(np.float32) - grid.zero_point[0]) * grid.scale[0]
        np.testing.assert_array_equal(scores, expected)
        softmax = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(softmax, scores, atol=1 / 128)


def test_a_model_without_softmax_is_measured_in_its_own_unit():
    shipped = compile_methods(linear_model(squashed=False), [Saliency()], NUMERICS["f32"])
    found, _ = figures(shipped, true_maps())
    assert found["deletion"].value > 0.1


def test_too_little_time_is_said(linear):
    found, notes = figures(linear, true_maps(), seconds=1e-4)
    assert set(found) == {"sparseness"}
    assert "were not measured: 4 inputs take more than 0.0001 s" in notes[0]


def test_what_lies_not_like_the_input_is_said(linear):
    found, notes = figures(linear, np.ones((24, 2, 2, 2, 2)))
    assert "deletion" not in found
    assert notes == (
        "saliency: deletion, insertion and MuFidelity were not measured: its map cannot be laid over the input",
    )


def test_what_is_not_finite_is_said(linear):
    maps = true_maps()
    maps[3, 0, 0, 0] = np.nan
    found, notes = figures(linear, maps)
    assert set(found) == {"deletion", "insertion", "sparseness"}
    assert notes == ("saliency: MuFidelity was not measured: not all of it is finite",)


def test_a_model_whose_answers_do_not_run_is_said(linear, monkeypatch):
    def refuse(shipped):
        raise InterpreterError("it will not run", "look at it")

    monkeypatch.setattr("export.trust.measuring.Answers", refuse)
    found, notes = figures(linear, true_maps())
    assert set(found) == {"sparseness"}
    assert notes == ("deletion, insertion and MuFidelity were not measured: it will not run",)


def test_an_input_that_is_not_reached_leaves_what_needs_no_answers():
    shipped = compile_methods(small_models.float_classifier(), [Saliency()], NUMERICS["f32"])
    later = dataclasses.replace(shipped, source=copy.copy(shipped.source))
    later.source.__dict__["start"] = shipped.source.head.logits  # as where the way to the input is barred
    x = small_models.inputs(4)
    own = OfInputs(list(x), [[values] for values in x], [[] for _ in x])
    found = measures(later, {"saliency": own}, np.zeros_like(x[0]))
    assert {row.name for row in found.rows} == {"sparseness"}
    assert "not of the input" in found.notes[0]


POSITIONS = {
    "image": ((32, 24, 3), (0, 1), (8, 6)),
    "grey image": ((32, 32, 1), (0, 1), (4, 4)),
    "signal": ((200, 6), (0,), (50,)),
    "signal as an image": ((1, 128, 3), (1,), (32,)),
    "channels first": ((3, 32, 32), (1, 2), (8, 8)),
    "features": ((10,), (0,), (10,)),
}


@pytest.mark.parametrize("kind", POSITIONS)
def test_maps_lie_over_the_positions_of_an_input(kind):
    shape, axes, coarse = POSITIONS[kind]
    positions = Positions.of(shape)
    assert positions.axes == axes
    values = np.random.default_rng(0).normal(size=shape)
    channels = tuple(axis for axis in range(len(shape)) if axis not in axes)
    np.testing.assert_allclose(positions.laid(values), values.sum(axis=channels))
    ramp = np.arange(coarse[0], dtype=float).reshape(-1, *[1] * (len(coarse) - 1)) * np.ones(coarse)
    laid = positions.laid(ramp)
    assert laid.shape == positions.sizes
    assert (np.diff(laid, axis=0) >= 0).all()
    factor = positions.sizes[0] // coarse[0]
    middle = (np.arange(factor, positions.sizes[0] - factor) + 0.5) / factor - 0.5
    middle = middle * np.prod([shape[axis] for axis in channels])  # which are summed
    expected = np.broadcast_to(middle.reshape(-1, *[1] * (len(coarse) - 1)), (len(middle), *positions.sizes[1:]))
    np.testing.assert_allclose(laid[factor : positions.sizes[0] - factor], expected)  # linear where it is inside
    removed = np.zeros(positions.count, bool)
    removed[1] = True
    changed = np.argwhere(positions.without(np.ones(shape), np.zeros(shape), removed) == 0)
    assert len(changed) == np.prod([shape[axis] for axis in channels])
    assert positions.cells.max() < 82


def test_gini_of_known_vectors():
    assert gini(np.ones(7)) == pytest.approx(0)
    assert gini(np.eye(1, 10)[0]) == pytest.approx(0.9)
    assert gini(np.asarray([1.0, -3.0])) == pytest.approx(0.25)
    assert gini(np.arange(1000)) == pytest.approx(1 / 3, abs=1e-3)
    assert gini(np.random.default_rng(0).normal(size=200_000)) == pytest.approx(np.sqrt(2) - 1, abs=2e-3)


MAPS = st.lists(st.floats(-100, 100).filter(lambda v: v == 0 or abs(v) > 1e-3), min_size=4, max_size=40).filter(any)


@given(MAPS, st.floats(0.01, 100), st.randoms(use_true_random=False))
def test_sparseness_knows_neither_scale_nor_place_nor_sign(values, scale, random):
    moved = values[:]
    random.shuffle(moved)
    assert gini(-scale * np.asarray(moved)) == pytest.approx(gini(np.asarray(values)), abs=1e-9)
    assert -1e-12 <= gini(np.asarray(values)) < 1


@given(MAPS, st.floats(0.01, 100), st.integers(0, 99))
@settings(deadline=None)
def test_fidelity_and_sensitivity_know_no_scale(values, scale, seed):
    random, own = np.random.default_rng(seed), np.asarray(values)
    chosen, drops, other = subsets(len(own), random), random.normal(size=64), random.normal(size=own.shape)
    places = np.arange(len(own))
    first, second = (mu_fidelity(each, places, chosen, drops) for each in (own, scale * own))
    assert first == pytest.approx(second, abs=1e-6)
    assert -1 - 1e-9 <= first <= 1 + 1e-9
    assert change(scale * own, scale * other) == pytest.approx(change(own, other))


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=50), st.integers(0, 9))
def test_orders_and_removals(values, seed):
    own = np.asarray(values, float)
    first = order(own, np.random.default_rng(seed))
    assert sorted(first) == list(range(len(own)))
    assert (np.diff(own[first]) <= 0).all()
    removed = removals(first)
    assert len(removed) == min(16, len(own)) - 1
    assert (np.diff(removed.sum(1)) >= 1).all()
    for row in removed:
        assert set(np.flatnonzero(row)) == set(first[: row.sum()])


def test_the_area_of_a_line_is_its_middle():
    assert area([1, 0.5, 0]) == 0.5
    assert area(np.linspace(0, 1, 17) ** 2) == pytest.approx(1 / 3, abs=1e-3)


@pytest.fixture(scope="module")
def exported():
    """An export with its sanity checks, whose maps are what is measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust, "sanity_checks", sanity_checks)
        model = small_models.float_classifier()
        return export.explain(
            model, calibration=small_models.inputs(12), methods=["gradcam", "saliency"], allow_unfaithful=True
        )


def test_an_export_reports_five_measures_of_each_method(exported):
    measured = exported.manifest.measures
    assert len(measured) == 10
    assert {row.method for row in measured} == {"gradcam", "saliency"}
    for row in measured:
        assert row.interval[0] <= row.value <= row.interval[1]
        assert row.reference is not None
        assert row.samples == 8
    assert Bundle.from_bytes(exported.to_bytes()).manifest.measures == measured


def test_it_verifies_with_the_figures_of_its_export(exported):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust, "sanity_checks", sanity_checks)
        assert export.verify(exported, small_models.inputs(12)).measures == exported.manifest.measures


def test_the_table_has_a_row_for_each_method(exported):
    text = "\n".join(tables.measures(exported.manifest.measures))
    for word in ("gradcam", "saliency", "deletion", "MuFidelity", "sparseness"):
        assert word in text
    assert not tables.measures(())


def test_measures_never_gate(exported):
    assert not {check.name for check in exported.manifest.checks} & {row.name for row in exported.manifest.measures}


def test_no_maps_no_measures():
    model = small_models.float_classifier()
    again = partial(compile_methods, methods=[Saliency()], numerics=NUMERICS["f32"])
    few = sanity_checks(again(model), again, small_models.inputs(3), BASELINE, cascade=lambda: Cascade(model))
    assert not few.maps
    assert "sanity checks and measures were not made" in few.notes[0]
    assert measures(again(model), few.maps, BASELINE) == trust.Measures()


def test_columns_stay_apart_however_large_the_figures():
    rows = [Measure(name, "saliency", 1234.5, 8, (-10000.25, 98765.4)) for name in ("sensitivity to noise", "deletion")]
    lines = tables.measures(rows)
    assert lines[1].count("  1234.50 [-10000.25, 98765.40]") == 2
    assert len(lines[0]) == len(lines[1])
