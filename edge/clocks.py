"""Whether the clock can be believed: it advances, never goes back, is fine enough, and agrees with the system's others.

Suspended machines, emulators and broken counters give durations that look like any others. Every comparison allows for
what may pass between two readings, so that a busy machine is never taken for a wrong clock.
"""

from __future__ import annotations

import enum
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from edge.latency import clock

TOLERANCE = 0.01  # of a duration, that it may be wrong by: a histogram's buckets are as wide
COARSEST = 1_000_000  # nanoseconds: phases last a few milliseconds
_SLACK = 20_000  # nanoseconds that two readings may be apart beyond what lies between them
_WORK_SLACK = 50_000_000  # the processor's time is counted in steps of the scheduler on some kernels
_TEST = 50_000_000  # nanoseconds that a test takes, by the clock that is tested, and
_READS = 300_000  # readings that it takes at most: the clock may stand still
_READINGS = 20

Read = Callable[[], int]


class Fault(enum.Enum):
    """What can be wrong with a clock."""

    STALLED = "stood still"
    BACK = "went back"
    COARSE = "advances in steps of more than a millisecond"
    PACE = "does not keep pace with the hardware's"
    SUSPENDED = "stood still while the machine was suspended"

    @property
    def lasts(self) -> bool:
        """Whether the clock is not to be trusted any more; else only what was timed meanwhile is wrong."""
        return self in {Fault.STALLED, Fault.BACK, Fault.COARSE}


def _system_clocks() -> dict[Fault, Read]:
    """Return the system's other clocks by what is wrong where they do not agree; none where the system has none."""
    names = {Fault.PACE: "CLOCK_MONOTONIC_RAW", Fault.SUSPENDED: "CLOCK_BOOTTIME"}
    numbers = {fault: getattr(time, name, None) for fault, name in names.items()}
    return {fault: partial(time.clock_gettime_ns, number) for fault, number in numbers.items() if number is not None}


@dataclass(frozen=True)
class _Reading:
    """All clocks, read one after the other between ``before`` and ``after`` of the one that is watched."""

    before: int
    others: dict[Fault, int]
    work: int
    after: int


@dataclass(frozen=True)
class SelfTest:
    """What a test of the clock found: the smallest step seen in nanoseconds, 0 for none, and what is wrong.

    That step is the clock's resolution or what reading it takes, whichever is longer. ``departure`` is how far its pace
    is at most from the hardware clock's, as a part; None where there is none such.
    """

    resolution: int
    faults: tuple[Fault, ...]
    departure: float | None


class Watch:
    """Looks at the clock again and again, from one thread, with the work of a window or more between two looks.

    ``others`` are clocks to compare with, in nanoseconds, by what is wrong where they do not agree; ``work`` is what a
    processor has spent on the calling thread. ``faults`` counts what was found; once it is ``broken``, nothing that the
    clock says is to be trusted any more. Both may be looked at from any thread, but for iterating.
    """

    def __init__(
        self, read: Read = clock, others: Mapping[Fault, Read] | None = None, work: Read = time.thread_time_ns
    ) -> None:
        self.faults: Counter[Fault] = Counter()
        self.broken = False
        self._clock, self._work = read, work
        self._others = _system_clocks() if others is None else dict(others)
        self._last = self._read()

    def check(self) -> Fault | None:
        """Return what was wrong with the clock since the last look, and count it."""
        then, self._last = self._last, self._read()
        fault = _compare(then, self._last)
        if fault is not None:
            self._count(fault)
        return fault

    def self_test(self) -> SelfTest:
        """Read the clock for a twentieth of a second, and count what is wrong with it."""
        first = self._last = self._narrow()
        smallest, back, previous = 0, False, self._clock()
        for _ in range(_READS):
            now = self._clock()
            step, previous = now - previous, now
            back |= step < 0
            if step > 0 and (step < smallest or not smallest):
                smallest = step
            if now - first.after > _TEST:
                break
        last = self._narrow()
        fault = _compare(first, last)
        faults = {
            Fault.BACK: back or fault is Fault.BACK,
            Fault.STALLED: (not smallest and not back) or fault is Fault.STALLED,
            Fault.COARSE: smallest > COARSEST,
            Fault.PACE: fault is Fault.PACE,
            Fault.SUSPENDED: fault is Fault.SUSPENDED,
        }
        found = tuple(fault for fault, there in faults.items() if there)
        for fault in found:
            self._count(fault)
        self._last = last
        return SelfTest(smallest, found, _departure(first, last))

    def _count(self, fault: Fault) -> None:
        self.faults[fault] += 1
        self.broken |= fault.lasts

    def _narrow(self) -> _Reading:
        """Return the quickest of some readings: the less passes meanwhile, the better clocks can be compared."""
        return min((self._read() for _ in range(_READINGS)), key=lambda reading: abs(reading.after - reading.before))

    def _read(self) -> _Reading:
        before = self._clock()
        others = {fault: read() for fault, read in self._others.items()}
        return _Reading(before, others, self._work(), self._clock())


def _compare(then: _Reading, now: _Reading) -> Fault | None:
    """Return what is wrong with a clock that was read twice."""
    if not then.before <= then.after <= now.before <= now.after:
        return Fault.BACK
    least, most = now.before - then.after, now.after - then.before
    if most == 0 or now.work - then.work > most + most * TOLERANCE + _WORK_SLACK:
        return Fault.STALLED
    for fault in now.others:
        passed = now.others[fault] - then.others[fault]
        if passed > most + most * TOLERANCE + _SLACK or passed < least - least * TOLERANCE - _SLACK:
            return fault
    return None


def _departure(then: _Reading, now: _Reading) -> float | None:
    if Fault.PACE not in now.others:
        return None
    passed = now.others[Fault.PACE] - then.others[Fault.PACE]
    least, most = now.before - then.after, now.after - then.before
    return max(abs(least - passed), abs(most - passed)) / passed if passed > 0 else None


def name() -> str:
    """Return the name of the clock that everything is timed with, such as CLOCK_MONOTONIC."""
    implementation = time.get_clock_info("perf_counter").implementation
    return implementation.removeprefix("clock_gettime(").removesuffix(")")
