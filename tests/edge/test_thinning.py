"""What is left of a map on a slow link: as much as there is room for, and the nearest to it of that size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.explanation import Flag
from edge.latency import NANOSECONDS
from edge.link.thinning import HEAD, Demand, Uncoded, fit, records
from edge.wire import codecs
from edge.wire.cbor import WireError
from edge.wire.codes import Thinned
from edge.wire.records import MAX_CHUNKS, Map
from firmware_bridge.maps import Assembler

rng = np.random.default_rng(0)
noise = rng.normal(size=(32, 32)).astype(np.float32)
hills = np.add.outer(np.sin(np.arange(64) / 20), np.cos(np.arange(64) / 15)).astype(np.float32) + 3
points = np.zeros((64, 64), np.float32)
points[rng.integers(0, 64, 30), rng.integers(0, 64, 30)] = rng.normal(size=30)


def uncoded(values, encoding="auto", method=0, sequence=1):
    head = Map(
        sequence=sequence,
        method=method,
        class_index=0,
        shape=values.shape,
        encoding=0,
        scale=1.0,
        zero_point=0,
        steps=1,
        flags=int(Flag.SMALL_MARGIN),
        data=b"",
    )
    return Uncoded(head, values, encoding)


def arrived(content, version, chunk=200):
    assembler = Assembler()
    (attribution,) = filter(None, (assembler.add(piece, "m") for piece in records(content, version, chunk)))
    return attribution


def off(values, version):
    return np.linalg.norm(arrived(uncoded(values), version).whole - values) / np.linalg.norm(values)


def test_a_map_that_fits_is_whole():
    version = fit(noise, 1024)
    assert version.thinned is None
    assert version.coded == codecs.encode(noise)


@pytest.mark.parametrize(
    ("values", "budget", "thinned"),
    [
        (noise, 600, Thinned.FEWER_BITS),
        (hills, 300, Thinned.COARSER),
        (points, 50, Thinned.LARGEST_ONLY),
    ],
)
def test_what_is_taken_from_a_map_is_what_it_can_spare(values, budget, thinned):
    version = fit(values, budget)
    assert version.thinned is thinned
    assert len(version.coded.data) <= budget


@given(
    hnp.arrays(np.float32, hnp.array_shapes(max_dims=4, max_side=7), elements=st.floats(-1e6, 1e6, width=32)),
    st.integers(-50, 2000),
)
@settings(max_examples=200, deadline=None)
def test_every_version_keeps_to_its_budget_or_is_the_least_there_is_and_arrives(values, budget):
    version = fit(values, budget)
    least = fit(values, 0)
    assert len(version.coded.data) <= max(budget, len(least.coded.data))
    attribution = arrived(uncoded(values), version)
    assert attribution.whole.shape == values.shape
    assert (attribution.full_shape == ()) == (attribution.values.shape == values.shape)


def test_with_more_bytes_a_map_is_nearer():
    smooth = (hills + 0.05 * rng.normal(size=hills.shape)).astype(np.float32)
    for values in (noise, smooth, points):
        errors = [off(values, fit(values, budget)) for budget in (80, 250, 800, 2500, 8000)]
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < 0.01


def test_values_that_are_not_finite_are_flagged_in_every_version():
    spoilt = noise.copy()
    spoilt[3, 3] = np.nan
    spoilt[5, 5] = np.inf
    for budget in (2000, 600, 200, 70):
        assert arrived(uncoded(spoilt), fit(spoilt, budget)).flags == Flag.SATURATED | Flag.SMALL_MARGIN


def test_a_map_is_cut_into_chunks_that_say_the_same():
    content = uncoded(noise)
    pieces = records(content, fit(noise, 2000), 100)
    assert [piece.chunk for piece in pieces] == list(range(len(pieces)))
    assert all(len(piece.data) <= 100 and piece.chunks == len(pieces) for piece in pieces)
    assert b"".join(piece.data for piece in pieces) == codecs.encode(noise).data


def test_the_largest_map_has_no_more_chunks_than_a_host_takes():
    values = rng.normal(size=codecs.MAX_SIZE).astype(np.float32)
    assert len(records(uncoded(values), fit(values, np.inf), 192)) <= MAX_CHUNKS


def test_a_map_too_large_for_the_link_is_refused_when_it_is_handed_in():
    for size in (0, codecs.MAX_SIZE + 1):
        with pytest.raises(WireError, match="does not fit"):
            uncoded(np.zeros(size, np.float32))


def demand(kinds, seconds=2.0):
    """Give each kind, of method and size, so many times a second."""
    found = Demand()
    for moment in range(int(seconds * 1000) + 1):
        for method, (size, rate) in enumerate(kinds):
            if moment % round(1000 / rate) == 0:
                found.note(uncoded(np.zeros(size, np.float32), method=method), moment * NANOSECONDS // 1000)
    return found, int(seconds * NANOSECONDS)


def test_a_link_with_room_for_all_sets_no_bound():
    found, now = demand([(1000, 10), (64, 10)])
    assert found.budget(12_000, now) == np.inf


def test_nothing_is_bounded_before_it_is_known_how_much_comes():
    assert Demand().budget(1, 0) == np.inf
    found = Demand()
    found.note(uncoded(noise), 0)
    assert found.budget(1, 0) == np.inf


def test_what_a_slow_link_carries_is_shared_and_what_small_maps_leave_goes_to_large_ones():
    found, now = demand([(1000, 10)])
    assert found.budget(5000, now) == pytest.approx(500, rel=0.02)
    found, now = demand([(1000, 10), (2000, 10), (36, 10)])
    assert found.budget(5000, now) == pytest.approx((5000 - 10 * (36 + HEAD)) / 20, rel=0.02)
    assert found.budget(25_000, now) == pytest.approx((25_000 - 10 * (1036 + 2 * HEAD)) / 10, rel=0.02)
    assert found.budget(-5000, now) == 0


def test_a_kind_that_comes_no_more_takes_no_share():
    found, now = demand([(1000, 10), (1000, 10)])
    shared = found.budget(5000, now)
    later = now + 10 * NANOSECONDS
    for moment in range(20):
        found.note(uncoded(noise), later + moment * NANOSECONDS // 10)
    assert found.budget(5000, later + 19 * NANOSECONDS // 10) > 1.5 * shared
