"""A part of the screen that sends to the terminal only the rows that changed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from firmware_bridge.screen.terminal import Terminal


class Panel(Widget):
    """Rows of text. Only rows that changed are drawn again: little goes over a slow connection."""

    def __init__(self, terminal: Terminal, id: str) -> None:
        super().__init__(id=id)
        self._terminal = terminal
        self.strips: list[Strip] = []  # what is shown

    def show(self, rows: Sequence[Text]) -> None:
        """Show rows, cut or filled to the panel's size."""
        width, height = self.size
        blank = Strip.blank(width, Style.null())
        strips = [self._strip(row.copy()).adjust_cell_length(width, Style.null()) for row in rows[:height]]
        strips += [blank] * (height - len(strips))
        known = [*self.strips, *[None] * height]
        changed = [y for y, strip in enumerate(strips) if strip != known[y]]
        self.strips = strips
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render_line(self, y: int) -> Strip:
        """Return one row."""
        return self.strips[y] if y < len(self.strips) else Strip.blank(self.size.width, Style.null())

    def _strip(self, row: Text) -> Strip:
        row.end = ""
        row.stylize_before(row.style)  # which a text without spans is drawn without
        parts = row.render(self.app.console)
        return Strip([Segment(self._terminal.text(part.text), part.style or Style.null()) for part in parts])
