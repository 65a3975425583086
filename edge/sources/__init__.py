"""Where windows come from. A source is one module here with an ``open``; its file name is its scheme."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.latency import clock


@dataclass(frozen=True)
class Window:
    """One input of the model: float32, the model's input shape; ``capture`` is how long it took, in nanoseconds.

    ``at`` is when it was complete, on ``edge.latency.clock``: the beginning of its end-to-end latency.
    """

    sequence: int
    x: NDArray[np.float32]
    capture: int
    truth: int | None = None
    at: int = field(default_factory=clock)


class Source(Protocol):
    """Gives windows in order; ``len`` is how many there are before it ends or begins again."""

    def __iter__(self) -> Iterator[Window]: ...

    def __len__(self) -> int: ...


def schemes() -> tuple[str, ...]:
    """Return the names of the sources there are."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def open_source(spec: str, shape: tuple[int, ...], classes: int) -> Source:
    """Open ``SCHEME:LOCATION`` for a model of input ``shape`` (without batch); InputError where it does not fit."""
    scheme, colon, location = spec.partition(":")
    if not colon or scheme not in schemes():
        raise InputError(f"unknown source {spec!r}", f"a source is one of {', '.join(f'{s}:...' for s in schemes())}")
    source: Source = import_module(f"{__name__}.{scheme}").open(location, shape, classes)
    return source
