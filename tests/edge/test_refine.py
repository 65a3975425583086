"""Refinement and what a deadline leaves of an integral, on functions whose integrals are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import edge.integrate
import edge.refine
from edge.integrate import Integral, Integrator, completed, spread
from edge.manifest import ExplanationHead, Schedule
from edge.refine import Goal, Refiner, first_nodes, weights

LENGTH = 12
X = np.array([1.0, -2.0, 0.5], np.float32)


def uniform(steps: int, **more: object) -> Schedule:
    nodes = (np.arange(steps) + 0.5) / steps
    return Schedule(steps, tuple(nodes.tolist()), (1 / steps,) * steps, **more)


class Clock:
    """Time that passes only where it is told to."""

    def __init__(self) -> None:
        self.now = 0

    def monotonic_ns(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(edge.integrate, "time", clock)
    monkeypatch.setattr(edge.refine, "time", clock)
    return clock


class Model:
    """f(x) = offset + sum_i c_i tanh(k_i x_i): its Integrated Gradients are known, c_i (tanh(k_i x_i) - tanh(0)).

    Each call takes ``cost`` of the clock's nanoseconds.
    """

    def __init__(self, speed=(3.0, 2.0, 9.0), size=4, clock=None, cost=0, schedules=None):
        self.speed, self.scale = np.asarray(speed), np.asarray([1.0, -0.7, 2.0])
        self.clock, self.cost = clock, cost
        self.nodes: list[float] = []
        schedules = schedules or (uniform(6), uniform(LENGTH), uniform(32))
        self.head = ExplanationHead("ig", "x", (3,), "ig", steps_per_call=size, schedules=schedules, each="each")
        self.integrator = Integrator(self.head, np.zeros(3, np.float32), self.steps, self.logits)
        self.refiner = Refiner(self.head, np.zeros(3, np.float32), self.each, self.integrator.ends)

    @property
    def truth(self):
        return self.scale * np.tanh(self.speed * X)

    def gradient(self, alpha, x):
        return self.scale * self.speed / np.cosh(self.speed * alpha * x) ** 2

    def logits(self, x, offset=0.0):
        return {"logits": np.array([[0.0, offset + (self.scale * np.tanh(self.speed * x[0])).sum()]])}

    def _called(self, alphas):
        self.nodes += [float(alpha) for alpha in alphas]
        if self.clock is not None:
            self.clock.now += self.cost

    def steps(self, x, baseline, alphas, weights, class_index, **held):
        self._called(alpha for alpha, weight in zip(alphas, weights, strict=True) if weight)
        total = sum(weight * self.gradient(alpha, x[0]) for alpha, weight in zip(alphas, weights, strict=True))
        return {"map": np.asarray(total, np.float32)[None]}

    def each(self, x, baseline, alphas, class_index, offset=0.0):
        self._called(alphas)
        (alpha,) = alphas
        gradient = np.asarray(self.gradient(alpha, x[0]), np.float32)[None]
        return {"map": gradient, "logits": self.logits(alpha * x, offset)["logits"]}


nodes_in_order = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40, unique=True).map(sorted)


@given(nodes_in_order)
def test_weights_share_out_the_path_and_none_is_negative(nodes):
    found = weights(nodes)
    assert len(found) == len(nodes)
    assert found.sum() == pytest.approx(1, abs=1e-12)
    assert (found >= 0).all()


@given(nodes_in_order, st.floats(-5, 5), st.floats(-5, 5))
def test_weights_integrate_what_is_linear_between_the_nodes_and_constant_beyond(nodes, slope, offset):
    def primitive(a):
        return slope * a**2 / 2 + offset * a

    first, last = nodes[0], nodes[-1]
    exact = primitive(last) - primitive(first)
    exact += first * (slope * first + offset) + (1 - last) * (slope * last + offset)
    assert weights(nodes) @ (slope * np.asarray(nodes) + offset) == pytest.approx(exact, abs=1e-9)


@given(st.integers(1, 64))
def test_weights_of_evenly_spread_nodes_are_the_midpoint_rules(count):
    nodes = (np.arange(count) + 0.5) / count
    np.testing.assert_allclose(weights(nodes.tolist()), np.full(count, 1 / count), atol=1e-12)
    assert weights(nodes.tolist()) @ nodes == pytest.approx(0.5)  # exact for what is linear all along


@given(st.integers(0, 200))
def test_an_order_that_is_spread_is_over_the_whole_range_soon(count):
    order = list(spread(count))
    assert sorted(order) == list(range(count))
    for taken in (1, 3, 7, 15):
        if taken < count:
            places = sorted(order[:taken])
            gaps = np.diff([-1, *places, count])
            assert gaps.max() <= math.ceil((count + 1) / (taken + 1)) + taken.bit_length()


@given(nodes_in_order, st.integers(0, 40), st.floats(0.5, 50))
def test_the_next_node_lies_in_the_gap_that_explains_least(nodes, place, jump):
    """A flat function that jumps once: its quadrature is right everywhere but in that gap."""
    place = min(place, len(nodes))
    path = edge.refine._Path(0.0, jump, np.ones(1, np.float32))
    for number, node in enumerate(nodes):
        path.add(node, np.zeros(1, np.float32), jump if number >= place else 0.0)
    edges = [0.0, *nodes, 1.0]
    low, high = edges[place], edges[place + 1]
    assume(np.float32(low) < np.float32((low + high) / 2) < np.float32(high))
    grain = ((np.arange(LENGTH) + 0.5) / LENGTH).tolist()
    node = edge.refine.next_node(path, grain)
    assert low < node < high
    assert node == np.float32(node)
    assert node == pytest.approx((low + high) / 2, abs=1e-6)  # the grain is even, and so is the middle


def test_the_middle_is_that_of_the_schedule():
    """Of nodes that lie as squares: the one in the middle of those left out, not the middle of their places."""
    roots = (np.arange(LENGTH) + 0.5) / LENGTH
    path = edge.refine._Path(0.0, 1.0, np.ones(1, np.float32))
    for place in (0, 3, 9, 11):
        path.add(float(roots[place] ** 2), np.zeros(1, np.float32), float(place > 3))
    node = edge.refine.next_node(path, (roots**2).tolist())
    assert node == pytest.approx(roots[6] ** 2, rel=1e-6)
    path.add(node, np.zeros(1, np.float32), 1.0)
    again = edge.refine.next_node(path, (roots**2).tolist())
    assert roots[4] ** 2 < again < roots[5] ** 2


def test_no_node_is_chosen_where_there_is_no_room_or_nothing_is_known():
    one, other = 0.5, float(np.nextafter(np.float32(0.5), np.float32(1)))
    path = edge.refine._Path(0.0, 1.0, np.ones(1, np.float32))
    for node, value in ((0.0, 0.0), (one, 0.0), (other, 1.0), (1.0, 1.0)):
        path.add(node, np.zeros(1, np.float32), value)
    assert edge.refine.next_node(path, [0.5]) != one  # the gap of the jump is full: elsewhere
    path.values[1] = math.nan
    assert edge.refine.next_node(path, [0.5]) is None


def test_refinement_stops_when_the_residual_is_small_twice_in_a_row():
    model = Model()
    for tolerance in (0.05, 0.01, 0.001):
        model.nodes.clear()
        found = model.refiner.refine(X, 1, Goal(tolerance, 200))
        assert found.change == pytest.approx(model.truth.sum(), rel=1e-6)
        assert abs(found.residual) <= tolerance * abs(found.change)
        assert found.residual == pytest.approx(found.change - float(found.attribution.sum()), abs=1e-5)
        assert found.steps == len(model.nodes) > LENGTH
        assert not found.shortened
        # Held against the same rule written anew: one step less, and it had been small once at the most.
        kept = []
        for count in range(LENGTH, found.steps + 1):
            nodes = np.sort(np.float32(model.nodes[:count]))
            shares = np.diff(np.concatenate([[0], (nodes[1:] + nodes[:-1]) / 2, [1]]))
            expected = sum(w * model.gradient(a, X) * X for a, w in zip(nodes, shares, strict=True))
            kept.append(abs(found.change - expected.sum()) <= tolerance * abs(found.change))
        np.testing.assert_allclose(found.attribution, expected, rtol=1e-4)
        pairs = list(itertools.pairwise(kept))
        assert pairs[-1] == (True, True)
        assert (True, True) not in pairs[:-1]


def test_refinement_finds_a_change_that_the_schedule_steps_over():
    model = Model(speed=(300.0, 2.0, 9.0))
    plain = model.integrator.integrate(X, 1, steps=LENGTH)
    found = model.refiner.refine(X, 1, Goal(0.01))
    assert abs(plain.residual) > 0.2 * abs(plain.change)
    assert abs(found.residual) <= 0.01 * abs(found.change)
    errors = [np.linalg.norm(result.attribution - model.truth) for result in (plain, found)]
    assert errors[1] < errors[0] / 10


def test_refinement_takes_no_more_steps_than_it_may():
    model = Model()
    for most in (1, 2, 5, LENGTH, 20):
        found = model.refiner.refine(X, 1, Goal(1e-9, most))
        assert found.steps == most
        assert not found.shortened
        assert abs(found.residual - (found.change - found.attribution.sum())) < 1e-5
    assert abs(found.residual) < 0.1 * abs(found.change)


def test_what_is_held_goes_along_and_another_class_is_another_function():
    model = Model()
    found = model.refiner.refine(X, 1, Goal(0.02), held={"offset": 3.0})
    assert found.change == pytest.approx(model.truth.sum(), rel=1e-6)
    flat = Model(speed=(0.0, 0.0, 0.0)).refiner.refine(X, 1, Goal(0.02))
    assert (flat.steps, flat.residual, flat.change) == (LENGTH + 1, 0.0, 0.0)


def test_what_is_not_finite_is_not_pursued():
    model = Model()
    model.gradient = lambda alpha, x: np.full(3, np.nan)
    found = model.refiner.refine(X, 1, Goal(0.02))
    assert found.steps == LENGTH
    assert not math.isfinite(found.residual)


@pytest.mark.parametrize("calls", [1, 2, 3, 5, 11, 14])
def test_a_deadline_ends_a_refinement_with_the_steps_taken(clock, calls):
    """Six or more steps all over the path: a coarse map of the whole, not the beginning of a fine one."""
    model = Model(clock=clock, cost=10)
    found = model.refiner.refine(X, 1, Goal(1e-9), time_left_ns=calls * 10 + 5)
    assert found.steps == len(model.nodes) == calls
    assert found.shortened
    assert clock.now <= calls * 10 + 5
    assert found.residual == pytest.approx(found.change - float(found.attribution.sum()), abs=1e-5)
    if calls >= 5:
        assert np.linalg.norm(found.attribution - model.truth) < 0.35 * np.linalg.norm(model.truth)
    nodes = np.sort(np.float32(model.nodes))
    shares = np.diff(np.concatenate([[0], (nodes[1:] + nodes[:-1]) / 2, [1]]))
    expected = sum(w * model.gradient(a, X) * X for a, w in zip(nodes, shares, strict=True))
    np.testing.assert_allclose(found.attribution, expected, rtol=1e-4)


def test_a_deadline_that_is_kept_shortens_nothing(clock):
    found = Model(clock=clock, cost=10).refiner.refine(X, 1, Goal(0.05), time_left_ns=10_000)
    assert not found.shortened
    assert abs(found.residual) <= 0.05 * abs(found.change)


@pytest.mark.parametrize("size", [1, 4, 8])
def test_calls_that_become_slow_leave_a_coarser_rule_that_still_covers_the_path(clock, size):
    model = Model(clock=clock, cost=10, size=size)
    model.integrator.integrate(X, 1, steps=32)  # learns that a call takes 10
    model.nodes.clear()
    calls = 32 // size
    model.cost = 1000  # and now it takes a hundred times that
    found = model.integrator.integrate(X, 1, steps=32, time_left_ns=calls * 10 + 2500)
    assert found.shortened
    assert size <= found.steps == len(model.nodes) < 32
    assert found.residual == pytest.approx(found.change - float(found.attribution.sum()), abs=1e-5)
    expected = np.mean([model.gradient(node, X) * X for node in model.nodes], 0)  # uniform nodes weigh the same
    np.testing.assert_allclose(found.attribution, expected, rtol=1e-4)
    if size >= 4:
        assert np.linalg.norm(found.attribution - model.truth) < 0.35 * np.linalg.norm(model.truth)
        assert min(model.nodes) < 0.2
        assert max(model.nodes) > 0.8


def test_one_call_is_made_however_late_it_is(clock):
    model = Model(clock=clock, cost=10, size=4)
    found = model.integrator.integrate(X, 1, steps=32, time_left_ns=0)
    assert (found.steps, found.shortened) == (3, True)  # of the shortest schedule, six steps in two calls
    assert np.isfinite(found.attribution).all()


def test_without_a_deadline_every_step_is_taken_in_calls_of_nodes_from_all_over():
    model = Model(size=4)
    found = model.integrator.integrate(X, 1, steps=32)
    assert sorted(model.nodes) == pytest.approx(model.head.schedules[-1].nodes)
    expected = np.mean([model.gradient(node, X) * X for node in model.nodes], 0)
    np.testing.assert_allclose(found.attribution, expected, rtol=1e-5)
    assert (found.steps, found.shortened) == (32, False)


def test_weights_that_cancel_divide_nothing_by_zero(clock):
    """Whoever makes a bundle may write any weights into it."""
    odd = Schedule(4, (0.1, 0.4, 0.6, 0.9), (1.0, 1.0, -1.0, -1.0))
    model = Model(clock=clock, cost=10, size=2, schedules=(odd,))
    model.integrator.integrate(X, 1)
    model.cost = 1000
    assert model.integrator.integrate(X, 1, time_left_ns=25).steps == 4


@given(
    st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=20).filter(lambda v: sum(map(abs, v)) > 0.1),
    st.floats(-3, 3),
)
def test_a_corrected_map_sums_to_the_change_and_says_what_it_was(values, residual):
    raw = np.asarray(values, np.float32)
    change = float(raw.sum(dtype=np.float64)) + residual
    found = completed(Integral(raw, residual, change, 8, False))
    assert found.attribution.dtype == np.float32
    assert float(found.attribution.sum(dtype=np.float64)) == pytest.approx(change, abs=1e-4)
    assert found.residual == residual
    assert (found.attribution[raw == 0] == 0).all()  # what had no part in it is not given one


def test_there_is_nothing_to_correct_in_an_empty_map():
    empty = Integral(np.zeros(3, np.float32), 1.0, 1.0, 8, False)
    assert completed(empty) is empty


def test_a_refinement_starts_from_the_schedule_nearest_to_twelve_steps_that_does_not_probe():
    schedules = (uniform(6), uniform(10), uniform(LENGTH, intervals=4), uniform(32))
    assert first_nodes(schedules) == pytest.approx(uniform(10).nodes)
    odd = Schedule(4, (2.0, 0.5, 0.5, -1.0), (0.25,) * 4)
    assert first_nodes((odd,)) == [0.0, 0.5, 1.0]
