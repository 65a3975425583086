"""Signals, images and attributions in the characters of a terminal.

Dots are the eight of a braille pattern, two across and four down in each cell, which makes them square. Without
such characters a cell says only which of its halves has dots.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.style import Style
from rich.text import Text

from firmware_bridge.screen.terminal import Terminal

FOR, AGAINST = (232, 89, 12), (47, 126, 216)  # as in the reports: what speaks for the class, and against it
MARKED = 1 / 3  # of the largest attribution: from here on a stretch of signal is marked

_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
_HALVES = np.array([" ", "'", ".", ":"])
_RAMP = np.array(list(" .:-=+*#%@"))
_SHADES = 16  # of a map: fewer runs of equal colour are fewer bytes
_BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 + 1 / 32

Values = NDArray[np.float32]
Dots = NDArray[np.bool_]


def lines_of(dots: Dots, unicode: bool) -> list[str]:
    """Return dots ``[4 * rows, 2 * columns]`` as one string for each row of cells."""
    height, width = dots.shape
    cells = dots.reshape(height // 4, 4, width // 2, 2)
    if unicode:
        codes = 0x2800 + (cells * _BITS[None, :, None, :]).sum(axis=(1, 3))
        return ["".join(map(chr, row)) for row in codes]
    upper, lower = cells[:, :2].any(axis=(1, 3)), cells[:, 2:].any(axis=(1, 3))
    return ["".join(row) for row in _HALVES[upper + 2 * lower]]


def curve(values: Values, columns: int, rows: int) -> Dots:
    """Return a signal ``[n]`` as dots, from its least value at the bottom to its greatest at the top."""
    height, width = 4 * rows, 2 * columns
    low, high = values.min(), values.max()
    span = high - low
    levels = np.rint((values - low) / span * (height - 1)) if span > 0 else np.full(values.shape, height // 2 - 1)
    begin = np.arange(width) * values.size // width
    least, most = _reduce(np.minimum, levels, begin), _reduce(np.maximum, levels, begin)
    before = np.concatenate([levels[:1], levels[begin[1:] - (begin[1:] > begin[:-1])]])  # joins each column to the last
    least, most = np.minimum(least, before), np.maximum(most, before)
    y = np.arange(height)[::-1, None]
    drawn: Dots = (y >= least) & (y <= most)
    return drawn


def bars(values: Values, columns: int, rows: int) -> Dots:
    """Return signed values ``[n]`` as bars from a middle line: what is positive above it, what is negative below.

    ``rows`` is even; every column shows the largest of the values that fall into it.
    """
    half = 2 * rows
    shown = extremes(values, 2 * columns)
    peak = np.abs(shown).max()
    lengths = np.ceil(np.abs(shown) / peak * half - 1e-6) if peak > 0 else np.zeros(shown.size)
    y = np.arange(half)[:, None]
    above = (half - 1 - y < lengths) & (shown > 0)
    below = (y < lengths) & (shown < 0)
    return np.vstack([above, below])


def extremes(values: Values, count: int) -> Values:
    """Return ``count`` of the values ``[n]``: of each stretch the one of greatest magnitude."""
    begin = np.arange(count) * values.size // count
    most, least = _reduce(np.maximum, values, begin), _reduce(np.minimum, values, begin)
    return np.where(most >= -least, most, least)


def _reduce(how: np.ufunc, values: Values, begin: NDArray[np.int64]) -> Values:
    found: Values = how.reduceat(values, begin)
    return found


def resized(image: NDArray[np.float32], width: int, height: int) -> NDArray[np.float32]:
    """Return an image ``[H, W, ...]`` as ``[height, width, ...]``: means where it shrinks, else its nearest values."""
    result = image.astype(np.float64)
    for axis, count in ((0, height), (1, width)):
        begin = np.arange(count) * image.shape[axis] // count
        sums = np.add.reduceat(result, begin, axis=axis)
        sizes = np.maximum(np.diff(np.append(begin, image.shape[axis])), 1)
        result = sums / np.expand_dims(sizes, tuple(i for i in range(result.ndim) if i != axis))
    return result.astype(np.float32)


def fitted(shape: tuple[int, ...], columns: int, rows: int) -> tuple[int, int]:
    """Return width and height in square pixels, two to a cell's height, of what fills the room and keeps its form."""
    height, width = shape[:2]
    scale = min(columns / width, 2 * rows / height)
    return max(1, round(width * scale)), max(2, 2 * round(height * scale / 2))


def picture(image: Values, columns: int, rows: int, terminal: Terminal) -> list[Text]:
    """Draw an image ``[H, W]`` or ``[H, W, 3]`` of any range of values, from its least to its greatest."""
    low, high = float(image.min()), float(image.max())
    unit = (image - low) / (high - low) if high > low else np.zeros_like(image)
    if not terminal.colour:
        return _shaded(unit if unit.ndim == 2 else unit.mean(axis=2), columns, rows, terminal)
    pixels = resized(unit, *fitted(unit.shape, columns, rows))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    return _pixels(np.rint(pixels * 31) * 255 / 31, terminal)


def saliency(values: Values, columns: int, rows: int, terminal: Terminal) -> list[Text]:
    """Draw a signed map ``[H, W]``: orange for, blue against, nearly black where it is nothing. Wants colours."""
    pixels = resized(values, *fitted(values.shape, columns, rows))
    peak = np.abs(pixels).max()
    unit = np.rint(pixels / peak * _SHADES) / _SHADES if peak > 0 else pixels
    strength = np.abs(unit)[..., None]
    colours = np.where(unit[..., None] > 0, np.array(FOR), np.array(AGAINST))
    return _pixels(24 + (colours - 24) * strength, terminal)


def one_sided(values: Values, columns: int, rows: int, terminal: Terminal, sign: int) -> list[Text]:
    """Draw what of a signed map ``[H, W]`` has the sign, as shades of the largest of either sign."""
    peak = np.abs(values).max()
    unit = np.maximum(sign * values, 0) / peak if peak > 0 else np.zeros_like(values)
    return _shaded(unit, columns, rows, terminal)


def _shaded(unit: Values, columns: int, rows: int, terminal: Terminal) -> list[Text]:
    """Draw values from 0 to 1 without colours: as many dots as the value is large, or denser characters."""
    width, height = fitted(unit.shape, columns, rows)
    if terminal.unicode:
        dots = resized(unit, 2 * width, 2 * height)
        screen = np.tile(_BAYER, (height // 2 + 1, width // 2 + 1))[: 2 * height, : 2 * width]
        return [Text(row) for row in lines_of(dots > screen, unicode=True)]
    shades = np.rint(resized(unit, width, height // 2) * (_RAMP.size - 1)).astype(int)
    return [Text("".join(row)) for row in _RAMP[shades]]


def _pixels(colours: NDArray[np.float64], terminal: Terminal) -> list[Text]:
    """Draw colours ``[2 * rows, columns, 3]`` from 0 to 255, two pixels a cell where the font has half blocks."""
    levels = np.rint(colours).astype(int).clip(0, 255)
    result = []
    for upper, lower in zip(levels[::2].tolist(), levels[1::2].tolist(), strict=True):
        row = Text()
        for (top, bottom), run in groupby(zip(map(tuple, upper), map(tuple, lower), strict=True)):
            length, back = len(list(run)), Color.from_rgb(*bottom)
            if terminal.unicode and top != bottom:
                row.append("▀" * length, Style.from_color(Color.from_rgb(*top), back))
            else:
                row.append(" " * length, Style.from_color(None, back))
        result.append(row)
    return result
