"""Where buffers lie in the arena: those that never hold something at the same time may share bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .program import ALIGNED, Buffer, places_of


def plan(buffers: Sequence[Buffer]) -> int:
    """Give every buffer its offset, and return the size of the arena in bytes.

    Each goes to the lowest place that is free for as long as it lives. In which order decides how much is wasted, and
    no order is best for all graphs: several are tried and the smallest arena kept (the problem is NP-hard; for how
    near such orders come, see Pisarchyk & Lee 2020, arXiv 2001.03288).
    """
    best: tuple[int, list[int]] | None = None
    wholes = [buffer for buffer in buffers if buffer.whole is None]
    for order in _ORDERS:
        for buffer in wholes:
            buffer.offset = -1
        for buffer in sorted(wholes, key=order):
            _place(buffer, wholes)
        size = places_of(wholes)
        if best is None or size < best[0]:
            best = size, [buffer.offset for buffer in wholes]
    assert best is not None
    for buffer, offset in zip(wholes, best[1], strict=True):
        buffer.offset = offset
    for buffer in buffers:
        if buffer.whole is not None:
            buffer.offset = buffer.whole.offset + buffer.begin
    return best[0]


def _place(buffer: Buffer, buffers: Sequence[Buffer]) -> None:
    taken = sorted((b.offset, b.offset + b.size) for b in buffers if b.offset >= 0 and b.meets(buffer))
    offset = 0
    for begin, end in taken:
        if offset + buffer.size <= begin:
            break
        offset = max(offset, -(-end // ALIGNED) * ALIGNED)
    buffer.offset = offset


def _span(buffer: Buffer) -> int:
    return sum(last - first + 1 for first, last in buffer.alive.values())


def _start(buffer: Buffer) -> tuple[int, ...]:
    return min((first, last) for first, last in buffer.alive.values())


_ORDERS: tuple[Callable[[Buffer], tuple[int, ...]], ...] = (
    lambda buffer: (-buffer.size, *_start(buffer)),
    lambda buffer: (-_span(buffer), -buffer.size, *_start(buffer)),
    lambda buffer: (-buffer.size * _span(buffer), *_start(buffer)),
    lambda buffer: (*_start(buffer), -buffer.size),
)
