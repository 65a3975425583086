"""What makes the sessions of two runs differ: a virtual board has nothing random of its own."""

from __future__ import annotations

import secrets
from pathlib import Path

from firmware_bridge.errors import BuildError
from firmware_bridge.footprint import open_elf

_SYMBOL = "whylite_seed"  # two words; the first counts resets


def seed(elf: Path) -> tuple[int, int] | None:
    """Return where a program keeps the word of its session that resets leave alone, and a random value for it.

    None for a program that keeps none, and for what is no program, of which the emulator says so itself.
    """
    try:
        with open_elf(elf) as program:
            symbols = program.get_section_by_name(".symtab")
            found = symbols.get_symbol_by_name(_SYMBOL) if symbols else None
            return (found[0]["st_value"] + 4, secrets.randbits(32)) if found else None
    except BuildError:
        return None
