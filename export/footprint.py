"""Run by ``export.memory`` in a process of its own: how much memory signatures of a model take, by the kernel's count.

Reads the model from stdin and from the command line, as JSON, lists of signatures to be run one after the other; writes
the growth of the process over each list, at its peak, in bytes. Linux only: the figures are ``/proc/self/status``'s.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

_RESET_PEAK = "5"  # what proc(5) says to write to clear_refs


def main() -> None:
    """Measure and answer."""
    model = sys.stdin.buffer.read()
    answer = []
    for signatures in json.loads(sys.argv[1]):
        _run(model, signatures)  # maps the pages of the kernels, which are the library's and not the explanation's
        before = _settled()
        _run(bytes(bytearray(model)), signatures)
        answer.append(max(_status("VmHWM") - before, 0))
    sys.stdout.write(json.dumps(answer))


def _run(model: bytes, signatures: list[str]) -> None:
    """Load the model and run signatures on zeros."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    for signature in signatures:
        run = interpreter.get_signature_runner(signature)
        run(**{name: np.zeros(port["shape"], port["dtype"]) for name, port in run.get_input_details().items()})


def _settled() -> int:
    """Give back what is free, forget the peak so far and return the memory in use."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    return _status("VmRSS")


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return int(kilobytes) * 1024


if __name__ == "__main__":
    main()
