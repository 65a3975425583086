"""Showing how far an export is: one line that counts the seconds on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TextIO

_TICK_S = 0.2
_CLEAR_LINE = "\r\x1b[2K"


class StageLines:
    """Writes each stage to ``stream`` with the seconds since the start; call it with a stage, close it at the end.

    On a terminal the running stage's line counts on, and stays with the time that the stage took.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._start = self._begun = time.monotonic()
        self._stage = ""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        if self._terminal:
            threading.Thread(target=self._tick, daemon=True).start()

    def __enter__(self) -> StageLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed.set()
        with self._lock:
            self._finish()

    def __call__(self, stage: str) -> None:
        """Begin a stage."""
        with self._lock:
            self._finish()
            self._stage, self._begun = stage, time.monotonic()
            if self._terminal:
                self._draw()
            else:
                self._write(f"{self._begun - self._start:6.1f} s  {stage}\n")

    def _finish(self) -> None:
        """Leave the line of the stage that ends with the time it took."""
        if self._terminal and self._stage:
            self._write(f"{_CLEAR_LINE}{time.monotonic() - self._begun:6.1f} s  {self._stage}\n")
        self._stage = ""

    def _draw(self) -> None:
        self._write(f"{_CLEAR_LINE}{time.monotonic() - self._begun:6.1f} s  {self._stage} ...")

    def _tick(self) -> None:
        while not self._closed.wait(_TICK_S):
            with self._lock:
                if self._stage:
                    self._draw()

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
