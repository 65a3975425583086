"""Virtual boards: firmware in an emulator, with a serial port that anything can open.

    with start(firmware.elf, named("qemu-mps2-an386")) as machine:
        monitor = Monitor(machine.url)

The program begins when the port is opened the first time; pyserial drops what comes before it has done so, so ask for a
SESSION, as ``Monitor`` does. Time is emulated: every instruction takes 32 ns, on every board, in QEMU as in Unicorn, so
counts are the same from run to run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

from firmware_bridge.boards import Board, boards
from firmware_bridge.errors import EmulatorError
from firmware_bridge.tools import QEMU, UNICORN

INSTRUCTION_NS = 32
"""Emulated nanoseconds per instruction, in Unicorn as in QEMU under ``-icount shift=5``; SysTick counts those."""


class Machine(ABC):
    """A virtual board that runs; leaving its ``with`` block ends it, whatever happened.

    ``url`` is the port of its UART, for ``edge.wire.port.Port`` and all that is built on it.
    """

    url: str

    @property
    @abstractmethod
    def failure(self) -> str | None:
        """Why it died of itself, for people; None as long as it lives, and where ``stop`` ended it."""

    @abstractmethod
    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, for at most so long; return whether it has."""

    @abstractmethod
    def stop(self) -> None:
        """End it and wait for that; more than once does no harm."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start(elf: Path, board: Board) -> Machine:
    """Start firmware on a virtual board; EmulatorError where the board is real, or its emulator is not installed."""
    if lack := missing(board):
        raise EmulatorError(f"{board.name} cannot be emulated: {lack[0]}", lack[1])
    assert board.emulator is not None
    if board.emulator.program == "qemu":
        from firmware_bridge.emulate.qemu import Qemu

        return Qemu(elf, board)
    from firmware_bridge.emulate.unicorn import Unicorn

    return Unicorn(elf, board)


def missing(board: Board) -> tuple[str, str] | None:
    """Return what keeps a board from being emulated here, and what to do about it; None where nothing does."""
    if board.emulator is None:
        return "it is a real board", "give --port for one that is connected; `whylite boards` lists virtual ones"
    if board.emulator.program == "qemu" and not QEMU.there:
        return f"there is no {QEMU.programs[0]}", f"{QEMU.install}, or take a unicorn-... board"
    if board.emulator.program == "unicorn" and not UNICORN.there:
        return f"{UNICORN.package} is not installed", UNICORN.install
    core = _core_of_machine(board)
    if board.emulator.program == "qemu" and board.core != core:
        return f"QEMU's {board.emulator.machine} has a {core}, and 'core' says {board.core}", f'say core = "{core}"'
    return None


def _core_of_machine(board: Board) -> str:
    """Return the core of the board that comes with WhyLite on the same machine; the board's own where there is none."""
    return next((other.core for other in boards().values() if other.emulator == board.emulator), board.core)
