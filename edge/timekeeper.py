"""What the windows of a whole run took, in bounded memory; warm-up and what a wrong clock timed are kept apart."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from edge.clocks import Fault, Watch
from edge.latency import Histogram, Lap, Phase, Quantiles, duration

_FASTER = 0.9  # of the shortest so far: a call that takes less shows that calls were still getting faster
_STEADY = 2  # calls in a row that do not
_MOST = 20  # calls; what still gets faster then is not warming up


@dataclass
class WarmUp:
    """The first calls that predict, or explain with one method.

    They also load, allocate, pack weights and wake the processor up. They end with the second call in a row that
    took no less than nine tenths of the shortest before it, or with the twentieth.
    """

    calls: int = 0
    _shortest: int = 0
    _steady: int = 0

    def add(self, nanoseconds: int) -> bool:
        """Take in the next call and return whether it is one of the first."""
        if self._steady == _STEADY or self.calls == _MOST:
            return False
        faster = not self.calls or nanoseconds < _FASTER * self._shortest
        self._steady = 0 if faster else self._steady + 1
        self._shortest = min(nanoseconds, self._shortest) if self.calls else nanoseconds
        self.calls += 1
        return True


@dataclass(frozen=True)
class Times:
    """How long everything took over a run, from first to last, in nanoseconds.

    Neither ``warm_up`` windows nor ``rejected`` ones, for which the clock was wrong, are in the quantiles.
    """

    phases: dict[Phase, Quantiles] = field(default_factory=dict)
    methods: dict[str, Quantiles] = field(default_factory=dict)
    warm_up: int = 0
    rejected: int = 0


class Timekeeper:
    """Says of each lap whether it can be believed and counted, and keeps the distributions of those that can.

    ``lap`` is for one thread, ``link`` for another, ``times`` for any.
    """

    def __init__(self, watch: Watch | None = None) -> None:
        self.watch = watch or Watch()
        self._guard = threading.Lock()
        self._histograms: defaultdict[Phase | str, Histogram] = defaultdict(Histogram)
        self._warm_ups: defaultdict[Phase | str, WarmUp] = defaultdict(WarmUp)
        self._warm_up = self._rejected = 0

    def lap(self, lap: Lap) -> Fault | None:
        """Mark a lap that has ended as ``valid`` or not and as ``warm_up`` or not, and count it.

        Returns what was wrong with the clock meanwhile.
        """
        fault = self.watch.check()
        lap.valid = fault is None and not self.watch.broken
        if lap.valid:
            # What runs the model warms up; the rest waits for a sensor or the link, or is too short to tell.
            work = {what: took for what, took in lap.phases.items() if what is Phase.PREDICT} | lap.methods
            # every one of them takes note, not the first alone
            lap.warm_up = sum(self._warm_ups[what].add(took) for what, took in work.items()) > 0
        with self._guard:
            if not lap.valid:
                self._rejected += 1
            elif lap.warm_up:
                self._warm_up += 1
            else:
                for what, took in (lap.phases | lap.methods).items():
                    self._histograms[what].add(took)
        return fault

    def link(self, phase: Phase, took: int) -> None:
        """Count how long the link took for one result or map, in nanoseconds; it never warms up."""
        if not self.watch.broken:
            with self._guard:
                self._histograms[phase].add(took)

    def times(self) -> Times:
        """Return the distributions so far."""
        with self._guard:
            quantiles = {what: histogram.quantiles() for what, histogram in self._histograms.items()}
            warm_up, rejected = self._warm_up, self._rejected
        return Times(
            {phase: quantiles[phase] for phase in Phase if phase in quantiles},
            {what: spread for what, spread in quantiles.items() if not isinstance(what, Phase)},
            warm_up,
            rejected,
        )


def rows(phases: Mapping[str, Quantiles], methods: Mapping[str, Quantiles]) -> list[tuple[str, Quantiles]]:
    """Return every phase and method with its distribution, in the order in which they happen."""
    before = {name: phases[name] for name in ("capture", "quantize", "predict") if name in phases}
    return [*before.items(), *methods.items(), *(item for item in phases.items() if item[0] not in before)]


def figures(spread: Quantiles) -> tuple[str, ...]:
    """Return p50, p95, p99 and the maximum; dashes for what took no time of its own, having come with another phase."""
    values = (spread.p50, spread.p95, spread.p99, spread.max)
    return tuple(map(duration, values)) if spread.max else ("-",) * len(values)


def left_out(warm_up: int, rejected: int) -> str:
    """Return how many windows are in no quantile, and why; "" for none."""
    parts = [f"{warm_up} windows of warm-up"] if warm_up else []
    parts += [f"{rejected} windows timed by a wrong clock"] if rejected else []
    return f"{' and '.join(parts)} left out" if parts else ""


def table(spreads: Sequence[tuple[str, Quantiles]]) -> list[str]:
    """Return distributions as lines of text under a head; none where there are none."""
    lines = [f"  {name:<20}" + "".join(f"{figure:>10}" for figure in figures(spread)) for name, spread in spreads]
    return [f"{'':<22}{'p50':>10}{'p95':>10}{'p99':>10}{'max':>10}", *lines] if lines else []


def account(times: Times) -> list[str]:
    """Return what a run took as lines for people; none where nothing was timed."""
    named = {phase.label: spread for phase, spread in times.phases.items()}
    missing = left_out(times.warm_up, times.rejected)
    return [*table(rows(named, times.methods)), *([f"  {missing}"] if missing else [])]
