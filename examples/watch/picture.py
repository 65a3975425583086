"""Pictures in which a person sees what the model looked at: six channels in time, the attribution under each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec
from numpy.typing import NDArray

from edge.explanation import Explanation
from examples.watch.data import CHANNELS, EXERCISES, LABELS, RATE_HZ, UNITS, Windows, to_signal
from examples.watch.heard import Heard

INK = "#22262b"
QUIET = "#6b7280"
FOR, AGAINST = "#d9480f", "#1864ab"  # orange and blue: told apart by every kind of colour vision
ATTENTION = "#f2b705"
SIGNED = LinearSegmentedColormap.from_list("for_against", [AGAINST, "#a5c8ea", "#f7f7f5", "#f7b58a", FOR])
BIN = 4  # samples per column of a strip, 0.08 s
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": "#c3c8ce",
    "axes.linewidth": 0.6,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
}


@dataclass(frozen=True)
class Case:
    """One window of one person, and both explanations of the model's answer.

    ``window`` is the model's input, float32 ``[200, 6]``; ``gradcam.map`` is ``[w]``, ``integrated.map`` is
    ``[200, 6]`` in logits. ``note`` is a few words for the reader, such as which subject it was.
    """

    window: NDArray[np.float32]
    truth: int
    gradcam: Explanation
    integrated: Explanation
    note: str = ""

    @property
    def right(self) -> bool:
        """Whether the model's answer is the true exercise."""
        return self.integrated.class_index == self.truth


def case_of(windows: Windows, heard: Heard, sequence: int, note: str = "") -> Case:
    """Return a window with what came of it; ``note`` goes before who had moved."""
    return Case(
        windows.x[sequence],
        int(windows.y[sequence]),
        heard.explanation(sequence, "gradcam"),
        heard.explanation(sequence, "integrated_gradients"),
        f"{note}subject {windows.subject[sequence]}, {windows.start_s[sequence]:.0f} s into the set",
    )


