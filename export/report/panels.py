"""Inputs with the maps on them, as HTML: one card per input, one panel per method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.explanation import Explanation
from edge.manifest import Manifest
from edge.view.colours import PALETTE, limit, shades
from edge.view.layout import Kind, Layout, binned, layout_of, standalone
from edge.view.words import figures_of, flags_of, short, signed, subject_of

from .charts import svg
from .markup import Markup, element, name_of, picture, source
from .png import indexed, photograph
from .samples import Sample

Array = NDArray[np.floating]

_PICTURE_BYTES = 300_000  # of all maps together, about
_LARGEST_PICTURE = 112  # cells along a side of a map
_PHOTOGRAPH = 96  # pixels along a side of an input
_PAIRS = 4  # further maps per method, where exact ones are shown beside those that ship
_TOKEN_BYTES = 40
_MOST_PLACES = 240  # along a curve
_MOST_CHANNELS = 8
_BEST = 3


@dataclass(frozen=True)
class Scales:
    """What is the same for all maps of a report: layout, the end of each method's colours, how much detail there is.

    ``side`` is the most cells along a side of a map, ``channels`` are the curves that are drawn, ``tokens`` how
    many ids; ``signed`` are the methods with values below zero, ``failed`` says by method which checks failed.
    """

    layout: Layout
    limits: Mapping[str, float]
    side: int
    channels: tuple[int, ...]
    tokens: int
    signed: frozenset[str]
    failed: Mapping[str, Sequence[str]]


def scales_of(manifest: Manifest, samples: Sequence[Sample]) -> Scales:
    """Return the scales on which all of these are shown side by side."""
    layout = layout_of(manifest.input)
    count, methods = len(samples), len(manifest.heads)
    side = int(min(_LARGEST_PICTURE, np.sqrt(_PICTURE_BYTES / ((count + _PAIRS) * methods))))
    found: dict[str, list[Array]] = {head.method: [] for head in manifest.heads}
    for sample in samples:
        for explanation in sample.explanations:
            found[explanation.method].append(_drawn(explanation.map, layout, side)[0])
    failed: dict[str, list[str]] = {}
    for check in manifest.checks:
        if check.method and not check.passed:
            failed.setdefault(check.method, []).append(check.name)
    tokens = max(8, int(_PICTURE_BYTES / (_TOKEN_BYTES * count * methods)))
    limits = {method: limit(maps) for method, maps in found.items()}
    below = frozenset(method for method, maps in found.items() if any((values < 0).any() for values in maps))
    return Scales(layout, limits, side, _loudest(layout, found), tokens, below, failed)


def _loudest(layout: Layout, maps: Mapping[str, Sequence[Array]]) -> tuple[int, ...]:
    """Return the channels to draw: all of few, and of many those with the largest attributions, in their order."""
    if layout.kind is not Kind.CURVES or len(layout.axes) < 2:
        return (0,)
    channels = layout.shape[layout.axes[0]]
    size = np.zeros(channels)
    for own in maps.values():
        apart = [np.abs(np.nan_to_num(values)).sum(1) for values in own if len(values) == channels]
        if apart and (total := np.sum(apart)):
            size += np.sum(apart, axis=0) / total
    return tuple(sorted(np.argsort(-size, kind="stable")[:_MOST_CHANNELS].tolist()))


def _drawn(attribution: Array, layout: Layout, side: int) -> tuple[Array, bool]:
    """Return a map with as much detail as is drawn, and whether it is drawn on the input."""
    own = layout.of_map(attribution)
    if own is None:
        return binned(standalone(attribution), (side, _MOST_PLACES)), False
    if layout.kind is Kind.CURVES:
        return (binned(own.T, (_MOST_PLACES,)).T if own.shape[1] > _MOST_PLACES else own), True
    return (own if own.ndim == 1 else binned(own, (side, side))), True


def card(sample: Sample, manifest: Manifest, scales: Scales) -> Markup:
    """Return one input with what the model says of it and every method's map."""
    answer = sample.prediction
    panels = [panel(sample, e.method, e.map, scales, captions(e, manifest, scales)) for e in sample.explanations]
    best = np.argsort(-answer.scores, kind="stable")[:_BEST]
    scores = " · ".join(f"{short(manifest.labels[i])} {answer.scores[i]:.3g}" for i in best)
    verdict: object = ""
    if sample.truth is not None:
        right = sample.truth == answer.predicted
        said = "✓ right" if right else f"✗ wrong: it is {short(manifest.labels[sample.truth])}"
        verdict = element("b", said, class_="pass" if right else "fail")
    head = element(
        "header",
        element("h3", f"Input {sample.index}: {short(manifest.labels[answer.predicted])} ", verdict),
        element("p", f"{scores} · {sample.why}", class_="note"),
    )
    base = _base(sample.x, manifest, scales)
    style = None if base is None else f"--pixels:url({source(base)})"
    first = [_input_panel(sample, scales)] if base is not None else []
    curves = _signals(sample, scales) if scales.layout.kind is Kind.CURVES else ""
    return element("article", head, curves, element("div", *first, *panels, class_=row_class(scales)), style=style)


