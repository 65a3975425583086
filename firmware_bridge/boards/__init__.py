"""The boards there are, real and virtual: one TOML file each, beside this one, and a user's own files.

A file says::

    title = "Arm MPS2 AN386"            # for people
    core = "cortex-m4f"                 # of firmware_bridge/cores.py, or any other name that no firmware is built for
    clock_hz = 25_000_000
    flash_with = ["gdb"]                # ways to flash, the usual one first; may be empty
    note = "..."                        # what else is good to know (optional)
    source = "..."                      # where clock and memories are written down (optional)

    [flash]                             # where the program lies, and
    origin = 0x0
    size = 4_194_304
    [ram]                               # where everything else does: both or neither
    origin = 0x2000_0000
    size = 4_194_304

    [uart]                              # the link's: which driver and its registers (optional)
    kind = "cmsdk"                      # cmsdk, stm32, nrf51 or pl011
    base = 0x4000_4000

    [emulator]                          # what stands in for it; real boards have none
    program = "qemu"                    # qemu or unicorn
    machine = "mps2-an386"              # QEMU's name; Unicorn goes by the core

    [energy]                            # only as documented (optional)
    supply_v = 3.0
    active_a = 0.0033
    at_hz = 64_000_000
    source = "where this is written"

The file's name is the board's. Boards that run Linux have neither memories nor UART: they run `whylite run`.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import tomllib
import types
import typing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edge.files import read_bytes
from firmware_bridge.cores import CORES, Core
from firmware_bridge.errors import BoardError

UARTS = ("cmsdk", "stm32", "nrf51", "pl011")
EMULATORS = ("qemu", "unicorn")
PAGE = 0x1000
"""Bytes of which Unicorn maps whole multiples."""
SYSTEM_PAGES = (0xE000_E000, 0xE000_1000, 0x9FFF_F000)
"""The processor's own there: system control space, DWT (whose counter stands still), where handlers return to."""
_FOLDER = Path(__file__).parent
_MAX_BYTES = 1 << 16
_ADDRESSES = 1 << 32
_SCHEMA = "docs/firmware.md lists what a board's file may say"


@dataclass(frozen=True)
class Memory:
    """A range of addresses: ``size`` bytes from ``origin``."""

    origin: int
    size: int

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.origin + self.size


@dataclass(frozen=True)
class Uart:
    """The UART that the link is on: which driver of ``firmware/virtual`` it takes, and where its registers lie."""

    kind: str
    base: int


@dataclass(frozen=True)
class Emulator:
    """What stands in for a virtual board: QEMU's ``machine``, or Unicorn, which knows cores only."""

    program: str
    machine: str = ""


@dataclass(frozen=True)
class Energy:
    """What is documented of a board's consumption: ``active_a`` amperes at ``supply_v`` volts, running at ``at_hz``."""

    supply_v: float
    active_a: float
    at_hz: int
    source: str


@dataclass(frozen=True)
class Board:
    """One board, as its file describes it; see the module for the keys."""

    name: str
    title: str
    core: str
    clock_hz: int
    flash_with: tuple[str, ...] = ()
    flash: Memory | None = None
    ram: Memory | None = None
    uart: Uart | None = None
    emulator: Emulator | None = None
    energy: Energy | None = None
    note: str = ""
    source: str = ""

    @property
    def virtual(self) -> bool:
        """Whether it is emulated."""
        return self.emulator is not None

    @property
    def linux(self) -> bool:
        """Whether it runs Linux, and `whylite run` there, instead of firmware."""
        return self.flash is None

    @property
    def cpu(self) -> Core | None:
        """What compilers call its core; None where no firmware can be compiled for it here."""
        return CORES.get(self.core)


@cache
def boards() -> dict[str, Board]:
    """Return the boards that come with WhyLite by name, virtual ones last."""
    found = [load(path) for path in sorted(_FOLDER.glob("*.toml"))]
    return {board.name: board for board in sorted(found, key=lambda board: (board.virtual, board.name))}


def named(name: str) -> Board:
    """Return the board of that name, or of the ``.toml`` file that ``name`` is the path of; BoardError for neither."""
    if name.endswith(".toml"):
        return load(Path(name))
    known = boards()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or [key for key in known if name and name in key][:5]
    hint = f"did you mean {' or '.join(near)}?" if near else "`whylite boards` lists them; give a .toml for your own"
    raise BoardError(f"there is no board {name!r}", hint)


def load(path: Path) -> Board:
    """Return the board that a file describes; BoardError naming file and key for what is not valid in it."""
    try:
        document = tomllib.loads(read_bytes(path, _MAX_BYTES).decode())
    except OSError as error:
        raise BoardError(f"cannot read {path}: {error.strerror}", "give the path of a board's .toml") from error
    except (ValueError, RecursionError) as error:  # no TOML, or no UTF-8
        raise BoardError(f"{path} is not valid TOML: {error}"[:300], _SCHEMA) from error
    try:
        board: Board = _table(Board, {"name": path.stem, **document}, "")
        _check(board)
    except _FaultError as fault:
        raise BoardError(f"{path}: {fault}"[:300], _SCHEMA) from fault
    return board


class _FaultError(ValueError):
    """What is wrong with a description, naming the key."""


