"""Chunks become maps again, whatever is missing, doubled or forged, and memory stays bounded."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.explanation import Explanation, Flag
from edge.wire.codecs import CODECS, encode
from edge.wire.records import MAX_CHUNK, MAX_CHUNKS, Input
from firmware_bridge.maps import MAX_PENDING, Assembler, InputWindow
from tests.link import chunks, input_chunks

values = np.random.default_rng(1).normal(size=(40, 50, 3)).astype(np.float32)


def pieces(sequence=5, method=2, encoding="int8", shape=values.shape):
    explanation = Explanation(
        np.ones(3, np.float32),
        1,
        method="saliency",
        map=values.reshape(-1)[: np.prod(shape)].reshape(shape),
        residual=0.25,
        steps=16,
        flags=Flag.SMALL_MARGIN | Flag.DEADLINE,
    )
    return chunks(sequence, explanation, method, encoding)


@pytest.mark.parametrize("encoding", CODECS)
def test_a_map_arrives_as_it_was(encoding):
    assembler = Assembler()
    *others, last = pieces(encoding=encoding)
    assert len(others) > 0
    assert all(assembler.add(piece, "saliency") is None for piece in others)
    attribution = assembler.add(last, "saliency")
    assert (attribution.sequence, attribution.method, attribution.class_index) == (5, "saliency", 1)
    assert (attribution.residual, attribution.steps) == (0.25, 16)
    assert attribution.flags == Flag.SMALL_MARGIN | Flag.DEADLINE
    assert attribution.values.shape == values.shape
    assert attribution.values.dtype == np.float32
    kept = attribution.values != 0
    assert np.abs(attribution.values - values)[kept].max() <= attribution.step * 1.001


def test_chunks_may_come_in_any_order_and_twice():
    assembler = Assembler()
    all_pieces = pieces()
    got = [assembler.add(piece, "m") for piece in [*all_pieces[:0:-1], *all_pieces[1:], all_pieces[0]]]
    assert [attribution is not None for attribution in got] == [False] * (len(got) - 1) + [True]


def test_maps_of_several_methods_may_mix():
    assembler = Assembler()
    mixed = [piece for pair in zip(pieces(method=0), pieces(method=1), strict=True) for piece in pair]
    got = [assembler.add(piece, f"method {piece.method}") for piece in mixed]
    assert [attribution.method for attribution in got if attribution] == ["method 0", "method 1"]


def test_a_missing_chunk_costs_its_map_and_is_counted():
    assembler = Assembler()
    for sequence in range(20):
        for piece in pieces(sequence)[1:]:
            assert assembler.add(piece, "m") is None
    assert assembler.incomplete == 20 - MAX_PENDING
    assembler.abandon()
    assert assembler.incomplete == 20


@pytest.mark.parametrize(
    "forged",
    [
        {"shape": (40, 50, 4)},
        {"scale": 2.0},
        {"class_index": 0},
        {"encoding": 1},
        {"chunks": 3},
        {"residual": None},
    ],
)
def test_chunks_that_do_not_belong_together_make_no_map(forged):
    assembler = Assembler()
    first, second, *_ = pieces()
    assembler.add(first, "m")
    assert assembler.add(replace(second, **forged), "m") is None
    assert assembler.refused == 1


def test_a_chunk_beyond_the_last_is_refused():
    assembler = Assembler()
    assert assembler.add(replace(pieces()[0], chunk=9, chunks=2), "m") is None
    assert assembler.refused == 1


@pytest.mark.parametrize(
    "forged",
    [
        {"encoding": 77},
        {"deflated": True},
        {"shape": (1,)},
        {"shape": (0xFFFFFFFF,) * 4},
        {"shape": ()},
        {"data": b""},
    ],
)
def test_a_map_that_does_not_decode_is_refused(forged):
    assembler = Assembler()
    (piece,) = pieces(shape=(10, 10))
    assert assembler.add(replace(piece, **forged), "m") is None
    assert assembler.refused == 1


def test_hostile_chunks_take_bounded_memory():
    assembler = Assembler()
    piece = replace(pieces()[0], chunks=MAX_CHUNKS)
    tracemalloc.start()
    for sequence in range(4):
        for chunk in range(MAX_CHUNKS - 1):
            assembler.add(replace(piece, sequence=sequence, chunk=chunk, data=bytes(MAX_CHUNK)), "m")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert assembler.refused > 0
    assert peak < 8_000_000


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=60))
@settings(max_examples=100, deadline=None)
def test_whatever_arrives_only_whole_maps_come_out(arrivals):
    assembler = Assembler()
    seen = {}
    for sequence, chunk in arrivals:
        piece = pieces(sequence, shape=(40, 50, 2))[chunk % 4]
        seen.setdefault(sequence, set()).add(piece.chunk)
        attribution = assembler.add(piece, "m")
        if attribution is not None:
            assert seen.pop(sequence) == {0, 1, 2, 3}


def test_an_input_window_arrives_as_it_was_beside_the_map_of_the_same_window():
    assembler = Assembler()
    inputs, maps = input_chunks(5, values, "int8"), pieces(method=0)
    mixed = [piece for pair in zip(inputs, maps, strict=True) for piece in pair]
    whole = [assembler.add_input(p) if isinstance(p, Input) else assembler.add(p, "m") for p in mixed]
    window, attribution = (arrived for arrived in whole if arrived is not None)
    assert isinstance(window, InputWindow)
    assert window.sequence == attribution.sequence == 5
    np.testing.assert_allclose(window.values, values, atol=window.step)


def coarser(sequence=5, **more):
    piece = pieces(sequence=sequence, shape=(12, 10, 3))[0]
    means = np.arange(6 * 5 * 3, dtype=np.float32).reshape(6, 5, 3)
    coded = encode(means)
    how = {"scale": coded.scale, "zero_point": coded.zero_point, "deflated": coded.deflated, "data": coded.data}
    return replace(piece, **({"shape": (6, 5, 3), "full_shape": (12, 10, 3), "chunks": 1} | how | more)), means


def test_a_coarser_map_says_what_it_stands_for_and_can_be_had_whole():
    record, means = coarser()
    attribution = Assembler().add(record, "m")
    assert attribution.full_shape == (12, 10, 3)
    np.testing.assert_allclose(attribution.values, means, atol=attribution.step)
    np.testing.assert_array_equal(attribution.whole, attribution.values.repeat(2, axis=0).repeat(2, axis=1))
    plain = Assembler().add(pieces(shape=(12, 10, 3))[0], "m")
    assert plain.whole is plain.values


def test_a_finer_map_is_not_spoilt_by_a_coarser_one_that_lost_a_chunk():
    assembler = Assembler()
    record, _ = coarser()
    assert assembler.add(replace(record, chunks=2), "m") is None
    *others, last = pieces()
    assert all(assembler.add(piece, "m") is None for piece in others)
    assert assembler.add(last, "m").full_shape == ()


@pytest.mark.parametrize("full_shape", [(12,), (3, 5, 3), (12, 10, 4), (0, 0, 0), (1 << 30, 1 << 30, 3)])
def test_a_map_that_claims_to_stand_for_what_it_cannot_is_refused(full_shape):
    assembler = Assembler()
    assert assembler.add(coarser(full_shape=full_shape)[0], "m") is None
    assert assembler.refused == 1
