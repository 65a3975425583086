"""Two ptys joined by a cable: what a device writes to one end, a monitor reads from the other, without hardware."""

from __future__ import annotations

import os
import pty
import select
import threading
import time
import tty
from types import TracebackType
from typing import Self

_PIECE = 1024


class NullModem:
    """Two serial ports, ``device`` and ``host`` (paths), joined while the object is open.

    ``bytes_per_second`` makes the cable slow, in each direction. A side that nobody reads fills up and holds the
    other one, as a serial port with flow control does. Either side may be opened and closed again and again.
    """

    def __init__(self, bytes_per_second: float | None = None) -> None:
        self._rate = bytes_per_second
        self._masters, self._slaves = zip(*(_raw_pty() for _ in range(2)), strict=True)
        self.device, self.host = (os.ttyname(slave) for slave in self._slaves)
        self._stop_read, self._stop_write = os.pipe()
        self._threads = [
            threading.Thread(target=self._carry, args=ends, name="null modem", daemon=True)
            for ends in (self._masters, self._masters[::-1])
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Cut the cable and remove both ports."""
        os.close(self._stop_write)
        for thread in self._threads:
            thread.join()
        for descriptor in (*self._masters, *self._slaves, self._stop_read):
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _carry(self, source: int, sink: int) -> None:
        while self._ready(source, to_write=False):
            piece = os.read(source, _PIECE)
            while piece and self._ready(sink, to_write=True):
                taken = os.write(sink, piece)
                piece = piece[taken:]
                if self._rate:
                    time.sleep(taken / self._rate)
            if piece:
                return

    def _ready(self, descriptor: int, *, to_write: bool) -> bool:
        """Wait for ``descriptor``; False when the cable is cut."""
        reads = [self._stop_read] if to_write else [self._stop_read, descriptor]
        writes = [descriptor] if to_write else []
        stopped = self._stop_read in select.select(reads, writes, [])[0]
        return not stopped


def _raw_pty() -> tuple[int, int]:
    master, slave = pty.openpty()
    tty.setraw(slave)  # else what comes before anyone opens it is echoed and its line ends are changed
    os.set_blocking(master, False)
    return master, slave
