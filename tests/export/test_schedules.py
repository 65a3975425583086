"""Schedules: quadrature rules against closed forms, fits against paths whose truth is known, and real models."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import edge
import export
from edge.manifest import ExplanationHead, Schedule
from edge.nuig import nodes_and_weights as nuig
from export import tflite
from export.completeness import Left
from export.schedule import GRIDS, LENGTHS, PLACES, RULES, Path, fit, path, static_rules
from export.schedule.rules import along, riemann_right
from tests.references import small_models
from tests.references.tensorflow_twin import forward, input_gradient

fitting = importlib.import_module("export.schedule.fit")  # the package's own ``fit`` is the function
GRID = GRIDS[0]
EVERY = RULES | {"quantile": along(np.sqrt), "right quantile": riemann_right(np.sqrt)}


@pytest.mark.parametrize("name", EVERY)
@given(st.integers(1, 70))
def test_rules_cover_the_path_exactly_once(name, steps):
    nodes, weights = EVERY[name](steps)
    assert len(nodes) == len(weights) == steps
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(nodes) > 0).all()
    assert nodes.min() >= 0
    assert nodes.max() <= 1


@pytest.mark.parametrize(
    ("name", "degree"),
    [
        ("uniform midpoint", 1),
        ("uniform trapezoid", 1),
        ("gauss-legendre", 9),
        ("uniform left", 0),
        ("uniform right", 0),
    ],
)
def test_rules_integrate_polynomials_of_their_degree(name, degree):
    nodes, weights = RULES[name](5)
    for power in range(degree + 1):
        assert weights @ nodes**power == pytest.approx(1 / (power + 1), rel=1e-12)
    assert abs(weights @ nodes ** (degree + 1) - 1 / (degree + 2)) > 1e-9


def test_nuig_deals_out_steps_by_the_root_of_the_change():
    """Bhat & Raychowdhury 2023: changes of 9, 1, 0 and 4 share 12 steps as 3 : 1 : 0 : 2, at least one each."""
    nodes, weights = nuig(np.array([0.0, 9.0, 10.0, 10.0, 14.0]), 12)
    counts = np.histogram(nodes - 1e-9, 4, (0, 1))[0]
    assert counts.tolist() == [6, 2, 1, 3] or counts.tolist() == [5, 2, 1, 4]
    assert weights.sum() == pytest.approx(1)
    for place, count in enumerate(counts):
        inside = (nodes > place / 4 + 1e-9) & (nodes <= (place + 1) / 4 + 1e-9)
        np.testing.assert_allclose(weights[inside], 0.25 / count)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=9), st.integers(0, 40), st.sampled_from([0.5, 1.0]))
def test_nuig_spends_what_it_is_given(values, more, place):
    intervals = len(values) - 1
    nodes, weights = nuig(np.asarray(values), intervals + more, place)
    assert (np.diff(nodes) > 0).all()
    assert len(nodes) == intervals + more
    assert weights.sum() == pytest.approx(1)
    assert np.histogram(nodes - 1e-9, intervals, (0, 1))[0].min() >= 1


def test_nuig_needs_a_step_for_each_interval():
    with pytest.raises(ValueError, match="3 steps are fewer than 4 intervals"):
        nuig(np.arange(5.0), 3)


def saturating(seed: int, grid=GRID) -> Path:
    """A path of a function that saturates soon, tanh(k a) per feature: its true map is known."""
    random = np.random.default_rng(seed)
    speed, size = random.uniform(8, 25, 40), random.normal(size=40)

    def gradient(alpha):
        return (size * speed / np.cosh(speed * alpha) ** 2).astype(np.float32)

    values = np.array([size @ np.tanh(speed * place) for place in PLACES])
    return path(gradient, values, np.ones(40, np.float32), grid)


def test_a_path_tells_what_a_rule_leaves_as_running_it_would():
    one = saturating(3)
    random = np.random.default_rng(3)
    speed, size = random.uniform(8, 25, 40), random.normal(size=40)
    nodes, weights = RULES["uniform midpoint"](24)
    found = sum(w * size * speed / np.cosh(speed * a) ** 2 for a, w in zip(nodes, weights, strict=True))
    truth = size * np.tanh(speed)
    spread = one.on_grid(nodes, weights)
    assert one.residual(spread) == pytest.approx(abs(truth.sum() - found.sum()) / abs(truth.sum()), abs=0.02)
    assert one.map_error(spread) == pytest.approx(np.linalg.norm(found - truth) / np.linalg.norm(truth), abs=0.02)
    assert one.map_error(one.truth) == 0


def test_steps_go_where_maps_change():
    rules = static_rules([saturating(seed) for seed in range(8)])
    nodes, _ = rules["static midpoint"](12)
    assert np.median(nodes) < 0.25  # all of the change lies below 0.3


def nodes_of(schedule: Schedule, one: Path):
    """The nodes and weights of a schedule on a path: where it probes first, from the logit there."""
    if schedule.intervals:
        return nuig(one.values[:: 16 // schedule.intervals], schedule.steps, schedule.place)
    return np.asarray(schedule.nodes), np.asarray(schedule.weights)


def test_a_fit_beats_uniform_steps_on_paths_it_has_not_seen():
    found = fit([saturating(seed) for seed in range(16)])
    assert [schedule.steps for schedule in found.schedules] == list(LENGTHS)
    assert found.notes == ()
    strangers = [saturating(seed) for seed in range(100, 120)]
    for schedule in found.schedules:
        mine, uniform = [], []
        for one in strangers:
            mine.append(one.map_error(one.on_grid(*nodes_of(schedule, one))))
            uniform.append(one.map_error(one.on_grid(*RULES["uniform right"](schedule.steps))))
        assert np.median(mine) < np.median(uniform) / 2
        assert np.median(mine) == pytest.approx(schedule.error_p50, rel=0.5)
    assert found.schedules[-1].error_p50 < found.schedules[0].error_p50 / 10


def test_too_few_usable_inputs_fall_back_and_say_so():
    flat = path(lambda alpha: np.zeros(4, np.float32), np.zeros(17), np.ones(4, np.float32), GRID)
    assert not flat.usable
    found = fit([saturating(seed) for seed in range(7)] + [flat] * 5)
    assert {schedule.rule for schedule in found.schedules} == {"squared midpoint"}
    assert found.schedules[0].error_p50 is not None
    assert "7 usable calibration inputs are too few" in found.notes[0]
    assert fit([]).schedules[0].residual_p50 is None


def test_notes_say_why_inputs_were_too_few():
    two = [saturating(seed) for seed in range(2)]
    assert (
        fit(two, given=24).notes[0].startswith("time ended after 2 of 24 calibration inputs: 2 usable ones are too few")
    )
    assert fit(two, given=2).notes[0].startswith("2 usable calibration inputs are too few")
    assert fit(two[:1], given=1).notes[0].startswith("1 usable calibration input is too few")


@pytest.mark.parametrize("rule", ["nuig", "gauss-legendre"])
def test_a_rule_asked_for_is_judged_by_what_there_is(rule):
    one = fit([saturating(0)], rule)
    assert all(schedule.error_p50 is not None for schedule in one.schedules)
    assert one.notes == (f"{rule}: map errors are those of 1 calibration input, none held back",)
    if rule == "nuig":
        assert {schedule.intervals for schedule in one.schedules} != {2}
    (none,) = fit([], rule).notes
    assert "no calibration input is usable" in none
    assert ("fewest intervals" in none) == (rule == "nuig")
    assert fit([saturating(seed) for seed in range(2)], rule).notes == ()


def test_what_made_a_rule_does_not_judge_it(monkeypatch):
    """Neither where an input is of no use and shifts the others, nor where one is there twice."""
    x = small_models.inputs(20)
    x[0], x[7] = 0, x[2]
    made, judged, rules, add = [], [], fitting.static_rules, Left.add
    monkeypatch.setattr(fitting, "static_rules", lambda paths: made.extend(p.change for p in paths) or rules(paths))
    monkeypatch.setattr(Left, "add", lambda left, *one: judged.append(one[1]) or add(left, *one))
    options = {"numerics": "f32", "batch": 8, "schedule": "static", "allow_unfaithful": True}
    export.explain(small_models.float_classifier(), calibration=x, methods=["integrated_gradients"], **options)
    assert len(made) >= 8
    assert len(judged) >= 8
    assert np.abs(np.subtract.outer(np.abs(made), np.abs(judged))).min() > 1e-5


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.repeat(small_models.inputs(1), 16, axis=0), "1 usable calibration input is too few"),
        (None, "schedules were fitted to random inputs"),
    ],
    ids=["equal", "random"],
)
def test_notes_say_what_schedules_were_fitted_to(x, said):
    options = {"numerics": "f32", "batch": 8, "calibration": x}
    bundle = export.explain(small_models.float_classifier(), methods=["integrated_gradients"], **options)
    assert any(note.startswith(said) for note in bundle.manifest.notes)


def test_a_bundle_keeps_what_its_schedules_were_worth():
    """The residuals in the manifest are those that the device's own program leaves."""
    file = small_models.float_classifier()
    x = small_models.inputs(32)
    bundle = export.explain(file, calibration=x, methods=["integrated_gradients"])
    explainer = edge.Explainer(bundle)
    (head,) = bundle.manifest.heads
    assert [schedule.steps for schedule in head.schedules] == list(LENGTHS)
    for schedule in head.schedules:
        assert schedule.rule
        assert 0 <= schedule.error_p50 <= schedule.error_p90
        residuals = []
        for sample in x[1::2]:
            prediction = explainer.predict(sample)
            result = explainer.explain(sample, "integrated_gradients", steps=schedule.steps, prediction=prediction)
            change = result.residual + float(result.map.sum())
            residuals.append(abs(result.residual) / abs(change))
        assert np.median(residuals) == pytest.approx(schedule.residual_p50, rel=0.6, abs=0.02)
    best = edge.integrate.default_schedule(head.schedules)
    assert best.steps >= 16


