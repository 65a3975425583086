"""The table of ops that have kernels, written from the lowerings themselves: ``python -m export.c.ops``."""

from __future__ import annotations

import sys

from ..supported_ops import rows
from .lowering import LOWERINGS


def table() -> str:
    """Return the ops that can be compiled to C, and what of each, as a table in Markdown."""
    return "\n".join(["| ops | what of them |", "| --- | --- |", *rows(LOWERINGS)])


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
