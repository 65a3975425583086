"""What was measured, next to what it was meant to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from export.memory import spoken


@dataclass(frozen=True)
class Goal:
    """A bound on a figure: at most ``most``, or at least ``least``; ``text`` says it otherwise than as a number."""

    most: float | None = None
    least: float | None = None
    text: str = ""

    def verdict(self, value: float) -> str:
        """Return the bound and whether ``value`` keeps to it."""
        if self.most is not None:
            met, bound = value <= self.most, self.text or f"<= {self.most:g}"
        else:
            assert self.least is not None
            met, bound = value >= self.least, self.text or f">= {self.least:g}"
        return f"{bound} {'MET' if met else 'NOT MET'}"


@dataclass(frozen=True)
class Figure:
    """One line of a table. ``unit`` is "" for a ratio, "s" or "B"; ``low`` and ``high`` are quartiles."""

    model: str
    what: str
    variant: str
    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None
    note: str = ""
    goal: Goal | None = None

    @property
    def verdict(self) -> str:
        """What has become of the goal, if there is one."""
        return "" if self.goal is None else self.goal.verdict(self.value)


def table(title: str, figures: Sequence[Figure]) -> str:
    """Return figures as text."""
    lines = [title]
    for figure in figures:
        spread = "" if figure.low is None else f"{figure.low:.4g} .. {figure.high:.4g}"
        numbers = f"{_said(figure):>9} {spread:>17}  {figure.verdict:<18}"
        lines.append(f"  {figure.what:<38} {figure.variant:<7} {numbers} {figure.note}".rstrip())
    return "\n".join(lines)


def _said(figure: Figure) -> str:
    if figure.unit == "B":
        return spoken(int(figure.value))
    return f"{figure.value:.1f} s" if figure.unit == "s" else f"{figure.value:.4g}"
