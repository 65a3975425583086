"""Where a device takes its steps: judged in its own arithmetic, and points that are one in int8 taken once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import export
from edge.manifest import Schedule
from export import tflite
from export.micro import stage
from export.micro.model import ONE, in_fixed_point, interpolated
from export.micro.steps import choose_steps, merged
from export.schedule.rules import midpoint, squared
from tests.references import zoo

X = np.random.default_rng(4).normal(0, 0.6, (20, 6, 6, 3)).astype(np.float32)


@given(
    st.lists(st.tuples(st.integers(0, ONE), st.integers(0, 2000)), min_size=1, max_size=40).filter(
        lambda steps: any(weight for _, weight in steps)
    ),
    st.integers(0, 2**32 - 1),
)
def test_merged_steps_have_the_points_and_weights_of_all(steps, seed):
    x, baseline = np.random.default_rng(seed).integers(-128, 128, (2, 1, 6)).astype(np.int8)

    def weighed(pairs):
        found: Counter[bytes] = Counter()
        for node, weight in pairs:
            found[interpolated(x, baseline, node).tobytes()] += weight
        return +found

    nodes, weights = merged(*zip(*steps, strict=True))
    assert weighed(zip(nodes, weights, strict=True)) == weighed(steps)


def test_points_that_are_the_baseline_whatever_the_input_are_one():
    nodes, weights = merged((0, 3, 10, 64, 65, 409, 22528), (100, 200, 300, 0, 400, 500, ONE - 1500))
    assert (nodes, weights) == ((0, 65, 409, 22528), (600, 400, 500, ONE - 1500))
    uniform = in_fixed_point(*(values.tolist() for values in midpoint(32)))
    assert merged(*uniform) == uniform


def schedule(nodes, weights, **measured) -> Schedule:
    return Schedule(
        len(nodes), tuple(map(float, nodes)), tuple(map(float, weights)), rule="static midpoint", **measured
    )


NEAR = schedule(np.arange(1, 33) / 2000, np.full(32, 1 / 32), residual_p90=0.0, error_p90=0.0, completeness=0.0)
"""All of it in the first hundredth and a half of the way: next to useless, but said to be without error."""
WIDE = schedule(*squared(12), residual_p90=0.1, error_p90=0.1, completeness=0.2)


@pytest.fixture(scope="module")
def chosen():
    """Choosing steps for a small int8 model of these schedules, and what an export of it ships."""
    asked = []

    def listen(*arguments, **options):
        asked.append(arguments)
        return choose_steps(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "choose_steps", listen)
        model = tflite.write(zoo.int8_classifier())
        methods = ["integrated_gradients"]
        exports = [
            export.explain(model, calibration=X, target="micro", methods=methods, schedule=rule)
            for rule in ("auto", "uniform right")
        ]
    (built, own, _, *rest), _ = asked
    return lambda schedules, uniform: choose_steps(built, own, schedules, *rest, uniform=uniform), exports


def test_a_schedule_that_is_good_on_a_workstation_alone_is_not_taken(chosen):
    choose, _ = chosen
    near, wide = (merged(*in_fixed_point(own.nodes, own.weights)) for own in (NEAR, WIDE))
    taken = choose([NEAR, WIDE], uniform=False)
    assert (taken.nodes, taken.weights) == wide
    taken = choose([NEAR], uniform=False)
    assert (taken.nodes, taken.weights) == near
    taken = choose([NEAR], uniform=True)
    assert taken.nodes in {merged(*in_fixed_point(*map(np.ndarray.tolist, midpoint(n))))[0] for n in (8, 16, 32)}


def test_of_steps_that_do_as_well_the_fewer_are_taken(chosen):
    choose, _ = chosen
    twice = schedule(np.repeat(WIDE.nodes, 2) + np.tile([0, 1e-4], 12), np.repeat(WIDE.weights, 2) / 2)
    for schedules in ([WIDE, twice], [twice, WIDE]):
        assert len(choose(schedules, uniform=False).nodes) == 12


def test_a_rule_that_was_asked_for_is_kept(chosen):
    _, (auto, right) = chosen
    assert auto.manifest.micro.explanations[0].residual_p90 < 0.1
    own = right.manifest.micro.explanations[0]
    assert own.nodes[-1] == ONE
    assert np.diff(own.nodes) == pytest.approx(ONE / own.steps, abs=1)
