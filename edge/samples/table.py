"""Lines of text as samples: numbers in columns, perhaps a header, perhaps a column of classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from edge.errors import InputError
from edge.samples import Samples, check_channels

LONGEST_LINE = 65536  # bytes
_NAMED = 80  # characters of a line that are shown


class Lines:
    """Cuts bytes into lines in bounded memory; a line that is too long comes as None."""

    def __init__(self) -> None:
        self._pending = b""
        self._overlong = False

    def feed(self, data: bytes) -> list[bytes | None]:
        """Return the lines that ``data`` completes."""
        *ends, rest = (self._pending + data).split(b"\n")
        lines: list[bytes | None] = [line if len(line) <= LONGEST_LINE else None for line in ends]
        if lines and self._overlong:
            lines[0], self._overlong = None, False
        if len(rest) > LONGEST_LINE:
            rest, self._overlong = b"", True
        self._pending = rest
        return lines

    def finish(self) -> list[bytes | None]:
        """Return the last line, where it had no end."""
        last = self._pending
        return [None] if self._overlong else [last] if last else []


class Table:
    """Reads lines of numbers for a model of ``labels``, whose channels may have ``names``.

    ``columns`` are names of the header or numbers from 0; by default those of the model's names where the header has
    all of them, and else all but ``label``. Cells are divided by semicolons, tabs, commas or blanks, whichever of these
    is first found in the first line; one with a cell that is no number is the header. So many ``channels`` are wanted,
    if any number.
    """

    def __init__(
        self,
        what: str,
        labels: Sequence[str],
        names: Sequence[str],
        columns: tuple[str, ...],
        label: str | None,
        channels: int | None = None,
    ) -> None:
        self._what = what
        self._labels = labels
        self._names, self._columns, self._label = tuple(names), columns, label
        self._wanted = channels
        self._delimiter: str | None = None
        self._width = 0
        self._places: list[int] = []
        self._truth: int | None = None
        self.number = 0  # of the line before, from 1

    @property
    def channels(self) -> int:
        """How many columns a sample has."""
        return len(self._places)

    def learn(self, line: bytes) -> bool:
        """Take from the first line what the columns are, and return whether it is a header."""
        text = line.decode("utf-8", "replace").removeprefix("\ufeff")
        self._delimiter = next((mark for mark in ";\t," if mark in text), None)
        cells = self._cells(text)
        header = not all(map(is_number, filter(None, cells))) and not self._is_first_row(cells)
        there = tuple(cells) if header else tuple(map(str, range(len(cells))))
        self._width = len(cells)
        what = self._what
        self._truth = check_channels((self._label,), there, what)[0] if self._label is not None else None
        if self._columns:
            self._places = check_channels(self._columns, there, what)
        elif self._names and set(self._names) <= set(there):
            self._places = [there.index(name) for name in self._names]
        else:
            self._places = [place for place in range(len(there)) if place != self._truth]
        if not self._places:
            raise InputError(f"{what} has no column of values", "text sources hold one sample a line")
        if self._wanted not in {None, len(self._places)}:
            raise InputError(
                f"{what} has {len(self._places)} columns of values, and {self._wanted} are wanted",
                "choose them with columns=NAME,NAME or columns=0,1",
            )
        return header

    def samples(self, lines: Sequence[bytes | None]) -> Iterator[Samples | str]:
        """Yield the samples in the lines, and for each line that cannot be used why; empty ones mean nothing.

        InputError where the first line has not the columns that were asked for.
        """
        rows: list[list[float]] = []
        numbers: list[int] = []
        classes: list[int] = []
        for line in lines:
            self.number += 1
            if line is None:
                yield f"line {self.number} is longer than {LONGEST_LINE} bytes"
            elif line.strip() and not (not self._places and self.learn(line)):
                try:
                    row, label = self._row(line)
                except ValueError as error:
                    yield f"line {self.number}: {error}: {_shown(line)}"
                    continue
                rows.append(row)
                classes.append(label)
                numbers.append(self.number)
        if not rows:
            return
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinity then
            x = np.array(rows, np.float32)
        good = np.isfinite(x).all(axis=1)
        yield from (
            f"line {numbers[bad]} holds NaN, infinity or more than float32 can" for bad in np.flatnonzero(~good)
        )
        known = np.array(classes, np.int64)[good]
        places = np.flatnonzero(known >= 0)
        if good.any():
            yield Samples(x[good], (places, known[places]))

    def _row(self, line: bytes) -> tuple[list[float], int]:
        """Return the values and the class, -1 for none, of a line; ValueError saying what is wrong with it."""
        cells = self._cells(line.decode("ascii", "replace") if self._truth is None else line.decode("utf-8", "replace"))
        if len(cells) != self._width:
            raise ValueError(f"{len(cells)} cells, {self._width} are wanted")
        try:
            row = [float(cells[place]) for place in self._places]
        except ValueError:
            raise ValueError("not all of its cells are numbers") from None
        return row, -1 if self._truth is None else self._class(cells[self._truth])

    def _class(self, cell: str) -> int:
        if cell in self._labels:
            return self._labels.index(cell)
        number = float(cell) if is_number(cell) else -1.0
        return int(number) if number in range(len(self._labels)) else -1

    def _cells(self, text: str) -> list[str]:
        return [cell.strip().strip('"') for cell in text.split(self._delimiter)]

    def _is_first_row(self, cells: Sequence[str]) -> bool:
        """Whether a first line that is not all numbers is one all the same: all but a class given by its name."""
        return (
            self._label is not None
            and self._label.isdigit()
            and all(is_number(cell) for place, cell in enumerate(cells) if place != int(self._label))
        )


def is_number(cell: str) -> bool:
    """Return whether a text is a number as C and Python write it, NaN and infinity too."""
    return re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?(nan|inf|infinity)", cell, re.I | re.A) is not None


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= _NAMED else text[:_NAMED] + "...")
