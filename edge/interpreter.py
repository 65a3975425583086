"""Finding a TFLite interpreter: LiteRT, tflite-runtime or TensorFlow, in that order, and saying which one it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

import numpy as np

from .errors import InputError, InterpreterError

_THREADS = 4  # for each processor; of very many, TFLite does not come back


@dataclass(frozen=True)
class Runtime:
    """The interpreter in use: ``name`` as in :data:`RUNTIMES`, its version, and the threads it was given."""

    name: str
    version: str
    threads: int


@dataclass(frozen=True)
class _Candidate:
    module: str
    distributions: tuple[str, ...]
    attribute: str = "Interpreter"


RUNTIMES = {
    "litert": _Candidate("ai_edge_litert.interpreter", ("ai-edge-litert",)),
    "tflite-runtime": _Candidate("tflite_runtime.interpreter", ("tflite-runtime",)),
    "tensorflow": _Candidate("tensorflow.lite.python.interpreter", ("tensorflow", "tensorflow-cpu")),
}


def load(model: bytes, *, threads: int = 1, interpreter: str = "auto") -> tuple[Any, Runtime]:
    """Return an interpreter of ``model`` and what it is.

    ``interpreter`` is "auto" or a key of :data:`RUNTIMES`. Raises :class:`InterpreterError` where none is installed
    or the one there refuses the model, :class:`InputError` for more ``threads`` than four for each processor.
    """
    most = _THREADS * (os.cpu_count() or 1)
    if not 1 <= threads <= most:
        raise InputError(
            f"an interpreter cannot have {threads} threads", f"choose 1 to {most}, four for each processor"
        )
    name, make = find(interpreter)
    try:
        instance = make(model_content=model, num_threads=threads)
    except (ValueError, RuntimeError) as error:
        raise InterpreterError(
            f"{name} {version_of(name)} refuses the model: {str(error).strip()}",
            "export the model again for this runtime, or choose another with --interpreter",
        ) from error
    return instance, Runtime(name, version_of(name), threads)


def resetter(interpreter: Any) -> Callable[[], None]:
    """Return a function that sets what the recurrent layers of a model keep from run to run back to zero.

    Every signature is run once, on zeros: before each has its memory, an interpreter resets only some.
    """
    for key in interpreter.get_signature_list():
        run = interpreter.get_signature_runner(key)
        run(**{name: np.zeros(port["shape"], port["dtype"]) for name, port in run.get_input_details().items()})
    reset: Callable[[], None] = interpreter.reset_all_variables
    return reset


def version_of(name: str) -> str:
    """Return the installed version of a runtime, "unknown" where its distribution does not say."""
    for distribution in RUNTIMES[name].distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "unknown"


def find(wanted: str) -> tuple[str, Callable[..., Any]]:
    """Return the name and the class of the interpreter ``wanted``; raises as :func:`load` does."""
    if wanted != "auto" and wanted not in RUNTIMES:
        raise InterpreterError(f"there is no interpreter {wanted!r}", f"choose auto or one of {', '.join(RUNTIMES)}")
    failures = []
    for name in RUNTIMES if wanted == "auto" else (wanted,):
        candidate = RUNTIMES[name]
        try:
            make: Callable[..., Any] = getattr(import_module(candidate.module), candidate.attribute)
        except ImportError as error:
            failures.append(f"{name}: {error}")
        else:
            return name, make
    raise InterpreterError(
        "no TFLite interpreter can be imported: " + "; ".join(failures),
        "pip install ai-edge-litert (64-bit) or tflite-runtime (32-bit Arm, Python up to 3.11)",
    )
