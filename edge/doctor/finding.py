"""What an examination finds."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(enum.IntEnum):
    """How bad a finding is."""

    OK = 0
    NOTE = 1  # good to know
    WARNING = 2  # makes results slower, later or less certain
    PROBLEM = 3  # keeps something from running

    @property
    def label(self) -> str:
        """The word for people."""
        return self.name.lower()


@dataclass(frozen=True)
class Finding:
    """One thing found: what it is, and for what is not right what to do, in words and as a command to copy."""

    section: str
    level: Level
    what: str
    advice: str = ""
    command: str = ""
