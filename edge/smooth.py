"""SmoothGrad on the device: noisy copies of an input, a batch at a time, until there are enough or time is up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import BundleError, InputError
from .manifest import ExplanationHead
from .pace import Pace

Runner = Callable[..., dict[str, NDArray[Any]]]

MOST_SAMPLES = 1 << 16


@dataclass(frozen=True)
class Mean:
    """The mean gradient (float32, the input's shape, logits per input unit) of so many noisy copies.

    ``shortened`` says that they are fewer than asked for.
    """

    attribution: NDArray[np.float32]
    samples: int
    shortened: bool


class Smoother:
    """Runs the noisy copies of one head, and knows how long they take here."""

    def __init__(self, head: ExplanationHead, run: Runner) -> None:
        assert head.noise is not None
        self._head = head
        self._noise = head.noise
        self._run = run
        self._pace = Pace()  # of a call, with its noise

    def smooth(
        self,
        given: Mapping[str, NDArray[Any]],
        class_index: int,
        *,
        samples: int | None = None,
        time_left_ns: float | None = None,
    ) -> Mean:
        """Return the mean over noisy copies of ``x`` (of ``given``, with its batch dimension), the same each time.

        ``time_left_ns`` ends it earlier, after one call at the least, by the time that calls take.
        """
        end = time.monotonic_ns()
        deadline = math.inf if time_left_ns is None else end + time_left_ns
        wanted = self._noise.samples if samples is None else samples
        size, x = self._head.steps_per_call, given["x"]
        random = np.random.default_rng(self._noise.seed)
        total, taken = np.zeros(x.shape, np.float32), 0
        while taken < wanted:
            if taken and end + self._pace.bound > deadline:
                break
            counted = min(size, wanted - taken)
            noise = np.zeros((size, *x.shape), np.float32)
            noise[:counted] = random.normal(size=(counted, *x.shape))
            weights = np.where(np.arange(size) < counted, np.float32(1 / size), np.float32(0))
            total = total + self._call(given, noise.reshape(size * len(x), *x.shape[1:]), weights, class_index)
            taken += counted
            begin, end = end, time.monotonic_ns()
            self._pace.note(end - begin)
        attribution = np.asarray(total * np.float32(self._head.unit * size / taken), np.float32)
        return Mean(attribution, taken, taken < wanted)

    def _call(
        self,
        given: Mapping[str, NDArray[Any]],
        noise: NDArray[np.float32],
        weights: NDArray[np.float32],
        class_index: int,
    ) -> NDArray[np.float32]:
        index = np.asarray([class_index], np.int32)
        found = self._run(**given, noise=noise, weights=weights, class_index=index)["map"]
        if found.shape != given["x"].shape:
            raise BundleError(
                f"{self._head.method}: map is {list(found.shape)} for an input of {list(given['x'].shape)}",
                "export the model again",
            )
        return found


def check_samples(samples: object) -> None:
    """Raise :class:`InputError` for what is no number of noisy copies."""
    if isinstance(samples, bool) or not isinstance(samples, Integral) or not 1 <= int(samples) <= MOST_SAMPLES:
        raise InputError(f"there are no {samples!r} noisy copies", f"ask for 1 to {MOST_SAMPLES}")
