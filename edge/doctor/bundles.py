"""Whether a bundle runs on this machine, answers as it did where it was made, and what its explanations take here."""

from __future__ import annotations

from collections.abc import Iterator

from edge.doctor.finding import Finding, Level
from edge.errors import EdgeError
from edge.explainer import Explainer
from edge.latency import Lap, Phase, clock, duration
from edge.timekeeper import Timekeeper

_SECTION = "bundle"
_LAPS = 40  # windows that are timed at most
_PATIENCE = 5e9  # nanoseconds after which no further one is begun


def examine(path: str) -> Iterator[Finding]:
    """Yield what there is to say of a bundle, run by the interpreter that `whylite run` would take."""
    try:
        explainer = Explainer.load(path)
        different = explainer.check_golden()
        times = _timed(explainer)
    except EdgeError as error:
        yield Finding(_SECTION, Level.PROBLEM, error.cause, error.hint)
        return
    manifest, runtime = explainer.manifest, explainer.runtime
    here = f"{manifest.name} runs in {runtime.name} {runtime.version}"
    if different:
        inputs = "1 golden input has" if different == 1 else f"{different} golden inputs have"
        what = f"{here}; {inputs} other scores than {manifest.runtime} recorded"
        yield Finding(_SECTION, Level.NOTE, what, "a few units in the last place are normal")
    else:
        yield Finding(_SECTION, Level.OK, f"{here}; golden inputs score as recorded, bit for bit")
    yield _costs(times, explainer.methods)


def _timed(explainer: Explainer) -> Timekeeper:
    """Predict and explain golden inputs until there are enough, or time is over."""
    keeper, until = Timekeeper(), clock() + _PATIENCE
    inputs = explainer.bundle.arrays()["x"]
    for lap_number in range(_LAPS):
        x, lap = inputs[lap_number % len(inputs)], Lap()
        prediction = explainer.predict(x)
        lap.add(prediction.latency)
        for method in explainer.methods:
            with lap.method(method):
                explainer.explain(x, method=method, prediction=prediction)
        keeper.lap(lap)
        if clock() > until:
            break
    return keeper


def _costs(keeper: Timekeeper, methods: tuple[str, ...]) -> Finding:
    times = keeper.times()
    if Phase.PREDICT not in times.phases:
        what = f"too slow to be timed here: {times.warm_up} windows, all of them warm-up, took {_PATIENCE / 1e9:.0f} s"
        return Finding(_SECTION, Level.NOTE, what)
    predict = times.phases[Phase.PREDICT]
    costs = ", ".join(f"{method} {duration(times.methods[method].p50)}" for method in methods)
    what = f"a prediction takes {duration(predict.p50)} here, {costs} (medians of {predict.count}, after warm-up)"
    return Finding(_SECTION, Level.OK, what)
