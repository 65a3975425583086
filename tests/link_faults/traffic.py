"""What a board sends in a session: results, maps of one and of many chunks, timings, counters, log lines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from edge.explanation import Explanation
from edge.latency import NANOSECONDS
from edge.wire.records import Error, Health, Latency, Log, Map, Record, Result, Session, Settings, Spread
from tests.link import chunks

PERIOD = 200  # frames between two SESSIONs: three seconds at the rate of a small model
METHODS = ("gradcam", "integrated_gradients")
_SHAPES = ((6, 6), (32, 32), (128, 6), (48, 48, 1), (64, 64, 1))  # of maps: one chunk to four


def session(rng: random.Random) -> Session:
    """Return the introduction of a board that has just started."""
    return Session(
        protocol=1,
        session=rng.randbytes(8),
        time=0,
        clock_hz=NANOSECONDS,
        board="a board",
        software="whylite",
        runtime="litert, 1 thread",
        model="shapes",
        model_digest=bytes(32),
        input_shape=(12, 12, 3),
        methods=METHODS,
        labels=("circle", "square", "star", "nothing"),
    )


@dataclass(frozen=True)
class Attributed:
    """A map as the board had it, and the records that carry it, of window 0."""

    values: np.ndarray
    records: list[Map]


def attributions(seed: int, count: int = 24) -> list[Attributed]:
    """Return maps of several shapes, codings and numbers of chunks."""
    random = np.random.default_rng(seed)
    made = []
    for i in range(count):
        values = random.normal(size=_SHAPES[i % len(_SHAPES)]).astype(np.float32)
        method = i % len(METHODS)
        explanation = Explanation(np.ones(4, np.float32), 1, method=METHODS[method], map=values, residual=0.5, steps=i)
        made.append(Attributed(values, chunks(0, explanation, method, "int8")))
    return made


class Board:
    """Makes the records of one session, in the order in which they leave."""

    def __init__(self, rng: random.Random, pool: list[Attributed]) -> None:
        self.session = session(rng)
        self.maps: dict[tuple[int, str], np.ndarray] = {}  # as they were, by window and method
        self._rng, self._pool = rng, pool
        self._time = 0

    def records(self, frames: int) -> Iterator[Record]:
        """Yield about so many records; the last ones settle every doubt, and no map is left open."""
        windows = self._windows()
        for number in range(frames):
            yield self.introduction() if number % PERIOD == 0 else next(windows)

    def introduction(self) -> Session:
        """Return the SESSION record of now."""
        return replace(self.session, time=self._tick())

    def health(self, *, final: bool) -> Health:
        """Return the counters of now."""
        counts = {"queued": 0, "queued_bytes": 0, "stalls": 0, "reconnects": 0, "bad_frames": 0}
        return Health(time=self._tick(), produced=len(self.maps), sent={2: 1}, dropped={3: 4}, final=final, **counts)

    def _windows(self) -> Iterator[Record]:
        rng, sequence = self._rng, 0
        yield Settings(methods=(0, 1), explain=0)
        while True:
            scores = tuple(i / 256 for i in rng.sample(range(256), 4))
            yield Result(sequence=sequence, class_index=rng.randrange(4), scores=scores, time=self._tick())
            for explained in rng.sample(self._pool, rng.randrange(3)):
                place = sequence, METHODS[explained.records[0].method]
                if place not in self.maps:
                    self.maps[place] = explained.values
                    yield from (replace(record, sequence=sequence) for record in explained.records)
            phases = {phase: rng.randrange(1 << rng.randrange(8, 40)) for phase in range(6)}
            yield Latency(sequence=sequence, phases=phases, methods={0: 5, 1: self._tick()})
            if sequence % 16 == 0:
                yield self.health(final=False)
                yield Spread(time=self._tick(), phases={2: (sequence, 1, 2, 3, 4)}, methods={})
            if sequence % 10 == 0:
                yield Log(time=self._tick(), level=20, text=f"window {sequence}")
            if sequence % 50 == 7:
                yield Error(time=self._tick(), kind="InputError", cause="c", hint="h", sequence=sequence)
            sequence += 1

    def _tick(self) -> int:
        self._time += self._rng.randrange(1, 1 << 24)
        return self._time
