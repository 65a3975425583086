"""A bound on how long measurements take: big models are measured on fewer inputs, never on none."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, items: Iterable[T], at_least: int = 2) -> Iterator[T]:
    """Yield items while another one like those before fits into ``seconds``, and ``at_least`` so many in any case."""
    start = time.monotonic()
    for count, item in enumerate(items):
        spent = time.monotonic() - start
        if count >= at_least and spent * (count + 1) / max(count, 1) > seconds:
            return
        yield item
