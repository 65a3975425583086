"""CMSIS-NN's sources, for firmware that calls its kernels in place of the bundle's own."""

from __future__ import annotations

from pathlib import Path

from firmware_bridge.errors import BuildError

HEADER = "arm_nnfunctions.h"
_CORE = "cmsis_compiler.h"
"""Of CMSIS-Core, which CMSIS-NN's releases before 5 include."""
_LIBC = {
    "string.h": b"#include <stddef.h>\n"
    b"void *memcpy(void *, const void *, size_t);\nvoid *memset(void *, int, size_t);\n",
    "math.h": b"",
    "stdio.h": b"",
}
"""What it includes of a libc, which need not be there: it calls memcpy and memset alone."""
_CALLED = ("ConvolutionFunctions", "NNSupportFunctions")


def files(path: Path) -> dict[str, bytes]:
    """Return what is compiled of CMSIS-NN, which lies anywhere in ``path``: sources by name, headers as included.

    BuildError where there is none.
    """
    header = min(path.rglob(HEADER), default=None)
    if header is None:
        raise BuildError(
            f"there is no CMSIS-NN in {path}: nothing in it is called {HEADER}",
            "give a folder with its Include and Source; for releases before 5 with CMSIS-Core's Include, too",
        )
    include, core = header.parent, min(path.rglob(_CORE), default=None)
    found = {one.relative_to(include).as_posix(): one for one in include.rglob("*.h")}
    if core is not None:
        found |= {one.name: one for one in core.parent.glob("*.h")}
    for folder in _CALLED:
        found |= {one.name: one for one in (include.parent / "Source" / folder).glob("*.c")}
    try:
        return _LIBC | {name: one.read_bytes() for name, one in sorted(found.items())}
    except OSError as error:
        raise BuildError(f"cannot read {error.filename}: {error.strerror}", "check the folder's permissions") from error
