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

    def told(self, path: str) -> str:
        """Return in words what is missing of the file at ``path``."""
        parts = "a part" if self.count == 1 else f"{self.count} parts"
        return f"{parts} of {path} could not be read and is left out, the first at {self.first}"

    def __bool__(self) -> bool:
        return self.count > 0
