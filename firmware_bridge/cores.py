"""The processor cores that firmware can be compiled for: the one table of what compilers and emulators call them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Core:
    """One Cortex-M core: the flags of GCC, the target and the processor of Zig, the model of Unicorn if it has one.

    ``part`` is the number by which it knows itself, PARTNO of its CPUID register (Armv7-M ARM, B3.2.3).
    ``fast`` says which of the kernels' instruction sets it has: none, "dsp" (Armv7E-M) or "mve" (Helium).
    """

    gcc: tuple[str, ...]
    zig: tuple[str, str]
    part: int
    unicorn: str | None = None
    fast: str = ""


_SOFT, _HARD = "thumb-freestanding-eabi", "thumb-freestanding-eabihf"

CORES = {
    "cortex-m0": Core(("-mcpu=cortex-m0",), (_SOFT, "cortex_m0"), 0xC20, "UC_CPU_ARM_CORTEX_M0"),
    # Unicorn has no M0+; both are Armv6-M and have the same instructions
    "cortex-m0plus": Core(("-mcpu=cortex-m0plus",), (_SOFT, "cortex_m0plus"), 0xC60, "UC_CPU_ARM_CORTEX_M0"),
    "cortex-m3": Core(("-mcpu=cortex-m3",), (_SOFT, "cortex_m3"), 0xC23, "UC_CPU_ARM_CORTEX_M3"),
    "cortex-m4f": Core(
        ("-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
        (_HARD, "cortex_m4"),
        0xC24,
        "UC_CPU_ARM_CORTEX_M4",
        "dsp",
    ),
    "cortex-m7": Core(
        ("-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-d16"),
        (_HARD, "cortex_m7"),
        0xC27,
        "UC_CPU_ARM_CORTEX_M7",
        "dsp",
    ),
    "cortex-m33": Core(
        ("-mcpu=cortex-m33", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
        (_HARD, "cortex_m33"),
        0xD21,
        "UC_CPU_ARM_CORTEX_M33",
        "dsp",
    ),
    # Zig's own idea of a Cortex-M55 is without Helium.
    "cortex-m55": Core(("-mcpu=cortex-m55", "-mfloat-abi=hard"), (_HARD, "cortex_m55+mve+mve_fp"), 0xD22, None, "mve"),
}
"""Core of a board's description to what it is called elsewhere; all take Thumb code only."""
