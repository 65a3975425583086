"""Which Cortex-M a debugger is connected to, as the processor itself says."""

from __future__ import annotations

from firmware_bridge.boards import Board
from firmware_bridge.cores import CORES
from firmware_bridge.errors import WrongBoardError

CPUID = 0xE000ED00
"""Address of the register by which every Cortex-M knows what it is."""


def check_core(cpuid: int, board: Board) -> str:
    """Return the name of a board's core; WrongBoardError where a CPUID register's value is another's."""
    part = cpuid >> 4 & 0xFFF
    if board.cpu is not None and part == board.cpu.part:
        return board.core
    names = [name for name, core in CORES.items() if core.part == part]
    found = names[0] if names else f"a processor with CPUID {cpuid:#010x}"
    raise WrongBoardError(f"{board.name} has a {board.core}, and what is connected is {found}", other(board))


def other(board: Board) -> str:
    """Return what to do where another board is connected."""
    return f"nothing was written; connect {board.name}, or name the board that is there (`whylite boards` lists them)"
