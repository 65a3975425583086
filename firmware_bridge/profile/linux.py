"""Profiles of boards with Linux: how long the runtime's phases take there, as `whylite run` measures them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge import vitals
from edge.bundle import GOLDEN, Bundle
from edge.errors import LinkError
from edge.explainer import Explainer
from edge.latency import Histogram, Quantiles, clock
from edge.wire.port import DEFAULT_BAUD
from firmware_bridge.errors import ProfileError
from firmware_bridge.monitor import Monitor
from firmware_bridge.profile.document import NANOSECONDS, PREDICT, PartCost, Profile, Spread, spread
from firmware_bridge.recording import Reader
from firmware_bridge.session import Timing, Tracker, printable

WINDOWS = 50
WARM_UP = 3
_HELLO = 15.0  # seconds for a SESSION to come
_PREDICTING = ("quantize", PREDICT)

Progress = Callable[[str, float], None]


def here(bundle: Bundle, windows: int = WINDOWS, progress: Progress = lambda what, part: None) -> Profile:
    """Return what the bundle's golden windows take on this machine, with the TFLite that is installed."""
    explainer = Explainer(bundle)
    x = bundle.arrays()["x"] if GOLDEN in bundle.members else ()
    if not len(x):
        raise ProfileError(f"bundle {bundle.manifest.name!r} holds no {GOLDEN} to measure with", "export it again")
    seen: dict[str, list[int]] = {}
    for place in range(-WARM_UP, windows):
        durations = _durations(explainer, x[place % len(x)])
        if place >= 0:
            for name, nanoseconds in durations.items():
                seen.setdefault(name, []).append(nanoseconds)
            progress("window", (place + 1) / windows)
    runtime = explainer.runtime
    counter = f"this machine's clock, with {runtime.name} {runtime.version}, {runtime.threads} thread(s)"
    plain = spread(map(sum, zip(*(seen[name] for name in _PREDICTING if name in seen), strict=True)))
    costs = {name: spread(seen[name]) for name in explainer.methods}
    latency = {}
    for name, durations_of in seen.items():
        histogram = Histogram()
        for nanoseconds in durations_of:
            histogram.add(nanoseconds)
        latency[name] = histogram.quantiles()
    return _profile(bundle, vitals.board(), counter, plain, costs, latency)


def _durations(explainer: Explainer, sample: NDArray[np.float32]) -> dict[str, int]:
    """Return what the phases of predicting and each explanation take, in nanoseconds.

    An explanation that answers too, in one pass, takes what that pass does beyond a prediction.
    """
    prediction = explainer.predict(sample)
    durations = dict(prediction.latency)
    plain = sum(durations.values())
    for method in explainer.methods:
        answers = explainer.answers_too(method)
        began = clock()
        explainer.explain(sample, method, prediction=None if answers else prediction)
        taken = clock() - began
        durations[method] = max(0, taken - plain) if answers else taken
    return durations


def recorded(bundle: Bundle, board: str, path: str | Path) -> Profile:
    """Return what a recording of `whylite monitor` says of a board; RecordingError if it is none."""
    tracker = Tracker()
    with closing(Reader(path)) as reader:
        for _, event in reader:
            tracker.take(printable(event))
    return _tracked(bundle, board, f"its own clock, recorded in {Path(path).name}", tracker)


def listened(
    bundle: Bundle,
    board: str,
    port: str,
    baud: int = DEFAULT_BAUD,
    windows: int = WINDOWS,
    progress: Progress = lambda what, part: None,
) -> Profile:
    """Return what a board says that streams to a port now.

    LinkError where no SESSION comes, ProfileError where it falls silent before ``windows``.
    """
    with closing(Monitor(port, baud)) as monitor:
        timings = 0
        until = time.monotonic() + _HELLO
        while timings < windows:
            events = monitor.poll()
            timings += sum(isinstance(event, Timing) and event.valid and not event.warm_up for event in events)
            progress("window", min(1.0, timings / windows))
            if monitor.tracker.account.session is None and time.monotonic() >= until:
                raise LinkError(f"no SESSION came from {port}", "run `whylite run` there, and check the baud rate")
            if monitor.parted or monitor.silence:
                raise ProfileError(
                    f"{port} has fallen silent after {timings} of {windows} latencies",
                    "run `whylite run` there with --loop, or ask for fewer --windows",
                )
        return _tracked(bundle, board, "its own clock", monitor.tracker)


def _tracked(bundle: Bundle, board: str, counter: str, tracker: Tracker) -> Profile:
    session = tracker.account.session
    if session is None or session.model_digest.hex() != bundle.manifest.model_digest:
        name = "no model" if session is None else repr(session.model[:40])
        raise ProfileError(
            f"{board} ran {name}, not that of bundle {bundle.manifest.name!r}",
            "profile with the bundle that runs there",
        )
    there = {name: histogram for name, histogram in (tracker.phases | tracker.methods).items() if histogram.count}
    latency = {name: histogram.quantiles() for name, histogram in there.items()}
    if PREDICT not in latency or not latency[PREDICT].p50:
        raise ProfileError(f"{board} has told no latency of a prediction", "record more than its first windows")
    costs = {name: _seen(there[name]) for name in session.methods if name in there}
    phases = [_seen(there[name]) for name in _PREDICTING if name in there]
    plain = Spread(*(sum(getattr(one, key) for one in phases) for key in ("least", "median", "most")))
    return _profile(bundle, board, counter, plain, costs, latency)


def _seen(histogram: Histogram) -> Spread:
    least, median, most = min(histogram.counts()), histogram.quantile(0.5), histogram.quantile(1.0)
    return Spread(min(least, median), median, most)


def _profile(
    bundle: Bundle, board: str, counter: str, plain: Spread, costs: Mapping[str, Spread], latency: dict[str, Quantiles]
) -> Profile:
    parts = [PartCost(PREDICT, plain, 1.0)]
    parts += [PartCost(name, cost, 1 + cost.median / plain.median) for name, cost in costs.items()]
    return Profile(
        whylite=metadata.version("whylite"),
        model=bundle.manifest.name,
        digest=bundle.manifest.model_digest,
        board=board,
        core="",
        unit=NANOSECONDS,
        counter=counter,
        windows=latency[PREDICT].count,
        parts=tuple(parts),
        latency=latency,
    )
