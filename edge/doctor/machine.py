"""What the processor can do, what holds it back, how much memory is left, and whether the clock can be believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edge import clocks, vitals
from edge.clocks import SelfTest, Watch
from edge.doctor.finding import Finding, Level
from edge.vitals import read

_SECTION = "processor"
_HOT = 80.0  # degrees Celsius; a Raspberry Pi slows down from 80 on
_LITTLE = 128 << 20  # bytes of memory that an interpreter and a model of some megabytes want
_GOVERNORS = "/sys/devices/system/cpu/cpu*/cpufreq"

# Instructions that multiply and add four int8 values at once, as the kernel calls them.
_DOT_PRODUCTS = {
    "asimddp": "dot product",
    "i8mm": "int8 matrix product",
    "sve": "SVE",
    "avx_vnni": "AVX VNNI",
    "avx512_vnni": "AVX-512 VNNI",
}


def examine(root: Path) -> Iterator[Finding]:
    """Yield what there is to say of the machine."""
    yield from _instructions(root)
    yield from _memory(root)
    yield from _pace(root)
    yield from _throttling(root)


def clock(root: Path, tested: SelfTest | None = None) -> Finding:
    """Return what a test of the clock found, by default one that is made now."""
    found = Watch().self_test() if tested is None else tested
    source = vitals.clock_source(root)
    what = clocks.name() + (f" ({source})" if source else "")
    if found.faults:
        wrong = " and ".join(fault.value for fault in found.faults)
        advice = "latencies measured here are marked invalid; a paused or emulated machine has no better clock"
        return Finding("clock", Level.WARNING, f"{what} {wrong}", advice)
    pace = "" if found.departure is None else f", within {found.departure * 1e6:.0f} ppm of the hardware's pace"
    return Finding("clock", Level.OK, f"{what} advances in steps of {found.resolution} ns at most{pace}")


def _instructions(root: Path) -> Iterator[Finding]:
    lines = [line.partition(":") for line in (read(root / "proc/cpuinfo") or "").splitlines()]
    values = {key.strip(): value.strip() for key, _, value in lines}
    cores = sum(key.strip() == "processor" for key, _, _ in lines)
    if not cores:
        return
    known = values.get("Features", values.get("flags", "")).split()
    title = f"{cores} core{'s'[: cores != 1]}"
    fast = [words for flag, words in _DOT_PRODUCTS.items() if flag in known]
    if "Features" in values and not {"neon", "asimd"} & set(known):
        what = f"{title} without NEON"
        yield Finding(_SECTION, Level.PROBLEM, what, "no TFLite wheel runs on it: use a board that has it")
    elif fast:
        yield Finding(_SECTION, Level.OK, f"{title} with instructions for int8: {', '.join(fast)}")
    else:
        base = "NEON" if "Features" in values else "AVX2" if "avx2" in known else "SSE"
        what = f"{title} with {base}, without int8 dot products: int8 models gain less here than elsewhere"
        yield Finding(_SECTION, Level.NOTE, what)


def _memory(root: Path) -> Iterator[Finding]:
    lines = [line.partition(":") for line in (read(root / "proc/meminfo") or "").splitlines()]
    kilobytes = {key: int(value.removesuffix("kB")) for key, _, value in lines if value.endswith("kB")}
    total, free = (kilobytes.get(key, 0) << 10 for key in ("MemTotal", "MemAvailable"))
    if not total:
        return
    what = f"{free / 1e6:.0f} of {total / 1e6:.0f} MB of memory available"
    if free < _LITTLE:
        advice = "close other programs: an interpreter and a model of some megabytes want 128 MB"
        yield Finding(_SECTION, Level.WARNING, what, advice)
    else:
        yield Finding(_SECTION, Level.OK, what)


def _pace(root: Path) -> Iterator[Finding]:
    governor, pace = vitals.governor(root), vitals.pace(root)
    speed = f", {pace.now // 1000} of {pace.possible // 1000} MHz now" if pace else ""
    if "powersave" in governor and not _driver_decides(root):
        what = f"governor {governor} keeps the processor slow{speed}"
        command = f"echo performance | sudo tee {_GOVERNORS}/scaling_governor"
        yield Finding(_SECTION, Level.WARNING, what, "make it fast until the next boot:", command)
    elif governor:
        yield Finding(_SECTION, Level.OK, f"governor {governor}{speed}")
    if pace and pace.allowed < pace.possible:
        what = f"frequency is limited to {pace.allowed // 1000} of {pace.possible // 1000} MHz"
        command = f"echo {pace.possible} | sudo tee {_GOVERNORS}/scaling_max_freq"
        yield Finding(_SECTION, Level.WARNING, what, "lift that until the next boot, unless it is meant:", command)


def _driver_decides(root: Path) -> bool:
    """Whether "powersave" means that the hardware picks the frequency, as with Intel's and AMD's drivers."""
    driver = read(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver") or ""
    return driver in {"intel_pstate", "amd-pstate-epp"}


def _throttling(root: Path) -> Iterator[Finding]:
    degrees = vitals.temperature(root)
    if degrees is not None and degrees >= _HOT:
        what = f"{degrees:.0f} °C: the processor slows itself down"
        yield Finding(_SECTION, Level.WARNING, what, "give it a heat sink or air; latencies measured now are too long")
    elif degrees is not None:
        yield Finding(_SECTION, Level.OK, f"{degrees:.0f} °C")
    bits = vitals.throttled(root)
    if bits is None:
        return
    words = vitals.throttling(bits)
    if not words:
        yield Finding(_SECTION, Level.OK, "never throttled since it was switched on")
    elif any(word.startswith("under-voltage") for word in words):
        advice = "use the board's own power supply and a short, thick cable; unplug what it need not power"
        yield Finding(_SECTION, Level.WARNING, ", ".join(words), advice)
    else:
        now = any(word.endswith("now") for word in words)
        advice = "give it a heat sink or air"
        yield Finding(_SECTION, Level.WARNING if now else Level.NOTE, ", ".join(words), advice)
