"""Types of command-line arguments; argparse turns their errors into usage messages."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable

RTSCTS = "rtscts"
_PROCESSORS = 4096  # more than Linux has numbers for


def positive(text: str) -> float:
    """Return a finite number above zero."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def natural(text: str) -> int:
    """Return a whole number above zero, as large as this machine counts at the most."""
    value = int(text)
    if not 1 <= value <= sys.maxsize:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to {sys.maxsize}")
    return value


def between(low: float, high: float) -> Callable[[str], float]:
    """Return a type of numbers from ``low`` to ``high``."""

    def number(text: str) -> float:
        value = float(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low:,.10g} to {high:,.10g}")
        return value

    return number


def processors(text: str) -> frozenset[int]:
    """Return numbers of processors from a list of them and of ranges, such as ``0,2-3``."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        low, high = int(first), int(last if dash else first)
        if not 0 <= low <= high < _PROCESSORS:
            raise argparse.ArgumentTypeError(f"{part!r} is no processor or range of processors")
        numbers.update(range(low, high + 1))
    return frozenset(numbers)


def add_flow(group: argparse._ActionsContainer) -> None:
    """Add how the UARTs of a serial line stop each other; both ends must be told the same."""
    group.add_argument(
        "--flow",
        choices=("none", RTSCTS),
        default="none",
        help="flow control of a serial line whose RTS and CTS wires are there; the same at both ends (default: none)",
    )