def choose(
    scores: NDArray[np.float32], truth: NDArray[np.int64], right: Sequence[int] = (0, 1, 5), wrong: int = 1
) -> list[int]:
    """Choose the windows to show, by a rule: neither the prettiest nor the worst.

    For each class in ``right`` the correctly answered window of median probability, then the ``wrong`` most confident
    mistakes. ``scores`` is ``[N, classes]``, ``truth`` ``[N]``; returns indices into them.
    """
    predicted = scores.argmax(axis=1)
    confidence = scores.max(axis=1)
    chosen = []
    for label in right:
        hits = np.flatnonzero((truth == label) & (predicted == label))
        if hits.size:
            chosen.append(int(hits[np.argsort(confidence[hits], kind="stable")[hits.size // 2]]))
    misses = np.flatnonzero(predicted != truth)
    return chosen + [int(i) for i in misses[np.argsort(-confidence[misses], kind="stable")][:wrong]]


def picture(cases: Sequence[Case], columns: int = 2, dpi: int = 110) -> bytes:
    """Draw ``cases`` as a PNG: signals, GradCAM as shading in time, Integrated Gradients as a strip per channel."""
    columns = min(columns, len(cases))
    rows = -(-len(cases) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.0 * columns, 5.7 * rows + 0.55))
        FigureCanvasAgg(figure)
        figure_height = figure.get_figheight()
        grid = figure.add_gridspec(
            rows,
            columns,
            left=0.75 / figure.get_figwidth(),
            right=1 - 0.2 / figure.get_figwidth(),
            top=1 - 0.62 / figure_height,
            bottom=1.0 / figure_height,
            hspace=1.15 / 4.6,
            wspace=0.16,
        )
        for index, case in enumerate(cases):
            _draw_case(figure, grid[index // columns, index % columns], case)
        _draw_legend(figure)
        file = io.BytesIO()
        # No metadata: the same explanations give the same bytes.
        figure.savefig(file, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    return file.getvalue()


def _draw_case(figure: Figure, cell: SubplotSpec, case: Case) -> None:
    """Draw one block: a title, then per channel its signal, its strip and its sum."""
    signal = to_signal(case.window)
    seconds = np.arange(len(signal)) / RATE_HZ
    attribution = case.integrated.map
    strips = _binned(attribution)
    limit = float(np.abs(strips).max()) or 1.0
    sums = attribution.sum(axis=0)
    reach = float(np.abs(sums).max()) or 1.0

    block = GridSpecFromSubplotSpec(6, 2, cell, width_ratios=[7, 1], hspace=0.2, wspace=0.03)
    axes: list[Axes] = []
    for channel in range(6):
        sensor = slice(0, 3) if channel < 3 else slice(3, 6)
        pair = GridSpecFromSubplotSpec(2, 1, block[channel, 0], height_ratios=[3, 1.1], hspace=0)
        upper = figure.add_subplot(pair[0])
        lower = figure.add_subplot(pair[1])
        side = figure.add_subplot(block[channel, 1])
        _draw_signal(upper, seconds, signal[:, channel], signal[:, sensor], case.gradcam.map)
        if channel == 0:
            side.set_title("sum, logit", fontsize=7.5, color=QUIET, pad=3)
        for text, size, color, drop in ((CHANNELS[channel], 10, INK, 1), (UNITS[channel], 7.5, QUIET, -11)):
            upper.annotate(
                text,
                (0, 0.5),
                (-22, drop),
                xycoords="axes fraction",
                textcoords="offset points",
                ha="right",
                fontsize=size,
                color=color,
            )
        _draw_strip(lower, strips[:, channel], seconds[-1] + 1 / RATE_HZ, limit)
        _draw_sum(side, float(sums[channel]), reach)
        axes += [upper, lower]
    for axis in axes:
        axis.set_xlim(0, seconds[-1] + 1 / RATE_HZ)
        axis.set_xticks([])
    axes[-1].set_xticks(np.arange(0, seconds[-1] + 0.5, 0.5))
    axes[-1].tick_params(axis="x", length=3, pad=2)
    axes[-1].set_xlabel("time in the window, seconds", color=QUIET, labelpad=2)
    _draw_title(axes[0], case)


def _binned(attribution: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum the attribution over each ``BIN`` samples: it is additive, so nothing is lost but detail in time."""
    return np.asarray(attribution.reshape(len(attribution) // BIN, BIN, -1).sum(axis=1))


def _draw_signal(
    axis: Axes,
    seconds: NDArray[np.float64],
    signal: NDArray[np.float32],
    sensor: NDArray[np.float32],
    gradcam: NDArray[np.float32],
) -> None:
    """Draw a channel on the scale of its sensor, over GradCAM as shading."""
    low, high = float(sensor.min()), float(sensor.max())
    margin = 0.08 * (high - low) or 1.0
    strength = gradcam / (gradcam.max() or 1.0)
    axis.set_ylim(low - margin, high + margin)
    axis.axhline(0, color="#d5d9de", linewidth=0.6, zorder=1)
    axis.imshow(
        strength[None],
        extent=(0, seconds[-1] + 1 / RATE_HZ, *axis.get_ylim()),
        aspect="auto",
        interpolation="nearest",
        cmap=LinearSegmentedColormap.from_list("attention", [(1, 1, 1, 0), ATTENTION]),
        norm=Normalize(0, 1.25),
        zorder=0,
    )
    axis.plot(seconds, signal, color=INK, linewidth=1.15, zorder=2)
    axis.yaxis.set_major_locator(mpl.ticker.MaxNLocator(nbins=3, integer=True))
    axis.tick_params(axis="y", labelsize=7, length=2, pad=1.5)


def _draw_strip(axis: Axes, attribution: NDArray[np.float32], duration: float, limit: float) -> None:
    """Draw Integrated Gradients of a channel as colour."""
    axis.imshow(
        attribution[None],
        extent=(0, duration, 0, 1),
        aspect="auto",
        interpolation="nearest",
        cmap=SIGNED,
        norm=Normalize(-limit, limit),
    )
    axis.set_yticks([])


def _draw_sum(axis: Axes, value: float, reach: float) -> None:
    """Draw what a channel adds to the class's logit, as a bar."""
    axis.barh([0], [value], color=FOR if value >= 0 else AGAINST, height=0.34)
    axis.plot([0, 0], [-0.28, 0.28], color=QUIET, linewidth=0.7)
    axis.set(xlim=(-1.1 * reach, 1.1 * reach), ylim=(-0.6, 0.9), xticks=[], yticks=[])
    axis.text(0, 0.32, _signed(value), ha="center", va="bottom", fontsize=8)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _draw_title(axis: Axes, case: Case) -> None:
    """Write the true exercise, the answer, and how well the attribution adds up."""
    answer = case.integrated.class_index
    probability = float(case.integrated.scores[answer])
    total = f"attribution sums to {_signed(float(case.integrated.map.sum()))} logit"
    residual = case.integrated.residual
    detail = total if residual is None else f"{total}, residual {_signed(residual)}"
    note = f"{case.note}   ·   " if case.note else ""
    axis.annotate(
        f"{'✓' if case.right else '✗'} did {EXERCISES[LABELS[case.truth]]}, "
        f"model says {EXERCISES[LABELS[answer]]} ({probability:.0%})",
        (0, 1),
        (-44, 21),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=11.5,
        fontweight="bold",
        color=INK if case.right else "#b3261e",
    )
    axis.annotate(
        note + detail,
        (0, 1),
        (-44, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=8.5,
        color=QUIET,
    )


def _signed(value: float) -> str:
    """Write a number with its sign, a zero without."""
    return f"{value:+.2f}".replace("-", "−") if abs(value) >= 0.005 else "0.00"


def _draw_legend(figure: Figure) -> None:
    """Say what the colours mean, once, at the foot."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    y = 0.22 / height
    x = 0.75 / width
    figure.text(x, y + 0.19 / height, "GradCAM: when the model looked", fontsize=8.5, va="bottom")
    bar = figure.add_axes((x, y, 1.6 / width, 0.13 / height))
    bar.imshow(
        np.linspace(0, 1, 256)[None],
        aspect="auto",
        cmap=LinearSegmentedColormap.from_list("attention", [(1, 1, 1, 0), ATTENTION]),
        norm=Normalize(0, 1.25),
    )
    bar.set(xticks=[0, 255], yticks=[])
    bar.set_xticklabels(["not at all", "most"], fontsize=7)
    x += 2.5 / width
    figure.text(
        x,
        y + 0.19 / height,
        f"Integrated Gradients, sums over {BIN / RATE_HZ:.2f} s: what spoke",
        fontsize=8.5,
        va="bottom",
    )
    bar = figure.add_axes((x, y, 2.6 / width, 0.13 / height))
    bar.imshow(np.linspace(-1, 1, 256)[None], aspect="auto", cmap=SIGNED)
    bar.set(xticks=[0, 128, 255], yticks=[])
    bar.set_xticklabels(["against the answer", "0", "for it"], fontsize=7)
    for axis in figure.axes[-2:]:
        axis.tick_params(length=2, pad=1.5)
