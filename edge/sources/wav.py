"""Sound in a file: ``wav:FILE?channels=0&hop=0.5s``, PCM of 8 to 32 bits, as numbers from -1 to 1."""

from __future__ import annotations

import wave
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.files import open_ordinary
from edge.samples import Samples, Signal, check_channels
from edge.sources import Feed, Item, Model, told

_FRAMES = 4096  # at one time
_HINT = "make it one of PCM: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav"


@dataclass(frozen=True)
class Options:
    """``channels`` by number from 0; all of them by default."""

    channels: tuple[str, ...] = ()
    hop: str | None = None


def open(location: str, options: Options, model: Model) -> Feed:
    """Read the header of the file ``location``; its rate becomes the one that the manifest states, if any."""
    try:
        with open_ordinary(location) as file:
            sound = _header(file, location)
            there = tuple(map(str, range(sound.getnchannels())))
            rate = float(sound.getframerate())
    except OSError as error:
        raise InputError(f"cannot read {location}: {error.strerror}", "give the path of a .wav file") from error
    places = check_channels(options.channels or there, there, location)
    return Feed(partial(_read, location, places), signal=Signal(len(places), rate, options.hop))


def _read(location: str, places: list[int]) -> Generator[Item]:
    try:
        with open_ordinary(location) as file:
            sound = _header(file, location)
            yield None
            left, size = sound.getnframes(), sound.getsampwidth() * sound.getnchannels()
            while left:
                data = sound.readframes(min(left, _FRAMES))
                count = len(data) // size
                if not count:
                    yield from told(location, [f"its last {left} frames are missing: the file is cut short"])
                    return
                x = _values(data[: count * size], sound.getsampwidth()).reshape(count, -1)
                yield Samples(x[:, places])
                left -= count
    except (OSError, EOFError, RuntimeError, wave.Error) as error:
        raise InputError(f"cannot read on in {location}: {error}", "the file is damaged") from error


def _header(file: BinaryIO, location: str) -> wave.Wave_read:
    try:
        sound: wave.Wave_read = wave.open(file)  # noqa: SIM115 - it is returned
    except (wave.Error, EOFError, ValueError, OverflowError, RuntimeError) as error:  # the last: a chunk of no length
        why = str(error) or "it ends within its header"
        raise InputError(f"{location} cannot be read as sound: {why}", _HINT) from error
    if sound.getsampwidth() not in {1, 2, 3, 4} or not sound.getframerate():
        raise InputError(f"{location} has samples of {sound.getsampwidth()} bytes at {sound.getframerate()} Hz", _HINT)
    return sound


def _values(data: bytes, width: int) -> NDArray[np.float32]:
    """Return PCM of ``width`` bytes as numbers from -1 to 1."""
    if width == 1:
        return np.frombuffer(data, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
    wide = np.zeros((len(data) // width, 4), np.uint8)
    wide[:, 4 - width :] = np.frombuffer(data, np.uint8).reshape(-1, width)
    return (wide.view("<i4")[:, 0] / 2.0**31).astype(np.float32)
