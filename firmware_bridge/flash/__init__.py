"""Firmware onto a board: each way to do that is a file here and a line in ``WAYS``.

``sequence.Flashing`` goes through all of it: what fits is built, written, read back, started and held to the bundle.
"""

from __future__ import annotations

from firmware_bridge.boards import Board
from firmware_bridge.errors import BoardError
from firmware_bridge.flash.gdb import GdbWay
from firmware_bridge.flash.qemu import QemuWay
from firmware_bridge.flash.way import Connection, Way

WAYS: dict[str, type[Way]] = {"qemu": QemuWay, "gdb": GdbWay}
"""Ways to flash by the names that boards' files have for them in ``flash_with``."""


def chosen(board: Board, name: str | None, connection: Connection) -> Way:
    """Return the way to flash a board: that of this name, or the first of the board's that there is.

    BoardError where there is none, FlashError where something that it needs is not installed or not said.
    """
    offered = [way for way in board.flash_with if way in WAYS]
    if not board.flash_with:
        raise BoardError(f"{board.name} has no flash: each run loads its program", "`whylite run --board` does that")
    if name is None and not offered:
        raise BoardError(
            f"{board.name} is flashed with {' or '.join(board.flash_with)}, which is not among the ways there are yet: "
            f"{', '.join(WAYS)}",
            "`whylite emit` gives the C for the board's own SDK, which can flash it",
        )
    if name is not None and name not in WAYS:
        raise BoardError(f"there is no way {name!r} to flash yet", f"there are {', '.join(WAYS)}")
    if name is not None and name not in offered:
        can = f"of the ways there are, it has {', '.join(offered)}" if offered else "it has none of those there are"
        raise BoardError(f"{board.name} is not flashed with {name}", can)
    return WAYS[name or offered[0]](board, connection)
