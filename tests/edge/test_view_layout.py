"""How inputs and maps are laid out for the eye: shapes of known models, arrays of which every place is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.explanation import Explanation, Flag
from edge.manifest import Port
from edge.view.colours import PALETTE, SHADES, limit, shades
from edge.view.layout import Kind, binned, layout_of, standalone
from edge.view.words import flags_of, short, signed


def port(*shape, dtype="float32", limits=None):
    return Port("x", shape, dtype, limits=limits)


KINDS = {
    "colour photograph": (port(96, 96, 3), Kind.IMAGE, (0, 1, 2)),
    "channels first": (port(3, 64, 64), Kind.IMAGE, (1, 2, 0)),
    "grey photograph": (port(84, 84, 1), Kind.IMAGE, (0, 1)),
    "digits without channels": (port(28, 28), Kind.IMAGE, (0, 1)),
    "stored pixels": (port(32, 32, 3, dtype="uint8"), Kind.IMAGE, (0, 1, 2)),
    "upright photograph": (port(160, 120, 3), Kind.IMAGE, (0, 1, 2)),
    "watch": (port(200, 6), Kind.CURVES, (1, 0)),
    "watch as Conv2D takes it": (port(200, 1, 6), Kind.CURVES, (2, 0)),
    "time behind a row": (port(1, 200, 6), Kind.CURVES, (2, 1)),
    "three axes as a plane": (port(128, 3, 1), Kind.CURVES, (1, 0)),
    "leads first": (port(12, 1000), Kind.CURVES, (0, 1)),
    "beat": (port(187), Kind.CURVES, (0,)),
    "beat with a channel": (port(187, 1), Kind.CURVES, (0,)),
    "spectrogram of key words": (port(49, 10, 1), Kind.GRID, (1, 0)),
    "long spectrogram": (port(40, 400), Kind.GRID, (0, 1)),
    "planes of features": (port(12, 12, 20), Kind.IMAGE, (1, 2)),
    "features": (port(8), Kind.TABLE, (0,)),
    "one feature": (port(1), Kind.TABLE, (0,)),
    "nothing but a number": (port(), Kind.TABLE, ()),
    "words": (port(64, dtype="int32"), Kind.TOKENS, (0,)),
    "words as floats": (port(64, limits=(0, 999)), Kind.TOKENS, (0,)),
}


@pytest.mark.parametrize("case", KINDS)
def test_inputs_are_drawn_as_what_their_shape_says(case):
    given_port, kind, axes = KINDS[case]
    layout = layout_of(given_port)
    assert (layout.kind, layout.axes) == (kind, axes)


@pytest.mark.parametrize("case", KINDS)
def test_every_input_and_every_map_of_its_shape_can_be_drawn(case):
    given_port, kind, _ = KINDS[case]
    layout = layout_of(given_port)
    values = np.arange(np.prod(given_port.shape, dtype=int), dtype=np.float32).reshape(given_port.shape)
    drawn, attribution = layout.of_input(values), layout.of_map(values)
    assert attribution.sum() == pytest.approx(values.sum(dtype=np.float64))
    assert attribution.shape == drawn.shape[: attribution.ndim]
    assert attribution.ndim == (1 if kind in {Kind.TABLE, Kind.TOKENS} else 2)


@given(st.lists(st.integers(1, 12), max_size=6), st.sampled_from(["float32", "int32", "uint8"]))
def test_any_shape_can_be_drawn_and_its_map_loses_nothing(shape, dtype):
    layout = layout_of(port(*shape, dtype=dtype))
    values = np.random.default_rng(0).normal(size=shape)
    drawn, attribution = layout.of_input(values), layout.of_map(values)
    assert drawn.shape[: attribution.ndim] == attribution.shape
    assert attribution.sum() == pytest.approx(values.sum())
    assert standalone(values).sum() == pytest.approx(values.sum())


def test_time_lies_across_and_channels_below_each_other():
    signal = np.arange(200)[:, None] + 1000 * np.arange(6)
    for shape in ((200, 6), (200, 1, 6), (1, 200, 6)):
        layout = layout_of(port(*shape))
        np.testing.assert_array_equal(layout.of_input(signal.reshape(shape)), signal.T)
        np.testing.assert_array_equal(layout.of_map(signal.reshape(shape)), signal.T)


def test_a_map_in_time_is_one_row_for_all_channels():
    np.testing.assert_array_equal(layout_of(port(200, 6)).of_map(np.arange(25)), np.arange(25)[None])


def test_a_map_of_time_and_channels_is_turned_as_the_signal_is():
    plane = np.arange(32 * 3).reshape(32, 3)
    np.testing.assert_array_equal(layout_of(port(128, 3, 1)).of_map(plane), plane.T)


def test_a_spectrogram_and_its_maps_are_turned_alike():
    layout = layout_of(port(49, 10, 1))
    place = np.zeros((49, 10, 1))
    place[40, 2] = 1
    assert np.argwhere(layout.of_input(place)).tolist() == [[2, 40]]
    assert np.argwhere(layout.of_map(place)).tolist() == [[2, 40]]
    assert layout.of_map(np.zeros((25, 5))).shape == (5, 25)
    assert layout.of_map(np.zeros(25)).shape == (1, 25)


def test_colours_are_added_up_and_channels_first_are_put_last():
    random = np.random.default_rng(0)
    last, first = random.normal(size=(10, 12, 3)), random.normal(size=(3, 10, 12))
    np.testing.assert_allclose(layout_of(port(10, 12, 3)).of_map(last), last.sum(-1))
    np.testing.assert_allclose(layout_of(port(3, 10, 12)).of_map(first), first.sum(0))
    np.testing.assert_array_equal(layout_of(port(3, 10, 12)).of_input(first), np.moveaxis(first, 0, 2))


def test_an_embedding_is_added_up_for_each_id():
    embedded = np.random.default_rng(0).normal(size=(64, 8))
    np.testing.assert_allclose(layout_of(port(64, dtype="int32")).of_map(embedded), embedded.sum(1))


def test_maps_that_are_of_something_else_are_not_drawn_on_the_input():
    assert layout_of(port(1960)).of_map(np.zeros((25, 20))) is None
    assert layout_of(port(8)).of_map(np.zeros(5)) is None
    assert layout_of(port(32, 32, 3)).of_map(np.zeros((64, 64))) is None
    assert layout_of(port(32, 32, 3)).of_map(np.zeros((8, 8, 4))) is None


def test_a_map_by_itself_is_a_plane():
    assert standalone(np.zeros(7)).shape == (1, 7)
    assert standalone(np.zeros(())).shape == (1, 1)
    values = np.random.default_rng(0).normal(size=(9, 3, 5))
    np.testing.assert_allclose(standalone(values), values.sum(1))


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40))
def test_binning_loses_nothing_but_detail(height, width, most):
    values = np.random.default_rng(0).normal(size=(height, width))
    found = binned(values, (most, most))
    assert max(found.shape) <= most
    assert found.sum() == pytest.approx(values.sum())


def test_blocks_are_of_one_size_so_that_they_make_no_pattern():
    np.testing.assert_array_equal(binned(np.ones((96, 96)), (80, 80)), np.full((48, 48), 4))
    assert binned(np.ones(225), (75,)).tolist() == [3] * 75


def test_colours_say_which_side_and_how_much():
    assert shades(np.array([-2.0, -1, 0, 1, 2, np.nan, np.inf]), 1.0).tolist() == [
        *(0, 0, SHADES, 2 * SHADES, 2 * SHADES, SHADES, 2 * SHADES)
    ]
    assert PALETTE[SHADES, 3] == 0
    assert (np.diff(PALETTE[SHADES:, 3].astype(int)) > 0).all()
    assert (PALETTE[:, 3] == PALETTE[::-1, 3]).all()
    assert shades(np.zeros(3), 0.0).tolist() == [SHADES] * 3


def test_every_flag_is_put_into_words_the_gravest_first():
    def said(flags):
        return flags_of(Explanation(np.zeros(1), 0, method="m", flags=flags))

    assert all(len(said(flag)) == 1 for flag in Flag)
    everything = said(Flag(sum(Flag)))
    assert len(set(everything)) == len(Flag)
    assert "visual aid" in everything[0]
    assert said(Flag.NONE) == []


def test_numbers_have_their_sign_and_labels_fit_a_line():
    assert [signed(number) for number in (1.23456, -0.5, 0.0)] == ["+1.23", "−0.5", "0"]
    assert short("a\nb\x00") == "a�b�"
    assert len(short("x" * 1000)) == 60


def test_the_scale_ends_at_the_largest_of_few_and_leaves_out_the_most_of_many():
    assert limit([np.array([1.0, -3]), np.array([np.nan, np.inf])]) == 3
    many = np.concatenate([np.linspace(0, 1, 1000), [100]])
    assert limit([many]) == pytest.approx(0.995, abs=0.01)
    assert limit([np.array([])]) == 0
    sparse = np.zeros(2000)
    sparse[0] = 5
    assert limit([sparse]) == 5
