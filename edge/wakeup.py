"""Ending a wait from another thread or a signal handler."""

from __future__ import annotations

import socket


class WakeUp:
    """Something that ``select`` can wait for, and that rings.

    Unlike a lock or a condition, it never waits for what a signal handler has interrupted.
    """

    def __init__(self) -> None:
        self._ear, self._hammer = socket.socketpair()
        self._ear.setblocking(False)
        self._hammer.setblocking(False)

    def fileno(self) -> int:
        """Return what ``select`` waits for; it is ready from a ``ring`` until ``hush``."""
        return self._ear.fileno()

    def ring(self) -> None:
        """End a wait, the next one if there is none; from any thread, and from a signal handler."""
        try:
            self._hammer.send(b"\x00")
        except OSError:
            return  # it has rung so often that nobody can sleep, or is closed: in both cases nobody does

    def hush(self) -> None:
        """Forget that it has rung."""
        try:
            self._ear.recv(65536)
        except BlockingIOError:
            return  # it has not

    def close(self) -> None:
        """Let go of it; it may still be rung, to no effect."""
        self._ear.close()
        self._hammer.close()
