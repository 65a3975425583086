"""How attributions survive the link: within half a step, zeros exactly zero, and nothing inflates beyond its shape."""

from __future__ import annotations

import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge.wire.cbor import Fault, WireError
from edge.wire.codecs import CODECS, MAX_SIZE, Coded, check_full_shape, coarsen, decode, encode, enlarge

shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=9)
maps = hnp.arrays(np.float32, shapes, elements=st.floats(-1e6, 1e6, width=32))
signed = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
positive = np.abs(signed[:, 0])
TINY = 255 * float(np.finfo(np.float32).tiny)


@given(maps, st.sampled_from(["int8", "int4"]))
@settings(max_examples=400, deadline=None)
def test_dense_codings_keep_every_value_to_half_a_step_and_the_extremes_to_one(values, name):
    coded = encode(values, name)
    decoded = decode(coded, values.shape)
    error = np.abs(decoded.astype(np.float64) - values)
    step = coded.scale if decoded.any() else TINY  # a map all but zero is sent as zeros
    assert error.max() <= step * 1.001
    inner = (values > values.min() + step) & (values < values.max() - step)
    assert error[inner].max(initial=0) <= step * 0.501
    levels = {"int8": 255, "int4": 15}[name]
    assert step <= max(TINY, (max(0, values.max()) - min(0, values.min())) / levels * 1.001)


@given(maps, st.sampled_from(list(CODECS)))
@settings(max_examples=200, deadline=None)
def test_zero_stays_exactly_zero(values, name):
    decoded = decode(encode(values, name), values.shape)
    assert decoded.dtype == np.float32
    assert decoded.shape == values.shape
    assert (decoded[values == 0] == 0).all()


def test_int8_of_a_normal_map_correlates_almost_perfectly():
    decoded = decode(encode(signed), signed.shape)
    assert np.corrcoef(decoded.ravel(), signed.ravel())[0, 1] > 0.9999


def test_a_positive_map_uses_all_levels():
    coded = encode(positive)
    assert coded.zero_point == -128
    assert coded.scale == pytest.approx(positive.max() / 255, rel=1e-6)


def test_sizes_are_one_half_and_a_fifth_of_a_byte_per_value():
    assert [len(encode(signed, name).data) for name in ("int8", "int4", "topk")] == [300, 150, 60]


def test_topk_keeps_the_tenth_that_is_largest():
    decoded = decode(encode(signed, "topk"), signed.shape)
    threshold = np.sort(np.abs(signed).ravel())[-30]
    assert ((decoded != 0) == (np.abs(signed) >= threshold)).all()
    kept = decoded != 0
    assert np.abs(decoded - signed)[kept].max() <= np.abs(signed).max() / 127 / 2 * 1.001


@given(maps, st.integers(1, 200))
@settings(max_examples=200, deadline=None)
def test_topk_keeps_as_many_as_are_asked_for_and_none_that_is_smaller(values, kept):
    coded = encode(values, "topk", kept=kept)
    decoded = decode(coded, values.shape)
    there = decoded != 0
    assert there.sum() <= kept
    assert np.abs(decoded.astype(np.float64) - values)[there].max(initial=0) <= coded.scale * 0.501
    if there.any():
        left_out = np.sort(np.abs(values).ravel())[: max(0, values.size - kept)]
        assert np.abs(values[there]).min() >= left_out.max(initial=0)


@pytest.mark.parametrize("places", [[0], [254], [255], [256], [257], [0, 256], [0, 257, 258], [511, 1024, 89_999]])
def test_topk_bridges_gaps_that_a_byte_cannot_say(places):
    values = np.zeros(90_000, np.float32)
    values[places] = -2.0
    coded = encode(values, "topk")
    (there,) = np.nonzero(decode(coded, values.shape))
    assert there.tolist() == places


def test_an_entry_beyond_the_map_is_refused():
    for data in (bytes([4, 4, 1, 1]), bytes([4, 1, 1])):
        with pytest.raises(WireError, match="sparse map of 9 values"):
            decode(Coded(3, False, 1.0, 0, data, False), (9,))
    assert decode(Coded(3, False, 1.0, 0, bytes([4, 3, 1, 1]), False), (9,)).tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 1]


