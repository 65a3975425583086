"""What a device said of the windows it was given, kept to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edge.explanation import Explanation
from edge.wire.records import Error, Result
from firmware_bridge.maps import Attribution
from firmware_bridge.session import Event


@dataclass
class Heard:
    """What came over the link, by the window's number."""

    answers: dict[int, Result] = field(default_factory=dict)
    maps: dict[tuple[int, str], Attribution] = field(default_factory=dict)
    errors: list[Error] = field(default_factory=list)

    def note(self, event: Event) -> None:
        """Keep an event that says something about a window."""
        match event:
            case Result():
                self.answers[event.sequence] = event
            case Attribution():
                self.maps[event.sequence, event.method] = event
            case Error():
                self.errors.append(event)

    def explanation(self, sequence: int, method: str) -> Explanation:
        """Return the answer to a window and its attribution, as they arrived."""
        answer, attribution = self.answers[sequence], self.maps[sequence, method]
        return Explanation(
            scores=np.array(answer.scores, np.float32),
            class_index=attribution.class_index,
            method=method,
            map=attribution.values,
            residual=attribution.residual,
            steps=attribution.steps,
            flags=attribution.flags,
        )

    def renumbered(self, numbers: Sequence[int]) -> Heard:
        """Return the same with window i called ``numbers[i]``."""
        return Heard(
            {int(numbers[sequence]): answer for sequence, answer in self.answers.items()},
            {(int(numbers[sequence]), method): own for (sequence, method), own in self.maps.items()},
            self.errors,
        )
