"""The last windows and their answers, so that the host can still ask why."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.explanation import Prediction
from edge.manifest import Manifest
from edge.sources import Window

DEFAULT = 64  # windows
DEFAULT_BYTES = 32 << 20
MOST_BYTES = 512 << 20


@dataclass(frozen=True)
class Answered:
    """A window and what was said of it, with the state of a streaming model in which that was said."""

    sequence: int
    x: NDArray[np.float32]
    prediction: Prediction


class Recent:
    """The last ``capacity`` answered windows, by sequence number."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._windows: OrderedDict[int, Answered] = OrderedDict()

    def keep(self, window: Window, answer: Prediction) -> None:
        """Take in a window, for which the oldest may have to go; of an explanation only the answer is kept."""
        prediction = Prediction(answer.scores, answer.predicted, state=answer.state)
        x = window.x.copy()  # it may be a part of something large
        self._windows[window.sequence] = Answered(window.sequence, x, prediction)
        while len(self._windows) > self.capacity:
            self._windows.popitem(last=False)

    def find(self, sequence: int | None) -> Answered:
        """Return a window, the latest where none is named; InputError where it is not there."""
        if not self._windows:
            raise InputError("no window has been answered yet", "ask again when a RESULT has come")
        if sequence is None:
            return next(reversed(self._windows.values()))
        if sequence not in self._windows:
            raise InputError(
                f"window {sequence} is not among the last {len(self._windows)}, from {next(iter(self._windows))} to "
                f"{next(reversed(self._windows))}",
                f"ask earlier, or run with --keep above {self.capacity}",
            )
        return self._windows[sequence]


def capacity(wanted: int | None, manifest: Manifest) -> int:
    """Return how many windows to keep: as many as wanted, or 64 if those take no more than 32 MiB.

    Raises InputError where what is wanted would take more than 512 MiB.
    """
    states = sum(int(np.prod(port.shape)) * np.dtype(port.dtype).itemsize for port in manifest.states)
    size = 4 * (int(np.prod(manifest.input_shape)) + len(manifest.labels)) + states
    if wanted is None:
        return max(1, min(DEFAULT, DEFAULT_BYTES // size))
    if wanted * size > MOST_BYTES:
        raise InputError(
            f"{wanted} windows of {size:,} bytes are more than the {MOST_BYTES >> 20} MiB that may be kept",
            f"keep {max(1, MOST_BYTES // size)} at the most",
        )
    return wanted
