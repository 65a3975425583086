"""Samples that another program writes: ``stdin:?format=text&rate=HZ``, numbers in lines as in ``csv:``, or binary."""

from __future__ import annotations

import os
import select
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from edge.errors import InputError
from edge.samples import Signal, finite
from edge.samples.layout import channels_of
from edge.samples.table import Lines, Table
from edge.sources import POLL, Feed, Item, Model, channel_names, told

_PIECE = 1 << 16  # bytes
_STDIN = 0


@dataclass(frozen=True)
class Options:
    """``format`` is lines of text, or float32 or int16, little-endian, channel by channel without anything between.

    ``columns`` and ``label`` are for text, as in ``csv:``. Silence of more than ``stall`` seconds is the end. Whoever
    writes waits until windows are wanted, unless it is ``live``: then those that nobody takes in time are lost.
    """

    format: Literal["text", "float32", "int16"] = "text"
    rate: float | None = None
    columns: tuple[str, ...] = ()
    label: str | None = None
    hop: str | None = None
    stall: float | None = None
    live: bool = False


def open(location: str, options: Options, model: Model) -> Feed:
    """Read the standard input; there is nothing to say where it is."""
    if location:
        raise InputError(f"stdin: has no location, and {location!r} is given", "write stdin:?format=text")
    if options.format != "text" and (options.columns or options.label):
        raise InputError(f"format={options.format} has no columns and labels", "leave them out, or send text")
    channels = len(options.columns) or channels_of(model.input_shape, channel_names(model))
    if options.format == "text":
        table = Table("stdin", model.labels, channel_names(model), options.columns, options.label, channels)
        feed = partial(_text, table)
    else:
        feed = partial(_binary, np.dtype(options.format).newbyteorder("<"), channels)
    signal = Signal(channels, options.rate, options.hop)
    return Feed(feed, live=True, waits=not options.live, stall=options.stall, signal=signal)


def _text(table: Table) -> Generator[Item]:
    lines = Lines()
    for data in _pieces():
        yield from told("stdin", table.samples(lines.feed(data)))
        yield None
    yield from told("stdin", table.samples(lines.finish()))


def _binary(dtype: np.dtype[np.generic], channels: int) -> Generator[Item]:
    pending, size = b"", dtype.itemsize * channels
    for data in _pieces():
        pending += data
        whole = len(pending) - len(pending) % size
        x = np.frombuffer(pending[:whole], dtype).reshape(-1, channels).astype(np.float32)
        pending = pending[whole:]
        yield from told("stdin", finite(x))
        yield None
    if pending:
        yield from told("stdin", [f"the last sample is cut short, to {len(pending)} of {size} bytes"])


def _pieces() -> Iterator[bytes]:
    """Yield what has been written, nothing from time to time, until whoever writes has closed it."""
    yield b""
    while True:
        data = b""
        try:
            if select.select([_STDIN], [], [], POLL)[0] and not (data := os.read(_STDIN, _PIECE)):
                return
        except OSError as error:
            raise InputError(f"cannot read stdin: {error.strerror}", "write to it through a pipe") from error
        yield data
