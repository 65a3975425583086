"""Profiles of firmware: counted on a virtual board that is started for it, or on hardware that is connected."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.micro import GOLDEN, Micro, MicroExplanation, attribution_of
from edge.micro_sources import micro_sources
from edge.wire.port import DEFAULT_BAUD, Port
from firmware_bridge import build as builder
from firmware_bridge.boards import Board
from firmware_bridge.emulate import INSTRUCTION_NS, start
from firmware_bridge.errors import BoardError, InvalidProfileError, ProfileError
from firmware_bridge.footprint import Footprint
from firmware_bridge.profile import fit
from firmware_bridge.profile.document import (
    CYCLES,
    INSTRUCTIONS,
    PREDICT,
    Energy,
    MemoryCost,
    OperationCost,
    PartCost,
    Profile,
    Source,
    spread,
)
from firmware_bridge.profile.lines import Device, Greeting, Measured, Sample, check_counter

WINDOWS = 4
_PATIENCE = 120.0  # seconds without a line: Integrated Gradients of many steps, emulated on a busy machine
_GROUPS = ("kernels", "link", "runtime", "model", "compiler's library")

Golden = Mapping[str, NDArray[np.int8]]
Progress = Callable[[str, float], None]


def profile(
    bundle: Bundle,
    board: Board,
    folder: Path,
    options: builder.BuildOptions = builder.DEFAULTS,
    *,
    port: str | None = None,
    baud: int = DEFAULT_BAUD,
    windows: int = WINDOWS,
    progress: Progress = lambda what, part: None,
) -> Profile:
    """Return what a bundle's golden windows cost on a board.

    For a virtual one firmware is built in ``folder``: as it ships in ``firmware/``, one that counts in ``profile/``. A
    real board runs ``whylite_profile`` and listens at ``port``. Raises InvalidProfileError where its counter stands
    still or its answers are not the reference's, and what :func:`firmware_bridge.build.build` raises.
    """
    micro = builder.micro_of(bundle)
    micro_sources(bundle, micro)  # what cannot be measured is taken from what it says
    golden = _golden(bundle)
    if port is not None:
        with Port(port, baud) as line:
            greeting, samples = _count(Device(line, _PATIENCE), bundle, board, golden, windows, progress)
        return _profile(bundle, board, greeting, samples, _cycles(board, greeting), _foreseen(micro))
    if not board.virtual:
        raise BoardError(
            f"{board.name} is a real board: what it costs there only it can count",
            "give --port PORT of one that runs whylite_profile (docs/microcontrollers.md), or name a virtual board",
        )
    firmware = builder.build(bundle, board, folder / "firmware", options)
    counting = builder.build(bundle, board, folder / "profile", options, profile=True)
    progress("built", 0.0)
    with start(counting.elf, board) as machine, Port(machine.url) as line:
        device = Device(line, _PATIENCE, lambda: machine.failure)
        greeting, samples = _count(device, bundle, board, golden, windows, progress)
    unit, memory = _instructions(board, greeting), _memory(micro, firmware.footprint)
    found = _profile(bundle, board, greeting, samples, unit, memory)
    return replace(found, toolchain=firmware.toolchain, optimize=firmware.optimize)


def _count(
    device: Device, bundle: Bundle, board: Board, golden: Golden, windows: int, progress: Progress
) -> tuple[Greeting, list[Sample]]:
    """Return what a board says of itself and of each window."""
    samples = []
    count = min(windows, len(golden["x"]))
    for place, window in enumerate(golden["x"][:count]):
        sample = device.measure(window.tobytes())
        assert device.greeting is not None
        _check_board(bundle, board, device.greeting)
        _check_answers(bundle, golden, place, sample)
        samples.append(sample)
        progress("window", (place + 1) / count)
    assert device.greeting is not None
    return device.greeting, samples


def _golden(bundle: Bundle) -> Golden:
    golden = bundle.arrays(GOLDEN) if GOLDEN in bundle.members else {}
    count = golden["x"].shape[:1] if "x" in golden else ()
    wanted = {"x": count, "scores": count}
    for own in builder.micro_of(bundle).explanations:
        name = _answer(own)
        wanted[name] = golden[name].shape[:1] if own.steps and name in golden else count
    for name, rows in wanted.items():
        array = golden.get(name)
        if array is None or rows in {(), (0,)} or array.shape[:1] != rows or array.dtype != np.int8:
            raise ProfileError(
                f"bundle {bundle.manifest.name!r} holds no {name} in {GOLDEN} to measure with",
                "export it again: what earlier versions recorded is less than is compared now",
            )
    return golden


def _answer(own: MicroExplanation) -> str:
    """Return what the golden vectors call what a board gives by a method."""
    return attribution_of(own.method)[0] if own.steps else own.method


def _check_board(bundle: Bundle, board: Board, greeting: Greeting) -> None:
    """Raise ProfileError where a board runs another model."""
    micro = builder.micro_of(bundle)
    same = (bundle.manifest.model_digest, len(micro.operations), len(micro.explanations))
    if same != (greeting.digest, greeting.operations, greeting.explanations):
        raise ProfileError(
            f"{board.name} runs another model than bundle {bundle.manifest.name!r} has",
            "build its firmware from this bundle",
        )


def _check_answers(bundle: Bundle, golden: Golden, place: int, sample: Sample) -> None:
    """Raise InvalidProfileError where scores or maps are not the golden ones, byte for byte.

    Of what is summed over steps those of the first windows are there.
    """
    names = [("scores", "scores"), *((own.method, _answer(own)) for own in builder.micro_of(bundle).explanations)]
    for measured in sample.parts:
        name, recorded = names[measured.part]
        right = golden[recorded]
        if place < len(right) and zlib.crc32(right[place].tobytes()) != measured.crc:
            raise InvalidProfileError(
                f"{name} of golden window {place} are not the reference's on this board",
                "what it counted means nothing",
            )


@dataclass(frozen=True)
class _Unit:
    """What a board counts in: ``scale`` of that ``unit`` in a tick of its ``counter``, ``clock_hz`` in a second."""

    unit: str
    scale: float
    counter: str
    clock_hz: int | None = None


def _instructions(board: Board, greeting: Greeting) -> _Unit:
    """Return what a virtual board counts in, which has no frequency."""
    assert board.emulator is not None
    scale = 1e9 / greeting.clock_hz / INSTRUCTION_NS
    counter = f"{greeting.clock} of {board.emulator.program}, {INSTRUCTION_NS} ns an instruction"
    return _Unit(INSTRUCTIONS, scale, counter)


def _cycles(board: Board, greeting: Greeting) -> _Unit:
    """Return the same of a real one, whose port may count with a timer that is slower than its processor."""
    if greeting.clock_hz <= 0:
        raise InvalidProfileError(f"the counter {greeting.clock} has no frequency", "set clock_hz of the port")
    slow = not greeting.clock.upper().startswith("DWT")
    scale = board.clock_hz / greeting.clock_hz if slow else 1.0
    clock_hz = board.clock_hz if slow else greeting.clock_hz
    return _Unit(CYCLES, scale, f"{greeting.clock} at {greeting.clock_hz / 1e6:g} MHz", clock_hz)


def _profile(
    bundle: Bundle, board: Board, greeting: Greeting, samples: list[Sample], unit: _Unit, memory: MemoryCost
) -> Profile:
    """Return the profile that samples make; InvalidProfileError where they were not counted."""
    check_counter(samples, greeting.clock)
    micro = builder.micro_of(bundle)
    parts = _parts(micro, samples, unit.scale)
    return Profile(
        whylite=metadata.version("whylite"),
        model=bundle.manifest.name,
        digest=bundle.manifest.model_digest,
        board=board.name,
        core=board.core,
        unit=unit.unit,
        counter=unit.counter,
        windows=len(samples),
        parts=parts,
        operations=_operations(micro, samples, unit.scale),
        memory=memory,
        fits=fit.fits(memory, board),
        energy=_estimate(board, parts) if unit.unit == CYCLES else None,
        clock_hz=unit.clock_hz,
    )


def _total(sample: Sample, measured: Measured) -> float:
    return sum(sample.counted(measured).values()) + measured.rest


def _parts(micro: Micro, samples: Sequence[Sample], scale: float) -> tuple[PartCost, ...]:
    """Return the parts that were measured, predicting first."""
    found = []
    base = [_total(sample, sample.parts[0]) for sample in samples]
    for place, measured in enumerate(samples[0].parts):
        all_of = [sample.parts[place] for sample in samples]
        totals = [_total(sample, one) for sample, one in zip(samples, all_of, strict=True)]
        ratios = [1 + total / first for total, first in zip(totals, base, strict=True)]
        number = measured.part
        found.append(
            PartCost(
                name=PREDICT if number == 0 else micro.explanations[number - 1].method,
                count=spread(round(total * scale) for total in totals),
                ratio=1.0 if number == 0 else float(np.median(ratios)),
                macs=sum(micro.operations[index].macs * calls for index, calls in measured.calls.items()),
                steps=0 if number == 0 else micro.explanations[number - 1].steps,
                other=spread(round(one.rest * scale) for one in all_of),
                stack=max(one.stack for one in all_of) or None,
            )
        )
    return tuple(found)


def _operations(micro: Micro, samples: Sequence[Sample], scale: float) -> tuple[OperationCost, ...]:
    """Return what each operation takes once, in the part it belongs to."""
    found = []
    for index, operation in enumerate(micro.operations):
        counts = []
        for sample in samples:
            own = next((one for one in sample.parts if index in one.ticks), None)
            if own is not None:
                counts.append(round(sample.counted(own)[index] / own.calls[index] * scale))
        if counts:
            found.append(
                OperationCost(operation.code, operation.kernel, operation.part, operation.macs, spread(counts))
            )
    return tuple(found)


def _memory(micro: Micro, footprint: Footprint) -> MemoryCost:
    sources = []
    for name in _GROUPS:
        group = footprint.group(name)
        sources.append(Source(name, group.code, group.constants + group.data, group.data + group.zeroed))
    return MemoryCost(
        arena=micro.arena,
        reference_arena=micro.reference_arena,
        reference=micro.reference,
        flash=footprint.flash,
        ram=footprint.ram,
        stack=footprint.stack,
        sections=footprint.sections,
        sources=tuple(sources),
    )


def _foreseen(micro: Micro) -> MemoryCost:
    """Return what firmware takes that was built elsewhere, as far as the bundle says."""
    flash, ram = builder.needs(micro)
    return MemoryCost(micro.arena, micro.reference_arena, micro.reference, flash, ram, 0)


def _estimate(board: Board, parts: Sequence[PartCost]) -> Energy | None:
    """Return what the documented consumption of a board comes to over counted cycles; None where none is documented."""
    energy = board.energy
    if energy is None:
        return None
    each = energy.supply_v * energy.active_a / energy.at_hz
    return Energy({part.name: part.count.median * each for part in parts}, False, energy.source)
