"""What was measured, as tables and charts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edge.explainer import Explainer
from edge.integrate import default_schedule
from edge.manifest import Check, ExplanationHead, Manifest, Schedule
from edge.view.words import signed

from ..clock import within
from ..memory import spoken
from .charts import Axis, Line, chart, gauge
from .markup import Markup, element, name_of, table
from .samples import Sample

_PLACES = np.linspace(0, 1, 33, dtype=np.float32)
_MOST_PATHS, _PATH_SECONDS = 4, 1.0
_MOST_MARKS = 6  # beside an axis
_APART = 0.1  # of an axis: what two marks need not to run into each other


def facts(rows: Iterable[tuple[str, str]]) -> Markup:
    """Return what is known, by name."""
    return table((), rows, words=(1,))


def checks(manifest: Manifest) -> Markup:
    """Return every check with its figure, bound, and, where there is one, the band of its null distribution."""
    if not manifest.checks:
        return Markup()
    rows = [
        (
            check.name,
            _figure(check.value),
            _figure(check.bound),
            gauge(check.value, check.bound, check.band),
            check.samples,
            _verdict(check),
            _what(check),
        )
        for check in manifest.checks
    ]
    return Markup(
        element(
            "p",
            "Measured at export, on the file that ships. The dot is what was measured, the bar its bound; a box spans "
            "90 % of what the same figure is where there is nothing to find (its null distribution).",
        )
        + table(("check", "measured", "bound", "", "inputs", "", "what it is"), rows, words=(3, 5, 6))
    )


def _verdict(check: Check) -> Markup:
    if check.passed:
        return element("span", "✓ passed", class_="pass")
    failed = element("span", "✗ failed", class_="fail")
    return failed if check.gating else Markup(failed + element("small", "as a visual aid may"))


def _what(check: Check) -> str:
    band = f"; null distribution {check.band[0]:.3g} to {check.band[-1]:.3g}" if check.band else ""
    seeds = f"; seeds {', '.join(map(str, check.seeds))}" if check.seeds else ""
    return f"{check.detail}{band}{seeds}"


def measures(manifest: Manifest) -> Markup:
    """Return the figures that bound nothing."""
    if not manifest.measures:
        return Markup()
    rows = [
        (
            measure.name,
            name_of(measure.method),
            _figure(measure.value),
            "" if measure.interval is None else f"{measure.interval[0]:.3g} to {measure.interval[-1]:.3g}",
            "" if measure.reference is None else _figure(measure.reference),
            measure.samples,
            measure.detail,
        )
        for measure in manifest.measures
    ]
    head = ("measure", "method", "measured", "95 % interval", "of nothing", "inputs", "what it is")
    said = (
        "Reported, and held to no bound: means over inputs. More is better, but of sensitivity to noise less. “Of "
        "nothing” is what the figure is where there is nothing to explain."
    )
    return Markup(element("p", said) + table(head, rows, words=(1, 6)))


def paths(explainer: Explainer, shown: Sequence[Sample]) -> Markup:
    """Return how the logit changes on the way from the baseline to a few inputs, with the steps that are taken."""
    heads = [head for head in explainer.manifest.heads if head.schedules]
    return Markup("".join(_paths(explainer, head, shown) for head in heads))


def _paths(explainer: Explainer, head: ExplanationHead, shown: Sequence[Sample]) -> str:
    usual = default_schedule(head.schedules)
    lines = []
    for sample in within(_PATH_SECONDS, shown[:_MOST_PATHS], at_least=1):
        values = explainer.logit_along(sample.x, _PLACES, head.method, sample.prediction)
        if np.isfinite(values).all():
            changes = values - values[0]
            dots = [(node, float(np.interp(node, _PLACES, changes))) for node in _nodes(usual)]
            points = list(zip(_PLACES.tolist(), changes.tolist(), strict=True))
            lines.append(Line(f"input {sample.index}", points, dots))
    if not lines:
        return ""
    heights = [height for line in lines for _, height in line.points]
    low, high = min(heights), max(heights)  # each curve starts at 0
    marks = [0.0, *(end for end in (low, high) if abs(end) > _APART * (high - low))]
    x = Axis(0, 1, [(0, "baseline"), (0.5, "½"), (1, "input")], "place on the path")
    y = Axis(low, high, [(mark, signed(mark, 2)) for mark in marks], "change of the answer's logit since the baseline")
    placed = "placed anew for each input" if usual.intervals else "the dots"
    said = f"{head.method} takes {usual.steps} steps unless others are asked for: {placed} ({usual.rule})."
    return element("p", said) + chart(lines, x, y, f"logit along the path of {head.method}")


def _nodes(schedule: Schedule) -> tuple[float, ...]:
    return () if schedule.intervals else schedule.nodes


def schedules(manifest: Manifest) -> Markup:
    """Return what is left unexplained, and how wrong maps are, by number of steps."""
    heads = [head for head in manifest.heads if head.schedules]
    return Markup("".join(_schedules(head) for head in heads))


def _schedules(head: ExplanationHead) -> str:
    own = sorted(head.schedules, key=lambda schedule: schedule.steps)
    usual = default_schedule(own)
    columns = {
        "residual, median": "residual_p50",
        "residual, 90th percentile": "residual_p90",
        "map error, median": "error_p50",
        "map error, 90th percentile": "error_p90",
    }
    every = columns | {"completeness, 95th percentile": "completeness"}
    rows = [
        (
            f"{schedule.steps}" + (" (usual)" if schedule is usual else ""),
            _rule(schedule),
            *(_share(getattr(schedule, field)) for field in every.values()),
        )
        for schedule in own
    ]
    said = (
        f"{head.method} must add up to the change of the logit from the baseline to the input. What is missing, as a "
        "share of that change, and how far the map is from that of a dense integration, by the number of steps and "
        "the rule by which they are placed. Completeness, which is held to a bound, takes the median change for inputs "
        "whose own is smaller:"
    )
    return element("p", said) + _errors(own, columns) + table(("steps", "rule", *every), rows, words=(1,))


def _errors(own: Sequence[Schedule], columns: dict[str, str]) -> str:
    lines = []
    for name, field in columns.items():
        known = [(float(schedule.steps), getattr(schedule, field)) for schedule in own]
        points = [(steps, value) for steps, value in known if value and np.isfinite(value)]
        if len(points) > 1:
            lines.append(Line(name, points, points))
    if not lines:
        return ""
    values = [value for line in lines for _, value in line.points]
    first, last = int(np.floor(np.log10(min(values)))), int(np.ceil(np.log10(max(values))))
    last = max(last, first + 1)
    marks = [10.0**decade for decade in range(first, last + 1)]
    steps = [schedule.steps for schedule in own]
    x = Axis(min(steps), max(steps), [(step, str(step)) for step in steps], "steps", logarithmic=True)
    told = [(mark, f"{100 * mark:g} %") for mark in marks[:: -(-len(marks) // _MOST_MARKS)]]
    y = Axis(marks[0], marks[-1], told, "", logarithmic=True)
    return chart(lines, x, y, "residual and map error by number of steps")


def costs(manifest: Manifest) -> Markup:
    """Return what explaining costs, by method."""
    most = max((head.cost_ratio or 0 for head in manifest.heads), default=0) or 1.0
    rows = []
    for head in manifest.heads:
        steps = default_schedule(head.schedules).steps if head.schedules else None
        ratio = "not measured" if head.cost_ratio is None else f"{head.cost_ratio:.2f} ×"
        bar = element("i", style=f"width:{100 * (head.cost_ratio or 0) / most:.1f}%")
        memory = "not measured" if head.peak_memory is None else spoken(head.peak_memory)
        rows.append((head.method, ratio, element("span", bar, class_="track"), steps or "", memory))
    said = (
        "Time of an explained answer over that of a bare one, medians of calls in turn on the machine that exported, "
        f"with {manifest.runtime}; and the memory by which a process grows at its peak."
    )
    return Markup(
        element("p", said)
        + table(("method", "over a bare answer", "", "steps of gradients", "peak memory"), rows, words=(2,))
    )


def _rule(schedule: Schedule) -> str:
    return f"{schedule.rule}, {schedule.intervals} intervals" if schedule.intervals else schedule.rule


def _figure(value: float) -> str:
    return f"{value:.3g}"


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2%}"
