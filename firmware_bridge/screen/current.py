"""Which window is explained on the screen, and when its input is asked for."""

from __future__ import annotations

from itertools import islice

from edge.wire.records import Input, Request, Settings
from firmware_bridge.screen.history import Entry, History, Selection, Window

HOLD = 1.0  # seconds that a window stays while the tail is followed: nobody reads faster
_LONGEST_HOLD = 5.0  # the same where the link is slow and the next one would be without its input
_RECENT = 64  # entries among which one with an explanation is looked for
_PATIENCE = 3.0  # seconds for an input to come
_SHARE = 4  # so many times as long as an input takes to come, none is asked for: it has a fifth of the link
_LONGEST = 60.0  # seconds between two attempts with a board that does not answer


class Inputs:
    """Asks for one input at a time, and the less often the longer they take to come."""

    def __init__(self) -> None:
        self._asked: tuple[int, float] | None = None
        self._next = 0.0
        self._missed = 0
        self.working = False  # the last one that was asked for has come

    def waits_for(self, sequence: int, now: float) -> bool:
        """Whether the input of this window has been asked for and may still come."""
        return self._asked is not None and self._asked[0] == sequence and now < self._asked[1] + _PATIENCE

    def ask(self, window: Window, latest: int, settings: Settings | None, now: float) -> Request | None:
        """Return the request for a window's input where one is due; ``latest`` is the last window's sequence."""
        sequence = window.result.sequence
        if self._asked is not None:
            if now < self._asked[1] + _PATIENCE:
                return None
            self._asked, self.working = None, False
            self._missed += 1
            self._next = now + min(_LONGEST, 2.0**self._missed)
        if window.input is not None or now < self._next or settings is None or latest - sequence >= settings.kept:
            return None
        self._asked = sequence, now
        return Request(what=Input.code, sequence=sequence)

    def came(self, sequence: int, now: float) -> None:
        """Take note of an input."""
        if self._asked is not None and self._asked[0] == sequence:
            self._next = now + _SHARE * (now - self._asked[1])
            self._asked, self._missed, self.working = None, 0, True


class Current:
    """The window whose explanation is shown: the selected one, or while the tail is followed a recent one."""

    def __init__(self) -> None:
        self.inputs = Inputs()
        self._shown: Entry | None = None
        self._since = float("-inf")
        self._coming: Window | None = None  # to be shown next, as soon as its input is here

    def choose(
        self, history: History, selection: Selection, settings: Settings | None, now: float
    ) -> tuple[Entry | None, Request | None]:
        """Return what to show, and perhaps a request for its input."""
        chosen = selection.selected(history)
        if chosen is not None:
            self._shown, self._since, self._coming = chosen, float("-inf"), None
            return chosen, self._ask(chosen, history, settings, now) if isinstance(chosen, Window) else None
        if selection.frozen is not None and self._shown is not None:
            return self._shown, None
        request = None
        if self._coming is not None:
            if self._coming.input is not None or not self.inputs.waits_for(self._coming.result.sequence, now):
                self._shown, self._since, self._coming = self._coming, now, None
        elif now >= self._since + HOLD and (window := _explained(history)) not in (None, self._shown):
            request = self._ask(window, history, settings, now)
            if request is not None:
                self._coming = window
            elif window.input is not None or not self.inputs.working or now >= self._since + _LONGEST_HOLD:
                self._shown, self._since = window, now
        return self._shown, request

    def _ask(self, window: Window, history: History, settings: Settings | None, now: float) -> Request | None:
        """Return the request for a window's input where one is due; of an earlier session's there is none any more."""
        if window.session != history.session:
            return None
        latest = next((e.result.sequence for e in reversed(history.entries) if isinstance(e, Window)), 0)
        return self.inputs.ask(window, latest, settings, now)


def _explained(history: History) -> Window | None:
    """Return the latest window with an explanation, or the latest at all."""
    windows = [entry for entry in islice(reversed(history.entries), _RECENT) if isinstance(entry, Window)]
    return next((window for window in windows if window.maps), next(iter(windows), None))
