"""Charts as inline SVG that stretch with the page; what is to be read stands beside them as text, at its own size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .markup import Markup, element

_WIDTH, _HEIGHT = 1000, 300


@dataclass(frozen=True)
class Axis:
    """One axis: its ends, the values that are marked, with what is written there, and what it is."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    name: str
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies, 0 to 1."""
        low, high, here = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, here = math.log(low), math.log(high), math.log(here)
        return (here - low) / ((high - low) or 1.0)


@dataclass(frozen=True)
class Line:
    """A line through ``points``, with dots at some places."""

    name: str
    points: Sequence[tuple[float, float]]
    dots: Sequence[tuple[float, float]] = ()


def chart(lines: Sequence[Line], x: Axis, y: Axis, alternative: str) -> Markup:
    """Return a chart with its axes and legend; lines differ by colour and by dashes."""

    def at(point: tuple[float, float]) -> str:
        return f"{x.place(point[0]) * _WIDTH:.0f} {(1 - y.place(point[1])) * _HEIGHT:.0f}"

    marks = [
        *(_mark(f"M{x.place(v) * _WIDTH:.0f} 0V{_HEIGHT}", "grid") for v, _ in x.ticks),
        *(_mark(f"M0 {(1 - y.place(v)) * _HEIGHT:.0f}H{_WIDTH}", "grid") for v, _ in y.ticks),
        *(_mark("M" + "L".join(map(at, line.points)), f"line l{i}") for i, line in enumerate(lines)),
        *(_mark("".join(f"M{at(dot)}h0" for dot in line.dots), f"dots l{i}") for i, line in enumerate(lines)),
    ]
    beside = (
        element("span", label, style=f"top:{100 * (1 - y.place(value)):.1f}%") for value, label in y.ticks if label
    )
    below = (element("span", label, style=f"left:{100 * x.place(value):.1f}%") for value, label in x.ticks if label)
    names = [element("li", _swatch(i), line.name) for i, line in enumerate(lines)]
    return element(
        "figure",
        element("figcaption", y.name),
        element("div", *beside, class_="y"),
        svg(_WIDTH, _HEIGHT, *marks, alternative=alternative),
        element("div", *below, class_="x"),
        element("p", x.name),
        element("ul", *names),
        class_="chart",
    )


def svg(width: int, height: int, *content: Markup, alternative: str, class_: str | None = None) -> Markup:
    """Return a drawing that fills whatever room it is given; lines keep their width."""
    return element(
        "svg",
        *content,
        viewBox=f"0 0 {width} {height}",
        preserveAspectRatio="none",
        role="img",
        aria_label=alternative,
        class_=class_,
    )


def _swatch(index: int) -> Markup:
    return element("svg", _mark("M0 5H40", f"line l{index}"), viewBox="0 0 40 10", class_="swatch", aria_hidden="true")


def _mark(path: str, class_: str) -> Markup:
    return Markup(f'<path d="{path}" class="{class_}"/>') if path not in {"", "M"} else Markup()


def gauge(value: float, bound: float, band: Sequence[float] | None) -> Markup:
    """Return a small plot of a figure (a dot), its bound (a bar) and the band of its null distribution (a box)."""
    figures = [0.0, value, bound, *(band or ())]
    if not all(map(math.isfinite, figures)) or len(set(figures)) == 1:
        return Markup()
    low, high = min(figures), max(figures)

    def place(figure: float) -> int:
        return round(40 + 920 * (figure - low) / (high - low))

    box = ""
    if band:
        box = f'<rect x="{place(band[0])}" y="20" width="{max(place(band[-1]) - place(band[0]), 4)}" height="60"/>'
    said = f"measured {value:.3g}, bound {bound:.3g}"
    said += f", 90 % of the null distribution from {band[0]:.3g} to {band[-1]:.3g}" if band else ""
    return svg(
        1000,
        100,
        _mark("M40 50H960", "grid"),
        Markup(box),
        _mark(f"M{place(bound)} 5V95", "bound"),
        _mark(f"M{place(value)} 50h0", "value"),
        alternative=said,
        class_="gauge",
    )
