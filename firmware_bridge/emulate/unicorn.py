"""Firmware in Unicorn, in a thread of this process: for machines without QEMU, and for counting what functions take."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from firmware_bridge.boards import Board
from firmware_bridge.emulate import Machine
from firmware_bridge.emulate.cortex_m import CortexM
from firmware_bridge.emulate.ports import listener, url
from firmware_bridge.errors import EmulatorError

_IDLE = 0.002  # seconds that a program which polls an idle UART is made to wait, for the sake of the machine around it
_VAIN = 64  # polls in a row that make it idle
_FLUSH = 4096  # bytes that leave at once; fewer wait until the program looks for what has come
_READ = 65536
_JOIN = 10.0


class Unicorn(Machine):
    """A virtual board in Unicorn. ``core`` is its processor, whose ``watch`` counts (set before the port opens)."""

    def __init__(self, elf: Path, board: Board) -> None:
        self._listener = listener()
        self.url = url(self._listener)
        self._line = _Line(self._listener)
        try:
            self.core = CortexM(elf, board, self._line)
        except BaseException:
            self._listener.close()
            raise
        self._line.rest = self.core.rest
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"virtual board {board.name}", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str | None:
        """Why it died of itself; None as long as it lives, and where ``stop`` ended it."""
        return self._failure

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, for at most so long; return whether it has."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End it and wait for that; EmulatorError where it goes on."""
        self.core.stop()
        self._line.hang_up()
        if not self.wait(_JOIN):
            raise EmulatorError(f"the virtual board still runs {_JOIN:g} s after it was stopped", "please report it")

    def _run(self) -> None:
        try:
            if self._line.wait_for_caller():
                self.core.run()
        except EmulatorError as error:
            self._failure = error.cause
        except BaseException as error:  # noqa: BLE001 - a mistake of ours: whoever waits for the board must hear of it
            self._failure = f"the emulator broke: {error!r}"
        finally:
            self._line.close()


class _Line:
    """The UART's other end: a port that one at a time can open. What the program says while none is there is lost."""

    def __init__(self, listening: socket.socket) -> None:
        self.rest: Callable[[int], None] = lambda nanoseconds: None
        self._listener = listening
        self._listener.setblocking(False)
        self._caller: socket.socket | None = None
        self._arrived: deque[int] = deque()
        self._leaving = bytearray()
        self._vain = 0
        self._closing = False

    def wait_for_caller(self) -> bool:
        """Wait until the port is opened; return whether it was, and not hung up before."""
        while not self._closing and self._caller is None:
            select.select([self._listener], [], [], 0.1)
            self._answer()
        return self._caller is not None

    def peek(self) -> bool:
        """Whether a byte has come; a program that asks again and again in vain waits."""
        if self._arrived:
            return True
        self._flush()
        self._receive()
        if self._arrived:
            self._vain = 0
            return True
        self._vain += 1
        if self._vain >= _VAIN:
            began = time.monotonic_ns()
            select.select([self._caller or self._listener], [], [], _IDLE)
            self.rest(time.monotonic_ns() - began)
        return False

    def take(self) -> int | None:
        """Return the byte that has come."""
        return self._arrived.popleft() if self._arrived else None

    def give(self, byte: int) -> None:
        """Send a byte, soon."""
        self._leaving.append(byte)
        self._vain = 0  # a program that asks whether there is room to write is not idle
        if len(self._leaving) >= _FLUSH or not byte:  # frames of the link end with 0
            self._flush()

    def hang_up(self) -> None:
        """Have ``wait_for_caller`` and ``give`` return; from any thread."""
        self._closing = True

    def close(self) -> None:
        """Send what is left, and close the port."""
        self._flush()
        self._lose_caller()
        self._listener.close()

    def _answer(self) -> None:
        try:
            self._caller, _ = self._listener.accept()
        except (BlockingIOError, ConnectionError):
            return  # there is nobody, or not any more
        try:
            self._caller.setblocking(False)
            self._caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self._lose_caller()

    def _receive(self) -> None:
        if self._caller is None:
            self._answer()
            return
        try:
            data = self._caller.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._arrived.extend(data)
        else:
            self._lose_caller()

    def _flush(self) -> None:
        """Send what waits; a caller who does not read holds the program up, as a real UART's flow control would."""
        while self._leaving and self._caller is not None and not self._closing:
            try:
                del self._leaving[: self._caller.send(self._leaving)]
            except BlockingIOError:
                select.select([], [self._caller], [], 0.1)
            except OSError:
                self._lose_caller()
        self._leaving.clear()

    def _lose_caller(self) -> None:
        if self._caller is not None:
            self._caller.close()
            self._caller = None
