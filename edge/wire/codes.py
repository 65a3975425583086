"""What the small numbers in records stand for, and what may be asked for."""

from __future__ import annotations

import enum

SLOWEST, FASTEST = 0.001, 10_000.0  # windows per second that may be asked for: ``Request.rate``, unless it is 0


class Code(enum.IntEnum):
    """A number on the wire with a name for people."""

    @property
    def label(self) -> str:
        """The name in words, as on the command line: lower case, with hyphens."""
        return self.name.lower().replace("_", "-")

    @classmethod
    def label_of(cls, number: int) -> str:
        """Return the label of a number, which may be one of a later version's."""
        return next((code.label for code in cls if code == number), f"code {number}")


class When(Code):
    """Which answers are explained: ``Settings.explain``."""

    ALWAYS = 0
    ON_CHANGE = 1  # when the answer is not the one before
    ON_ALARM = 2  # when it is one of certain classes
    ON_REQUEST = 3  # only when the host asks


class Degraded(Code):
    """What the deadline took from an explanation: ``Health.degraded``. In this order, until it fits; or it was late."""

    FEWER_STEPS = 0
    CHEAPER_METHOD = 1
    NO_EXPLANATION = 2
    LATE = 3  # counts windows: an explanation was made, and then the time was over


class Thinned(Code):
    """What a slow link took from a map: ``Health.thinned``. In this order, until it fits."""

    FEWER_BITS = 0
    LARGEST_ONLY = 1
    COARSER = 2


class SourceFault(Code):
    """What befell a source: ``Health.source``."""

    STALLED = 0  # gave nothing for longer than it should
    REOPENED = 1
    BAD_INPUT = 2  # a line, frame or sample that could not be used was skipped
    LOST_WINDOW = 3  # nobody took it in time
    ENDED = 4
