"""What checks found."""

from __future__ import annotations

from dataclasses import dataclass

from edge.manifest import Check


@dataclass(frozen=True)
class Findings:
    """What was decided, and what is to be said of what was not."""

    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Findings) -> Findings:
        """Return both, one after the other."""
        return Findings(self.checks + other.checks, self.notes + other.notes)
