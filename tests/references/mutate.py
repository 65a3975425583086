"""Damaging files on purpose, reproducibly: what transmission, storage and attackers do to bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

_EXTREMES = (0, 1, 2, 4, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)


def flip_bits(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    """Flip one to eight bits."""
    for _bit in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def truncate(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    """Cut the end off."""
    return data[: rng.randrange(len(data))]


def insert(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    """Put random bytes in between, as many as a word or up to 64."""
    place = rng.randrange(len(data))
    data[place:place] = rng.randbytes(rng.choice((1, 2, 4, 8, rng.randint(1, 64))))
    return data


def delete(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    """Take a few bytes out."""
    place = rng.randrange(len(data))
    del data[place : place + rng.choice((1, 2, 4, 8, rng.randint(1, 64)))]
    return data


def wipe(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    """Set a stretch to zeros or to ones, as a bad sector does."""
    place, length = rng.randrange(len(data)), rng.choice((1, 4, 16, 64, 512))
    length = min(length, len(data) - place)
    data[place : place + length] = rng.choice((b"\0", b"\xff")) * length
    return data


def splice(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> bytearray:
    """Overwrite a stretch with one of another file."""
    other = rng.choice(others)
    length = rng.randint(1, min(256, len(other), len(data)))
    source, target = rng.randrange(len(other) - length + 1), rng.randrange(len(data) - length + 1)
    data[target : target + length] = other[source : source + length]
    return data


def extreme_word(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    """Replace an aligned integer by one at the edge of a type, or near what it was."""
    width = rng.choice((1, 2, 4, 4, 4))
    place = rng.randrange(max(len(data) // width, 1)) * width
    old = int.from_bytes(data[place : place + width], "little")
    new = rng.choice((*_EXTREMES, old + 1, old - 1, old + 4, old - 4, old * 2, len(data), len(data) - place))
    data[place : place + width] = (new % (1 << 8 * width)).to_bytes(width, "little")
    return data


def bend_offset(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> bytearray:
    """Point something that looks like a flatbuffer offset at another place that something points to.

    Makes tables share vectors, vectors overlap tables, and tables contain themselves.
    """
    words = [(place, int.from_bytes(data[place : place + 4], "little")) for place in range(0, len(data) - 3, 4)]
    offsets = [(place, word) for place, word in words if 4 <= word < len(data) - place]
    if not offsets:
        return data
    for _again in range(rng.randint(1, 3)):
        place, _old = rng.choice(offsets)
        aim = sum(rng.choice(offsets))
        data[place : place + 4] = ((aim - place) % (1 << 32)).to_bytes(4, "little")
    return data


MUTATIONS: tuple[Callable[[bytearray, random.Random, Sequence[bytes]], bytearray], ...] = (
    flip_bits,
    truncate,
    insert,
    delete,
    wipe,
    splice,
    extreme_word,
    extreme_word,
    bend_offset,
    bend_offset,
)


def mutant(originals: Sequence[bytes], rng: random.Random) -> tuple[str, bytes]:
    """Return a damaged copy of one of ``originals``, one to three times over, and the names of what was done to it."""
    data = bytearray(rng.choice(originals))
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if not data:
            break
        mutation = rng.choice(MUTATIONS)
        data = mutation(data, rng, originals)
        done.append(mutation.__name__)
    return "+".join(done), bytes(data)
