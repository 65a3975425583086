"""Runs a model from standard input once, on zeros, and prints what came of it as JSON: a program, not to be imported.

A process of its own because kernels stop the whole program where a file's numbers contradict what they count on.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

_MEMORY = 8 << 30


def main() -> None:
    """Print the shapes as the kernels work them out, or why they refuse."""
    _limit_memory()
    model = sys.stdin.buffer.read()
    try:
        # First the kernels that look at their operands, then the delegate that trusts them.
        details = _run(model, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
        _run(model, OpResolverType.AUTO)
    except (ValueError, RuntimeError, MemoryError) as error:
        answer: dict[str, object] = {"refused": " ".join(str(error).split()) or type(error).__name__}
    else:
        shapes = {detail["index"]: [int(size) for size in detail["shape"]] for detail in details}
        answer = {"shapes": shapes, "types": {d["index"]: np.dtype(d["dtype"]).name for d in details}}
    sys.stdout.write(json.dumps(answer))


def _run(model: bytes, resolver: OpResolverType) -> list[dict[str, Any]]:
    interpreter = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    for port in interpreter.get_input_details():
        interpreter.set_tensor(port["index"], np.zeros(port["shape"], port["dtype"]))
    interpreter.invoke()
    return list(interpreter.get_tensor_details())


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard), hard))


if __name__ == "__main__":
    main()
