"""Way ``qemu``: a virtual board is started without a program, and flashed over the debug port of its emulator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from edge.errors import LinkError
from firmware_bridge.boards import Board
from firmware_bridge.emulate import missing
from firmware_bridge.emulate.qemu import Qemu
from firmware_bridge.errors import FlashError
from firmware_bridge.flash.cortex import CPUID, check_core
from firmware_bridge.flash.image import SETTLE, Image
from firmware_bridge.flash.remote import Remote
from firmware_bridge.flash.way import Connection


class QemuWay:
    """A board in QEMU, which lives as long as this, and so does what is written to it."""

    plan: ClassVar[Mapping[str, str]] = {
        "connect": "start QEMU with empty memories and its processor stopped; check the core by its CPUID register",
        "write": "write the image through QEMU's debug port",
        "verify": "read it back and compare each byte",
        "reset": "system_reset",
    }

    def __init__(self, board: Board, connection: Connection) -> None:
        if connection.port is not None or connection.gdb is not None:
            raise FlashError(f"{board.name} is started for this", "leave out --port and --gdb, or take --way gdb")
        if lack := missing(board):
            raise FlashError(f"{board.name} cannot be started: {lack[0]}", lack[1])
        self._board = board
        self._machine: Qemu | None = None
        self._remote: Remote | None = None

    @property
    def url(self) -> str:
        """The port of the machine's UART."""
        return self._running.url

    @property
    def _running(self) -> Qemu:
        assert self._machine is not None
        return self._machine

    def connect(self) -> str:
        """Start QEMU."""
        self._machine = Qemu(None, self._board, halted=True, debug=True)
        self._remote = Remote(self._machine.debugger, SETTLE)
        core = check_core(int.from_bytes(self._remote.read(CPUID, 4), "little"), self._board)
        return f"QEMU is started as {self._board.name}; its core is {core}"

    def write(self, image: Image) -> str:
        """Write memory as a debugger does, which QEMU lets it do in flash, too."""
        self._debugger.write(image.origin, image.data)
        return f"{len(image.data):,} bytes to {image.origin:#x}"

    def verify(self, image: Image) -> str:
        """Compare what is there with the image, byte for byte."""
        compare(self._debugger.read(image.origin, len(image.data)), image)
        return f"{len(image.data):,} bytes read back are equal"

    def reset(self) -> str:
        """Reset the machine and detach from it."""
        self._debugger.command("system_reset")
        self._debugger.detach()
        self._debugger.close()
        return "system_reset"

    def close(self) -> None:
        """End QEMU."""
        if self._remote is not None:
            self._remote.close()
        if self._machine is not None:
            self._machine.stop()

    @property
    def _debugger(self) -> Remote:
        assert self._remote is not None
        if failure := self._running.failure:
            raise LinkError(failure, "start again; if it dies each time, please report it")
        return self._remote


def compare(found: bytes, image: Image) -> None:
    """Raise FlashError where what was read back is not the image."""
    wrong = [place for place, (a, b) in enumerate(zip(found, image.data, strict=True)) if a != b]
    if wrong:
        raise FlashError(
            f"{len(wrong):,} of {len(image.data):,} bytes are not what was written, "
            f"the first at {image.origin + wrong[0]:#x}",
            "flash again; if it fails at the same place, that memory is worn out, protected, or not there",
        )
