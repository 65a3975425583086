"""What the check of a method is given."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..methods.base import Compiled, Entry, Role
from ..shipped import Shipped

Array = NDArray[np.float32]

SECONDS = 6.0
"""Per check."""


@dataclass(frozen=True)
class Subject:
    """One method, as it ships and in exact numerics, and inputs ``[N, ...]`` (float) to ask it about."""

    name: str
    shipped: Shipped
    exact: Shipped
    samples: Array

    @property
    def method(self) -> Compiled:
        """The method as it ships."""
        return self.shipped.compiled[self.name]

    @property
    def own(self) -> Compiled:
        """The method in exact numerics."""
        return self.exact.compiled[self.name]

    def exact_entry(self, role: Role) -> Entry:
        """Return the entry with this role in exact numerics, which there is."""
        entry = self.own.entry(role)
        assert entry is not None
        return entry


def class_argument(entry: Entry, class_index: int) -> dict[str, NDArray[np.int32]]:
    """Return the class as an entry takes it, if it does."""
    return {"class_index": np.asarray([class_index], np.int32)} if "class_index" in entry.inputs else {}


def predicted(model: Shipped, sample: Array) -> int:
    """Return the class that a model answers an input with."""
    return int(model.scores(model.stored(sample)).argmax())
