"""A bound on how long measurements take: big models are measured on fewer inputs, never on none."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, items: Iterable[T], at_least: int = 2) -> Iterator[T]:
    """Yield items until ``seconds`` are over, and ``at_least`` so many of them however long they take."""
    end = time.monotonic() + seconds
    for count, item in enumerate(items):
        if count >= at_least and time.monotonic() >= end:
            return
        yield item