@given(
    hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=17), elements=st.floats(-1e6, 1e6)), st.integers(2, 40)
)
@settings(max_examples=100, deadline=None)
def test_coarser_maps_are_means_over_blocks_and_keep_their_place(values, block):
    means = coarsen(values, block)
    check_full_shape(means.shape, values.shape)
    sizes = [-(-full // small) for full, small in zip(values.shape, means.shape, strict=True)]
    for place in np.ndindex(means.shape):
        cell = values[tuple(slice(i * size, (i + 1) * size) for i, size in zip(place, sizes, strict=True))]
        assert means[place] == pytest.approx(cell.mean(), rel=1e-9, abs=1e-6)
    whole = enlarge(means, values.shape)
    assert whole.shape == values.shape
    for place in np.ndindex(values.shape):
        assert whole[place] == means[tuple(i // size for i, size in zip(place, sizes, strict=True))]


def test_channels_are_not_averaged():
    assert coarsen(np.zeros((32, 30, 3)), 4).shape == (8, 8, 3)
    assert coarsen(np.zeros((200, 6)), 8).shape == (25, 6)
    assert coarsen(np.zeros((4, 4)), 2).shape == (4, 4)


@pytest.mark.parametrize(
    ("shape", "full_shape"),
    [
        ((4,), (8, 8)),
        ((3, 3), (2, 9)),
        ((0, 3), (9, 9)),
        ((6,), (7,)),
        ((1 << 10, 1 << 10), (1 << 11, 1 << 10)),
        ((1,), (0,)),
    ],
)
def test_shapes_that_no_coarser_map_has_are_refused(shape, full_shape):
    with pytest.raises(WireError, match="made coarser"):
        check_full_shape(shape, full_shape)


@pytest.mark.parametrize("name", CODECS)
def test_a_map_of_zeros_is_small_and_stays_one(name):
    values = np.zeros((96, 96), np.float32)
    coded = encode(values, name)
    assert len(coded.data) < 60
    assert not decode(coded, values.shape).any()


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("value", [1e-45, -1e-38, 3.4e38, -3.4e38])
def test_extreme_values_are_carried_or_become_zero(name, value):
    values = np.array([0, value, 0], np.float32)
    decoded = decode(encode(values, name), (3,))
    assert np.isfinite(decoded).all()
    assert decoded[0] == 0
    if abs(value) > 1:
        assert decoded[1] == pytest.approx(value, rel=0.01)


@pytest.mark.parametrize("name", CODECS)
def test_what_is_not_finite_is_flagged_and_harms_nothing_else(name):
    values = np.array([1.0, np.nan, 0.5, 0.0], np.float32)
    coded = encode(values, name)
    assert coded.saturated
    assert decode(coded, (4,))[1] == 0
    assert decode(coded, (4,))[0] == pytest.approx(1.0, rel=0.1)
    infinite = encode(np.array([np.inf, 0.0], np.float32), name)
    assert infinite.saturated
    assert decode(infinite, (2,))[0] > 3e38
    assert not encode(signed, name).saturated


def test_deflate_is_used_where_it_pays_and_only_there():
    sparse = np.zeros((32, 32), np.float32)
    sparse[3, 4] = 1
    assert encode(sparse).deflated
    assert len(encode(sparse).data) < 40
    assert not encode(signed).deflated


@pytest.mark.parametrize("shape", [(), (0,), (1 << 11, 1 << 10), (1 << 20, 2), (0xFFFFFFFF,) * 4])
def test_shapes_without_values_or_with_too_many_are_refused(shape):
    with pytest.raises(WireError) as caught:
        decode(Coded(0, False, 1.0, 0, b"", False), shape)
    assert (caught.value.fault is Fault.RECORD) or shape == ()


def test_a_map_beyond_the_bound_is_not_sent():
    with pytest.raises(WireError):
        encode(np.zeros(MAX_SIZE + 1, np.float32))
    with pytest.raises(WireError):
        encode(np.zeros(0, np.float32))


def test_an_unknown_coding_is_refused():
    with pytest.raises(WireError, match="encoding 9"):
        decode(replace(encode(signed), encoding=9), signed.shape)


def test_a_deflate_bomb_is_refused_before_it_inflates():
    deflater = zlib.compressobj(wbits=-15)
    bomb = deflater.compress(bytes(50_000_000)) + deflater.flush()
    tracemalloc.start()
    with pytest.raises(WireError, match="inflates"):
        decode(Coded(0, True, 1.0, 0, bomb, False), (300,))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200_000


@given(st.binary(max_size=64), st.integers(0, 4), st.booleans(), st.integers(-128, 127), shapes)
@settings(max_examples=1500, deadline=None)
def test_arbitrary_data_is_a_map_or_a_wire_error(data, encoding, deflated, zero_point, shape):
    try:
        values = decode(Coded(encoding, deflated, 0.5, zero_point, data, False), shape)
    except WireError:
        return
    assert values.shape == shape
    assert np.isfinite(values).all()
