"""What stands between a sensor's values and the model's input: stated in the manifest, done by every raw source."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NORMALIZATIONS = ("none", "standard", "range")
_MOST_CHANNELS = 1 << 16
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Preprocessing:
    """How raw values become what the model was trained on, in this order.

    1. Samples come at ``rate`` per second, ``channels`` in this order; an image has the channels red, green and blue in
       the order stated, or grey.
    2. ``(value - offset) / scale``, one number for each channel or one for all; none is 0 and 1. Mean and standard
       deviation of the training data, minimum and range, or 127.5 and 127.5 for images of -1 to 1 are all of this form.
    3. Each window by itself, per channel: ``normalize`` is "standard" for mean 0 and deviation 1, "range" for 0 to 1,
       and else "none". What does not vary becomes 0.
    """

    rate: float | None = None
    channels: tuple[str, ...] = ()
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    normalize: str = "none"

    def scaled(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32 values, the last dimension of which are channels, less the offset and over the scale."""
        if self.offset:
            x = x - np.array(self.offset, np.float32)
        return np.divide(x, np.array(self.scale, np.float32), dtype=np.float32) if self.scale else x

    def normalized(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a window, the last dimension of which are channels, on a scale of its own."""
        if self.normalize == "none":
            return window
        axes = tuple(range(window.ndim - 1))
        wide = window.astype(np.float64)
        if self.normalize == "standard":
            wide -= wide.mean(axis=axes, keepdims=True)
            size = wide.std(axis=axes, keepdims=True)
        else:
            wide -= wide.min(axis=axes, keepdims=True)
            size = wide.max(axis=axes, keepdims=True)
        constant = window.max(axis=axes, keepdims=True) == window.min(axis=axes, keepdims=True)
        return np.where(constant, 0.0, wide / np.where(constant, 1.0, size)).astype(np.float32)


def faults(stated: Preprocessing, shape: tuple[int, ...]) -> Iterator[str]:
    """Yield what is wrong with a statement about a model of input ``shape``, each naming the field."""
    if stated.rate is not None and not 0 < stated.rate <= _LARGEST:
        yield f"rate is {stated.rate}, no number of samples per second"
    if any(not name.strip() for name in stated.channels) or len(set(stated.channels)) < len(stated.channels):
        yield f"channels are {list(stated.channels)[:10]}, not different names"
    sizes = {1, *shape}
    if stated.channels and len(stated.channels) not in sizes:
        yield f"channels are {len(stated.channels)}, and the model's input is {list(shape)}"
    for name in ("offset", "scale"):
        numbers = getattr(stated, name)
        allowed = {0, 1, len(stated.channels)} if stated.channels else {0, *sizes}
        if len(numbers) not in allowed or len(numbers) > _MOST_CHANNELS:
            yield f"{name} is {len(numbers)} numbers, one for each channel or one for all are wanted"
        if not all(math.isfinite(number) and abs(number) <= _LARGEST for number in numbers):
            yield f"{name} holds NaN, infinity or more than float32 can"
    if any(np.float32(number) == 0 for number in stated.scale if abs(number) <= _LARGEST):
        yield "scale holds 0, by which nothing can be divided"
    if stated.normalize not in NORMALIZATIONS:
        yield f"normalize is {stated.normalize[:20]!r}, none of {', '.join(NORMALIZATIONS)}"
