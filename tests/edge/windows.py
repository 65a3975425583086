"""What tests of sources share: a model to open them for, and all that they give."""

from __future__ import annotations

from dataclasses import dataclass

from edge.samples.preprocessing import Preprocessing

LONG = 60.0  # seconds; nothing waits so long unless it is broken


@dataclass(frozen=True)
class Model:
    """The part of a manifest that a source looks at."""

    input_shape: tuple[int, ...] = (1,)
    labels: tuple[str, ...] = ("a", "b", "c")
    preprocessing: Preprocessing | None = None


def taken(source):
    """Return everything that a source gives until it ends, windows and faults."""
    found = []
    while not source.ended:
        found.append(source.take(LONG))
    source.close()
    return [item for item in found if item is not None]
