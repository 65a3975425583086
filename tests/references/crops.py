"""Crops of photographs, as inputs for models of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def square_crops(paths: Sequence[Path], size: int, count: int, scale: float, seed: int) -> NDArray[np.float32]:
    """Return crops at random places of the photographs in turn, float32 ``[count, size, size, 3]``.

    Each is from 0.4 of the smaller side to all of it, in values of 0 to 255 times ``scale``.
    """
    random = np.random.default_rng(seed)
    images = [Image.open(path).convert("RGB") for path in paths]
    crops = []
    for number in range(count):
        image = images[number % len(images)]
        extent = int(min(image.size) * random.uniform(0.4, 1))
        left, top = (int(random.integers(0, length - extent + 1)) for length in image.size)
        crop = image.crop((left, top, left + extent, top + extent)).resize((size, size), Image.Resampling.BILINEAR)
        crops.append(np.asarray(crop, np.float32) * np.float32(scale))
    return np.stack(crops)
