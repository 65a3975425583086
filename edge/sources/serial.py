"""Samples of a sensor front end on a serial port: ``serial:/dev/ttyACM0?baud=115200&format=text&rate=100``.

As text, a line is a sample: numbers with commas, semicolons or blanks between. As frames, see docs/sources.md: the
frames of the link (``edge.wire.framing``), each with a counter and some samples.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from edge.errors import InputError
from edge.samples import Samples, Signal, finite
from edge.samples.layout import channels_of
from edge.samples.table import Lines, is_number
from edge.sources import POLL, Feed, Gap, Item, Model, channel_names, told
from edge.wire.framing import Deframer
from edge.wire.port import Port

_TYPES: dict[int, np.dtype[Any]] = {1: np.dtype("<i2"), 2: np.dtype("<f4")}
_BETWEEN = re.compile(r"[;,\s]+")
_SHOWN = 80


@dataclass(frozen=True)
class Options:
    """``columns`` of text go by number from 0.

    A port that is lost, or silent for ``stall`` seconds, is opened again if it is to ``retry``.
    """

    baud: int = 115200
    format: Literal["text", "frames"] = "text"
    rate: float | None = None
    columns: tuple[str, ...] = ()
    hop: str | None = None
    stall: float = 5.0
    retry: bool = True


def open(location: str, options: Options, model: Model) -> Feed:
    """Read the port ``location``, whatever ``serial.serial_for_url`` takes; it is opened exclusively."""
    if not all(column.isascii() and column.isdigit() and len(column) < 4 for column in options.columns):
        raise InputError(f"columns={','.join(options.columns)} are no numbers", "lines of a port have no header")
    if options.columns and options.format == "frames":
        raise InputError("format=frames has no columns", "send what the model takes")
    channels = len(options.columns) or channels_of(model.input_shape, channel_names(model))
    if options.format == "text":
        reader: Callable[[], _Reader] = partial(_Text, channels, [int(column) for column in options.columns])
    else:
        reader = partial(_Frames, channels)
    return Feed(
        partial(_read, location, options.baud, reader),
        live=True,
        retry=options.retry,
        stall=options.stall,
        signal=Signal(channels, options.rate, options.hop),
    )


def _read(url: str, baud: int, reader: Callable[[], _Reader]) -> Generator[Item]:
    reading = reader()
    with Port(url, baud) as port:
        yield None
        while True:
            port.wait(POLL)
            for item in reading.feed(port.read()):
                yield from (item,) if isinstance(item, Gap) else told(url, (item,))
            yield None


class _Text:
    """Lines as samples; what comes before the first end of a line may be half of one, and is nothing."""

    def __init__(self, channels: int, places: list[int]) -> None:
        self._channels, self._places = channels, places
        self._lines = Lines()
        self._joined = False

    def feed(self, data: bytes) -> Iterator[Samples | str | Gap]:
        """Yield the samples that ``data`` completes, or why there is none."""
        lines = self._lines.feed(data)
        if lines and not self._joined:
            self._joined = True
            del lines[0]
        rows = []
        for line in lines:
            if line is None:
                yield "a line without end"
            elif text := line.decode("ascii", "replace").strip():
                cells = _BETWEEN.split(text)
                chosen = [cells[place] for place in self._places if place < len(cells)] if self._places else cells
                if len(chosen) == self._channels and all(map(is_number, chosen)):
                    rows.append([float(cell) for cell in chosen])
                else:
                    yield f"no {self._channels} numbers in {text[:_SHOWN]!r}"
        if rows:
            with np.errstate(over="ignore"):
                yield from finite(np.array(rows, np.float32))


class _Frames:
    """Frames as samples: kind (1 for int16, 2 for float32), counter, samples, all little-endian."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._deframer = Deframer()
        self._bad = 0
        self._next: int | None = None

    def feed(self, data: bytes) -> Iterator[Samples | str | Gap]:
        """Yield the samples that ``data`` completes, or why there is none; a gap where the counter leaves one."""
        for payload in self._deframer.feed(data):
            yield from self._count_bad()
            dtype = _TYPES.get(payload[0])
            size = 0 if dtype is None else dtype.itemsize * self._channels
            if dtype is None or len(payload) < 2 + size or (len(payload) - 2) % size:
                yield f"a frame of {len(payload)} bytes that holds no samples of {self._channels} channels"
                continue
            if self._next is not None and payload[1] != self._next:
                yield f"{(payload[1] - self._next) % 256} frames are missing"
                yield Gap()
            self._next = (payload[1] + 1) % 256
            yield from finite(np.frombuffer(payload[2:], dtype).reshape(-1, self._channels).astype(np.float32))
        yield from self._count_bad()

    def _count_bad(self) -> Iterator[str]:
        for _ in range(self._deframer.counts.bad_frames - self._bad):
            yield "a frame that is damaged"
        self._bad = self._deframer.counts.bad_frames


_Reader = _Text | _Frames
