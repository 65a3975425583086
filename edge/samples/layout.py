"""Which dimension of the model's input is time, and which are channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError


@dataclass(frozen=True)
class Layout:
    """A window of ``length`` samples of ``channels`` as the model's input of ``shape``."""

    length: int
    channels: int
    shape: tuple[int, ...]
    channels_first: bool = False

    def arranged(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a copy of ``[length, channels]`` in the model's shape, contiguous."""
        return np.array(window.T if self.channels_first else window, order="C").reshape(self.shape)


def layout(shape: tuple[int, ...], channels: int) -> Layout:
    """Return how samples of so many channels fill an input of ``shape``; InputError where they do not.

    Dimensions of size 1 mean nothing. What is left is time and channels, or channels and time where only that fits;
    time alone for one channel; channels alone for a model that takes one sample.
    """
    sizes = tuple(size for size in shape if size > 1)
    match sizes:
        case ():
            found = Layout(1, 1, shape)
        case (size,):
            found = Layout(1, size, shape) if channels == size else Layout(size, 1, shape)
        case (first, last):
            found = Layout(last, first, shape, True) if channels == first != last else Layout(first, last, shape)
        case _:
            raise InputError(
                f"samples over time do not fill the model's input {list(shape)}",
                "it takes images or spectrograms: give it those, as camera: or npz:",
            )
    if found.channels != channels:
        raise InputError(
            f"the source has {channels} channel{'s'[: channels != 1]}, and the model's input {list(shape)} takes "
            f"{found.channels}",
            "choose channels or columns with an option of the source",
        )
    return found


def channels_of(shape: tuple[int, ...], names: tuple[str, ...]) -> int:
    """Return how many channels a model's samples have: as many as are named, else as the last dimension says."""
    sizes = [size for size in shape if size > 1]
    return len(names) or (sizes[-1] if len(sizes) > 1 else 1)
