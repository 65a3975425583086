"""Waking a loop that waits, from wherever the reason comes."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable


class Bell:
    """Wakes a loop that waits, and whatever else waits for it (``others``).

    Unlike a lock, it never waits for what a signal handler has interrupted.
    """

    def __init__(self, *others: Callable[[], None]) -> None:
        self.stopped = False
        self._others = others
        self._ear, self._hammer = socket.socketpair()
        self._ear.setblocking(False)
        self._hammer.setblocking(False)

    def ring(self) -> None:
        """End a wait, the next one if there is none; from any thread, and from a signal handler."""
        for ring in self._others:
            ring()
        try:
            self._hammer.send(b"\x00")
        except BlockingIOError:
            return  # it has rung so often that nobody can sleep

    def stop(self) -> None:
        """Ask for the end."""
        self.stopped = True
        self.ring()

    def wait(self, seconds: float) -> None:
        """Wait until it rings, at most for ``seconds``."""
        if select.select([self._ear], [], [], seconds)[0]:
            self._ear.recv(4096)
