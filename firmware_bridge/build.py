"""From a bundle and a board to firmware: what fits is compiled and linked, and what it takes is read from the ELF."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge.bundle import Bundle
from edge.micro import Micro
from edge.micro_sources import micro_sources
from firmware_bridge import cmsis_nn, toolchain
from firmware_bridge.boards import Board, Memory
from firmware_bridge.cores import Core
from firmware_bridge.errors import BoardError, BuildError, FitError
from firmware_bridge.footprint import KERNELS, LINK, MODEL, RUNTIME, Footprint, measure

FIRMWARE = Path(__file__).parent / "firmware"
OPTIMIZATIONS = ("-Os", "-O2", "-O3")
_LAYOUT = "link.ld"
_SMALL = frozenset(
    f"whylite_{family}.c"
    for family in (
        *("conv_dsp", "dense_dsp", "depthwise_dsp", "dsp"),  # their inner loops are assembly
        *("gather", "matmul", "normalize", "pool", "reduce", "shape"),  # seldom at work
    )
)
"""Kernels that -Os makes a quarter smaller, and a prediction by one part in a hundred slower."""
_LINK = ("whylite_link.c", "whylite_fields.c", "whylite_records.c", "whylite_message.c")
_CODE = 16 << 10  # bytes of flash that kernels, link and runtime take, about
_WORK = 4 << 10  # the same of RAM: a stack of 2 KiB, and the link's buffers
_OVERFLOW = re.compile(r"region\W+(FLASH|RAM)\W+overflowed by (\d+) bytes|do not fit the (RAM)")
_SMALLER = "a smaller model, or a board with more of it; `whylite profile` lists what fits where"


@dataclass(frozen=True)
class BuildOptions:
    """What firmware is compiled with.

    ``toolchain`` is "gcc" or "zig", by default the first of them that is installed. ``optimize`` is for model and
    kernels, the rest being compiled for size. ``cmsis_nn`` is a folder with CMSIS-NN's sources, whose convolutions and
    matrix products are called then.
    """

    toolchain: str | None = None
    optimize: str = "-O2"
    cmsis_nn: Path | None = None


DEFAULTS = BuildOptions()


@dataclass(frozen=True)
class Firmware:
    """A program for one board.

    ``elf`` is the file, of which ``image`` are the bytes that go to the board's flash, from its first address on.
    """

    board: Board
    elf: Path
    image: bytes = field(repr=False)
    footprint: Footprint
    toolchain: str
    optimize: str
    profile: bool


def needs(micro: Micro) -> tuple[int, int]:
    """Return how many bytes of flash and of RAM a model's firmware takes, about, before it is compiled."""
    flash, ram = _least(micro)
    return flash + _CODE, ram + _WORK


def _least(micro: Micro) -> tuple[int, int]:
    """Return how many bytes of flash and of RAM the model itself takes, without which no firmware of it is.

    Beside the arena there is a copy of the window and its scores, so that a window can be explained again, and where
    Integrated Gradients are taken a sum of 4 bytes for each input.
    """
    window, scores = math.prod(micro.input.shape), math.prod(micro.scores.shape)
    sums = 4 * window if _steps(micro) else 0
    return micro.constants, micro.arena + window + scores + sums


def fits(bundle: Bundle, board: Board) -> None:
    """Raise FitError where the model alone is too large for a board; all else is for the linker to tell.

    BoardError for a board that runs no firmware, and for a bundle that has none.
    """
    for name, need, memory in zip(("flash", "RAM"), _least(micro_of(bundle)), memories(board), strict=True):
        if need > memory.size:
            raise _too_large(board, name, f"at least {need:,}", memory.size)


def build(
    bundle: Bundle,
    board: Board,
    folder: Path,
    options: BuildOptions = DEFAULTS,
    *,
    profile: bool = False,
) -> Firmware:
    """Compile a bundle's C with the runtime and the link for a board, in ``folder``, which is made.

    ``profile`` has a counter read after each kernel call. Equal bundles give equal images with one toolchain. FitError
    where it is too large, BoardError for a board that firmware is not built for here, BuildError where it does not
    compile, BundleError for a bundle whose C is of another interface than the firmware, or takes other memory than it
    says.
    """
    micro = micro_of(bundle)
    sources = micro_sources(bundle, micro)
    fits(bundle, board)
    return build_sources(sources, micro.identifier, board, folder, options, profile=profile, integrate=_steps(micro))


def _steps(micro: Micro) -> bool:
    """Whether an explanation takes the steps of Integrated Gradients on the device."""
    return any(explanation.steps for explanation in micro.explanations)


