"""TensorFlow Lite Micro on the workstation: the arithmetic that a microcontroller's is held to, byte for byte."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ExportError, UnsupportedModelError

_ARENA = 64 << 20  # more than any microcontroller has; only what is used of it is ever touched
_SECONDS = 120
_HINT = "pip install --pre 'whylite[micro]'"
# Run in a process of its own: what TensorFlow Lite Micro has to say, it prints, and some models stop the program.
_PROGRAM = f"""
import sys, numpy
from tflite_micro.python.tflite_micro import runtime
model = runtime.Interpreter.from_bytes(sys.stdin.buffer.read(), arena_size={_ARENA})
port = model.get_input_details(0)
model.set_input(numpy.zeros(port["shape"], port["dtype"]), 0)
model.invoke()
model.print_allocations()
"""


class MissingReferenceError(ExportError):
    """TensorFlow Lite Micro is not installed, and nothing may ship for a microcontroller unchecked."""


def version() -> str:
    """Return the name and version of TensorFlow Lite Micro; :class:`MissingReferenceError` without it."""
    try:
        import tflite_micro.python.tflite_micro.runtime  # noqa: F401
    except ImportError as error:
        raise MissingReferenceError(f"TensorFlow Lite Micro is not installed: {error}", _HINT) from error
    return f"tflite_micro {metadata.version('tflite_micro')}"


def arena_of(model: bytes, what: str) -> int:
    """Return how many bytes of arena TensorFlow Lite Micro takes for a model.

    Raises :class:`UnsupportedModelError` with its own words where it does not run ``what`` this is.
    """
    version()
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], input=model, capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UnsupportedModelError(
            f"TensorFlow Lite Micro does not run {what} within {_SECONDS} s", "export it for --target pi"
        ) from error
    said = (done.stdout + done.stderr).decode(errors="replace")
    if (total := re.search(r"Arena allocation total (\d+) bytes", said)) is not None and done.returncode == 0:
        return int(total[1])
    lines = [line for line in said.splitlines() if line and not line.startswith((" ", "Traceback"))]
    raise UnsupportedModelError(
        f"TensorFlow Lite Micro does not run {what}: {'; '.join(lines)[:500] or f'exit code {done.returncode}'}",
        "export it for --target pi",
    )


class Reference:
    """A model in TensorFlow Lite Micro, which :func:`arena_of` has tried out before."""

    def __init__(self, model: bytes) -> None:
        version()
        from tflite_micro.python.tflite_micro import runtime

        self._interpreter = runtime.Interpreter.from_bytes(model, arena_size=_ARENA)

    def run(self, inputs: Sequence[NDArray[Any]], outputs: int) -> list[NDArray[Any]]:
        """Return the first so many outputs for ``inputs`` in the graph's order, all as they are stored."""
        for index, value in enumerate(inputs):
            self._interpreter.set_input(value, index)
        self._interpreter.invoke()
        return [np.array(self._interpreter.get_output(index)) for index in range(outputs)]