def row_class(scales: Scales) -> str:
    """Return the class of a row of panels: what is wide gets more room."""
    return {Kind.IMAGE: "panels small", Kind.GRID: "panels middle"}.get(scales.layout.kind, "panels")


def captions(explanation: Explanation, manifest: Manifest, scales: Scales) -> list[Markup]:
    """Return the lines under a map: what it amounts to, and what is wrong with it."""
    with np.errstate(invalid="ignore"):
        drawn, _ = _drawn(explanation.map, scales.layout, scales.side)
        largest = float(np.abs(drawn).max(initial=0))
    subject = [f"for {subject_of(explanation, manifest)}"] if explanation.class_index != explanation.predicted else []
    figures = figures_of(explanation, manifest.head(explanation.method))
    said = " · ".join([*subject, f"largest {largest:.3g}", *figures])
    warnings = [
        *flags_of(explanation),
        *(f"failed its check: {name}" for name in scales.failed.get(explanation.method, ())),
    ]
    return [element("small", said), *(element("small", f"⚠ {words}", class_="warn") for words in warnings)]


def panel(sample: Sample, method: str, attribution: Array, scales: Scales, under: Sequence[Markup]) -> Markup:
    """Return one map on its input, with its scale and what is to be said under it."""
    end = scales.limits[method]
    values, on_input = _drawn(attribution, scales.layout, scales.side)
    said = f"{method} of input {sample.index}"
    kind = scales.layout.kind
    if not on_input:
        drawing = _stack(values, end, said, aspect=_aspect(values.shape), base=False)
    elif kind is Kind.CURVES:
        drawing = _curves(sample, values, end, scales, said)
    elif kind is Kind.TOKENS:
        drawing = _tokens(sample.x, values, end, scales)
    elif kind is Kind.TABLE:
        drawing = _features(sample.x, values, end, scales)
    else:
        drawing = _stack(values, end, said, aspect=_aspect_of(scales.layout), base=True)
    beside = [] if on_input else [element("small", f"map {'×'.join(map(str, attribution.shape))}, not on the input")]
    return element(
        "figure",
        drawing,
        element(
            "figcaption", element("strong", name_of(method)), _scale(end, method in scales.signed), *beside, *under
        ),
    )


def _scale(end: float, signed_map: bool) -> Markup:
    """Return what the colours mean: blue against, nothing at the marked zero, orange for the class."""
    words = (f"−{end:.2g}", "0", f"+{end:.2g}") if signed_map else ("0", f"{end:.2g}")
    return element(
        "div", element("i"), *(element("span", word) for word in words), class_="bar" if signed_map else "bar only"
    )


def _input_panel(sample: Sample, scales: Scales) -> Markup:
    aspect = _aspect_of(scales.layout)
    box = element("div", element("div", class_="base"), class_="stack", style=f"aspect-ratio:{aspect:.3g}")
    said = f"values {sample.x.min():.3g} to {sample.x.max():.3g}"
    return element("figure", box, element("figcaption", element("strong", "input"), element("small", said)))


def _base(x: Array, manifest: Manifest, scales: Scales) -> bytes | None:
    """Return the input as a picture; None for what is no picture. Images are on the scale of the calibration data."""
    if scales.layout.kind not in {Kind.IMAGE, Kind.GRID}:
        return None
    values = binned(scales.layout.of_input(x), (_PHOTOGRAPH, _PHOTOGRAPH), np.mean)
    low, high = float(values.min()), float(values.max())
    port = manifest.input
    if scales.layout.kind is Kind.IMAGE and port.minimum is not None and port.maximum is not None:
        low, high = port.minimum, port.maximum
    return photograph(np.asarray(np.clip((values - low) / ((high - low) or 1.0), 0, 1) * 255, np.uint8))


def _aspect_of(layout: Layout) -> float:
    """Return width over height: an image's own, and of a grid one that is easy to see."""
    rows, columns = (layout.shape[axis] for axis in layout.axes[:2])
    return columns / rows if layout.kind is Kind.IMAGE else 2.5


def _aspect(shape: tuple[int, ...]) -> float:
    return float(np.clip(shape[1] / shape[0], 1.6, 6.0))