def _table(kind: Any, document: Any, where: str) -> Any:
    """Return a TOML table as a dataclass, strictly: no key unknown, none missing, each of its type."""
    if not isinstance(document, dict):
        raise _FaultError(f"{where} is no table")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    prefix = f"{where}." if where else ""
    for key in document:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=1)
            raise _FaultError(f"unknown key {prefix + key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    for name, field in fields.items():
        if name not in document and field.default is dataclasses.MISSING:
            raise _FaultError(f"{prefix + name!r} is missing")
    return kind(**{key: _value(hints[key], value, prefix + key) for key, value in document.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if typing.get_origin(hint) is types.UnionType:
        hint = typing.get_args(hint)[0]
    if dataclasses.is_dataclass(hint):
        return _table(hint, value, where)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _FaultError(f"{where!r} is no list of texts: {str(value)[:40]}")
        return tuple(value)
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        what = {int: "whole number", float: "number", str: "text"}[hint]
        raise _FaultError(f"{where!r} is no {what}: {str(value)[:40]!r}")
    return value


def _check(board: Board) -> None:
    """Hold a description against itself; _FaultError for the first thing that cannot be."""
    _check_choice("uart.kind", board.uart.kind if board.uart else None, UARTS)
    _check_choice("emulator.program", board.emulator.program if board.emulator else None, EMULATORS)
    if not board.name.isprintable() or not board.title.strip() or not board.title.isprintable():
        raise _FaultError("'title' is no line of text")
    if not 0 < board.clock_hz < _ADDRESSES:
        raise _FaultError(f"'clock_hz' is {board.clock_hz}, no frequency of a board")
    if (board.flash is None) != (board.ram is None):
        raise _FaultError("'flash' and 'ram' are both there or neither")
    if board.flash is not None and board.ram is not None:
        _check_memory("flash", board.flash)
        _check_memory("ram", board.ram)
        if board.flash.origin < board.ram.end and board.ram.origin < board.flash.end:
            raise _FaultError(
                f"'ram' at {board.ram.origin:#x} overlaps 'flash', {board.flash.origin:#x} to {board.flash.end:#x}"
            )
    if board.uart is not None and not 0 < board.uart.base < _ADDRESSES:
        raise _FaultError(f"'uart.base' is {board.uart.base:#x}, no 32-bit address")
    if board.emulator is not None:
        _check_virtual(board, board.emulator)
    if board.energy is not None:
        _check_energy(board.energy)


def _check_choice(key: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        near = difflib.get_close_matches(value, choices, n=1, cutoff=0.8)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise _FaultError(f"{key!r} is {value[:40]!r}, none of {', '.join(choices)}{meant}")


def _check_memory(key: str, memory: Memory) -> None:
    if memory.origin < 0 or memory.size <= 0 or memory.end > _ADDRESSES:
        raise _FaultError(f"{key!r} is {memory.size} bytes from {memory.origin:#x}, which no 32-bit address space has")
    if memory.origin % 8 or memory.size % 8:
        raise _FaultError(f"{key!r} is not aligned to 8 bytes")


def _check_virtual(board: Board, emulator: Emulator) -> None:
    absent = [repr(key) for key in ("flash", "ram", "uart") if getattr(board, key) is None]
    if absent:
        raise _FaultError(f"an emulated board has no {', '.join(absent)}")
    _check_choice("core", board.core, tuple(CORES))
    if emulator.program == "qemu" and not emulator.machine:
        raise _FaultError("'emulator.machine' is missing: `qemu-system-arm -M help` lists them")
    if emulator.program == "unicorn":
        if CORES[board.core].unicorn is None:
            raise _FaultError(f"'core' is {board.core}, which Unicorn does not emulate")
        if board.uart is not None and board.uart.kind != "cmsdk":
            raise _FaultError("'uart.kind' is not cmsdk, the only one there is with Unicorn")
        _check_pages(board)


def _check_pages(board: Board) -> None:
    """Hold the memories of a board in Unicorn against its pages, and what else is mapped there."""
    assert board.flash is not None and board.ram is not None and board.uart is not None
    taken = [("flash", board.flash), ("ram", board.ram), ("uart.base", Memory(board.uart.base, PAGE))]
    for key, memory in taken:
        if memory.origin % PAGE or memory.size % PAGE:
            raise _FaultError(f"{key!r} is not aligned to {PAGE} bytes, the pages of Unicorn")
    taken += [("the processor's own page", Memory(origin, PAGE)) for origin in SYSTEM_PAGES]
    for (key, memory), (other, there) in itertools.combinations(taken, 2):
        if memory.origin < there.end and there.origin < memory.end:
            raise _FaultError(f"{key!r} at {memory.origin:#x} overlaps {other}, from {there.origin:#x} on")


def _check_energy(energy: Energy) -> None:
    for key, most in (("supply_v", 60.0), ("active_a", 10.0), ("at_hz", float(_ADDRESSES))):
        if not 0 < getattr(energy, key) < most:
            raise _FaultError(f"'energy.{key}' is {getattr(energy, key)}, not from 0 to {most:g}")
    if not energy.source.strip():
        raise _FaultError("'energy.source' is empty: a figure that nobody wrote down is none")