def build_sources(
    sources: Mapping[str, bytes],
    identifier: str,
    board: Board,
    folder: Path,
    options: BuildOptions = DEFAULTS,
    *,
    profile: bool = False,
    integrate: bool = True,
) -> Firmware:
    """Compile C files, by name, that define ``whylite_<identifier>``; all else as in :func:`build`.

    ``integrate`` says whether Integrated Gradients go in, which a model whose explanations take steps needs.
    """
    if options.optimize not in OPTIMIZATIONS:
        raise BuildError(f"there is no optimization {options.optimize!r}", f"choose {', '.join(OPTIMIZATIONS)}")
    core, defines = _target(board)
    compiler = toolchain.find(options.toolchain)
    theirs = {} if options.cmsis_nn is None else cmsis_nn.files(options.cmsis_nn)
    if theirs and not any(name.endswith("_cmsis.c") for name in sources):
        raise BuildError(f"nothing in the C of {identifier!r} calls CMSIS-NN", "export the model again")
    names = _unpack(sources, board, folder, theirs)
    defines |= {
        "WHYLITE_MODEL": f"whylite_{identifier}",
        "WHYLITE_MODEL_HEADER": f'"whylite_{identifier}.h"',
        "WHYLITE_MODEL_PREFIX": f"WHYLITE_{identifier.upper()}",
        "WHYLITE_INTEGRATE": str(int(integrate)),
    }
    if profile:
        defines["WHYLITE_PROFILE"] = "1"
    if theirs:
        defines["WHYLITE_CMSIS_NN"] = "1"
    elf = folder / "firmware.elf"
    called = [name for name in names if name in theirs]
    computing = [name for name in names if name in sources and name not in _SMALL]
    # Seldom at work: better small than fast.
    serving = [name for name in names if name not in called and name not in computing]
    objects = compiler.compile(computing, folder, core, optimize=options.optimize, defines=defines)
    objects += compiler.compile(called, folder, core, optimize=options.optimize, defines=defines, builtins=True)
    objects += compiler.compile(serving, folder, core, optimize="-Os", defines=defines)
    try:
        compiler.link(objects, _LAYOUT, folder, core, elf.name)
    except BuildError as error:
        raise _fit_error(error, board) from error
    groups = {name: _group(name, {*sources, *theirs}, f"whylite_{identifier}.c") for name in names}
    footprint, image = measure(elf, groups)
    made_by = f"{compiler.version} with CMSIS-NN" if theirs else compiler.version
    return Firmware(board, elf, image, footprint, made_by, options.optimize, profile)


def micro_of(bundle: Bundle) -> Micro:
    """Return what a bundle has for microcontrollers; BoardError where that is nothing."""
    if bundle.manifest.micro is None:
        raise BoardError(
            f"bundle {bundle.manifest.name!r} was exported for {bundle.manifest.target}, and has no firmware",
            "whylite export MODEL --target micro",
        )
    return bundle.manifest.micro


def memories(board: Board) -> tuple[Memory, Memory]:
    """Return a board's flash and RAM; BoardError for one that runs Linux."""
    if board.flash is None or board.ram is None:
        raise BoardError(f"{board.name} runs Linux, not firmware", "run `whylite run BUNDLE` there")
    return board.flash, board.ram


def _target(board: Board) -> tuple[Core, dict[str, str]]:
    """Return a board's core, and what its start-up code and drivers have to know."""
    memories(board)
    if board.cpu is None or board.uart is None or not board.virtual:
        raise BoardError(
            f"firmware for {board.name} is built in the board's own SDK, which starts its clocks and pins",
            "`whylite emit` gives the C to add there, and `whylite flash --elf` takes what comes of it",
        )
    return board.cpu, {
        "WHYLITE_BOARD_NAME": f'"{board.name}"',
        "WHYLITE_CLOCK_HZ": f"{board.clock_hz}u",
        f"WHYLITE_UART_{board.uart.kind.upper()}": f"{board.uart.base:#x}u",
    }


def _unpack(sources: Mapping[str, bytes], board: Board, folder: Path, theirs: Mapping[str, bytes]) -> list[str]:
    """Put everything that is compiled into ``folder``, ``theirs`` with it, and return the names of the C files."""
    own = sorted([*FIRMWARE.glob("*.[ch]"), *(FIRMWARE / "virtual").glob("*.[ch]")])
    files = {path.name: path.read_bytes() for path in own} | dict(sources)
    for name in files:
        if not re.fullmatch(r"\w+\.[ch]", name, re.ASCII):
            raise BuildError(f"{name!r} is no name of a C file", "export the bundle again")
    files |= theirs
    try:
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        (folder / _LAYOUT).write_text(_layout(board))
    except OSError as error:
        raise BuildError(f"cannot write {folder}: {error.strerror}", "name a folder that may be made anew") from error
    return sorted(name for name in files if name.endswith(".c"))


def _group(name: str, computing: Collection[str], model: str) -> str:
    """Return what a C file is part of."""
    if name in computing:
        return MODEL if name == model else KERNELS
    return LINK if name in _LINK else RUNTIME


def _layout(board: Board) -> str:
    """Return the linker script of a board."""
    script = (FIRMWARE / "virtual" / "link.ld.in").read_text()
    for name, memory in zip(("FLASH", "RAM"), memories(board), strict=True):
        script = script.replace(f"@{name}_ORIGIN@", f"{memory.origin:#x}").replace(f"@{name}_SIZE@", str(memory.size))
    return script


def _fit_error(error: BuildError, board: Board) -> BuildError | FitError:
    """Return what a linker's complaint means: that a memory is too small, or something else."""
    found = _OVERFLOW.search(error.cause)
    if found is None:
        return error
    flash, ram = memories(board)
    if found[1] is None:
        there = f"{ram.size:,} bytes of RAM of {board.name}"
        return FitError(f"the firmware's data and stack do not fit the {there}", _SMALLER)
    memory = flash if found[1] == "FLASH" else ram
    return _too_large(board, "flash" if found[1] == "FLASH" else "RAM", f"{memory.size + int(found[2]):,}", memory.size)


def _too_large(board: Board, name: str, need: str, there: int) -> FitError:
    return FitError(f"the firmware needs {need} bytes of {name}, and {board.name} has {there:,}", _SMALLER)
