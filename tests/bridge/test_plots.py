"""Signals, images and attributions in characters: what is drawn where."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from firmware_bridge.screen import explanation, plots
from firmware_bridge.screen.explanation import Room
from firmware_bridge.screen.terminal import Terminal

COLOURS, PLAIN = Terminal(colour=True, unicode=True), Terminal(colour=False, unicode=False)


def test_dots_are_braille_or_halves():
    dots = np.zeros((4, 6), bool)
    dots[0, 0] = dots[3, 3] = dots[1, 4] = dots[2, 5] = True
    assert plots.lines_of(dots, unicode=True) == ["⠁⢀⠢"]
    assert plots.lines_of(dots, unicode=False) == ["'.:"]


def test_what_is_for_stands_above_the_middle_and_what_is_against_below():
    drawn = plots.bars(np.float32([4, -2, 0, -4]), columns=2, rows=2)
    assert drawn.sum(axis=0).tolist() == [4, 2, 0, 4]
    assert drawn[:4, 0].all()
    assert drawn[4:6, 1].all()
    assert drawn[4:, 3].all()


def test_the_largest_of_a_stretch_is_shown_with_its_sign():
    assert plots.extremes(np.float32([1, -3, 2, 0, 5, -4]), 3).tolist() == [-3, 2, 5]
    assert plots.extremes(np.float32([1, -3]), 4).tolist() == [1, 1, -3, -3]


def test_a_curve_is_joined_and_fills_its_height():
    drawn = plots.curve(np.float32([0, 0, 8, 8]), columns=2, rows=1)
    assert drawn.any(axis=0).all()
    assert drawn[3, 0]
    assert drawn[0, 3]
    assert drawn[:, 2].all()  # the step


def test_an_image_keeps_its_mean_when_it_shrinks_and_its_values_when_it_grows():
    image = np.arange(16, dtype=np.float32).reshape(4, 4)
    assert plots.resized(image, 2, 2).tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert plots.resized(image[:2, :2], 4, 2).tolist() == [[0, 0, 1, 1], [4, 4, 5, 5]]


@pytest.mark.parametrize(
    ("shape", "signal"),
    [
        ((128, 6), True),
        ((128,), True),
        ((1, 128, 1), True),
        ((128, 3, 1), True),
        ((49, 40), False),
        ((32, 32, 3), False),
        ((96, 96, 1), False),
        ((4, 8), False),
    ],
)
def test_what_is_a_signal(shape, signal):
    assert explanation.is_signal(shape) == signal


finite = st.floats(-1e6, 1e6, width=32)


@given(
    arrays(np.float32, array_shapes(min_dims=1, max_dims=4, max_side=20), elements=finite),
    st.integers(1, 70),
    st.integers(1, 20),
    st.sampled_from([COLOURS, PLAIN, Terminal(colour=False, unicode=True)]),
    st.booleans(),
)
def test_whatever_the_shape_it_fits_its_room(values, columns, rows, terminal, given_input):
    room = Room(columns, rows, terminal)
    drawn = explanation.draw(values if given_input else None, values, values.shape, room)
    assert len(drawn) <= rows
    assert columns < 40 or all(line.cell_len <= columns for line in drawn)  # names of panels are cut later
    assert terminal.unicode or all(line.plain.replace("−", "-").isascii() for line in drawn)
