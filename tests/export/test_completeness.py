"""What Integrated Gradients leaves of the logit's change decides: how many steps there are, and whether a map ships.

The logits are sums of ``tanh(speed * x) + LINEAR * x`` at inputs of 1 and -1. Along a path every term is the same but
for its sign, so what a rule leaves of the change is equal for all inputs and classes, and known.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import edge
import export
from edge.explanation import Flag
from edge.integrate import default_schedule
from edge.manifest import Candidate, Schedule
from export import choose
from export.completeness import Left
from export.numerics import NUMERICS
from export.schedule import LENGTHS
from export.tflite import Graph, Model, Op, Signature, write
from export.tflite.ops import FLOAT, Builder
from export.tflite.options import SoftmaxOptions

X = np.random.default_rng(0).choice((-1.0, 1.0), (16, 12)).astype(np.float32)
LINEAR = 0.25
NAME = "integrated_gradients completeness"


def saturating(speed: float) -> bytes:
    """Return a classifier of 3 classes whose inputs saturate."""
    graph = Graph("main")
    builder = Builder(graph)
    x = builder.tensor("x", (1, 12))
    bent = builder.op("TANH", [builder.mul(x, builder.constant(np.float32(speed)))], (1, 12))
    both = builder.add(bent, builder.mul(x, builder.constant(np.float32(LINEAR))))
    weights = builder.constant(np.random.default_rng(1).normal(size=(3, 12)), FLOAT)
    scores = builder.tensor("scores", (1, 3))
    graph.ops.append(Op("SOFTMAX", [builder.fully_connected(both, weights)], [scores], SoftmaxOptions(1.0)))
    graph.inputs, graph.outputs = [x], [scores]
    return write(Model([graph], [Signature("serving_default", graph, {"x": x}, {"scores": scores})]))


def left_by_right_sum(speed: float, steps: int) -> float:
    """Return what the right Riemann sum leaves of tanh(speed) + LINEAR."""
    slopes = speed / np.cosh(speed * np.arange(1, steps + 1) / steps) ** 2
    return abs(np.tanh(speed) - slopes.mean()) / (np.tanh(speed) + LINEAR)


def exported(speed: float, x=X, **options) -> edge.Bundle:
    return export.explain(saturating(speed), calibration=x, methods=["integrated_gradients"], **options)


def found(bundle: edge.Bundle):
    return next((check for check in bundle.manifest.checks if check.name == NAME), None)


@pytest.mark.parametrize(("speed", "needed"), [(1.5, 16), (5.0, 48), (7.0, 64), (15.0, 128)])
def test_longer_schedules_are_added_only_where_none_is_enough_and_only_until_one_is(speed, needed):
    bundle = exported(speed, schedule="uniform right")
    lengths = [schedule.steps for schedule in bundle.manifest.heads[0].schedules]
    assert lengths == [*LENGTHS, *(steps for steps in (48, 64, 96, 128, 192, 256) if steps <= needed)]
    for schedule in bundle.manifest.heads[0].schedules:
        assert schedule.completeness == pytest.approx(left_by_right_sum(speed, schedule.steps), abs=2e-3)
        assert (schedule.error_p90 is None) == (schedule.steps > 32)
    usual = default_schedule(bundle.manifest.heads[0].schedules)
    assert usual.steps >= needed
    check = found(bundle)
    assert check.passed
    assert check.samples == 8
    assert check.value == usual.completeness <= check.bound == 0.05
    assert f"{usual.steps} steps, uniform right" in check.detail
    assert not edge.Explainer(bundle).explain(X[0], "integrated_gradients").flags & Flag.RESIDUAL_OVER_BOUND


def test_a_map_that_no_schedule_makes_add_up_stops_the_export():
    with pytest.raises(export.CheckFailedError) as caught:
        exported(100.0, schedule="uniform right")
    assert NAME in caught.value.cause
    assert f"{left_by_right_sum(100.0, 256):.3g}, bound 0.05" in caught.value.cause
    assert "256 steps" in caught.value.cause
    assert "--baseline mean" in caught.value.hint
    assert "exact numerics" not in caught.value.hint
    bundle = exported(100.0, schedule="uniform right", allow_unfaithful=True)
    assert not found(bundle).passed
    assert edge.Explainer(bundle).explain(X[0], "integrated_gradients").flags & Flag.UNFAITHFUL


def test_numerics_that_are_the_cause_are_named(monkeypatch):
    monkeypatch.setattr(choose, "lost", lambda numerics, rows: 0.22)
    with pytest.raises(export.CheckFailedError, match=r"the numerics alone leave 22\.0%") as caught:
        exported(100.0, schedule="uniform right")
    assert "exact numerics (--numerics f32 or deq)" in caught.value.hint


def test_steps_that_are_fitted_need_no_more():
    bundle = exported(20.0)
    assert [schedule.steps for schedule in bundle.manifest.heads[0].schedules] == list(LENGTHS)
    assert found(bundle).passed


@pytest.mark.parametrize("x", [X[:15], None], ids=["too few", "random"])
def test_what_cannot_be_decided_is_said_and_stops_nothing(x):
    bundle = exported(100.0, x, schedule="uniform right")
    assert found(bundle) is None
    assert {schedule.completeness for schedule in bundle.manifest.heads[0].schedules} == {None}
    assert any(f"{NAME} was not decided" in note for note in bundle.manifest.notes)
    assert [schedule.steps for schedule in bundle.manifest.heads[0].schedules] == list(LENGTHS)


def test_verify_finds_the_figure_of_the_export():
    bundle = exported(6.0, schedule="uniform right")
    again = next(check for check in export.verify(bundle, X).checks if check.name == NAME)
    assert dataclasses.replace(again, value=0) == dataclasses.replace(found(bundle), value=0)
    assert again.value == pytest.approx(found(bundle).value, rel=1e-3)
    few = export.verify(bundle, X[:4])
    assert not any(check.name == NAME for check in few.checks)
    assert any(NAME in note for note in few.notes)


def test_a_change_next_to_nothing_counts_as_the_median_one():
    left = Left()
    for residual, change in ((0.01, 1.0), (-0.02, 1e-12), (0.08, -2.0), (0.03, 3.0), (0.01, 1.5)):
        left.add(residual, change)
    assert left.completeness == pytest.approx(np.quantile([0.01 / 1.5, 0.02 / 1.5, 0.04, 0.01, 0.01 / 1.5], 0.95))
    nothing = Left()
    nothing.add(0.0, 0.0)
    assert nothing.completeness == 0


def test_the_usual_schedule_is_one_that_adds_up():
    def schedule(steps, completeness, p90, error):
        every = (1 / steps,) * steps
        return Schedule(steps, every, every, p90, p90, "rule", error, error, completeness=completeness)

    short = schedule(8, 0.2, 0.01, 0.01)
    enough, better = schedule(48, 0.05, 0.05, None), schedule(64, 0.04, 0.03, None)
    assert default_schedule([short, enough]) is enough
    assert default_schedule([short, enough, better]) is better
    assert default_schedule([short, schedule(48, 0.06, 0.05, None)]) is short


def test_numerics_that_lose_the_change_are_passed_by():
    rows = (Candidate("deq", "integrated_gradients", 2.0, 1.0, 1.0, 0.0),)
    for lost, first in ((0.02, 1), (0.03, 0), (None, 1)):
        both = (*rows, Candidate("hybrid", "integrated_gradients", 1.0, 0.99, 0.95, lost))
        candidates = [(NUMERICS[name], None) for name in ("deq", "hybrid")]
        assert choose.ranking(candidates, both)[0] == first
        assert choose.lost(NUMERICS["hybrid"], both) == (lost if first == 0 else None)
