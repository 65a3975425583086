"""What a board can say about itself: name, memory, temperature, throttling, governor, pace; None where it cannot.

``root`` is where /proc and /sys are found.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
_PAGE = 4096
# Kinds of thermal zone that are about the processor, the surest first: others are of batteries, radios and disks.
_PROCESSOR_ZONES = tuple(map(re.compile, (r"cpu|x86_pkg|bcm2\d+|package", r"soc|cluster|big|little|core", r"acpitz")))

# The Raspberry Pi firmware's throttling bits; each is 16 bits further up for "since the board was switched on".
THROTTLING = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
_SINCE = 16


@dataclass(frozen=True)
class Pace:
    """The frequency of the processor's fastest core, what it may reach now, and what it could, in kHz."""

    now: int
    allowed: int
    possible: int


def board(root: Path = ROOT) -> str:
    """Return the board's name as its device tree has it, or else the system and architecture."""
    model = read(root / "proc/device-tree/model")
    return model.rstrip("\0") if model else f"{platform.system()} {platform.machine()}"


def memory(root: Path = ROOT) -> int | None:
    """Return the resident memory of this process in bytes."""
    pages = _number(root / "proc/self/statm", field=1)
    return None if pages is None else pages * _PAGE


def temperature(root: Path = ROOT) -> float | None:
    """Return the temperature of the processor in degrees Celsius, of its hottest part where there are several."""
    zones = [(read(zone / "type") or "", _number(zone / "temp")) for zone in _zones(root)]
    for kind in _PROCESSOR_ZONES:
        found = [millidegrees for name, millidegrees in zones if millidegrees is not None and kind.search(name.lower())]
        if found:
            return max(found) / 1000
    return None


def throttled(root: Path = ROOT) -> int | None:
    """Return the Raspberry Pi firmware's throttling bits; of the under-voltage alone where only the kernel tells."""
    for path in sorted((root / "sys/devices/platform").glob("soc*/soc*:firmware/get_throttled")):
        return _number(path, base=16)
    for path in sorted((root / "sys/class/hwmon").glob("hwmon*/name")):
        if read(path) == "rpi_volt":
            return _number(path.parent / "in0_lcrit_alarm")
    return None


def throttling(bits: int) -> list[str]:
    """Return in words what throttling bits say is so now, and what else was so since the board was switched on."""
    now = [words for bit, words in THROTTLING.items() if bits >> bit & 1]
    before = [words for bit, words in THROTTLING.items() if bits >> (bit + _SINCE) & 1 and words not in now]
    return [f"{words} now" for words in now] + [f"{words} earlier" for words in before]


def governor(root: Path = ROOT) -> str:
    """Return the processor's frequency governor, several where its cores differ, "" where there is none."""
    governors = {read(path / "scaling_governor") for path in _frequencies(root)}
    return ", ".join(sorted(name for name in governors if name))


def pace(root: Path = ROOT) -> Pace | None:
    """Return how fast the processor's fastest core runs."""
    names = ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq")
    paces = [tuple(_number(path / name) for name in names) for path in _frequencies(root)]
    known = [Pace(now, allowed, possible) for now, allowed, possible in paces if now and allowed and possible]
    return max(known, key=lambda pace: (pace.possible, pace.now), default=None)


def clock_source(root: Path = ROOT) -> str | None:
    """Return the hardware counter behind the system's clocks, such as arch_sys_counter or tsc."""
    return read(root / "sys/devices/system/clocksource/clocksource0/current_clocksource")


def read(path: Path) -> str | None:
    """Return the text of a file of the system's without its ends; None where there is none or it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None


def _zones(root: Path) -> list[Path]:
    return sorted((root / "sys/class/thermal").glob("thermal_zone*"))


def _frequencies(root: Path) -> list[Path]:
    return sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq"))


def _number(path: Path, field: int = 0, base: int = 10) -> int | None:
    try:
        return int((read(path) or "").split()[field], base)
    except (IndexError, ValueError):
        return None
