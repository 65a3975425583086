"""The order of a session's frames: which come in their turn, which come again or too late, and which must wait."""

from __future__ import annotations

from collections import deque

from edge.wire.records import Record

Numbered = tuple[int, Record | None]
"""A frame's number, and its record where that is known here."""

_HELD = 256  # frames that wait for a SESSION; it is repeated every few seconds and sent when asked for
_WRAP = 1 << 32  # where frame numbers begin again
_WINDOW = 64  # frames: no further ahead may one be without doubt, nor further back to be known as one that came before
_LATE = 8  # frames by which one may come too late


class Turns:
    """Follows the numbers of frames, and holds those of which it is in doubt which session they are of."""

    def __init__(self) -> None:
        self.held: deque[Numbered] = deque()
        self._expected = 0
        self._recent: deque[Numbered] = deque(maxlen=_WINDOW)

    def begin(self, number: int) -> None:
        """Expect the frame of this number, as the first of a session."""
        self._expected = number
        self._recent.clear()

    def accept(self, number: int, record: Record | None) -> int:
        """Take a frame as the latest of the session; return how many are missing before it."""
        missing = _ahead(number, self._expected)
        self._recent.append((number, record))
        self._expected = (number + 1) % _WRAP
        return missing

    def hold(self, number: int, record: Record | None) -> Record | None:
        """Let a frame wait; return the record that has to go for it, if any."""
        self.held.append((number, record))
        return self.held.popleft()[1] if len(self.held) > _HELD else None

    def is_next(self, number: int) -> bool:
        """Whether a frame comes in its turn, or so few are missing before it that they were lost."""
        return 0 <= _ahead(number, self._expected) <= _WINDOW

    def is_over(self, number: int) -> bool:
        """Whether the turn of this number is over."""
        return _ahead(number, self._expected) < 0

    def came_before(self, number: int, record: Record | None) -> bool:
        """Whether a frame is one of the latest, or came just too late; one of another session has another record."""
        return any(place == number and there == record for place, there in self._recent) or self._came_late(number)

    def _came_late(self, number: int) -> bool:
        return -_LATE <= _ahead(number, self._expected) < 0 and number not in {place for place, _ in self._recent}

    def release_before(self, number: int) -> list[Numbered]:
        """Return the held frames that a new session sent before this one: those at the end that count up to it."""
        run: deque[Numbered] = deque()
        while self.held and _ahead(self.held[-1][0], number) < 0:
            run.appendleft(self.held.pop())
            number = run[0][0]
        return list(run)

    def release_next(self) -> list[Numbered]:
        """Return the held frames with which the session goes on."""
        run: list[Numbered] = []
        stale: list[Numbered] = []
        expected = self._expected
        for number, record in self.held:
            if _ahead(number, expected) >= 0:
                run.append((number, record))
                expected = number + 1
            else:
                stale.append((number, record))
        self.held = deque(stale)
        return run


def _ahead(number: int, other: int) -> int:
    """Return how far a frame's number is ahead of another, negative where it is behind."""
    return (number - other + _WRAP // 2) % _WRAP - _WRAP // 2
