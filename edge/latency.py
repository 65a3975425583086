"""How long things take: phases of one window, and their distribution over many in bounded memory."""

from __future__ import annotations

import enum
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

NANOSECONDS = 1_000_000_000
_BITS = 7  # of precision that a histogram keeps
COARSENESS = 2**-_BITS  # part by which a quantile of a histogram may be too high
_LONGEST = 1 << 42  # nanoseconds, more than an hour: no phase lasts that long, so the clock is wrong


class Phase(enum.IntEnum):
    """What a device does with one window, by the number it has on the wire."""

    CAPTURE = 0  # until the window was complete
    QUANTIZE = 1
    PREDICT = 2
    ENCODE = 3  # quantising and deflating the maps
    QUEUE = 4  # the result, from being known to being written
    SEND = 5  # the result, until the port had taken it

    @property
    def label(self) -> str:
        """The phase's name for people."""
        return self.name.lower()


def clock() -> int:
    """Return nanoseconds of a clock that never goes back and that nobody sets."""
    return time.perf_counter_ns()


def duration(nanoseconds: float) -> str:
    """Return a duration for people, in the unit that suits it."""
    for unit, name in ((1_000, "µs"), (1_000_000, "ms")):
        if nanoseconds < 1000 * unit:
            return f"{nanoseconds / unit:.3g} {name}"
    return f"{nanoseconds / NANOSECONDS:.3g} s"


@dataclass
class Lap:
    """What the phases of one window took, in nanoseconds; ``methods`` by the method that explained.

    Not ``valid`` where the clock was wrong meanwhile; ``warm_up`` where the window was one of the first.
    """

    phases: dict[Phase, int] = field(default_factory=dict)
    methods: dict[str, int] = field(default_factory=dict)
    valid: bool = True
    warm_up: bool = False

    def add(self, latency: Mapping[str, int]) -> None:
        """Take over what a ``Prediction.latency`` says of the phases before explaining."""
        self.phases.update((phase, latency[phase.label]) for phase in Phase if phase.label in latency)

    @contextmanager
    def method(self, name: str) -> Iterator[None]:
        """Note the time spent inside as what explaining with ``name`` took."""
        start = clock()
        yield
        self.methods[name] = clock() - start


@dataclass(frozen=True)
class Quantiles:
    """A distribution of durations, in nanoseconds; the quantiles are at most 1/128 above the true ones.

    ``rejected`` durations are not in it: see ``Histogram``.
    """

    count: int
    mean: float
    p50: int
    p95: int
    p99: int
    max: int
    rejected: int = 0


class Histogram:
    """Counts durations in buckets whose width grows with the duration, so that memory does not grow with the count.

    At most 36 * 128 buckets. ``rejected`` counts durations that no sane clock gives: negative ones and those above an
    hour.
    """

    def __init__(self) -> None:
        self.count = 0
        self.rejected = 0
        self._sum = 0
        self._max = 0
        self._buckets: dict[int, int] = {}

    def add(self, nanoseconds: int) -> None:
        """Count one duration."""
        if not 0 <= nanoseconds < _LONGEST:
            self.rejected += 1
            return
        self.count += 1
        self._sum += nanoseconds
        self._max = max(self._max, nanoseconds)
        bucket = _bucket(nanoseconds)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1

    def quantile(self, fraction: float) -> int:
        """Return the duration that ``fraction`` of all are not above (nearest rank); 0 where there are none."""
        rank = max(1, -int(-fraction * self.count // 1))
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                return min(_upper(bucket), self._max)
        return self._max

    def counts(self) -> dict[int, int]:
        """Return how many durations there are in each bucket, by its upper bound in nanoseconds, in ascending order."""
        return {_upper(bucket): self._buckets[bucket] for bucket in sorted(self._buckets)}

    def quantiles(self) -> Quantiles:
        """Return what people ask for."""
        mean = self._sum / self.count if self.count else 0.0
        p50, p95, p99 = map(self.quantile, (0.5, 0.95, 0.99))
        return Quantiles(self.count, mean, p50, p95, p99, self._max, self.rejected)


def _bucket(value: int) -> int:
    """Return the bucket of ``value``: its leading bits and how many follow them."""
    shift = max(0, value.bit_length() - _BITS - 1)
    return (shift << _BITS) + (value >> shift)


def _upper(bucket: int) -> int:
    """Return the largest value in a bucket."""
    shift = max(0, (bucket >> _BITS) - 1)
    return ((bucket - (shift << _BITS) + 1) << shift) - 1
