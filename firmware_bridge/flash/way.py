"""What a way to flash has to do, and what it is told; ``firmware_bridge.flash`` has the list of those there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from firmware_bridge.boards import Board
from firmware_bridge.flash.image import Image


@dataclass(frozen=True)
class Connection:
    """How a board is connected, as far as its user said.

    ``port`` is that of the link, ``gdb`` the ``HOST:PORT`` or serial port of a debug server.
    """

    port: str | None = None
    gdb: str | None = None


class Way(Protocol):
    """One way to flash, for one board.

    It is made without touching the board: FlashError there where something it needs is not installed or not said. Then
    its methods are called in the order they have here, each once, and ``close`` in any case. Each returns what it did,
    for people, and raises FlashError, or LinkError where the board or its probe is not to be reached any more.
    """

    plan: ClassVar[Mapping[str, str]]
    """What each of the four steps would do, by the method's name."""

    def __init__(self, board: Board, connection: Connection) -> None: ...

    @property
    def url(self) -> str:
        """The port of the board's link; one that the way brings itself is known once it has connected."""
        ...

    def connect(self) -> str:
        """Find the board and stop it; WrongBoardError where it is another one. Nothing is written."""
        ...

    def write(self, image: Image) -> str:
        """Write an image."""
        ...

    def verify(self, image: Image) -> str:
        """Read the image back; FlashError where that is not what was written."""
        ...

    def reset(self) -> str:
        """Reset the board and let it run, whatever connection there was to stop it being given up."""
        ...

    def close(self) -> None:
        """Let go of the board and end all that was started; after any step, and more than once."""
        ...
