"""How weights lie in flash for DSP instructions (kernels/whylite_dsp.h), and which figures their kernels take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHANNELS, TAPS = 4, 4
"""Output channels that are computed at once, and taps that are read at once: weights are filled up to these."""

MACRO = "WHYLITE_PACKED"

_HALVINGS = 21
"""The most after which the zero point, moved up as many bits, is within 32 bits with all that is added to it."""

_SHIFT_APART = 64
"""WHYLITE_SHIFT_APART."""


@dataclass(frozen=True)
class Figures:
    """What an output channel's sum becomes, for each, filled up to a multiple of eight."""

    bias: NDArray[np.int32]
    multiplier: NDArray[np.int32]
    shift: NDArray[np.int8]


def filled_up(bias: NDArray[np.int32], multiplier: NDArray[np.int32], shift: NDArray[np.int8]) -> Figures:
    """Return figures with zeros added up to what kernels read at once."""
    more = (0, -len(bias) % 8)
    return Figures(np.pad(bias, more), np.pad(multiplier, more), np.pad(shift, more))


def packed(kernel: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return weights ``[channels, runs, taps]`` in the order in which the kernels for DSP instructions read them.

    Both channels and the taps of each run are filled up with zeros. Two channels share a half word, 256 times the odd
    one plus the even one; the taps of a word are two apart, as SXTB16 takes them from the input.
    """
    channels, _, taps = kernel.shape
    filled = np.pad(kernel, ((0, -channels % CHANNELS), (0, 0), (0, -taps % TAPS))).astype(np.int16)
    fours = filled.reshape(-1, 2, 2, filled[0].size // TAPS, 2, 2)  # group, pair, channel, four, half, word
    pairs = fours[:, :, 0] + 256 * fours[:, :, 1]
    return pairs.transpose(0, 2, 4, 1, 3).astype("<i2").reshape(-1).view(np.int8)


def packed_figures(kernel: NDArray[np.int8], figures: Figures, axis: int = 0) -> Figures:
    """Return figures as the kernels for DSP instructions want them; ``axis`` of the weights is the output channel.

    The bias is doubled, and the shift is how often a result is halved before the last time. Channels that this does not
    fit have the bias as it is, and a shift that is recognised by being negative.
    """
    others = tuple(other for other in range(kernel.ndim) if other != axis)
    products = 128 * np.abs(kernel.astype(np.int64)).sum(others)
    bias, shift = figures.bias.astype(np.int64), figures.shift
    largest = np.pad(products, (0, len(bias) - len(products))) + np.abs(bias)
    halvings = np.where(figures.multiplier == 0, 0, -1 - shift)
    fits = (largest < 1 << 30) & (halvings >= 0) & (halvings <= _HALVINGS)
    return Figures(
        np.where(fits, 2 * bias, bias).astype(np.int32),
        figures.multiplier,
        np.where(fits, halvings, shift - _SHIFT_APART).astype(np.int8),
    )