def test_a_rule_can_be_asked_for():
    paths = [saturating(seed) for seed in range(16)]
    assert {schedule.rule for schedule in fit(paths, "gauss-legendre").schedules} == {"gauss-legendre"}
    assert {schedule.rule.split()[0] for schedule in fit(paths, "static").schedules} == {"static"}
    probed = fit(paths, "nuig").schedules
    assert all(2 <= schedule.intervals <= min(16, schedule.steps) for schedule in probed)
    uniform = fit(paths, "uniform right").schedules
    assert all(one.error_p50 < other.error_p50 for one, other in zip(probed[2:], uniform[2:], strict=True))
    with pytest.raises(export.UnsupportedModelError, match="no schedule 'best'"):
        export.explain(small_models.float_classifier(), schedule="best")


def jumping(seed: int) -> Path:
    """A path whose change lies somewhere else for every input: only who looks first finds it."""
    random = np.random.default_rng(seed)
    centre, size = random.uniform(0.05, 0.95), random.normal(size=20)
    speeds = random.uniform(15, 40, 20)

    def gradient(alpha):
        return (size * speeds / np.cosh(speeds * (alpha - centre)) ** 2).astype(np.float32)

    values = np.array([size @ np.tanh(speeds * (place - centre)) for place in PLACES])
    return path(gradient, values, np.ones(20, np.float32), GRID)


