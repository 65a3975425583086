"""What firmware takes of a board's memories, by section and by source file, read from the ELF and its objects."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from firmware_bridge.errors import BuildError

MODEL, KERNELS, LINK, RUNTIME, LIBRARY = "model", "kernels", "link", "runtime", "compiler's library"
_STACK = ("whylite_stack_limit", "whylite_stack_top")
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4  # flags of a section
_NO_ELF = "give what the linker wrote, no .bin or .hex of it"
# what pyelftools stumbles with over numbers in a file that cannot be
_DAMAGED = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, TypeError, ValueError)


@dataclass(frozen=True)
class Part:
    """What one source file put into the firmware, in bytes; ``group`` is what it belongs to.

    ``constants`` are in flash beside the ``code``; ``data`` is in RAM and, its first values, in flash; ``zeroed`` is in
    RAM alone.
    """

    source: str
    group: str
    code: int = 0
    constants: int = 0
    data: int = 0
    zeroed: int = 0


@dataclass(frozen=True)
class Footprint:
    """Bytes of a board's ``flash`` and ``ram``, the ``stack`` included, that firmware takes, and what takes them.

    ``sections`` are those of the ELF that the board has in its memories; ``parts`` the files behind them, largest
    first. What no symbol names, such as texts and padding, is in no part but in the totals.
    """

    flash: int
    ram: int
    stack: int
    sections: dict[str, int]
    parts: tuple[Part, ...]

    def group(self, name: str) -> Part:
        """Return the sum of the parts of one group."""
        there = [part for part in self.parts if part.group == name]
        sums = (sum(getattr(part, key) for part in there) for key in ("code", "constants", "data", "zeroed"))
        return Part("", name, *sums)


class _Symbol(NamedTuple):
    name: str
    address: int
    size: int
    section: int
    function: bool
    file: str  # of a local symbol


def measure(elf: Path, groups: Mapping[str, str]) -> tuple[Footprint, bytes]:
    """Return what an ELF takes, and the bytes for the flash from its first address on.

    ``groups`` has the group of each C file it was compiled of, whose objects lie beside it. BuildError without
    pyelftools, and for what is damaged.
    """
    owners: dict[str, str] = {}
    for source in groups:
        with open_elf(elf.with_name(source.removesuffix(".c") + ".o")) as compiled:
            owners |= {symbol.name: source for symbol in _symbols(compiled) if not symbol.file}
    with open_elf(elf) as program:
        return _measured(program, owners, groups)


def _measured(program: Any, owners: Mapping[str, str], groups: Mapping[str, str]) -> tuple[Footprint, bytes]:
    """Return the same of an ELF that is open; ``owners`` has the file of each symbol that others see."""
    sections = [section for section in program.iter_sections() if section["sh_flags"] & _ALLOC and section["sh_size"]]
    symbols = list(_symbols(program))
    numbers = {index: _kind(section) for index, section in enumerate(program.iter_sections())}
    marks = {symbol.name: symbol.address for symbol in symbols}
    stack = marks.get(_STACK[1], 0) - marks.get(_STACK[0], 0)
    image = image_of(program)
    footprint = Footprint(
        flash=len(image),
        ram=sum(int(section["sh_size"]) for section in sections if section["sh_flags"] & _WRITE) + stack,
        stack=stack,
        sections={section.name: int(section["sh_size"]) for section in sections},
        parts=_parts(symbols, numbers, owners, groups),
    )
    return footprint, image


@contextmanager
def open_elf(path: Path) -> Iterator[Any]:
    """Give an ELF file, of pyelftools; BuildError for what is none or damaged, and where that is not installed.

    pyelftools reads what it is asked for when it is asked, so all of that belongs into the ``with`` block.
    """
    try:
        from elftools.common.exceptions import ELFError
        from elftools.elf.elffile import ELFFile
    except ModuleNotFoundError as error:
        raise BuildError("pyelftools is not installed, which reads firmware", "pip install 'whylite[micro]'") from error
    try:
        with ELFFile.load_from_path(str(path)) as program:
            yield program
    except OSError as error:
        raise BuildError(f"cannot read {path}: {error.strerror}", "give the path of an ELF") from error
    except (ELFError, *_DAMAGED) as error:
        raise BuildError(f"{path} is no ELF, or damaged: {error}"[:300], _NO_ELF) from error


def _symbols(program: Any) -> Iterator[_Symbol]:
    """Yield what an ELF names: for a local symbol with the file it is of, which comes before it."""
    file = ""
    table = program.get_section_by_name(".symtab")
    if table is None:
        raise ValueError("it has no symbols")
    for symbol in table.iter_symbols():
        kind, bind = symbol["st_info"]["type"], symbol["st_info"]["bind"]
        if kind == "STT_FILE":
            file = Path(symbol.name).name
        elif kind in {"STT_FUNC", "STT_OBJECT", "STT_NOTYPE"} and symbol["st_shndx"] != "SHN_UNDEF":
            section = symbol["st_shndx"] if isinstance(symbol["st_shndx"], int) else -1
            local = file if bind == "STB_LOCAL" else ""
            yield _Symbol(symbol.name, symbol["st_value"], symbol["st_size"], section, kind == "STT_FUNC", local)


def _kind(section: Any) -> str:
    """Return which field of a part the bytes of a section belong to; nothing for one that is in no memory."""
    flags = section["sh_flags"]
    if not flags & _ALLOC:
        return ""
    if flags & _EXECUTE:
        return "code"  # and constants, which the linker script has beside it
    if not flags & _WRITE:
        return "constants"
    return "zeroed" if section["sh_type"] == "SHT_NOBITS" else "data"


def _parts(
    symbols: list[_Symbol], kinds: Mapping[int, str], owners: Mapping[str, str], groups: Mapping[str, str]
) -> tuple[Part, ...]:
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    seen = set()
    for symbol in symbols:
        kind = kinds.get(symbol.section, "")
        if not symbol.size or not kind or (kind, symbol.address) in seen:
            continue  # the last: another name of the same thing
        seen.add((kind, symbol.address))
        kind = "constants" if kind == "code" and not symbol.function else kind
        source = symbol.file if symbol.file in groups else owners.get(symbol.name, "")
        sums[source][kind] += symbol.size
    parts = [Part(source or LIBRARY, groups.get(source, LIBRARY), **counts) for source, counts in sums.items()]
    return tuple(sorted(parts, key=lambda part: (-part.code - part.constants - part.zeroed, part.source)))


def image_of(program: Any) -> bytes:
    """Return what is loaded into flash: the segments with contents, where they are stored, and zeros between them."""
    there = [segment for segment in program.iter_segments("PT_LOAD") if segment["p_filesz"]]
    start = min(segment["p_paddr"] for segment in there)
    image = bytearray(max(segment["p_paddr"] + segment["p_filesz"] for segment in there) - start)
    for segment in there:
        at = segment["p_paddr"] - start
        image[at : at + segment["p_filesz"]] = segment.data()
    return bytes(image)
