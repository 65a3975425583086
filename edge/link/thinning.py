"""Attributions on their way to the link: coded when their turn comes, in as many bytes as there are for them then."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.explanation import Flag
from edge.latency import NANOSECONDS
from edge.wire import codecs
from edge.wire.codes import Thinned
from edge.wire.records import MAX_CHUNKS, Input, Map

AUTO = "auto"
HEAD = 64  # bytes of a frame that are not its map
LEAST = 64  # bytes of a map: with less room, fewer of them leave, and not coarser ones
_SMOOTH = 0.2  # weight of the latest interval between two maps of a kind
_GONE = 4  # intervals without a map after which a kind is no longer reckoned with


@dataclass(frozen=True, eq=False)
class Uncoded:
    """A map or input that waits. ``head`` is its record without how it is coded; ``values`` float32.

    ``encoding`` is a name in ``codecs.CODECS``, or ``auto`` for what fits. WireError for more values than one may have.
    """

    head: Map | Input
    values: NDArray[np.float32]
    encoding: str

    def __post_init__(self) -> None:
        codecs.check_size(self.values.size)

    @property
    def kind(self) -> tuple[int, int]:
        """What a later one of the same replaces: the record's code, and the method."""
        return self.head.code, self.head.method if isinstance(self.head, Map) else 0

    @property
    def wire_bytes(self) -> int:
        """Roughly how many bytes it takes on the wire, untouched by thinning."""
        part = {"int4": 0.5, "topk": 0.2}.get(self.encoding, 1.0)
        return HEAD + int(part * self.values.size)


@dataclass(frozen=True)
class Version:
    """A map as it leaves, and what thinning took from it."""

    coded: codecs.Coded
    shape: tuple[int, ...]
    thinned: Thinned | None = None


def fit(values: NDArray[np.float32], budget: float) -> Version:
    """Return the version of a map nearest to it among those of at most ``budget`` bytes; the smallest if none is.

    int8 if it fits, else int4, else the largest values alone or means over blocks, whichever has the smaller error.
    """
    whole = Version(codecs.encode(values), values.shape)
    if len(whole.coded.data) <= budget:
        return whole
    fewer_bits = Version(codecs.encode(values, "int4"), values.shape, Thinned.FEWER_BITS)
    if len(fewer_bits.coded.data) <= budget:
        return fewer_bits
    largest = _largest_only(values, budget)
    choice = [version for version in (largest, _coarser(values, budget)) if len(version.coded.data) <= budget]
    if not choice:
        return min((whole, fewer_bits, largest, _coarser(values, 0)), key=lambda version: len(version.coded.data))
    return min(choice, key=lambda version: _error(values, version))


def _largest_only(values: NDArray[np.float32], budget: float) -> Version:
    """Return as many of the largest values as fit, at two bytes each where they do not lie far apart."""
    kept = max(1, int(budget) // 2)
    while True:
        coded = codecs.encode(values, "topk", kept=kept)
        if kept == 1 or len(coded.data) <= budget:
            return Version(coded, values.shape, Thinned.LARGEST_ONLY)
        kept = max(1, min(kept - 1, int(kept * budget) // len(coded.data)))


def _coarser(values: NDArray[np.float32], budget: float) -> Version:
    """Return the finest means in int4 that fit, or the coarsest there are."""
    sound, block = codecs.finite(values), 1
    while True:
        block *= 2
        means = codecs.coarsen(sound, block)
        coded = codecs.encode(means.astype(np.float32), "int4")
        if len(coded.data) <= budget or block >= max(values.shape):
            saturated = not np.isfinite(values).all()
            return Version(replace(coded, saturated=saturated), means.shape, Thinned.COARSER)


def _error(values: NDArray[np.float32], version: Version) -> float:
    """Return the root of the sum of squares by which a version is off."""
    there = codecs.enlarge(codecs.decode(version.coded, version.shape), values.shape)
    return float(np.linalg.norm(codecs.finite(values) - there))


def records(uncoded: Uncoded, version: Version, chunk: int) -> deque[Map | Input]:
    """Return the records of a version, with at most ``chunk`` bytes of it in each."""
    coded, head = version.coded, uncoded.head
    how: dict[str, Any] = {name: getattr(coded, name) for name in ("encoding", "deflated", "scale", "zero_point")}
    if version.shape != uncoded.values.shape:
        how["full_shape"] = uncoded.values.shape
    if coded.saturated and isinstance(head, Map):
        how["flags"] = head.flags | Flag.SATURATED.value
    size = max(chunk, -(-len(coded.data) // MAX_CHUNKS))
    pieces = [coded.data[at : at + size] for at in range(0, len(coded.data), size)] or [b""]
    how |= {"shape": version.shape, "chunks": len(pieces)}
    return deque(replace(head, chunk=i, data=piece, **how) for i, piece in enumerate(pieces))


@dataclass
class _Flow:
    size: int
    interval: float | None
    last: int


class Demand:
    """How many bytes of maps come per second, by kind; hence how many each may have on a link that is too slow."""

    def __init__(self) -> None:
        self._flows: dict[tuple[int, int], _Flow] = {}

    def note(self, uncoded: Uncoded, now: int) -> None:
        """Note that one has come."""
        flow = self._flows.get(uncoded.kind)
        if flow is None:
            self._flows[uncoded.kind] = _Flow(uncoded.wire_bytes, None, now)
            return
        passed = (now - flow.last) / NANOSECONDS
        flow.interval = passed if flow.interval is None else flow.interval + _SMOOTH * (passed - flow.interval)
        flow.size, flow.last = uncoded.wire_bytes, now

    def budget(self, spare: float, now: int) -> float:
        """Return the wire bytes each map may take of ``spare`` bytes per second: what small ones leave, others get."""
        flows = sorted(
            (flow.size, 1 / max(flow.interval, 1e-6))
            for flow in self._flows.values()
            if flow.interval is not None and now - flow.last < _GONE * max(flow.interval, 0.5) * NANOSECONDS
        )
        often = sum(rate for _, rate in flows)
        for size, rate in flows:
            if size * often > spare:
                return max(0.0, spare / often)
            spare -= size * rate
            often -= rate
        return float("inf")
