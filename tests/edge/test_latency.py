"""Durations: measured with a clock that never goes back, summed up in bounded memory."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.latency import Histogram, Lap, Phase, clock


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.95, 0.99, 1.0]))
def test_quantiles_are_at_most_one_128th_above_the_true_ones(durations, fraction):
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    true = int(np.quantile(durations, fraction, method="inverted_cdf"))
    assert true <= histogram.quantile(fraction) <= true * (1 + 1 / 128)


def test_a_summary_of_many_durations():
    rng = random.Random(0)
    durations = [int(rng.lognormvariate(13, 0.5)) for _ in range(20_000)]
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    spread = histogram.quantiles()
    assert spread.count == 20_000
    assert spread.mean == pytest.approx(np.mean(durations))
    assert spread.max == max(durations)
    for name, fraction in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert getattr(spread, name) == pytest.approx(np.quantile(durations, fraction), rel=0.01)


def test_memory_does_not_grow_with_the_count():
    histogram = Histogram()
    for exponent in range(42):
        for step in range(300):
            histogram.add(((1 << exponent) * (300 + step)) // 300)
    assert len(histogram._buckets) <= 36 * 128


def test_an_empty_histogram_has_nothing_to_say():
    spread = Histogram().quantiles()
    assert (spread.count, spread.mean, spread.p50, spread.p99, spread.max) == (0, 0.0, 0, 0, 0)


@pytest.mark.parametrize("insane", [-1, -(10**9), 1 << 42, 1 << 63])
def test_what_no_sane_clock_gives_is_counted_and_left_out(insane):
    histogram = Histogram()
    histogram.add(1000)
    histogram.add(insane)
    spread = histogram.quantiles()
    assert (spread.count, spread.max, spread.rejected) == (1, 1000, 1)


def test_the_clock_never_goes_back_and_is_fine_enough():
    assert time.get_clock_info("perf_counter").monotonic
    readings = [clock() for _ in range(10_000)]
    assert all(later >= earlier for earlier, later in pairwise(readings))
    assert min(later - earlier for earlier, later in pairwise(readings) if later > earlier) < 50_000


def test_a_lap_takes_over_what_a_prediction_says_and_leaves_explaining_to_itself():
    lap = Lap()
    lap.add({"quantize": 3, "predict": 4, "explain": 5})
    assert lap.phases == {Phase.QUANTIZE: 3, Phase.PREDICT: 4}