def _stack(values: Array, end: float, said: str, *, aspect: float, base: bool) -> Markup:
    """Return a map over its input in grey, or by itself."""
    under = element("div", class_="base grey") if base else ""
    drawn = picture(indexed(shades(values, end), PALETTE), said, class_="map")
    return element("div", under, drawn, class_="stack", style=f"aspect-ratio:{aspect:.3g}")


def _curves(sample: Sample, values: Array, end: float, scales: Scales, said: str) -> Markup:
    """Return each channel's curve with its attribution along it; where the map has none of its own, it shades all."""
    channels = scales.channels
    count = scales.layout.shape[scales.layout.axes[0]] if len(scales.layout.axes) > 1 else 1
    shared = len(values) == 1 and len(channels) > 1
    own = [values[min(int((channel + 0.5) * len(values) / count), len(values) - 1)] for channel in channels]
    drawn = source(indexed(shades(values if shared else np.stack(own), end), PALETTE))
    rows: list[Markup] = [element("i", class_="shade")] if shared else []
    for place, (channel, attribution) in enumerate(zip(channels, own, strict=True)):
        curve = Markup(f'<use href="#{_curve_name(sample, channel)}"/>')
        rows += [
            element("span", channel, class_="place"),
            svg(1000, 100, curve, alternative=f"channel {channel} of input {sample.index}"),
        ]
        if not shared:
            height = 100 * place / max(len(channels) - 1, 1)
            rows.append(element("span", _beside(float(attribution.sum()), end), class_="sum"))
            rows.append(element("i", class_="strip", style=f"background-position:0 {height:.4g}%"))
    rows += [element("i", class_="strip")] if shared else []
    size = f"100% {100 if shared else 100 * len(channels)}%"
    class_ = "curves" if len(channels) > 1 else "curves one"
    return element("div", *rows, class_=class_, style=f"--size:{size};--map:url({drawn})", role="img", aria_label=said)


def _signals(sample: Sample, scales: Scales) -> Markup:
    """Return the curves of an input, hidden, for every panel to draw."""
    signals = scales.layout.of_input(sample.x)
    paths = (
        Markup(f'<path id="{_curve_name(sample, channel)}" d="{_curve(signals[channel])}" class="signal"/>')
        for channel in scales.channels
    )
    return element("svg", element("defs", *paths), class_="hidden")


def _curve_name(sample: Sample, channel: int) -> str:
    return f"input{sample.index}-{channel}"


def _curve(signal: Array) -> str:
    """Return a signal as a path on a scale of its own; of a long one the smallest and largest value of each stretch."""
    if len(signal) > _MOST_PLACES:
        low, high = (binned(signal, (_MOST_PLACES // 2,), fold) for fold in (np.min, np.max))
        signal = np.stack([low, high], 1).ravel()
    bottom, top = float(signal.min()), float(signal.max())
    heights = 96 - 92 * (signal - bottom) / ((top - bottom) or 1.0)
    places = (np.arange(len(signal)) + 0.5) * 1000 / len(signal)
    return "M" + "L".join(f"{place:.0f} {height:.0f}" for place, height in zip(places, heights, strict=True))


def _tokens(x: Array, values: Array, end: float, scales: Scales) -> Markup:
    ids = scales.layout.of_input(x).ravel()
    chips = []
    for token, value in list(zip(ids, values, strict=True))[: scales.tokens]:
        strength = 0.0 if not np.isfinite(value) else min(abs(float(value)) / (end or 1.0), 1.0)
        side = "p" if value > 0 else "n"
        chips.append(element("b", f"{token:.0f}", class_=side, style=f"--a:{strength:.2f}"))
    rest = len(ids) - len(chips)
    return element("div", *chips, f" and {rest} more" if rest > 0 else "", class_="tokens")


def _features(x: Array, values: Array, end: float, scales: Scales) -> Markup:
    rows = []
    for place, (feature, value) in enumerate(zip(scales.layout.of_input(x).ravel(), values, strict=True)):
        share = 0.0 if not np.isfinite(value) else min(abs(float(value)) / (end or 1.0), 1.0)
        side = "p" if value > 0 else "n"
        bar = element("i", element("b", class_=side, style=f"width:{50 * share:.1f}%"))
        rows += [element("span", f"{place}: {feature:.3g}"), bar, element("span", _beside(float(value), end, 3))]
    return element("div", *rows, class_="features")


def _beside(value: float, end: float, digits: int = 2) -> str:
    """Write a value with the digits that count where ``end`` is written with so many."""
    if not 1e-4 < end < 1e6 or not math.isfinite(value):
        return signed(value, 2)
    places = max(0, digits - 1 - math.floor(math.log10(end)))
    return f"{round(value, places) or 0.0:+.{places}f}".replace("-", "−")
