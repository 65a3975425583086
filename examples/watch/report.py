"""The demo's report: one HTML file that holds everything it shows and opens offline."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.latency import Quantiles
from edge.manifest import Check, Manifest
from examples.watch.data import EXERCISES, LABELS
from examples.watch.micro import CORE, OnMicro
from examples.watch.picture import Case, picture
from firmware_bridge.summary import Summary

_STYLE = Path(__file__).with_name("report.css")
_METHODS = {"gradcam": "GradCAM", "integrated_gradients": "Integrated Gradients", "saliency": "Saliency"}
_PHASES = {
    "capture": "reading the window",
    "quantize": "input to int8",
    "predict": "predicting",
    "encode": "packing the maps",
    "queue": "the result waits to be sent",
    "send": "the port takes the result",
}


@dataclass(frozen=True)
class DemoResult:
    """What one run of the demo found.

    ``facts`` says what was run, in the order to be shown. ``subject`` and ``truth`` are int64 ``[N]`` and ``scores``
    float32 ``[N, 7]``, one row per window that came over the link. ``checks`` are those of the export and of the run,
    ``cases`` the windows to show. ``micro`` is what came of the firmware, where there could be one.
    """

    facts: Mapping[str, str]
    subject: NDArray[np.int64]
    truth: NDArray[np.int64]
    scores: NDArray[np.float32]
    manifest: Manifest
    checks: Sequence[Check]
    summary: Summary
    cases: Sequence[Case]
    micro: OnMicro | None = None

    @property
    def hit(self) -> NDArray[np.bool_]:
        """Which windows were answered right."""
        return np.asarray(self.scores.argmax(axis=1) == self.truth)


def html(result: DemoResult) -> str:
    """Return the whole report; every text in it is escaped, every picture is inside."""
    sections = (
        _headline(result),
        _section("Some windows, and why", _pictures(result.cases)),
        _section("How often it is right", _subjects(result) + _confusion(result)),
        _section("Whether the explanations are what they claim", _checks(result) + _schedules(result.manifest)),
        _section("What an explanation costs", _costs(result) + _latencies(result.summary)),
        _section("On a microcontroller", _micro(result.micro)),
        _section("The link", _link(result.summary)),
        _section("What was run", _table((), result.facts.items(), text_columns=(1,))),
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>WhyLite: what the watch model looked at</title>\n<style>\n{_STYLE.read_text()}</style>\n</head>\n"
        f"<body>\n{''.join(sections)}</body>\n</html>\n"
    )


def _headline(result: DemoResult) -> str:
    summary = result.summary
    passed = sum(check.passed for check in result.checks)
    lost = summary.lost_frames + sum(summary.bad.values())
    people = len(np.unique(result.subject))
    figures = [
        ("right on people never seen", f"{result.hit.mean():.1%}", f"{len(result.truth)} windows of {people} people"),
        ("checks passed", f"{passed} of {len(result.checks)}", "of parity and gradients, below"),
        ("over the serial link", f"{summary.windows} answers", f"{summary.maps} maps, {lost} frames lost or damaged"),
    ]
    predict = summary.phases.get("predict")
    if predict is not None:
        figures.append(("one answer takes", _duration(predict.p50), "median, with GradCAM where it comes along"))
    if result.micro is not None:
        price = result.micro.explaining[0].ratio - 1
        figures.append((f"GradCAM on a {CORE}", f"+{price:.1%}", "instructions beside a prediction's"))
    boxes = "".join(
        f"<div><dt>{escape(a)}</dt><dd>{escape(b)}<small>{escape(c)}</small></dd></div>" for a, b, c in figures
    )
    return (
        "<h1>What the watch model looked at</h1>\n"
        '<p class="lead">A small network tells seven shoulder exercises apart by a smartwatch, as an '
        f"{escape(result.manifest.kind)} TFLite model. WhyLite compiled the reasons into the model; a process on the "
        "other end of a serial line answered, explained and sent both.</p>\n"
        f'<dl class="figures">{boxes}</dl>\n'
    )


def _pictures(cases: Sequence[Case]) -> str:
    return (
        "<p>Each window is four seconds of one person's wrist. The yellow shading is GradCAM: when in the movement the "
        "model found what it answered, in 25 steps of 0.16 s. The strip under each channel is Integrated Gradients: "
        "orange spoke for the answer, blue against it; the bars at the right are the sums per channel. The windows are "
        "chosen by a rule, not by eye: the median correct one of a class, and the most confident mistakes.</p>\n"
        f'<div class="pictures">{"".join(map(_figure, cases))}</div>\n'
        '<p class="note">An attribution says what this model used, compared with a watch that feels nothing at all '
        "(the zero baseline). It does not say that the model is right, nor that the body moves for that reason.</p>\n"
    )


def _figure(case: Case) -> str:
    answer = EXERCISES[LABELS[case.integrated.class_index]]
    did = EXERCISES[LABELS[case.truth]]
    source = base64.b64encode(picture([case])).decode()
    alternative = escape(f"Six channels of a window of {did}, recognised as {answer}, with both attributions")
    return f'<figure><img alt="{alternative}" src="data:image/png;base64,{source}"></figure>'


def _subjects(result: DemoResult) -> str:
    rows: list[tuple[str, ...]] = []
    for subject in np.unique(result.subject):
        hit = result.hit[result.subject == subject]
        rows.append((f"subject {subject}", str(len(hit)), f"{hit.mean():.1%}", _bar(float(hit.mean()))))
    rows.append(("all", str(len(result.hit)), f"{result.hit.mean():.1%}", _bar(float(result.hit.mean()))))
    return "<p>By person: none of them was in the training data, nor had a say in any choice.</p>\n" + _table(
        ("", "windows", "right", ""), rows, raw_columns=(3,)
    )


def _confusion(result: DemoResult) -> str:
    counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
    np.add.at(counts, (result.truth, result.scores.argmax(axis=1)), 1)
    body = []
    for row, label in enumerate(LABELS):
        cells = []
        for column, count in enumerate(counts[row]):
            share = count / max(1, counts[row].sum())
            style = f' style="background: rgba(var(--cell), {0.75 * share:.2f})"' if count else ""
            kind = "right" if row == column else "none" if not count else "wrong"
            cells.append(f'<td class="{kind}"{style}>{count or "·"}</td>')
        body.append(f"<tr><th>{escape(EXERCISES[label])} ({escape(label)})</th>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(label)}</th>" for label in LABELS)
    return (
        "<p>By exercise: what was done (rows) and what the model said (columns), in windows.</p>\n"
        f'<div class="scroll"><table class="matrix"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>\n"
    )


def _checks(result: DemoResult) -> str:
    rows = [
        (
            check.name,
            f"{check.value:.3g}",
            f"{check.bound:g}",
            str(check.samples),
            check.detail,
            '<span class="pass">✓ passed</span>' if check.passed else '<span class="fail">✗ failed</span>',
        )
        for check in result.checks
    ]
    notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in result.manifest.notes)
    return (
        "<p>Measured in the interpreter that runs the model: at export, on windows of the training subjects, and on "
        "what came over the link.</p>\n"
        + _table(("check", "measured", "bound", "inputs", "what it is", ""), rows, text_columns=(4,), raw_columns=(5,))
        + notes
    )


def _schedules(manifest: Manifest) -> str:
    rows = [
        (
            str(schedule.steps),
            schedule.rule,
            *map(_share, (schedule.residual_p50, schedule.residual_p90, schedule.error_p50, schedule.error_p90)),
        )
        for head in manifest.heads
        for schedule in head.schedules
    ]
    if not rows:
        return ""
    return (
        "<p>Integrated Gradients must add up to the change of the logit from the baseline to the window. What is "
        "missing, as a share of that change, and how far the map is from that of a dense integration, by the number "
        "of steps:</p>\n"
        + _table(("steps", "rule", "median residual", "90th percentile", "median map error", "90th percentile"), rows)
    )


def _costs(result: DemoResult) -> str:
    rows = []
    for head in result.manifest.heads:
        steps = max((schedule.steps for schedule in head.schedules), default=1)
        streamed = result.summary.costs.get(head.method)
        rows.append(
            (
                _METHODS.get(head.method, head.method),
                str(steps),
                _ratio(head.cost_ratio),
                _ratio(None if head.cost_ratio is None else (head.cost_ratio - 1) / steps),
                "no pass of its own" if streamed == 0 else _ratio(streamed),
            )
        )
    return (
        "<p>At export, medians of interleaved calls in one process: an answer with its explanation over a bare answer, "
        "and what each gradient adds. On the device, medians while it streamed: explaining over predicting.</p>\n"
        + _table(("method", "gradients", "explained / bare", "added per gradient", "explaining / predicting"), rows)
    )


def _latencies(summary: Summary) -> str:
    rows = [(_PHASES.get(name, name), *_quantiles(spread)) for name, spread in summary.phases.items()]
    rows += [
        (f"explaining: {_METHODS.get(name, name)}", *_quantiles(spread))
        if spread.max
        else (f"explaining: {_METHODS.get(name, name)}", "in the pass that predicts", "", "", "")
        for name, spread in summary.methods.items()
    ]
    return "<p>As the device measured it, window by window, while it streamed:</p>\n" + _table(
        ("phase", "p50", "p95", "p99", "longest"), rows
    )


def _micro(found: OnMicro | None) -> str:
    if found is None:
        return '<p class="note">Left out: firmware could not be made or run on this machine.</p>\n'
    predicting, memory = found.predicting.count.median, found.memory
    rows = [("predicting", "", f"{predicting:,.0f}", "1", "", "")]
    for part in found.explaining:
        like = found.alike.get(part.name)
        rows.append(
            (
                _METHODS.get(part.name, part.name),
                str(part.steps or ""),
                f"{part.count.median:,.0f}",
                f"{part.ratio:.3f}",
                "" if like is None else f"{like[1]:.3f}",
                "" if like is None else str(like[0]),
            )
        )
    sizes = [
        ("flash", f"{memory.flash:,} bytes", "model, explanations, kernels, link and start-up"),
        ("RAM", f"{memory.ram:,} bytes", f"{memory.stack:,} of them set aside for the stack"),
        ("arena", f"{memory.arena:,} bytes", f"{memory.reference_arena:,} in TensorFlow Lite Micro, to predict alone"),
    ]
    return (
        f"<p>The same bundle as C, compiled by {escape(found.profile.toolchain)} for a {CORE}, on an emulated one: it "
        "took windows over its UART, answered, explained, and sent both as any device does. What was counted are "
        "instructions: no pipeline, cache or flash is modelled, so they are no milliseconds. Likeness is the median "
        "rank correlation with the maps that came from the device on Linux, of the same windows of people never "
        "seen.</p>\n"
        + _table(("", "steps", "instructions", "with predicting, over predicting", "likeness", "windows"), rows)
        + _table((), sizes, text_columns=(2,))
        + f"{_figure(found.case)}\n"
    )


def _link(summary: Summary) -> str:
    trip = "not measured" if summary.round_trip is None else _duration(summary.round_trip)
    rows = [
        ("answers received", f"{summary.windows}"),
        ("attributions received whole", f"{summary.maps}"),
        ("duration", f"{summary.seconds:.2f} s"),
        ("payload", f"{summary.payload_bytes:,} bytes in {summary.frames:,} frames"),
        (
            "on the wire",
            f"{summary.wire_bytes:,} bytes, {summary.wire_bytes / max(1, summary.payload_bytes) - 1:.1%} more",
        ),
        ("goodput", "too short to tell" if summary.goodput is None else f"{summary.goodput / 1000:,.1f} kB/s"),
        ("shortest round trip", trip),
        ("frames lost on the way", f"{summary.lost_frames}"),
        ("frames damaged", f"{sum(summary.bad.values())}"),
        ("answers missing", f"{summary.missing_results}"),
        ("maps incomplete", f"{summary.incomplete_maps}"),
        ("dropped by the device", ", ".join(f"{n} {what}" for what, n in summary.dropped.items() if n) or "0"),
        ("windows that failed", f"{summary.failed}"),
    ]
    return (
        "<p>The device was a process of its own at the other end of a pseudo-terminal, which passes bytes as fast as "
        "they are read: a real UART is slower.</p>\n" + _table((), rows)
    )


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}</section>\n"


def _table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    text_columns: Sequence[int] = (),
    raw_columns: Sequence[int] = (),
) -> str:
    """Return a table whose first column heads its rows; cells are escaped but for ``raw_columns``, made here."""
    text = ["text" if column in text_columns else "" for column in range(20)]
    top = "".join(f'<th class="{text[i]}">{escape(cell)}</th>' for i, cell in enumerate(head))
    body = ""
    for first, *rest in rows:
        cells = (cell if i in raw_columns else escape(cell) for i, cell in enumerate(rest, 1))
        body += f"<tr><th>{escape(first)}</th>"
        body += "".join(f'<td class="{text[i]}">{cell}</td>' for i, cell in enumerate(cells, 1)) + "</tr>\n"
    heading = f"<thead><tr>{top}</tr></thead>\n" if head else ""
    return f'<div class="scroll"><table>{heading}<tbody>\n{body}</tbody></table></div>\n'


def _bar(share: float) -> str:
    return f'<span class="track"><i style="width: {share:.1%}"></i></span>'


def _quantiles(spread: Quantiles) -> tuple[str, str, str, str]:
    return _duration(spread.p50), _duration(spread.p95), _duration(spread.p99), _duration(spread.max)


def _duration(nanoseconds: float) -> str:
    """Write a time in the unit that suits it."""
    if nanoseconds < 1e6:
        return f"{nanoseconds / 1e3:,.0f} µs"
    return f"{nanoseconds / 1e6:,.2f} ms" if nanoseconds < 1e9 else f"{nanoseconds / 1e9:,.2f} s"


def _ratio(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f} ×"


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2%}"