def test_nuig_is_chosen_where_its_probes_are_worth_their_price_and_only_there():
    paths = [jumping(seed) for seed in range(24)]
    free = fit(paths, probe_cost=0.0).schedules
    fair = fit(paths, probe_cost=0.5).schedules
    dear = fit(paths, probe_cost=4.0).schedules
    counts = [sum(schedule.intervals > 0 for schedule in found) for found in (free, fair, dear)]
    assert counts[0] >= counts[1] >= counts[2]
    assert counts[0] > counts[2]
    assert counts[1] >= 2
    for schedule in (schedule for schedule in fair if schedule.intervals):
        assert schedule.rule == ("nuig" if schedule.place == 1 else "nuig midpoint")
        assert 2 <= schedule.intervals <= min(16, schedule.steps)
        price = schedule.steps + -(-(schedule.intervals - 1) // 2)
        rivals = [fit(paths, name, [price]).schedules[0] for name in ("static", *RULES)]
        assert edge.integrate.shortfall(schedule) < min(map(edge.integrate.shortfall, rivals))


def test_the_inner_probes_alone_count_on_the_device():
    """Three of four intervals' ends and the input itself: the baseline's logit is asked for once, in all."""
    calls = {"steps": 0, "logits": 0}
    schedule = Schedule(8, (0.5,) * 8, (0.125,) * 8, intervals=4, place=0.5)
    head = ExplanationHead("ig", "x", (3,), "ig", steps_per_call=4, schedules=(schedule,))

    def steps(**given):
        calls["steps"] += 1
        gradients = np.stack([2 * a * given["x"][0] for a in given["alphas"]])
        return {"map": np.tensordot(given["weights"], gradients, 1)[None]}

    def logits(x):
        calls["logits"] += 1
        return {"logits": np.array([[np.square(x).sum()]], np.float32)}

    integrator = edge.integrate.Integrator(head, np.zeros(3, np.float32), steps, logits)
    x = np.array([1, 2, 3], np.float32)
    for explained in (1, 2):
        found = integrator.integrate(x, 0)
        assert calls == {"steps": 2 * explained, "logits": 4 * explained + 1}
    # The gradient is linear between the ends of an interval, where the midpoint rule is exact.
    np.testing.assert_allclose(found.attribution, x**2, rtol=1e-6)


def test_nuig_probes_on_the_device_and_integrates_where_it_says():
    file = small_models.float_classifier()
    x = small_models.inputs(16)
    bundle = export.explain(file, calibration=x, methods=["integrated_gradients"], schedule="nuig")
    explainer = edge.Explainer(bundle)
    schedule = bundle.manifest.heads[0].schedules[2]
    assert (schedule.rule, schedule.steps) == ("nuig", 12)
    graph = tflite.read(file).graphs[0]
    logits = graph.producers()[graph.outputs[0]].input(0)
    for sample in x[:4]:
        ends = np.linspace(0, 1, schedule.intervals + 1, dtype=np.float32)
        values = [float(forward(graph, tf.constant(end * sample[None]))[logits][0, 1]) for end in ends]
        nodes, weights = nuig(np.asarray(values), 12)
        points = np.stack([np.float32(node) * sample for node in nodes])
        expected = np.tensordot(np.float32(weights), input_gradient(graph, logits, points, 1), 1) * sample
        found = explainer.explain(sample, "integrated_gradients", class_index=1, steps=12)
        assert np.linalg.norm(found.map - expected) <= 1e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize(("residual", "error"), [(0.0, 0.9), (0.9, 0.0)])
def test_nothing_hides_behind_a_lucky_zero(residual, error):
    lucky = Schedule(8, (0.5,) * 8, (0.125,) * 8, residual, residual, "lucky", error, error)
    honest = Schedule(12, (0.5,) * 12, (1 / 12,) * 12, 0.05, 0.05, "honest", 0.05, 0.05)
    assert edge.integrate.default_schedule([lucky, honest]) is honest
