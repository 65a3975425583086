"""What a board can say about itself: its name, memory, temperature and throttling; None where it cannot."""

from __future__ import annotations

import platform
from pathlib import Path

_PAGE = 4096


def board() -> str:
    """Return the board's name as its device tree has it, or else the system and architecture."""
    model = _read("/proc/device-tree/model")
    return model.rstrip("\0") if model else f"{platform.system()} {platform.machine()}"


def memory() -> int | None:
    """Return the resident memory of this process in bytes."""
    pages = _number("/proc/self/statm", field=1)
    return None if pages is None else pages * _PAGE


def temperature() -> float | None:
    """Return the temperature of the processor in degrees Celsius."""
    millidegrees = _number("/sys/class/thermal/thermal_zone0/temp")
    return None if millidegrees is None else millidegrees / 1000


def throttled() -> int | None:
    """Return the Raspberry Pi firmware's throttling bits: under-voltage, capped, throttled, and whether ever so."""
    return _number("/sys/devices/platform/soc/soc:firmware/get_throttled", base=16)


def _number(path: str, field: int = 0, base: int = 10) -> int | None:
    try:
        return int((_read(path) or "").split()[field], base)
    except (IndexError, ValueError):
        return None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
