"""From samples of a sensor to windows of the model: resampled, scaled as the manifest states, cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.samples.layout import layout
from edge.samples.preprocessing import Preprocessing
from edge.samples.resample import Resampler, ratio
from edge.samples.windows import Marks, Piece, Windower, hop_of

NO_MARKS: Marks = (np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(frozen=True)
class Samples:
    """Consecutive samples ``x``, ``[t, channels]``, all finite.

    ``marks`` are places in ``x``, ascending, and the class that is true there: of every sample, of some, or of none.
    """

    x: NDArray[np.floating]
    marks: Marks = NO_MARKS


@dataclass(frozen=True)
class Signal:
    """What a source says of its samples.

    ``rate`` is in samples per second, None where it is the model's own. ``hop`` is from one window to the next, as the
    option of that name (``edge.samples.windows.hop_of``). Where it is ``centred``, there is one window around each mark
    instead, of the mark's class.
    """

    channels: int
    rate: float | None = None
    hop: str | None = None
    centred: bool = False


class Cutter:
    """Turns samples into windows of ``shape``; InputError where they cannot become such.

    However the samples are divided into chunks, the windows are the same. Without a stated preprocessing values stay
    what they are.
    """

    def __init__(self, signal: Signal, shape: tuple[int, ...], stated: Preprocessing | None) -> None:
        self._stated = stated or Preprocessing()
        self._layout = layout(shape, signal.channels)
        length, rate = self._layout.length, self._stated.rate or signal.rate
        parts = (1, 1)
        if signal.rate is not None and self._stated.rate is not None:
            parts = ratio(self._stated.rate, signal.rate)
        self._resampler = None if parts == (1, 1) else Resampler(*parts)
        hop = None if signal.centred else hop_of(signal.hop, length, rate)
        self._windower = Windower(length, hop)

    def feed(self, samples: Samples) -> Iterator[Piece]:
        """Yield the windows that these samples complete, and the class of each where it is known."""
        x, marks = samples.x, samples.marks
        if self._resampler is not None:
            x, marks = self._resampler.feed(x, marks)
        yield from self._cut(x, marks)

    def finish(self) -> Iterator[Piece]:
        """Yield what is complete now that nothing follows; what is fed next begins anew."""
        if self._resampler is not None:
            yield from self._cut(self._resampler.finish(), NO_MARKS)
        self._windower.restart()

    def _cut(self, x: NDArray[np.floating], marks: Marks) -> Iterator[Piece]:
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number then, the explainer refuses by name
            scaled = self._stated.scaled(x.astype(np.float32))
        for window, truth in self._windower.feed(scaled, marks):
            yield self._layout.arranged(self._stated.normalized(window)), truth


def check_channels(names: tuple[str, ...], there: tuple[str, ...], what: str) -> list[int]:
    """Return the places of channels given by name, or by number from 0; InputError naming one that is not there."""
    places = []
    place_of = {name: place for place, name in reversed(list(enumerate(there)))}
    for name in names:
        if name in place_of:
            places.append(place_of[name])
        elif name.isascii() and name.isdigit() and int(name[:9]) < len(there):
            places.append(int(name))
        else:
            raise InputError(
                f"{what} has no channel {name!r}", f"it has {', '.join(there[:50])}, or 0 to {len(there) - 1}"
            )
    return places


def finite(x: NDArray[np.float32]) -> Iterator[Samples | str]:
    """Yield those of the samples that are finite in every channel, and say how many are not."""
    good = np.isfinite(x).all(axis=1)
    if not good.all():
        yield f"{np.sum(~good)} samples hold NaN or infinity"
    if good.any():
        yield Samples(x[good])
