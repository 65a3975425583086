"""Samples at another rate: by a ratio of whole numbers, without aliases, chunk by chunk."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.samples.windows import Marks

_MOST = 1000  # of either part of a ratio
_ZEROS = 10  # of the sinc on either side of its middle
_BETA = 5.0  # of the Kaiser window: 50 dB down beyond the transition
_BLOCK = 1 << 18  # products at one time


def ratio(wanted: float, given: float) -> tuple[int, int]:
    """Return ``wanted / given`` in whole numbers of at most 1000; InputError where it is beyond 1:1000."""
    exact = Fraction(wanted) / Fraction(given)
    if not Fraction(1, _MOST) <= exact <= _MOST:
        raise InputError(
            f"{given:g} samples per second cannot become {wanted:g}", f"rates may differ {_MOST} times at most"
        )
    near = exact.limit_denominator(_MOST) if exact <= 1 else 1 / (1 / exact).limit_denominator(_MOST)
    return near.numerator, near.denominator


class Resampler:
    """Gives ``up`` samples for every ``down``: a windowed sinc in ``up`` phases.

    The cut-off is at half of the lower rate. The filter is symmetric and its delay taken out, so output ``k`` belongs
    to input ``k * down / up``. Before its beginning and after its end the signal stays what it is there. As
    ``scipy.signal.resample_poly``, but that each phase has gain 1, so that what is constant stays so.
    """

    def __init__(self, up: int, down: int) -> None:
        self._up, self._down = up, down
        self._half = _ZEROS * max(up, down)
        self._bank = _phases(up, down, self._half)
        self._taps = self._bank.shape[1]
        self._restart()

    def feed(self, x: NDArray[np.floating], marks: Marks) -> tuple[NDArray[np.float64], Marks]:
        """Return the samples that ``x``, ``[t, channels]``, completes, and where ``marks`` in ``x`` are among the next.

        Place 0 is the first sample returned; the delay of the filter puts marks beyond the last one.
        """
        if not len(x):
            return np.empty((0, *x.shape[1:])), marks
        places, classes = marks
        absolute = (2 * (places + self._count) * self._up + self._down) // (2 * self._down)
        moved = absolute - self._made
        if not self._count:
            self._kept = np.repeat(x[:1].astype(np.float64), self._taps, axis=0)
        self._count += len(x)
        self._kept = np.concatenate([self._kept, x])
        # the last output whose newest input, (k * down + half) // up, is there
        made = self._make((self._count * self._up - self._half - 1) // self._down + 1)
        return made, (moved, classes)

    def finish(self) -> NDArray[np.float64]:
        """Return what is left of the signal, ``ceil(t * up / down)`` samples in all, and begin anew."""
        if not self._count:
            return np.empty((0, 0))
        total = -(-self._count * self._up // self._down)
        self._kept = np.concatenate([self._kept, np.repeat(self._kept[-1:], self._taps, axis=0)])
        made = self._make(total)
        self._restart()
        return made

    def _restart(self) -> None:
        self._count = self._made = 0
        self._begin = -self._taps  # the place of the first input that is kept
        self._kept = np.empty((0, 0))

    def _make(self, end: int) -> NDArray[np.float64]:
        """Return outputs up to ``end``, and forget the inputs that no later one needs."""
        step = max(1, _BLOCK // (self._taps * self._kept.shape[1]))
        made = [np.empty((0, self._kept.shape[1]))]
        for begin in range(self._made, end, step):
            at = np.arange(begin, min(begin + step, end)) * self._down + self._half
            newest = at // self._up - self._begin
            inputs = self._kept[newest[:, None] - np.arange(self._taps)]
            made.append(np.einsum("kt,ktc->kc", self._bank[at % self._up], inputs))
        self._made = max(self._made, end)
        oldest = (self._made * self._down + self._half) // self._up - self._taps + 1
        self._kept = self._kept[max(0, oldest - self._begin) :]
        self._begin = max(self._begin, oldest)
        return np.concatenate(made)


def _phases(up: int, down: int, half: int) -> NDArray[np.float64]:
    """Return the filter as ``[up, taps]``: row ``p`` weighs inputs, newest first, for outputs ``p / up`` after one."""
    at = np.arange(-half, half + 1)
    sinc = np.sinc(at / max(up, down)) * np.kaiser(2 * half + 1, _BETA)
    taps = -(-len(sinc) // up)
    bank = np.pad(sinc, (0, taps * up - len(sinc))).reshape(taps, up).T
    weights: NDArray[np.float64] = bank / bank.sum(axis=1, keepdims=True)
    return weights
