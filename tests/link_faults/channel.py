"""A line that does to frames what lines do, and worse; the same from the same seed."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence

_HISTORY = 400  # frames that may come again
_DELAY = 5  # frames by which one may come too late
_OUTAGE = 200  # frames that may be lost at once

Damage = Callable[[random.Random, bytes, bytes], bytes]
"""Returns what becomes of a frame; the third argument is an earlier one."""


def flip(rng: random.Random, frame: bytes, _: bytes) -> bytes:
    """Flip one to eight bits."""
    data = bytearray(frame)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def drop_bytes(rng: random.Random, frame: bytes, _: bytes) -> bytes:
    """Lose some bytes, as a full buffer does."""
    place = rng.randrange(len(frame))
    return frame[:place] + frame[place + rng.choice((1, 2, 4, 64)) :]


def duplicate_bytes(rng: random.Random, frame: bytes, _: bytes) -> bytes:
    """Send some bytes twice."""
    place, size = rng.randrange(len(frame)), rng.choice((1, 4, 8, 64))
    return frame[: place + size] + frame[place:]


def insert(rng: random.Random, frame: bytes, _: bytes) -> bytes:
    """Put other bytes in, zeros as likely as not."""
    place = rng.randrange(len(frame) + 1)
    noise = bytes(rng.choice((0, rng.randrange(256))) for _ in range(rng.choice((1, 2, 6, 40))))
    return frame[:place] + noise + frame[place:]


def truncate(rng: random.Random, frame: bytes, _: bytes) -> bytes:
    """Stop in mid frame."""
    return frame[: rng.randrange(len(frame))]


def reorder_bytes(rng: random.Random, frame: bytes, _: bytes) -> bytes:
    """Exchange two stretches of bytes."""
    a, b, c = sorted(rng.randrange(len(frame) + 1) for _ in range(3))
    return frame[:a] + frame[b:c] + frame[a:b] + frame[c:]


def overwrite(rng: random.Random, frame: bytes, _: bytes) -> bytes:
    """Replace a stretch by noise."""
    place, size = rng.randrange(len(frame)), rng.choice((1, 4, 32))
    return frame[:place] + rng.randbytes(size) + frame[place + size :]


def splice(rng: random.Random, frame: bytes, earlier: bytes) -> bytes:
    """Go on with the rest of another frame."""
    return frame[: rng.randrange(len(frame))] + earlier[rng.randrange(len(earlier)) :]


DAMAGES: dict[str, Damage] = {
    "bit flips": flip,
    "dropped bytes": drop_bytes,
    "duplicated bytes": duplicate_bytes,
    "insertions": insert,
    "truncations": truncate,
    "reordered bytes": reorder_bytes,
    "overwritten bytes": overwrite,
    "spliced frames": splice,
}
WHOLE = ("dropped frames", "duplicated frames", "reordered frames", "joined frames", "replays", "outages")
FAULTS = (*DAMAGES, *WHOLE)


class Channel:
    """Carries frames; about one in ``1 / rate`` meets one of ``faults``, each as likely as the others."""

    def __init__(self, rng: random.Random, faults: Sequence[str], rate: float) -> None:
        self.faults = 0  # so far
        self._rng, self._names, self._rate = rng, tuple(faults), rate
        self._history: deque[bytes] = deque(maxlen=_HISTORY)
        self._late: list[tuple[int, bytes]] = []  # frames to wait for, and the one that comes after them
        self._gone = 0  # frames of an outage still to come
        self._joined = False

    def carry(self, frame: bytes) -> Iterator[tuple[bytes, bool]]:
        """Yield what comes out for a frame put in, and whether that is one frame as it was sent."""
        if self._gone:
            self._gone -= 1
            yield b"", False
        elif self._joined:  # to the one before, without anything between them
            self._joined = False
            yield frame[1:], False
        elif self._rng.random() < self._rate:
            self.faults += 1
            yield from self._harm(self._rng.choice(self._names), frame)
        else:
            yield frame, True
        self._history.append(frame)
        due = [late for wait, late in self._late if wait == 0]
        self._late = [(wait - 1, late) for wait, late in self._late if wait]
        for late in due:
            yield late, False

    def forget(self) -> None:
        """Begin anew, as the buffers along a line do when a board restarts."""
        self._history.clear()
        self._late.clear()
        self._gone, self._joined = 0, False

    def _harm(self, fault: str, frame: bytes) -> Iterator[tuple[bytes, bool]]:
        rng, history = self._rng, self._history
        match fault:
            case "dropped frames":
                yield b"", False
            case "duplicated frames":
                yield frame * 2, False
            case "reordered frames":
                self._late.append((rng.randrange(_DELAY), frame))
                yield b"", False
            case "joined frames":
                self._joined = True
                yield frame[:-1], False
            case "replays":
                yield frame, False
                yield b"".join(list(history)[rng.randrange(len(history)) :] if history else ()), False
            case "outages":
                self._gone = rng.randrange(_OUTAGE)
                yield b"", False
            case _:
                yield DAMAGES[fault](rng, frame, rng.choice(history) if history else frame), False


def pieces(rng: random.Random, data: bytes) -> Iterator[bytes]:
    """Cut what was written as a port hands it over: all at once, in halves, byte by byte, or at random."""
    match rng.randrange(8):
        case 0:
            yield from (data[at : at + 1] for at in range(len(data)))
        case 1 | 2 | 3:
            cuts = [0, *sorted(rng.randrange(len(data) + 1) for _ in range(rng.randint(1, 3))), len(data)]
            yield from (data[start:end] for start, end in itertools.pairwise(cuts))
        case _:
            yield data
