"""A profile as a picture: what each operation takes, of the prediction and of each explanation."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from firmware_bridge.profile.document import NANOSECONDS, PREDICT, PartCost, Profile
from firmware_bridge.profile.tables import titled

_INK, _QUIET, _LINE = "#1f2328", "#59636e", "#d8dee4"
_COLOURS = ("#3b6ea5", "#d9822b", "#2f8f6b", "#8a5fb0", "#b3475a", "#7a7a3a")
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": _LINE,
    "text.color": _INK,
    "text.parse_math": False,
    "axes.labelcolor": _QUIET,
    "xtick.color": _QUIET,
    "ytick.color": _INK,
}
_MOST = 80  # operations that get a bar each
_ROW = 0.19  # inches of one


def draw(profile: Profile, dpi: int = 110) -> bytes:
    """Return a PNG; equal profiles give equal bytes."""
    shown = profile.operations[:_MOST]
    height = 1.95 + 0.3 * len(profile.parts) + _ROW * len(shown)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, height))
        FigureCanvasAgg(figure)
        top = 1 - 0.75 / height
        totals = 0.3 * len(profile.parts) / height
        axes = figure.add_axes((0.33, top - totals, 0.6, totals))
        _draw_totals(axes, profile)
        if shown:
            bottom = 0.45 / height
            axes = figure.add_axes((0.33, bottom, 0.6, top - totals - 0.75 / height - bottom))
            _draw_operations(axes, profile)
        figure.text(0.02, 1 - 0.28 / height, f"{profile.model} on {profile.board}", fontsize=12, weight="bold")
        figure.text(
            0.02, 1 - 0.5 / height, f"{profile.unit} per window, by {profile.counter}", color=_QUIET, fontsize=8.5
        )
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return file.getvalue()


def _short(count: float) -> str:
    return f"{count:.0f}" if count < 1000 else EngFormatter(places=2, sep=" ")(count)


def _colour(profile: Profile, name: str) -> str:
    place = next(i for i, part in enumerate(profile.parts) if part.name == name)
    return _COLOURS[place % len(_COLOURS)]


def _draw_totals(axes: Axes, profile: Profile) -> None:
    """Draw one bar per part: what predicting takes, and beside it what explaining adds."""
    base = profile.parts[0].count.median
    for place, part in enumerate(profile.parts):
        axes.barh(place, base, color=_colour(profile, PREDICT), height=0.62)
        whole = base
        if part.name != PREDICT:
            axes.barh(place, part.count.median, left=base, color=_colour(profile, part.name), height=0.62)
            whole += part.count.median
        note = f" {_short(whole)}" + (f", × {part.ratio:.4g}" if part.name != PREDICT else "")
        axes.text(whole, place, note, va="center", fontsize=8.5)
    axes.set_yticks(range(len(profile.parts)), [_title(part) for part in profile.parts])
    _finish(axes, profile, 1.28 * max(base + (p.name != PREDICT) * p.count.median for p in profile.parts))


def _title(part: PartCost) -> str:
    name = part.name if part.name == PREDICT else f"+ {part.name}"
    return name[:36] + (f", {part.steps} steps" if part.steps else "")


def _draw_operations(axes: Axes, profile: Profile) -> None:
    """Draw one bar per operation in the order of the program, with what it takes per MAC."""
    shown = profile.operations[:_MOST]
    most = max(cost.count.median for cost in shown) or 1.0
    for place, cost in enumerate(shown):
        axes.barh(place, cost.count.median, color=_colour(profile, cost.part), height=0.7)
        axes.plot([cost.count.least, cost.count.most], [place, place], color=_INK, linewidth=1)
        per_mac = f", {cost.count.median / cost.macs:.2f} per MAC" if cost.macs else ""
        note = f" {_short(cost.count.median)}{per_mac}"
        axes.text(max(cost.count.most, cost.count.median), place, note, va="center", fontsize=7, color=_QUIET)
    axes.set_yticks(
        range(len(shown)),
        [f"{i}  {cost.code}  {cost.kernel.removeprefix('whylite_')}"[:46] for i, cost in enumerate(shown)],
        fontsize=7,
    )
    parts = dict.fromkeys(cost.part for cost in shown)
    axes.legend(
        [Patch(color=_colour(profile, name)) for name in parts],
        [titled(profile, name) for name in parts],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        frameon=False,
        fontsize=8,
        borderaxespad=0.2,
        handlelength=1,
    )
    if len(profile.operations) > len(shown):
        axes.set_xlabel(f"the first {len(shown)} of {len(profile.operations)} operations")
    _finish(axes, profile, 1.28 * most)


def _finish(axes: Axes, profile: Profile, end: float) -> None:
    axes.invert_yaxis()
    axes.set_xlim(0, end)
    axes.margins(y=0.01)
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    if profile.unit == NANOSECONDS:
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1e6:g} ms")
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
