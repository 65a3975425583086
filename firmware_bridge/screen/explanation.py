"""One window and why it was answered so: the signal with its attribution below, or the image with its map beside it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Text

from edge.latency import duration
from firmware_bridge import lines
from firmware_bridge.maps import Attribution
from firmware_bridge.screen import plots
from firmware_bridge.screen.history import Window
from firmware_bridge.screen.panels import fit
from firmware_bridge.screen.terminal import Terminal
from firmware_bridge.session import Tracker

CHANNELS = 8  # what has more of them is drawn as an image
_FOR, _AGAINST = (Style(color=f"rgb({r},{g},{b})") for r, g, b in (plots.FOR, plots.AGAINST))
_LEAST = 10  # columns of an image that is worth its place beside another
_OBLONG = 1.5  # from here on the longer side of a one-channel image lies across: time, as a rule
_MARGIN = 2
_TALL = 20  # rows from which scores and durations have room
_LIKELIEST = 3


@dataclass(frozen=True)
class Room:
    """Where to draw: columns and rows of a terminal."""

    columns: int
    rows: int
    terminal: Terminal


def page(window: Window, attribution: Attribution | None, lack: str, tracker: Tracker, room: Room) -> list[Text]:
    """Return what was answered to a window, what explains it, and both drawn; ``lack`` is said where nothing does."""
    said = lines.answer(window.result, tracker)
    rows = [Text(f" {said}", style="bold"), Text(f" {_about(attribution, lack, tracker)}", style="dim")]
    below: list[Text] = []
    if room.rows >= _TALL:
        below = [Text(), *_scores(window, tracker, room.columns)]
        if window.timing is not None:
            durations = {**window.timing.phases, **window.timing.methods}
            below.append(Text(" " + "  ".join(f"{name} {duration(value)}" for name, value in durations.items())))
            below[-1].stylize("dim")
    session = tracker.account.session
    given = window.input.values if window.input else None
    values = attribution.values if attribution else None
    shape = session.input_shape if session else ()
    inner = Room(room.columns, room.rows - len(rows) - len(below), room.terminal)
    return [fit(row, room.columns) for row in (*rows, *draw(given, values, shape, inner), *below)]


def _about(attribution: Attribution | None, lack: str, tracker: Tracker) -> str:
    if attribution is None:
        return lack
    parts = [f"{attribution.method} for {tracker.label(attribution.class_index)}"]
    parts += [] if attribution.residual is None else [f"residual {attribution.residual:+.3f}"]
    parts += [flag.name.lower().replace("_", " ") for flag in attribution.flags if flag.name]
    parts += [f"coarser than {'x'.join(map(str, attribution.full_shape))}"] if attribution.full_shape else []
    return ", ".join(parts)


def _scores(window: Window, tracker: Tracker, columns: int) -> list[Text]:
    """Return the likeliest classes with bars as long as their scores."""
    scores = window.result.scores
    likeliest = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)[:_LIKELIEST]
    labels = [tracker.label(index) for index in likeliest]
    wide = min(24, max(map(cell_len, labels), default=0))
    rows = []
    for index, label in zip(likeliest, labels, strict=True):
        row = Text(f" {set_cell_size(label, wide)} {scores[index]:.3f} ")
        length = round(max(0.0, min(1.0, scores[index])) * max(0, min(40, columns - row.cell_len - 1)))
        rows.append(row.append("█" * length, "cyan"))
    return rows


def is_signal(shape: tuple[int, ...]) -> bool:
    """Whether a window of this shape is a few channels over time, and not an image."""
    wide = [size for size in shape if size > 1]
    return len(wide) <= 1 or (len(wide) == 2 and shape.index(wide[0]) == 0 and wide[1] <= min(CHANNELS, wide[0]))


def draw(
    window: NDArray[np.float32] | None, values: NDArray[np.float32] | None, shape: tuple[int, ...], room: Room
) -> list[Text]:
    """Return the rows of a window (None: it has not come) and of its attribution (None: there is none).

    ``shape`` is the model's input shape; an attribution has it, or is coarser, or is a target layer's.
    """
    if room.columns < _LEAST or room.rows < 2 or (window is None and values is None):
        return []
    if is_signal(shape):
        return _signals(_channels(window), _channels(values), room)
    return _images(_plane(window), _plane(values), room)


def _channels(values: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    """Return values as ``[time, channels]``."""
    if values is None:
        return None
    wide = tuple(size for size in values.shape if size > 1) or (1,)
    return values.reshape(wide[0], -1)


def _signals(window: NDArray[np.float32] | None, values: NDArray[np.float32] | None, room: Room) -> list[Text]:
    columns = room.columns - _MARGIN
    rows: list[Text] = []
    if window is not None:
        count = window.shape[1]
        least = 0 if values is None else 4 if room.rows - 4 >= count else 2
        each = max(1, (room.rows - least) // (count + (values is not None and count < 3)))
        shown = min(count, room.rows - least)
        for channel in range(shown):
            weights = None if values is None else values[:, channel if values.shape[1] == count else 0]
            label = str(channel) if shown == count or channel + 1 < shown else f"+{count - shown + 1}"
            rows += _curve(window[:, channel], weights, label[:_MARGIN], columns, each, room.terminal)
    if values is not None:
        strip = max(2, (room.rows - len(rows)) // 2 * 2)
        rows += _strip(values.sum(axis=1), columns, min(strip, 8 if rows else strip), room.terminal)
    return rows


def _curve(
    signal: NDArray[np.float32],
    weights: NDArray[np.float32] | None,
    label: str,
    columns: int,
    height: int,
    terminal: Terminal,
) -> list[Text]:
    """Draw one channel, marked where it speaks for or against the class."""
    drawn = plots.lines_of(plots.curve(signal, columns, height), terminal.unicode)
    marks = np.zeros(columns)
    if weights is not None and (peak := np.abs(weights).max()) > 0:
        shares = plots.extremes(weights, columns) / peak
        marks = np.sign(shares) * (np.abs(shares) >= plots.MARKED)
    result = []
    for i, line in enumerate(drawn):
        row = Text(f"{label if i == 0 else '':<{_MARGIN}}", style="dim")
        edges = [0, *(np.flatnonzero(np.diff(marks)) + 1).tolist(), columns]
        for begin, end in pairwise(edges):
            row.append(line[begin:end], _marked(int(marks[begin]), terminal))
        result.append(row)
    return result


def _marked(sign: int, terminal: Terminal) -> Style:
    if not terminal.colour:
        return Style(bold=sign != 0, dim=False)
    return {0: Style(dim=False), 1: _FOR, -1: _AGAINST}[sign]


def _strip(values: NDArray[np.float32], columns: int, rows: int, terminal: Terminal) -> list[Text]:
    """Draw what every moment says for the class above a middle line, and against it below."""
    drawn = plots.lines_of(plots.bars(values, columns, rows), terminal.unicode)
    signs = {rows // 2 - 1: "+", rows // 2: "−"}
    result = []
    for i, line in enumerate(drawn):
        style = Style() if not terminal.colour else _FOR if i < rows // 2 else _AGAINST
        result.append(Text(f"{signs.get(i, ''):<{_MARGIN}}", style=style).append(line))
    return result


def _plane(values: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    """Return values as ``[H, W]``, or ``[H, W, 3]``; what lies in further axes is averaged."""
    if values is None:
        return None
    while values.ndim > 3 or (values.ndim == 3 and values.shape[2] not in (1, 3)):
        values = values.mean(axis=-1)
    if values.ndim < 2:
        values = values.reshape(-1, 1)
    return values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values


def _images(window: NDArray[np.float32] | None, values: NDArray[np.float32] | None, room: Room) -> list[Text]:
    if values is not None and values.ndim == 3:
        values = values.sum(axis=2)
    grey = [plane for plane in (window, values) if plane is not None and plane.ndim == 2]
    if grey and (window is None or window.ndim == 2):
        height, width = grey[0].shape
        if height >= _OBLONG * width:
            window, values = (None if plane is None else plane.T[::-1] for plane in (window, values))
    terminal = room.terminal
    panels: list[tuple[str, NDArray[np.float32], int]] = []
    if values is not None and terminal.colour:
        panels = [("map", values, 0)]
    elif values is not None:
        panels = [("for", values, 1), ("against", values, -1)]
    if window is not None and room.columns >= _LEAST * (len(panels) + 1):
        panels = [("input", window, 0), *panels]
    shape = (window if window is not None else values).shape  # type: ignore[union-attr]  # one of them is there
    return _beside(panels, shape, room)


def _beside(panels: list[tuple[str, NDArray[np.float32], int]], shape: tuple[int, ...], room: Room) -> list[Text]:
    """Draw images side by side, each under its name; a map in the form of the input it is of."""
    terminal = room.terminal
    upright = shape[0] * len(panels) > shape[1]  # side by side, or one above the other: whichever is larger
    across = len(panels) if upright else 1
    columns = (room.columns - 2 * across) // across
    height = (room.rows - len(panels) // across) // (len(panels) // across)
    if height < 1:
        return []
    blocks: list[list[Text]] = []
    for name, values, sign in panels:
        width, pixels = plots.fitted(shape, columns, height)
        framed = values if values.shape[:2] == shape[:2] else plots.resized(values, shape[1], shape[0])
        if sign:
            drawn = plots.one_sided(framed, columns, height, terminal, sign)
        elif name == "input":
            drawn = plots.picture(framed, columns, height, terminal)
        else:
            drawn = plots.saliency(framed, columns, height, terminal)
        head = Text(name, style="dim")
        if name == "map":
            head.append(" for", _FOR).append(" against", _AGAINST)
        blocks.append([head, *drawn[: pixels // 2]])
        for line in blocks[-1]:
            line.pad_right(max(0, max(width, head.cell_len) - line.cell_len))
    if across == 1:
        return [Text(" ").append_text(line) for block in blocks for line in block]
    return [Text(" ").append_text(Text("  ").join(row)) for row in zip(*blocks, strict=True)]
