"""Signals out of thin air, the same each time: ``synthetic:sine?rate=50``, for trying things out without hardware."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.samples import Samples, Signal
from edge.samples.layout import channels_of
from edge.sources import Feed, Item, Model, channel_names

SHAPES = ("sine", "noise", "step")
_TURN = 0.02  # seconds from one look at the clock to the next
_CHUNK = 256  # samples at one time where nobody waits for them
_RATE = 50.0


@dataclass(frozen=True)
class Options:
    """``rate`` in samples per second; ``frequency`` in Hz, of sine and step; ``count`` samples, then it ends.

    ``paced=no`` gives samples as fast as they are taken instead of at their rate.
    """

    rate: float | None = None
    frequency: float = 1.0
    seed: int = 0
    count: int | None = None
    paced: bool = True
    hop: str | None = None


def open(location: str, options: Options, model: Model) -> Feed:
    """Make a signal of one of :data:`SHAPES`, of size 1 in the model's own unit: it is not scaled any more."""
    if location not in SHAPES:
        raise InputError(f"there is no synthetic:{location}", f"it makes {', '.join(SHAPES)}")
    stated = model.preprocessing.rate if model.preprocessing else None
    rate = options.rate or stated or _RATE
    channels = channels_of(model.input_shape, channel_names(model))
    feed = partial(_paced if options.paced else _at_once, partial(_signal, location, options, rate, channels), rate)
    signal = Signal(channels, rate, options.hop)
    return Feed(partial(feed, options.count), live=options.paced, signal=signal, raw=False)


def _signal(shape: str, options: Options, rate: float, channels: int, begin: int, end: int) -> Samples:
    """Return samples ``begin`` to ``end``; each channel is a little later than the one before."""
    if shape == "noise":
        return Samples(_noise(options.seed, begin, end, channels))
    turns = np.arange(begin, end)[:, None] * (options.frequency / rate) - np.arange(channels) / (channels + 1)
    x = np.sin(2 * np.pi * turns) if shape == "sine" else np.where(turns % 1.0 < 0.5, 0.0, 1.0)
    return Samples(x.astype(np.float32))


def _noise(seed: int, begin: int, end: int, channels: int) -> NDArray[np.float32]:
    """Return normal noise that depends on nothing but its place."""
    blocks = range(begin // _CHUNK, -(-end // _CHUNK))
    drawn = [np.random.default_rng((seed, block)).standard_normal((_CHUNK, channels), np.float32) for block in blocks]
    return np.concatenate(drawn)[begin - blocks.start * _CHUNK :][: end - begin]


def _paced(signal: partial[Samples], rate: float, count: int | None) -> Generator[Item]:
    yield None
    began, made = time.monotonic(), 0
    while count is None or made < count:
        due = int((time.monotonic() - began) * rate)
        due = due if count is None else min(due, count)
        if due > made:
            yield signal(made, due)
            made = due
        else:
            time.sleep(min(_TURN, 1 / rate))
            yield None


def _at_once(signal: partial[Samples], rate: float, count: int | None) -> Generator[Item]:
    yield None
    made = 0
    while count is None or made < count:
        end = made + _CHUNK if count is None else min(made + _CHUNK, count)
        yield signal(made, end)
        made = end
