"""What of a recording could not be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Damage:
    """How many parts of a recording could not be read, and where the first of them is; false where all could."""

    count: int = 0
    first: str = ""

    def add(self, where: str) -> None:
        """Count one more."""
        self.count += 1
        self.first = self.first or where

    def __bool__(self) -> bool:
        return self.count > 0
