"""Ratios of run times that hold on a busy machine: paired bursts in random order, in one process, on one thread.

A single time on a shared computer says little: clock speed, caches and neighbours move it by tens of per cent within a
second. So a candidate is never compared with a time from another minute: each round times one burst of the reference
and one of the candidate back to back, in random order, and what counts is the median of their ratios. Where a program
happens to lie in memory moves it by another per cent for as long as it lives, so everything is set up several times
afresh. The reference against another instance of itself (A/A) goes through the same mill: a difference no larger than
what it shows is no difference.

Times are the thread's CPU time, which an interpreter on one thread spends entirely in the caller, so that being
preempted by another process does not count.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

Call = Callable[[], object]
Setting = tuple[Call, Mapping[str, Call]]
"""The reference, and the candidates by name."""

_BURST_S = 0.002
_WARM_UP_CALLS = 5


@dataclass(frozen=True)
class Ratio:
    """A candidate's time over the reference's: the median of all instances, and the quartiles between them."""

    median: float
    low: float
    high: float
    reference_us: float
    candidate_us: float

    def per(self, parts: int) -> Ratio:
        """Return the same for one of ``parts`` equal parts of the candidate, such as the steps of a batch."""
        return Ratio(
            self.median / parts, self.low / parts, self.high / parts, self.reference_us, self.candidate_us / parts
        )


def ratios(set_up: Callable[[], Setting], *, instances: int, rounds: int, seed: int = 0) -> dict[str, Ratio]:
    """Return each candidate's time over the reference's, from ``rounds`` pairs in each of ``instances`` settings."""
    order = random.Random(seed)
    measured: dict[str, list[Ratio]] = {}
    ballast = []
    for _ in range(instances):
        ballast.append(bytearray(order.randrange(1, 1 << 20)))  # or the next instance lies where this one did
        reference, candidates = set_up()
        for name, ratio in _instance(reference, candidates, rounds, order).items():
            measured.setdefault(name, []).append(ratio)
    return {name: _over_instances(found) for name, found in measured.items()}


def _instance(reference: Call, candidates: Mapping[str, Call], rounds: int, order: random.Random) -> dict[str, Ratio]:
    counts = {name: _calls_per_burst(call) for name, call in candidates.items()}
    reference_count = _calls_per_burst(reference)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    names = list(candidates)
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            jobs = [(0, reference, reference_count), (1, candidates[name], counts[name])]
            order.shuffle(jobs)
            pair = [0.0, 0.0]
            for place, call, count in jobs:
                pair[place] = _burst(call, count)
            times[name].append((pair[0], pair[1]))
    return {name: _over_rounds(pairs) for name, pairs in times.items()}


def _burst(call: Call, count: int) -> float:
    """Return the mean time of ``count`` calls in microseconds, after one that warms the caches."""
    call()
    begin = time.thread_time_ns()
    for _ in range(count):
        call()
    return (time.thread_time_ns() - begin) / count * 1e-3


def _calls_per_burst(call: Call) -> int:
    once = _burst(call, 1)
    if once > _BURST_S * 1e6:
        return 1
    for _ in range(_WARM_UP_CALLS):
        call()
    return max(1, round(_BURST_S * 1e6 / max(_burst(call, _WARM_UP_CALLS), 0.1)))


def _over_rounds(pairs: list[tuple[float, float]]) -> Ratio:
    middle = median(candidate / reference for reference, candidate in pairs)
    reference, candidate = (median(pair[place] for pair in pairs) for place in (0, 1))
    return Ratio(middle, middle, middle, reference, candidate)


def _over_instances(found: list[Ratio]) -> Ratio:
    medians = [ratio.median for ratio in found]
    low, middle, high = quantiles(medians, n=4, method="inclusive") if len(medians) > 1 else medians * 3
    reference, candidate = median(r.reference_us for r in found), median(r.candidate_us for r in found)
    return Ratio(middle, low, high, reference, candidate)
