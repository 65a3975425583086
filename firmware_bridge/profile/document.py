"""A profile as data: what `whylite profile --json` writes and `--compare` reads."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from edge.codec import from_json, to_json
from edge.files import read_bytes
from edge.latency import Quantiles
from firmware_bridge.errors import ProfileError

FORMAT = 1
INSTRUCTIONS, CYCLES, NANOSECONDS = "instructions", "cycles", "nanoseconds"
UNITS = (INSTRUCTIONS, CYCLES, NANOSECONDS)
PREDICT = "predict"
_MAX_BYTES = 1 << 24
_MOST = 1e18


@dataclass(frozen=True)
class Spread:
    """A count over the windows that were measured: the least, the median and the most."""

    least: float
    median: float
    most: float

    @property
    def constant(self) -> bool:
        """Whether it was the same for every window, but for a thousandth: counters have a resolution."""
        return self.most - self.least <= 1e-3 * self.median


def spread(counts: Iterable[float]) -> Spread:
    """Return the spread of counts, of which there is at least one."""
    ordered = sorted(counts)
    return Spread(ordered[0], float(median(ordered)), ordered[-1])


@dataclass(frozen=True)
class OperationCost:
    """One call of a kernel, in the order of the program.

    ``code`` is the op of the model, ``part`` what it belongs to, ``count`` what it took once per window there.
    """

    code: str
    kernel: str
    part: str
    macs: int
    count: Spread


@dataclass(frozen=True)
class PartCost:
    """Predicting, or one explanation beside it.

    ``count`` and ``macs`` are those of ``name`` alone; ``other`` is what of ``count`` was in no kernel. ``ratio`` is
    that of predicting and explaining to predicting. Integrated Gradients take ``steps`` predictions of their own, which
    are in it. ``stack`` is the peak since the board's start, in bytes.
    """

    name: str
    count: Spread
    ratio: float
    macs: int | None = None
    steps: int = 0
    other: Spread | None = None
    stack: int | None = None


@dataclass(frozen=True)
class Source:
    """Bytes that one source of the firmware takes: ``code`` and ``constants`` of flash, ``ram`` without the arena."""

    name: str
    code: int
    constants: int
    ram: int


@dataclass(frozen=True)
class MemoryCost:
    """Bytes of a board's memories.

    ``ram`` is all of it: the ``arena``, what the firmware needs beside it, and the ``stack`` that is set aside.
    ``reference_arena`` is what ``reference`` takes to predict alone. ``sections`` are the ELF's; what no symbol names
    is in ``flash`` but in no source. Sources are empty where the firmware was not built here.
    """

    arena: int
    reference_arena: int
    reference: str
    flash: int
    ram: int
    stack: int
    sections: dict[str, int] = field(default_factory=dict)
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Fit:
    """Whether firmware of this size goes on a board; bytes that it takes and that there are.

    ``exact`` for the board it was built for. Others have a start-up and an SDK of their own, and perhaps another core.
    """

    board: str
    fits: bool
    flash: int
    flash_there: int
    ram: int
    ram_there: int
    exact: bool


@dataclass(frozen=True)
class Energy:
    """Joules of one window by part, alone; ``measured`` by the meter named in ``source``, or estimated from it."""

    joules: dict[str, float]
    measured: bool
    source: str


@dataclass(frozen=True)
class Profile:
    """What one model costs on one board.

    ``unit`` is what was counted: "instructions" on virtual boards, which have no pipeline, cache or flash to wait for;
    "cycles" on hardware; "nanoseconds" on boards with Linux, where ``latency`` has the phases' distributions.
    ``counter`` says by what. ``digest`` is the SHA-256 of the model that was exported.
    """

    whylite: str
    model: str
    digest: str
    board: str
    core: str
    unit: str
    counter: str
    windows: int
    parts: tuple[PartCost, ...]
    operations: tuple[OperationCost, ...] = ()
    memory: MemoryCost | None = None
    fits: tuple[Fit, ...] = ()
    energy: Energy | None = None
    latency: dict[str, Quantiles] = field(default_factory=dict)
    clock_hz: int | None = None
    toolchain: str = ""
    optimize: str = ""
    format: int = FORMAT

    def part(self, name: str) -> PartCost | None:
        """Return a part by name."""
        return next((part for part in self.parts if part.name == name), None)


def write(profile: Profile) -> str:
    """Return a profile as a JSON document; equal ones give equal texts."""
    return json.dumps(to_json(profile), indent=1, ensure_ascii=False, allow_nan=False)


def read(path: str | Path) -> Profile:
    """Return the profile in a file; ProfileError for whatever is no sound one."""
    try:
        data = read_bytes(Path(path), _MAX_BYTES)
    except OSError as error:
        raise ProfileError(
            f"cannot read {path}: {error.strerror}", "give what `whylite profile --json FILE` wrote"
        ) from error
    return parse(data, str(path))


def parse(data: bytes, name: str) -> Profile:
    """Return the profile in a JSON document; ProfileError naming ``name`` and the field."""
    hint = "make it again with `whylite profile --json FILE`"
    try:
        value = json.loads(data, parse_constant=_refuse)
        if isinstance(value, dict) and value.get("format", FORMAT) != FORMAT:
            raise ProfileError(f"{name} has format {str(value['format'])[:20]}, this reads {FORMAT}", "update WhyLite")
        profile = from_json(Profile, value)
        _check(profile)
    except (ValueError, OverflowError, RecursionError) as error:
        raise ProfileError(f"{name} is no profile: {error}"[:300], hint) from error
    return profile


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no number")


def _check(profile: Profile) -> None:
    """Raise ValueError for a document that says what cannot be."""
    texts = [profile.model, profile.board, profile.core, profile.counter, profile.toolchain, profile.whylite]
    texts += [part.name for part in profile.parts]
    texts += [text for cost in profile.operations for text in (cost.code, cost.kernel, cost.part)]
    texts += [text for fit in profile.fits for text in (fit.board,)]
    texts += [*profile.latency, *([profile.energy.source, *profile.energy.joules] if profile.energy else [])]
    if not all(text.isprintable() and len(text) <= 500 for text in texts):
        raise ValueError("a text in it is not printable, or far too long")
    if profile.unit not in UNITS:
        raise ValueError(f"unit is {profile.unit[:20]!r}, none of {', '.join(UNITS)}")
    names = [part.name for part in profile.parts]
    if not names or names[0] != PREDICT or len(set(names)) != len(names):
        raise ValueError(f"parts are not {PREDICT!r} and explanations, each once")
    if not set(names) >= {cost.part for cost in profile.operations}:
        raise ValueError("an operation belongs to no part")
    spreads = [part.count for part in profile.parts] + [cost.count for cost in profile.operations]
    spreads += [part.other for part in profile.parts if part.other is not None]
    for one in spreads:
        if not 0 <= one.least <= one.median <= one.most <= _MOST:
            raise ValueError(f"a count is not from least to most: {one}")
    if profile.parts[0].count.median <= 0:
        raise ValueError("predicting took nothing")
    if not all(math.isfinite(part.ratio) and 0 < part.ratio <= _MOST for part in profile.parts):
        raise ValueError("a ratio is not above zero")
