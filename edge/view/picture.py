"""One explanation as a picture: the input, the map on it, the scores, and what is to be said of them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from numpy.typing import NDArray

from ..explanation import Explanation
from ..manifest import Manifest
from .colours import AGAINST, FOR, PALETTE, SHADES, limit
from .layout import Kind, Layout, binned, layout_of, standalone
from .words import figures_of, flags_of, short, signed, subject_of

Array = NDArray[np.floating]

INK, QUIET, LINE, WARNING = "#1f2328", "#59636e", "#d8dee4", "#b3261e"
_MOST_CHANNELS = 8
_MOST_TOKENS = 64
_MOST_PLACES = 600
_BEST = 5
_LABEL = 22
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": LINE,
    "text.color": INK,
    "text.parse_math": False,  # labels are shown as they are
    "axes.labelcolor": QUIET,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
}
_SIGNED = ListedColormap(PALETTE / 255)
_POSITIVE = ListedColormap(PALETTE[SHADES:] / 255)


@dataclass(frozen=True)
class Scale:
    """What the colours of a map mean: ``end`` is the value of the strongest."""

    end: float
    colours: ListedColormap
    norm: Normalize


def draw(x: NDArray[np.float32], explanation: Explanation, manifest: Manifest, dpi: int = 110) -> bytes:
    """Return a PNG of one explanation of ``x``, float of the model's input shape; equal ones give equal bytes."""
    layout = layout_of(manifest.input)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 4.8))
        FigureCanvasAgg(figure)
        grid = figure.add_gridspec(
            1, 3, width_ratios=[4, 4, 3.2], left=0.055, right=0.97, top=0.8, bottom=0.24, wspace=0.2
        )
        values = layout.of_map(explanation.map)
        shown = standalone(explanation.map) if values is None else values
        signed_map = bool((shown < 0).any())
        end = limit([shown]) or 1.0
        scale = Scale(end, _SIGNED, Normalize(-end, end)) if signed_map else Scale(end, _POSITIVE, Normalize(0, end))
        if values is None or layout.kind in {Kind.IMAGE, Kind.GRID}:
            _draw_input(figure.add_subplot(grid[0]), x, layout)
            _draw_plane(figure.add_subplot(grid[1]), x, shown, layout, scale, base=values is not None)
        elif layout.kind is Kind.CURVES:
            _draw_curves(figure, grid[:2], x, shown, layout, scale)
        else:
            _draw_features(figure.add_subplot(grid[:2]), x, shown, layout)
        if values is None or layout.kind not in {Kind.TABLE, Kind.TOKENS}:
            _draw_bar(figure, scale)
        _draw_scores(figure.add_subplot(grid[2]), explanation, manifest)
        _write(figure, explanation, manifest)
        file = io.BytesIO()
        # No metadata: the same explanations give the same bytes.
        figure.savefig(file, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return file.getvalue()


def _draw_input(axis: Axes, x: Array, layout: Layout) -> None:
    """Draw the input by itself."""
    axis.set_title("input", fontsize=9, color=QUIET)
    values = layout.of_input(x)
    if layout.kind in {Kind.IMAGE, Kind.GRID}:
        _show(axis, _unit(values), layout)
    elif layout.kind is Kind.CURVES:
        axis.plot(values.T, linewidth=0.8)
    else:
        axis.bar(np.arange(values.size), values.ravel(), color=QUIET)


def _draw_plane(axis: Axes, x: Array, values: Array, layout: Layout, scale: Scale, *, base: bool) -> None:
    """Draw a map over its input in grey, or by itself."""
    axis.set_title("what spoke for the class" if base else f"map {list(values.shape)}", fontsize=9, color=QUIET)
    if not base:
        axis.imshow(values, cmap=scale.colours, norm=scale.norm, aspect="auto", interpolation="nearest")
        axis.set(xticks=[], yticks=[])
        return
    grey = _unit(layout.of_input(x))
    grey = grey.mean(axis=2) if grey.ndim == 3 else grey
    _show(axis, np.repeat(0.15 + 0.7 * grey[..., None], 3, axis=2), layout)
    height, width = grey.shape
    axis.imshow(
        values,
        cmap=scale.colours,
        norm=scale.norm,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        aspect=axis.get_aspect(),
        interpolation="nearest",
    )


def _show(axis: Axes, values: Array, layout: Layout) -> None:
    axis.imshow(values, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_aspect("auto" if layout.kind is Kind.GRID else "equal")
    axis.set(xticks=[], yticks=[])


def _unit(values: Array) -> Array:
    low, high = float(values.min()), float(values.max())
    return (values - low) / ((high - low) or 1.0)


def _draw_curves(figure: Figure, cell: SubplotSpec, x: Array, values: Array, layout: Layout, scale: Scale) -> None:
    """Draw each channel over what its values, or all of them, were attributed."""
    signals = layout.of_input(x)
    channels = list(range(len(signals)))
    if len(signals) > _MOST_CHANNELS:
        size = np.abs(values).sum(1) if len(values) == len(signals) else signals.std(axis=1)
        channels = sorted(np.argsort(-size, kind="stable")[:_MOST_CHANNELS].tolist())
    rows = cell.subgridspec(len(channels), 1, hspace=0.12)
    for row, channel in enumerate(channels):
        axis = figure.add_subplot(rows[row])
        own = values[min(int((channel + 0.5) * len(values) / len(signals)), len(values) - 1)]
        signal = signals[channel]
        low, high = float(signal.min()), float(signal.max())
        margin = 0.08 * (high - low) or 1.0
        axis.imshow(
            binned(own, (_MOST_PLACES,))[None],
            extent=(0, len(signal), low - margin, high + margin),
            cmap=scale.colours,
            norm=scale.norm,
            aspect="auto",
            interpolation="nearest",
        )
        axis.plot(np.arange(len(signal)) + 0.5, signal, color=INK, linewidth=1.0)
        axis.set(xlim=(0, len(signal)), ylim=(low - margin, high + margin), yticks=[])
        axis.set_ylabel(str(channel), rotation=0, ha="right", va="center")
        if row < len(channels) - 1:
            axis.set_xticks([])


def _draw_features(axis: Axes, x: Array, values: Array, layout: Layout) -> None:
    """Draw a bar for each feature or id; of many, for those with the largest attributions."""
    inputs = layout.of_input(x).ravel()
    shown = sorted(np.argsort(-np.abs(values), kind="stable")[:_MOST_TOKENS].tolist())
    heights = values[shown]
    ink = [tuple(part / 255 for part in (FOR if height > 0 else AGAINST)) for height in heights]
    axis.bar(np.arange(len(shown)), heights, color=ink)
    axis.axhline(0, color=QUIET, linewidth=0.7)
    names = [f"{inputs[place]:.3g}" for place in shown]
    axis.set_xticks(np.arange(len(shown)), names, rotation=90, fontsize=8 if len(shown) <= 32 else 6)
    what = "ids in their order" if layout.kind is Kind.TOKENS else "values of the features in their order"
    what += "; orange spoke for the class, blue against it"
    axis.set_xlabel(what if len(shown) == len(inputs) else f"{what}; the {len(shown)} of {len(inputs)} that weigh most")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _draw_bar(figure: Figure, scale: Scale) -> None:
    axis = figure.add_axes((0.25, 0.08, 0.3, 0.025))
    bar = figure.colorbar(ScalarMappable(scale.norm, scale.colours), cax=axis, orientation="horizontal")
    low = scale.colours is _SIGNED
    ticks = [-scale.end, 0.0, scale.end] if low else [0.0, scale.end]
    bar.set_ticks(ticks, labels=[signed(tick, 2) for tick in ticks])
    bar.outline.set_edgecolor(LINE)
    said = "orange spoke for the class, blue against it" if low else "orange spoke for the class"
    axis.set_title(said, fontsize=8, color=QUIET, pad=3)


def _draw_scores(axis: Axes, explanation: Explanation, manifest: Manifest) -> None:
    """Draw the best scores, that of the class explained among them."""
    best = np.argsort(-explanation.scores, kind="stable")[:_BEST].tolist()
    if explanation.class_index not in best:
        best = [*best[:-1], explanation.class_index]
    scores = explanation.scores[best]
    weights = ["bold" if index == explanation.class_index else "normal" for index in best]
    axis.barh(np.arange(len(best)), scores, color=LINE, height=0.7)
    start = min(0.0, float(scores.min()))
    for place, (index, score, weight) in enumerate(zip(best, scores, weights, strict=True)):
        label = short(manifest.labels[index], _LABEL)
        axis.text(start, place, f" {label}  {score:.3g}", va="center", fontsize=9, fontweight=weight)
    axis.set(xticks=[], yticks=[], ylim=(_BEST - 0.5, -0.5))
    axis.set_title("best scores", fontsize=9, color=QUIET)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _write(figure: Figure, explanation: Explanation, manifest: Manifest) -> None:
    """Write what was explained, what the map amounts to, and what is wrong with it."""
    title = f"{short(explanation.method)} for {subject_of(explanation, manifest)}"
    figure.text(0.05, 0.93, title, fontsize=13, fontweight="bold")
    total = ", ".join(figures_of(explanation, manifest.head(explanation.method)))
    said = "; ".join(filter(None, (total, explanation.layer)))
    figure.text(0.05, 0.885, short(said, 120), fontsize=8.5, color=QUIET)
    for line, words in enumerate(flags_of(explanation)[:3]):
        figure.text(0.97, 0.95 - 0.035 * line, words, fontsize=8.5, color=WARNING, ha="right")
