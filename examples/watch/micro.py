"""The same bundle as firmware: what it answers, explains and costs on a virtual microcontroller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.capture import open_source
from edge.errors import WhyLiteError
from edge.manifest import Check, Manifest
from edge.wire.records import Result
from examples.watch.data import Windows
from examples.watch.heard import Heard
from examples.watch.picture import Case, case_of
from export.choose import rank_correlation
from export.micro import reference
from firmware_bridge import emulate, toolchain
from firmware_bridge.boards import named
from firmware_bridge.feeding import Feeder, Wishes
from firmware_bridge.monitor import Monitor
from firmware_bridge.profile.document import PREDICT, MemoryCost, PartCost, Profile
from firmware_bridge.profile.firmware import profile

BOARD = "unicorn-cortex-m4"
CORE = "Cortex-M4F"
WINDOWS = 20
METHODS = ("gradcam", "integrated_gradients")


@dataclass(frozen=True)
class OnMicro:
    """What one run of the firmware found.

    ``profile`` is what a golden window costs. ``check`` holds the answers against the original model's, to the bit.
    ``alike`` has, by method, how many maps came and the median of their rank correlations with those of the device on
    Linux. ``case`` is a window both of whose maps were computed on the microcontroller.
    """

    profile: Profile
    check: Check
    alike: dict[str, tuple[int, float]]
    case: Case

    @property
    def predicting(self) -> PartCost:
        """What a prediction takes."""
        return self.profile.parts[0]

    @property
    def explaining(self) -> list[PartCost]:
        """What explaining takes beside it."""
        return [part for part in self.profile.parts if part.name != PREDICT]

    @property
    def memory(self) -> MemoryCost:
        """What the firmware takes of a board."""
        assert self.profile.memory is not None
        return self.profile.memory


def missing() -> str | None:
    """Return why no firmware can be made and run here; None where it can."""
    try:
        reference.version()
        toolchain.find(None)
    except WhyLiteError as error:
        return f"{error.cause} ({error.hint})"
    lack = emulate.missing(named(BOARD))
    return lack and f"{lack[0]} ({lack[1]})"


def run(
    bundle: Bundle, original: bytes, windows: Windows, elsewhere: Heard, shown: Sequence[int], folder: Path
) -> OnMicro:
    """Build a bundle's firmware in ``folder``, count what it takes, and have it answer windows over its UART.

    ``original`` is the plain model. GradCAM explains ``WINDOWS`` of those that were answered ``elsewhere``, spread over
    all of them; Integrated Gradients do the first that is ``shown``, as they take as long as seventy predictions.
    """
    costs = profile(bundle, named(BOARD), folder, windows=1)
    elf = folder / "firmware" / "firmware.elf"
    answered = np.array(sorted(elsewhere.answers))
    some = answered[np.linspace(0, len(answered) - 1, WINDOWS).astype(int)]
    heard = _answer(bundle, elf, windows, some, METHODS[:1])
    thorough = _answer(bundle, elf, windows, np.array(shown[:1]), METHODS)
    heard.maps |= thorough.maps
    heard.answers |= thorough.answers
    alike = {}
    for method in METHODS:
        maps = {sequence: own.values for (sequence, name), own in heard.maps.items() if name == method}
        pairs = [(own, elsewhere.maps.get((sequence, method))) for sequence, own in maps.items()]
        likenesses = [rank_correlation(own, other.values) for own, other in pairs if other is not None]
        alike[method] = len(likenesses), float(np.median(likenesses))
    return OnMicro(
        profile=costs,
        check=parity(heard.answers, reference.Reference(original), bundle.manifest, windows),
        alike=alike,
        case=case_of(windows, heard, shown[0], f"on a {CORE}: "),
    )


def text(found: OnMicro) -> str:
    """Return what was found, for a terminal."""
    memory = found.memory
    lines = [
        f"{memory.flash:,} bytes of flash, {memory.ram:,} of RAM, of which the arena {memory.arena:,} (TensorFlow Lite "
        f"Micro takes {memory.reference_arena:,} to predict alone); by {found.profile.toolchain}",
        f"a prediction takes {found.predicting.count.median:,.0f} instructions",
    ]
    for part in found.explaining:
        like = found.alike.get(part.name)
        maps = "" if like is None else f"; maps correlate by {like[1]:.3f} with those on Linux (windows: {like[0]})"
        lines.append(f"with {part.name} {part.ratio:.3f} times as many{maps}")
    return "\n".join(lines)


def _answer(bundle: Bundle, elf: Path, windows: Windows, numbers: NDArray[np.int64], methods: Sequence[str]) -> Heard:
    """Return what the firmware said of windows, each under its number among all of them."""
    board = named(BOARD)
    file = elf.with_name("windows.npz")
    np.savez(file, x=windows.x[numbers], y=windows.y[numbers])
    heard = Heard()
    with (
        closing(open_source(f"npz:{file}", bundle.manifest)) as capture,
        emulate.start(elf, board) as machine,
        closing(Monitor(machine.url)) as monitor,
    ):
        feeder = Feeder(monitor, capture, bundle, lambda: machine.failure)
        for events in feeder.polls(Wishes(methods=tuple(methods))):
            for event in events:
                heard.note(event)
    return heard.renumbered(numbers)


def parity(answers: Mapping[int, Result], original: reference.Reference, manifest: Manifest, windows: Windows) -> Check:
    """Hold every answer of the firmware against the original model in TensorFlow Lite Micro, run here."""
    different = 0
    for number, result in answers.items():
        stored = original.run([manifest.input.quantize(windows.x[number])], 1)[0]
        different += bool((np.array(result.scores, np.float32) != manifest.output.dequantize(stored[0])).any())
    what = "answers of the firmware that differ in any bit from the original model's in TensorFlow Lite Micro"
    passed = not different and len(answers) >= WINDOWS
    return Check("prediction parity on a microcontroller", different, 0, passed, len(answers), what)
