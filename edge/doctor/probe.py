"""Runs a TFLite interpreter and says what came of it, as JSON: ``python -m edge.doctor.probe NAME``.

In a process of its own, since a wheel that is not for this processor ends it, and since XNNPACK tells of itself on
stderr. ``float32.tflite`` and ``int8.tflite`` are one FULLY_CONNECTED with RELU: ``[1, 2, 3, 4]`` gives ``[0, 10]``,
stored as ``[0, 5]`` where the scale is 2.
"""

from __future__ import annotations

import ctypes
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import InterpreterError
from edge.interpreter import RUNTIMES, find

MODELS = {"float32": [0.0, 10.0], "int8": [0.0, 5.0]}  # and what they answer
EDGE_TPU = "libedgetpu.so.1"


def main(name: str) -> None:
    """Print what the runtime ``name`` makes of each model, and of the Edge TPU's library."""
    try:
        _, make = find(name)
    except InterpreterError as error:
        sys.exit(error.cause)
    found: dict[str, Any] = {kind: _run(make, kind) for kind in MODELS}
    print(json.dumps(found | {"edge_tpu": _edge_tpu(name)}))  # noqa: T201  to the process that asked


def _run(make: Any, kind: str) -> dict[str, Any]:
    interpreter = make(model_content=Path(__file__).with_name(f"{kind}.tflite").read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    given, taken = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(given["index"], np.array([[1, 2, 3, 4]], given["dtype"]))
    interpreter.invoke()
    answer = interpreter.get_tensor(taken["index"]).ravel().astype(float).tolist()
    # Not public, but the only place that tells; what a delegate has taken shows as an op DELEGATE.
    ops: list[dict[str, Any]] = getattr(interpreter, "_get_ops_details", list)()
    return {"answer": answer, "delegated": any(op["op_name"] == "DELEGATE" for op in ops)}


def _edge_tpu(name: str) -> dict[str, Any]:
    """Return whether the delegate's library is there, and whether it finds a device."""
    try:
        ctypes.CDLL(EDGE_TPU)
    except OSError as error:
        return {"library": False, "device": False, "error": str(error)}
    try:
        import_module(RUNTIMES[name].module).load_delegate(EDGE_TPU)
    except (ValueError, AttributeError) as error:
        return {"library": True, "device": False, "error": str(error)}
    return {"library": True, "device": True, "error": ""}


if __name__ == "__main__":
    main(sys.argv[1])
