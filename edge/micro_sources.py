"""The C in a bundle, for who writes it out, compiles it or tells what it takes: all hold it against the manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .bundle import Bundle
from .errors import BundleError
from .micro import INTERFACE, SOURCES, Micro

_INTERFACE = re.compile(rb"^#define WHYLITE_INTERFACE (\d{1,9})$", re.MULTILINE)
_CONSTANTS = re.compile(rb"^ \*   flash  (\d{1,9}) bytes of constants, (\d{1,9}) of them to explain$", re.MULTILINE)
_HINT = "export it again: whylite export MODEL --target micro"


def micro_sources(bundle: Bundle, micro: Micro) -> dict[str, bytes]:
    """Return the C files of ``micro``, which is the bundle's, by name.

    BundleError where they are of another interface than this WhyLite's, or their header gives other figures of memory
    than the manifest, by which is judged whether a board has room.
    """
    sources = {name.removeprefix(SOURCES): data for name, data in bundle.members.items() if name.startswith(SOURCES)}
    found = _INTERFACE.search(sources.get("whylite.h", b""))
    interface = 0 if found is None else int(found[1])  # 0 is from before they were counted
    name = bundle.manifest.name
    if interface != INTERFACE:
        raise BundleError(f"bundle {name!r} has C of interface {interface}, and this WhyLite is for {INTERFACE}", _HINT)
    for what, figure in _memory(sources, micro.identifier).items():
        if figure != getattr(micro, what):
            said = "does not say" if figure is None else f"says {figure:,}"
            raise BundleError(
                f"the manifest of bundle {name!r} says {getattr(micro, what):,} bytes of {what}, its "
                f"whylite_{micro.identifier}.h {said}",
                _HINT,
            )
    return sources


def _memory(sources: Mapping[str, bytes], identifier: str) -> dict[str, int | None]:
    """Return what a model's header says of its memory, by the names of :class:`Micro`; None for what it does not."""
    header = sources[f"whylite_{identifier}.h"]
    name = f"WHYLITE_{identifier.upper()}_ARENA_SIZE".encode()
    arenas = re.findall(rb"^#define " + name + rb" (\d{1,9})$", header, re.MULTILINE)
    constants = _CONSTANTS.search(header)
    return {
        "arena": min(map(int, arenas), default=None),  # CMSIS-NN's is larger
        "constants": None if constants is None else int(constants[1]),
        "explaining": None if constants is None else int(constants[2]),
    }
