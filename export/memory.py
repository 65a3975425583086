"""The memory that explaining takes, measured in a process of its own.

It is the growth of a process, at its peak, by loading the model and running one explanation: the file,
the weights as the interpreter unpacks and rearranges them, and the activations. It is a figure of the machine that
exports and the interpreter installed there.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from edge.errors import InterpreterError

from .errors import MemoryLimitError
from .methods import Compiled
from .shipped import Shipped

_SECONDS = 120
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def parse(text: str) -> int:
    """Return a size such as "512k", "4M" (powers of ten) or "4Mi" (of two) in bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(k|M|G|Ki|Mi|Gi|)B?", text.strip())
    if match is None or Fraction(match[1]) <= 0:
        raise MemoryLimitError(f"{text!r} is not a size", "write bytes, or a number and k, M, G, Ki, Mi or Gi")
    return round(Fraction(match[1]) * _UNITS[match[2]])


def spoken(size: int) -> str:
    """Return bytes as a person reads them, rounded up to three digits so that the figure is enough."""
    unit, power = next((unit, power) for unit, power in (("G", 9), ("M", 6), ("k", 3), ("", 0)) if size >= 10**power)
    digits = max(0, 2 - int(math.log10(size / 10**power)))
    return f"{math.ceil(size / 10**power * 10**digits) / 10**digits:.{digits}f} {unit}B"


def measurable() -> bool:
    """Whether the kernel tells peaks."""
    return Path("/proc/self/clear_refs").exists()


def measured(shipped: Shipped) -> dict[str, int]:
    """Return the peak of each method in bytes: a prediction and every entry of the method on one input.

    Raises :class:`InterpreterError` where the process fails.
    """
    runs = [_signatures(shipped, method) for method in shipped.compiled.values()]
    return dict(zip(shipped.compiled, peaks(shipped.file, runs), strict=True))


def peaks(file: bytes, runs: Sequence[Sequence[str]]) -> list[int]:
    """Return the peak in bytes of loading a model and running signatures one after the other, for each list of them."""
    program = [sys.executable, str(Path(__file__).with_name("footprint.py")), json.dumps(runs)]
    # What is freed goes back to the kernel at once and is not there to be used again unseen.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_ARENA_MAX": "1"}
    try:
        done = subprocess.run(program, input=file, capture_output=True, timeout=_SECONDS, env=environment, check=True)
    except subprocess.TimeoutExpired as error:
        raise _unmeasured(f"no answer within {_SECONDS} s") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise _unmeasured(said[-1] if said else f"the process ended with status {error.returncode}") from error
    return [int(size) for size in json.loads(done.stdout)]


def _unmeasured(why: str) -> InterpreterError:
    return InterpreterError(f"memory cannot be measured: {why}", "is there enough of it on this machine?")


def _signatures(shipped: Shipped, method: Compiled) -> list[str]:
    return [shipped.predict.key, *(entry.key for entry in (*shipped.aids.values(), *method.entries))]
