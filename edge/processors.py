"""Which processors a program runs on."""

from __future__ import annotations

import os
from collections.abc import Collection

from edge.errors import InputError


def pin(numbers: Collection[int]) -> None:
    """Keep this thread, and those it starts, to certain processors; InputError where they cannot all be had."""
    if not hasattr(os, "sched_setaffinity"):
        raise InputError("this system keeps no program to certain processors", "leave --cpu-affinity away")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, numbers)
        granted = os.sched_getaffinity(0)
    except (OSError, ValueError, OverflowError):  # none of them is there
        granted = set()
    if granted != set(numbers):
        os.sched_setaffinity(0, before)
        missing = ", ".join(map(str, sorted(set(numbers) - granted)))
        there = ", ".join(map(str, sorted(before)))
        raise InputError(f"processor {missing} cannot be had", f"this program may run on {there}")
