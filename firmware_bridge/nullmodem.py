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

_PIECE = 4096
_FIFO = 16  # bytes that a UART hands over at once
_TICK = 0.001  # seconds: no finer than a USB adapter is asked


class NullModem:
    """Two serial ports, ``device`` and ``host`` (paths), joined while the object is open.

    ``bytes_per_second`` makes the cable slow, in each direction: a byte comes out when its last bit would, and what
    was not sent while the line was idle is not made up for. The system's own buffers come on top: a pty takes about
    20 kB before it makes a writer wait, where a UART's driver takes 4. A side that nobody reads fills up and holds the
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
        free = time.monotonic()  # when the line has carried all that it took
        while True:
            if not select.select([source], [], [], 0)[0]:
                if not self._ready(source, to_write=False):
                    return
                free = time.monotonic()
            room = self._carried_since(free)
            if room is None:
                return
            piece = os.read(source, room)
            if self._rate:
                free += len(piece) / self._rate
            while piece:
                if not select.select([], [sink], [], 0)[1]:
                    if not self._ready(sink, to_write=True):
                        return
                    free = time.monotonic()
                piece = piece[os.write(sink, piece) :]

    def _carried_since(self, start: float) -> int | None:
        """Wait until the line can have carried a FIFO's worth; return how many bytes it can, None when it is cut."""
        if not self._rate:
            return _PIECE
        least = max(_FIFO, self._rate * _TICK)
        while (carried := (time.monotonic() - start) * self._rate) < least:
            if select.select([self._stop_read], [], [], (least - carried) / self._rate)[0]:
                return None
        return min(int(carried), _PIECE)

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
