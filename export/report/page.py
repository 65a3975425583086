"""The report's page: what was measured, in the order in which a reader asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.bundle import REPORT, Bundle, seal
from edge.explainer import Explainer
from edge.manifest import ExplanationHead, Manifest
from edge.view.layout import Kind
from edge.view.words import short

from . import figures, panels, rounding, samples
from .markup import Markup, element, section, text
from .panels import Scales
from .rounding import Compare
from .samples import Sample

Array = NDArray[np.float32]

_STYLE = Path(__file__).with_name("report.css")
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # nothing but itself, whatever names say
_MOST_LABELS = 40
_READING: Mapping[Kind, str] = {
    Kind.CURVES: (
        "Each channel is drawn on a scale of its own, its attribution in the strip below it, with the channel's sum at "
        "the right; a map that does not tell channels apart shades them all."
    ),
    Kind.IMAGE: "Maps lie on the image in grey; attributions of a pixel's colours are added up.",
    Kind.GRID: "The longer axis of the input lies across; maps lie on the values in grey, dark to light.",
    Kind.TABLE: "Each feature has its value and its attribution, in a bar to the left (against) or right (for).",
    Kind.TOKENS: "Each id is coloured by its attribution, what its embedding adds up to.",
}


def attached(bundle: Bundle, x: Array, truth: NDArray[np.int64] | None, compare: Compare | None) -> Bundle:
    """Return a bundle with its report, made by :func:`make`, as a further member."""
    return seal(bundle.manifest, {**bundle.members, REPORT: make(bundle, x, truth, compare=compare)})


def make(bundle: Bundle, x: Array, truth: NDArray[np.int64] | None = None, *, compare: Compare | None = None) -> bytes:
    """Return the report of a bundle as HTML in UTF-8, with inputs to show chosen among ``x`` ``[N, ...]``.

    ``truth`` ``[N]`` are their true classes, where known. ``compare`` gives an input's maps in the numerics that ship
    and in exact ones, at export, where both are there. Equal measurements give equal bytes.
    """
    explainer = Explainer(bundle)
    shown, among = samples.explained(explainer, x, truth)
    manifest = bundle.manifest
    scales = panels.scales_of(manifest, shown)
    content = (
        _headline(manifest),
        _maps(manifest, shown, scales, among),
        section("Whether the explanations are what they claim", figures.checks(manifest), figures.measures(manifest)),
        section(
            "Along the path of Integrated Gradients",
            figures.paths(explainer, shown),
            figures.schedules(manifest),
        ),
        section("What an explanation costs", figures.costs(manifest)),
        section("What rounding did to the maps", *rounding.section_of(manifest, shown, scales, compare)),
        section("The model, and how this was made", _facts(manifest), _labels(manifest)),
    )
    title = f"{short(manifest.name)}: what it looked at"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"{element('title', title)}\n<style>\n{_STYLE.read_text()}</style>\n</head>\n"
        f"<body>\n{''.join(map(text, content))}</body>\n</html>\n"
    ).encode("utf-8", "replace")


def _headline(manifest: Manifest) -> Markup:
    checks = [check for check in manifest.checks if check.gating]
    passed = sum(check.passed for check in checks)
    boxes = [
        ("checks passed", f"{passed} of {len(checks)}", "see below for figures and bounds"),
        ("the model", manifest.kind, f"{len(manifest.labels)} classes, unchanged in the bundle"),
        ("gradients stored as", manifest.numerics, f"for target {manifest.target}"),
    ]
    failed = "bad" if passed < len(checks) else None
    items = (
        element(
            "div", element("dt", name), element("dd", said, element("small", more)), class_=failed if not i else None
        )
        for i, (name, said, more) in enumerate(boxes)
    )
    notes = [element("li", note) for note in manifest.notes]
    return Markup(
        element("h1", f"What {short(manifest.name)} looked at")
        + element(
            "p",
            "Every answer of this model comes with maps of what spoke for it. This page shows some, what they were "
            "held against, and what they cost.",
            class_="lead",
        )
        + element("dl", *items, class_="figures")
        + (element("ul", *notes, class_="notes") if notes else "")
        + "\n"
    )


def _maps(manifest: Manifest, shown: list[Sample], scales: Scales, among: int) -> Markup:
    drawn = scales.layout.kind
    subject = short(manifest.labels[1]) if manifest.yes_no else "the answer"
    article = "an" if drawn is Kind.IMAGE else "a"
    reading = f"The input, {_shape(manifest.input_shape)}, is drawn as {article} {drawn.value}. {_READING[drawn]}"
    if drawn is Kind.CURVES and len(scales.layout.axes) > 1:
        channels = scales.layout.shape[scales.layout.axes[0]]
        if channels > len(scales.channels):
            reading += f" Of {channels} channels those {len(scales.channels)} with the largest attributions are drawn."
    return section(
        "Some inputs, and why",
        element(
            "p",
            element("b", "Orange", class_="for"),
            f" spoke for {subject}, ",
            element("b", "blue", class_="against"),
            " against it, and what has no colour did neither. A method's maps share one scale, under each of them; it "
            "ends at the largest value shown, or, of a thousand and more, where 5 in 1000 lie beyond. Values are in "
            "logits, and add up, but where another unit stands under the map. Detail that does not fit is added up.",
        ),
        element("p", reading),
        _one_score(manifest),
        element("p", f"{samples.RULE} Of {among} inputs looked at, {len(shown)} are shown.", class_="note"),
        *(panels.card(sample, manifest, scales) for sample in shown),
        element(
            "p",
            "An attribution says what this model used. It does not say that the model is right, nor that the world "
            "works that way.",
            class_="note",
        ),
    )


def _facts(manifest: Manifest) -> Markup:
    port = manifest.input
    stored = port.dtype if port.scale is None else f"{port.dtype}, steps of {port.scale:.4g} from {port.zero_point}"
    seen = "" if port.minimum is None else f", calibrated from {port.minimum:.4g} to {port.maximum:.4g}"
    rows: list[tuple[str, str]] = [
        ("model", f"{manifest.name}, {manifest.kind}"),
        ("SHA-256 of its file", manifest.model_digest),
        ("input", f"{port.name}: {_shape(port.shape)}, {stored}{seen}"),
        ("output", f"{manifest.output.name}: {_shape(manifest.output.shape)}, {manifest.output.dtype}"),
        *((f"{head.method} at", _place(head)) for head in manifest.heads),
        ("numerics of gradients", manifest.numerics),
        ("target", manifest.target),
        ("baseline", manifest.baseline),
        ("checked with", manifest.runtime),
        ("made by", manifest.created_by),
    ]
    return figures.facts(rows)


def _one_score(manifest: Manifest) -> Markup | str:
    """Return what is to be said of maps where a model says yes or no with one score."""
    if not manifest.yes_no:
        return ""
    no, yes = map(short, manifest.labels)
    said = (
        f"The model has one score, that of {yes}: above one half that is its answer, else it is {no}. Every map is of "
        f"the logit of {yes}, whichever is the answer."
    )
    return element("p", said)


def _labels(manifest: Manifest) -> Markup:
    shown = ", ".join(map(short, manifest.labels[:_MOST_LABELS]))
    rest = len(manifest.labels) - _MOST_LABELS
    return element("p", f"Classes: {shown}" + (f" and {rest} more" if rest > 0 else ""), class_="note")


def _place(head: ExplanationHead) -> str:
    noise = head.noise
    copies = "" if noise is None else f", mean of {noise.samples} copies with noise of {noise.level:.3g} of the range"
    return f"{head.layer}: map {_shape(head.map_shape)}{copies}"


def _shape(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} values" if len(shape) == 1 else "×".join(map(str, shape)) or "one value"
