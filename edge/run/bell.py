"""Waking a loop that waits, from wherever the reason comes."""

from __future__ import annotations

import select
from collections.abc import Callable

from edge.wakeup import WakeUp


class Bell:
    """Wakes a loop that waits, and whatever else waits for it (``others``)."""

    def __init__(self, *others: Callable[[], None]) -> None:
        self.stopped = False
        self._others = others
        self._wakeup = WakeUp()

    def ring(self) -> None:
        """End a wait, the next one if there is none; from any thread, and from a signal handler."""
        for ring in self._others:
            ring()
        self._wakeup.ring()

    def stop(self) -> None:
        """Ask for the end."""
        self.stopped = True
        self.ring()

    def wait(self, seconds: float) -> None:
        """Wait until it rings, at most for ``seconds``."""
        if select.select([self._wakeup], [], [], seconds)[0]:
            self._wakeup.hush()
