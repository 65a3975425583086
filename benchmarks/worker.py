"""One of several programs that take turns at the same task, each in a process of its own; needs numpy only.

Asked by a line on stdin it explains once and answers with the seconds that took, by the clock and of the processor, the
lesser of which counts: a pool of threads may spin, and a busy machine makes one wait.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Explain = Callable[[], NDArray[Any]]


@dataclass(frozen=True)
class Job:
    """What is to be explained: ``x`` (a batch of one), a class, so many steps from zero.

    ``rule`` is Captum's name of where they lie; the others take the midpoint rule.
    """

    folder: Path
    x: NDArray[np.float32]
    class_index: int
    steps: int
    rule: str

    @classmethod
    def read(cls, folder: str) -> Job:
        """Read what the parent left in a folder."""
        task = json.loads((Path(folder) / "job.json").read_text())
        return cls(Path(folder), np.load(Path(folder) / "x.npy"), task["class_index"], task["steps"], task["rule"])

    def points(self) -> NDArray[np.float32]:
        """Return the interpolation steps as a batch."""
        alphas = ((np.arange(self.steps) + 0.5) / self.steps).astype(np.float32)
        return alphas.reshape(-1, *(1,) * (self.x.ndim - 1)) * self.x


def seconds(explain: Explain) -> float:
    """Return what one call takes."""
    clock, processor = time.perf_counter(), time.process_time()
    explain()
    return min(time.perf_counter() - clock, time.process_time() - processor)


def best_batch(explain_at: Callable[[int], Explain], steps: int) -> tuple[int, Explain]:
    """Return the batch of steps that takes the least time, and how to explain with it."""
    tried = {}
    for size in (size for size in (1, 2, 4, 8, 16, 32, 64) if steps % size == 0):
        explain = explain_at(size)
        explain()
        tried[size] = min(seconds(explain) for _ in range(2)), explain
    best = min(tried, key=lambda size: tried[size][0])
    return best, tried[best][1]


def serve(explain: Explain, about: Mapping[str, Any]) -> None:
    """Answer requests on stdin until it ends."""
    explain()
    print(json.dumps(dict(about)), flush=True)
    for line in sys.stdin:
        request, _, argument = line.strip().partition(" ")
        if request == "map":
            np.save(argument, explain())
        print(json.dumps(seconds(explain) if request == "time" else argument), flush=True)
