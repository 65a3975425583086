"""What is written to a board: built here, or an ELF that the board's own SDK has made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge.bundle import Bundle
from firmware_bridge.boards import Board, Memory
from firmware_bridge.build import BuildOptions, build, memories
from firmware_bridge.errors import BuildError, FitError
from firmware_bridge.footprint import image_of, open_elf

SETTLE = 30.0  # seconds that any step may take, beside what its bytes do
_SLOWEST = 2000  # bytes per second of the slowest probes there are
_SDK = "give the ELF that the board's own SDK links, with sections for the memories that the board's file names"


@dataclass(frozen=True)
class Image:
    """The ELF, and the bytes of it that go to the board's flash from address ``origin`` on.

    ``about`` is what it takes of the board's memories, and where it is from, for people.
    """

    elf: Path
    data: bytes = field(repr=False)
    origin: int
    about: str = ""

    @property
    def patience(self) -> float:
        """For how many seconds writing it, or reading it back, may take."""
        return SETTLE + len(self.data) / _SLOWEST


def built(bundle: Bundle, board: Board, folder: Path, options: BuildOptions) -> Image:
    """Return a bundle's firmware, compiled in ``folder``; errors as of :func:`firmware_bridge.build.build`."""
    firmware = build(bundle, board, folder, options)
    took = firmware.footprint
    return Image(
        firmware.elf,
        firmware.image,
        memories(board)[0].origin,
        f"{_of(board, took.flash, took.ram)}, by {firmware.toolchain} {firmware.optimize}",
    )


def read(elf: Path, board: Board) -> Image:
    """Return what an ELF puts into a board's flash; FitError where it does not fit, BuildError where it is none."""
    memories(board)
    with open_elf(elf) as program:
        return _read(elf, program, board)


def _read(elf: Path, program: Any, board: Board) -> Image:
    flash, ram = memories(board)
    if program["e_machine"] != "EM_ARM":
        raise BuildError(f"{elf} is a program for {program['e_machine']}, and {board.name} has a {board.core}", _SDK)
    stored = [segment for segment in program.iter_segments("PT_LOAD") if segment["p_filesz"]]
    if not stored:
        raise BuildError(f"{elf} has nothing to write", _SDK)
    for segment in stored:
        start, end = segment["p_paddr"], segment["p_paddr"] + segment["p_filesz"]
        if len(segment.data()) < segment["p_filesz"]:
            raise BuildError(f"{elf} is cut short", "copy or link it again")
        if not flash.origin <= start <= end <= flash.end:
            raise FitError(f"{elf} has bytes for {start:#x} to {end:#x}, and {_place(board, flash)}", _SDK)
    used = sum(int(segment["p_memsz"]) for segment in program.iter_segments("PT_LOAD") if _lies_in(segment, ram))
    if used > ram.size:
        raise FitError(f"{elf} needs {used:,} bytes of RAM, and {board.name} has {ram.size:,}", _SDK)
    data = image_of(program)
    return Image(elf, data, min(int(segment["p_paddr"]) for segment in stored), f"{_of(board, len(data), used)}: {elf}")


def _lies_in(segment: Any, memory: Memory) -> bool:
    return memory.origin <= int(segment["p_vaddr"]) < memory.end


def _place(board: Board, flash: Memory) -> str:
    return f"the flash of {board.name} is from {flash.origin:#x} to {flash.end:#x}"


def _of(board: Board, used_flash: int, used_ram: int) -> str:
    flash, ram = memories(board)
    return f"{used_flash:,} of {flash.size:,} bytes of flash, {used_ram:,} of {ram.size:,} bytes of RAM"
