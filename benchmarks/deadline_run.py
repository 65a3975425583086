"""A run without a link, at one deadline after the other: ``python deadline_run.py BUNDLE INPUTS.npz JOB``.

``JOB`` is JSON: deadlines in milliseconds (0 for none), a rate, a number of windows, a tolerance or 0, and a processor
to keep to. It prints what became of the windows of each deadline, as JSON. It imports ``edge`` only, of whichever
checkout PYTHONPATH has, so that one can be held against another.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter, defaultdict
from statistics import median
from typing import Any

import numpy as np

from edge.explainer import Explainer
from edge.run.bell import Bell
from edge.run.loop import Run
from edge.sources import Window
from edge.wire.codes import When
from edge.wire.records import Settings


class Stored:
    """Windows that are complete when they are taken, round and round."""

    live = False
    ended = False

    def __init__(self, x: np.ndarray) -> None:
        self.faults: Counter[int] = Counter()
        self.at: dict[int, int] = {}
        self._x = x

    def take(self, seconds: float) -> Window:
        """Return the next one at once."""
        number = len(self.at)
        self.at[number] = time.perf_counter_ns()
        return Window(number, self._x[number % len(self._x)], 0, at=self.at[number])


class Ended:
    """A stream that goes nowhere, and notes when each window was done with."""

    def __init__(self) -> None:
        self.status = type("Status", (), {"degraded": Counter(), "source": Counter()})()
        self.laps: dict[int, dict[str, int]] = {}
        self.ended: dict[int, int] = {}

    def latency(self, sequence: int, lap: Any) -> None:
        """Note that a window is done with."""
        self.ended[sequence] = time.perf_counter_ns()
        self.laps[sequence] = dict(lap.methods)

    def take_request(self) -> None:
        """Return what the host asks: nothing."""

    def _nothing(self, *given: object) -> None:
        """Take a record."""

    result = explanation = settings = failure = on_request = _nothing


def course(explainer: Explainer, x: np.ndarray, deadline: float, job: dict[str, Any]) -> dict[str, Any]:
    """Return what becomes of windows under one deadline."""
    methods, stream, capture = explainer.methods, Ended(), Stored(x)
    settings = Settings(
        rate=job["rate"],
        methods=tuple(range(len(methods))),
        explain=When.ALWAYS,
        deadline=deadline or None,
        tolerance=job["tolerance"] or None,
        kept=1,
    )
    run = Run(capture, explainer, stream, methods, settings, Bell())
    if deadline:
        run.learn(x[0])
    before = Counter(run.explaining.made)
    run.work(job["windows"])
    taken = {number: (stream.ended[number] - at) / 1e6 for number, at in capture.at.items()}
    # what came with the answer took no time that a deadline could have saved
    explained = [number for number, lap in stream.laps.items() if any(lap.values())]
    late = [taken[number] - deadline for number in explained if taken[number] > deadline]
    costs = defaultdict(list)
    for lap in stream.laps.values():
        for method, ns in lap.items():
            costs[method].append(ns / 1e6)
    return {
        "made": {method: (run.explaining.made[method] - before[method]) / job["windows"] for method in methods},
        "late": len(late) / job["windows"],
        "worst": max(late, default=0.0),
        "median": median(taken.values()),
        "used": float(np.mean([min(ms, deadline) for ms in taken.values()])) / deadline if deadline else 1.0,
        "costs": {method: median(found) for method, found in costs.items()},
        "degraded": dict(stream.status.degraded),
    }


def main() -> None:
    """Do one job."""
    bundle, inputs, text = sys.argv[1:]
    job = json.loads(text)
    if job["processor"] is not None:
        os.sched_setaffinity(0, {job["processor"]})
    explainer = Explainer.load(bundle)
    with np.load(inputs) as file:
        x = file["x"].astype(np.float32)
    print(json.dumps([course(explainer, x, deadline, job) for deadline in job["deadlines"]]))


if __name__ == "__main__":
    main()
