"""Which boards firmware of a certain size goes on."""

from __future__ import annotations

from firmware_bridge.boards import Board, boards
from firmware_bridge.profile.document import Fit, MemoryCost


def fits(memory: MemoryCost, built_for: Board) -> tuple[Fit, ...]:
    """Return for every real board with a Cortex-M, and for the one it was built for, whether there is room."""
    there = {board.name: board for board in boards().values() if board.cpu and not board.virtual}
    there |= {built_for.name: built_for}
    return tuple(fit for board in there.values() if (fit := _fit(memory, board, built_for)) is not None)


def _fit(memory: MemoryCost, board: Board, built_for: Board) -> Fit | None:
    if board.flash is None or board.ram is None:
        return None
    return Fit(
        board=board.name,
        fits=memory.flash <= board.flash.size and memory.ram <= board.ram.size,
        flash=memory.flash,
        flash_there=board.flash.size,
        ram=memory.ram,
        ram_there=board.ram.size,
        exact=bool(memory.sources) and board.name == built_for.name,
    )
