"""Types of command-line arguments; argparse turns their errors into usage messages."""

from __future__ import annotations

import argparse
import math


def positive(text: str) -> float:
    """Return a finite number above zero."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def natural(text: str) -> int:
    """Return a whole number above zero."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value
