"""What explained models cost on microcontrollers: ``python -m benchmarks.micro [--json FILE] [--optimize=-O3]``.

Instructions on a virtual Cortex-M4F and Cortex-M55 for the int8 models of MLPerf Tiny, plain and with GradCAM, the
flash of all that is no model, the time from reset to the first SESSION, the arena against TensorFlow Lite Micro's for
every int8 model next to the checkout, and bakenn with CMSIS-NN on the same board.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from edge.bundle import Bundle
from edge.micro import GOLDEN
from edge.wire.port import Port
from export import tflite
from firmware_bridge.boards import named
from firmware_bridge.build import BuildOptions, build
from firmware_bridge.emulate import INSTRUCTION_NS
from firmware_bridge.emulate.unicorn import Unicorn
from firmware_bridge.errors import BridgeError
from firmware_bridge.profile.document import Profile
from firmware_bridge.profile.firmware import profile

from . import exports, peer_bakenn
from .__main__ import summary
from .figures import Figure, Goal, table
from .models import KWS, MLPERF_TINY, OUT, RESNET, SHARED, VWW

M4F, M55 = "qemu-mps2-an386", "qemu-mps3-an547"
MILLIONS = {RESNET: {M4F: 33, M55: 12}, KWS: {M4F: 13, M55: 6}, VWW: {M4F: 40, M55: 20}}
_UNICORN = "unicorn-cortex-m4"
_RATIO, _FLASH, _BOOT_MS = 1.01, 12 << 10, 50
_BESIDE = ("kernels", "link", "runtime")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables and write the JSON; 0 whatever the goals say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro", description=__doc__)
    parser.add_argument("--json", type=Path, default=OUT / "micro.json", help="default: %(default)s")
    parser.add_argument("--optimize", default="-O2", help="give as --optimize=-O3 (default: %(default)s)")
    parser.add_argument("--windows", type=int, default=2, help="to count, of each model (default: %(default)s)")
    options = parser.parse_args(argv)
    compiled = BuildOptions(optimize=options.optimize)
    begin = time.monotonic()
    found: list[Figure] = []
    for model, name in MLPERF_TINY.items():
        path = SHARED / "models/mlperf_tiny" / name
        try:
            bundle = exports.export(path, "--target", "micro", "--method", "gradcam").bundle
        except RuntimeError as error:
            print(f"\n{model}: export ended with {error}")
            continue
        figures = [
            figure for board in (M4F, M55) for figure in _counts(model, bundle, board, compiled, options.windows)
        ]
        figures.append(_peer(model, path, bundle, figures[0].value, compiled))
        figures.append(_boot(model, bundle, compiled))
        print("\n" + table(model, figures), flush=True)
        found += figures
    arenas = list(_arenas())
    print("\n" + table("arena, explanation included, over TensorFlow Lite Micro's to predict alone", arenas))
    found += arenas
    print("\n" + "\n".join(summary(found)))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(figure) | {"verdict": figure.verdict} for figure in found], indent=1))
    print(f"{time.monotonic() - begin:.0f} s; written to {options.json}")
    return 0


def _counts(model: str, bundle: Bundle, board: str, options: BuildOptions, windows: int) -> Iterator[Figure]:
    """Yield what predicting and GradCAM take on a board in millions of instructions, and flash beside the model."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            measured = profile(bundle, named(board), Path(folder), options, windows=windows)
        except BridgeError as error:
            yield Figure(model, f"million instructions, {board}", "", float("nan"), note=f"absent: {error.cause}")
            return
    plain, gradcam = measured.parts[0], measured.parts[1]
    core = measured.core.removeprefix("cortex-")
    made = f"{measured.toolchain} {measured.optimize}"
    goal = Goal(most=MILLIONS[model][board])
    millions = plain.count.median / 1e6
    per_mac = f"{plain.count.median / plain.macs:.2f} per MAC" if plain.macs else ""
    yield Figure(model, "million instructions, plain", core, millions, goal=goal, note=f"{per_mac}; {made}")
    yield Figure(model, "GradCAM over plain", core, gradcam.ratio, goal=Goal(most=_RATIO))
    yield _flash(model, core, measured)


def _flash(model: str, core: str, measured: Profile) -> Figure:
    assert measured.memory is not None
    sizes = {source.name: source.code + source.constants for source in measured.memory.sources}
    note = ", ".join(f"{name} {sizes[name]:,}" for name in _BESIDE)
    whole = sum(sizes[name] for name in _BESIDE)
    return Figure(model, "flash of kernels, link, runtime", core, whole, "B", note=note, goal=Goal(most=_FLASH))


def _peer(model: str, path: Path, bundle: Bundle, ours: float, options: BuildOptions) -> Figure:
    """Return bakenn's instructions for the prediction up to the logits, over ours for all of it."""
    what = "bakenn with CMSIS-NN over ours"
    window = bundle.arrays(GOLDEN)["x"][:1]
    try:
        taken = peer_bakenn.instructions(path, window, M4F, options) / 1e6
    except (peer_bakenn.AbsentError, BridgeError) as error:
        return Figure(model, what, "m4f", float("nan"), note=f"absent: {error}"[:160])
    return Figure(model, what, "m4f", taken / ours, note=f"{taken:.1f} million instructions, of the same logits")


def _boot(model: str, bundle: Bundle, options: BuildOptions) -> Figure:
    """Return the emulated milliseconds from reset until SESSION has been sent."""
    from elftools.elf.elffile import ELFFile

    moments: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        board = named(_UNICORN)
        made = build(bundle, board, Path(folder) / "firmware", options)
        symbols = ELFFile.load_from_path(str(made.elf)).get_section_by_name(".symtab")
        (sent,) = symbols.get_symbol_by_name("whylite_send_settings")  # what follows SESSION
        with Unicorn(made.elf, board) as machine:
            machine.core.watch(sent["st_value"], moments.append)
            with Port(machine.url) as port:
                end = time.monotonic() + 60
                while not moments and time.monotonic() < end:
                    port.wait(0.1)
                    port.read()
    value = moments[0] * INSTRUCTION_NS / 1e6 if moments else float("nan")
    note = f"{moments[0]:,} instructions, {INSTRUCTION_NS} ns each" if moments else "absent: no SESSION in a minute"
    return Figure(model, "ms from reset to SESSION", "m4f", value, note=note, goal=Goal(most=_BOOT_MS))


def _arenas() -> Iterator[Figure]:
    """Yield the arena over TFLM's for every int8 model next to the checkout; nan, and why, where there is none."""
    for path in sorted((SHARED / "models").rglob("*.tflite")):
        graph = tflite.read(path.read_bytes()).graphs[0]
        if graph.inputs[0].dtype.name != "int8":
            continue
        try:
            micro = exports.export(path, "--target", "micro").bundle.manifest.micro
        except RuntimeError as error:
            why = next((line for line in str(error).splitlines() if line.startswith("error")), "export failed")
            yield Figure(path.stem, path.stem[:38], "", float("nan"), note=why[:160])
            continue
        assert micro is not None
        note = f"{micro.arena:,} B of {micro.reference_arena:,} B"
        yield Figure(path.stem, path.stem[:38], "", micro.arena / micro.reference_arena, note=note, goal=Goal(most=1.0))


if __name__ == "__main__":
    sys.exit(main())
