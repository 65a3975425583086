"""Windows cut from a stream of samples: one every hop, or one around each mark."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError

Marks = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Places among samples, ascending, and the class that is true at each."""

Piece = tuple[NDArray[np.float32], int | None]
"""A window ``[length, channels]``, and its class where that is known."""

_HOP = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)(s|%)?", re.ASCII)


def hop_of(text: str | None, length: int, rate: float | None) -> int:
    """Return how many samples a window begins after the one before: ``50``, ``0.5s``, ``50%`` of a window.

    Without a text, windows do not overlap. InputError where it is none of these.
    """
    if text is None:
        return length
    found = _HOP.fullmatch(text)
    hint = "hop is a number of samples (50), of seconds (0.5s), or a part of the window (50%), one sample at least"
    if found is None:
        raise InputError(f"hop={text!r} is no distance between windows", hint)
    number, unit = float(found[1]), found[2]
    if unit == "s":
        if rate is None:
            raise InputError(f"hop={text} needs to know the rate of the samples", "give it with rate=HZ")
        number *= rate
    elif unit == "%":
        number *= length / 100
    hop = round(number)
    if hop < 1 or (unit is None and hop != number):
        raise InputError(f"hop={text} is {number:g} samples", hint)
    return hop


class Windower:
    """Cuts samples into windows of ``length``, ``hop`` apart, or around each mark where ``hop`` is None.

    The class of a window is that of most marks in it (of equally many, the lower one), or of the mark that it is
    around: sample ``length // 2`` of it. A mark too near to the beginning or the end for a whole window has none. Keeps
    at most a window and a chunk.
    """

    def __init__(self, length: int, hop: int | None) -> None:
        self._length, self._hop = length, hop
        self.restart()

    def restart(self) -> None:
        """Forget what is there: what comes next does not follow on it."""
        self._kept: NDArray[np.float32] | None = None
        self._begin = 0  # the place of the first sample kept
        self._next = 0  # the place at which the next window begins, with a hop
        self._marks: deque[tuple[int, int]] = deque()

    def feed(self, x: NDArray[np.float32], marks: Marks) -> Iterator[Piece]:
        """Yield the windows that ``x``, ``[t, channels]``, completes."""
        end = self._begin + (0 if self._kept is None else len(self._kept))
        self._marks.extend(zip((marks[0] + end).tolist(), marks[1].tolist(), strict=True))
        self._kept = x if self._kept is None else np.concatenate([self._kept, x])
        yield from self._around_marks() if self._hop is None else self._one_every(self._hop)

    def _one_every(self, hop: int) -> Iterator[Piece]:
        while (window := self._window(self._next)) is not None:
            while self._marks and self._marks[0][0] < self._next:
                self._marks.popleft()
            votes: dict[int, int] = {}
            for place, label in self._marks:
                if place >= self._next + self._length:
                    break
                votes[label] = votes.get(label, 0) + 1
            yield window, min(votes, key=lambda label: (-votes[label], label), default=None)
            self._next += hop
        self._forget(self._next)
        while self._marks and self._marks[0][0] < self._next:
            self._marks.popleft()

    def _around_marks(self) -> Iterator[Piece]:
        while self._marks:
            place, label = self._marks[0]
            begin = place - self._length // 2
            window = self._window(begin)
            if window is None and begin >= 0:
                break
            self._marks.popleft()
            if window is not None:
                yield window, label
        assert self._kept is not None
        self._forget(self._begin + len(self._kept) - self._length)

    def _window(self, begin: int) -> NDArray[np.float32] | None:
        """Return the window from place ``begin`` on, None where not all of it is there."""
        assert self._kept is not None
        at = begin - self._begin
        return self._kept[at : at + self._length] if 0 <= at <= len(self._kept) - self._length else None

    def _forget(self, place: int) -> None:
        """Forget samples before ``place``, by copying the rest: a view would keep them."""
        assert self._kept is not None
        count = min(max(0, place - self._begin), len(self._kept))
        self._kept = self._kept[count:].copy()
        self._begin += count
