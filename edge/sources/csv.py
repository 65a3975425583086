"""Samples in a text file of numbers, one a line: ``csv:FILE?rate=HZ&columns=ax,ay,az&label=exercise``."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import partial

from edge.errors import InputError
from edge.files import open_ordinary
from edge.samples import Signal
from edge.samples.table import Lines, Table
from edge.sources import Feed, Item, Model, channel_names, told

_PIECE = 1 << 16  # bytes


@dataclass(frozen=True)
class Options:
    """``rate`` in samples per second, the model's own by default; ``columns`` and ``label`` by name or from 0."""

    rate: float | None = None
    columns: tuple[str, ...] = ()
    label: str | None = None
    hop: str | None = None


def open(location: str, options: Options, model: Model) -> Feed:
    """Learn the columns from the first line of the file ``location``; the rest is read as windows are asked for."""
    table = partial(Table, location, model.labels, channel_names(model), options.columns, options.label)
    first = table()
    try:
        with open_ordinary(location) as file:
            lines = Lines()
            begin = lines.feed(file.read(_PIECE)) or lines.finish()
    except OSError as error:
        raise InputError(f"cannot read {location}: {error.strerror}", "give the path of a text file") from error
    first.learn(next((line for line in begin if line and line.strip()), b""))
    return Feed(partial(_read, location, table), signal=Signal(first.channels, options.rate, options.hop))


def _read(location: str, begin: partial[Table]) -> Generator[Item]:
    table, lines = begin(), Lines()
    try:
        with open_ordinary(location) as file:
            yield None
            while data := file.read(_PIECE):
                yield from told(location, table.samples(lines.feed(data)))
                yield None
            yield from told(location, table.samples(lines.finish()))
    except OSError as error:
        raise InputError(f"cannot read on in {location}: {error.strerror}", "look at the disk") from error
