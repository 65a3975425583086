"""Runs models from standard input once, on zeros, and prints what came of it as JSON: a program, not to be imported.

A line of JSON comes first: ``[size, [signature, ...], [signature, ...]]``. The next ``size`` bytes are a graph as it is
written back, whose shapes are told; the rest is the file it came from, entered by its primary graph and by each
signature, the latter of which may fail. A process of its own because kernels stop the whole program where a file's
numbers contradict what they count on.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

_MEMORY = 8 << 30


def main() -> None:
    """Print the shapes as the kernels work them out, or why they refuse."""
    _limit_memory()
    given = sys.stdin.buffer
    size, signatures, others = json.loads(given.readline())
    written, original = given.read(size), given.read()
    try:
        # First the kernels that look at their operands, then the delegate that trusts them, then the file itself.
        details = _run(written, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
        _run(written, OpResolverType.AUTO)
        if original:
            _run(original, OpResolverType.AUTO, signatures, others)
    except (ValueError, RuntimeError, MemoryError) as error:
        answer: dict[str, object] = {"refused": " ".join(str(error).split()) or type(error).__name__}
    else:
        shapes = {detail["index"]: [int(size) for size in detail["shape"]] for detail in details}
        answer = {"shapes": shapes, "types": {d["index"]: np.dtype(d["dtype"]).name for d in details}}
    sys.stdout.write(json.dumps(answer))


def _run(
    model: bytes, resolver: OpResolverType, signatures: Sequence[str] = (), others: Sequence[str] = ()
) -> list[dict[str, Any]]:
    interpreter = Interpreter(model_content=model, num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    for port in interpreter.get_input_details():
        interpreter.set_tensor(port["index"], np.zeros(port["shape"], port["dtype"]))
    interpreter.invoke()
    details = list(interpreter.get_tensor_details())
    for signature in signatures:
        _call(interpreter, signature)
    for signature in others:
        with contextlib.suppress(ValueError, RuntimeError):
            _call(interpreter, signature)
    return details


def _call(interpreter: Interpreter, signature: str) -> None:
    runner = interpreter.get_signature_runner(signature)
    runner(**{name: np.zeros(port["shape"], port["dtype"]) for name, port in runner.get_input_details().items()})


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard), hard))


if __name__ == "__main__":
    main()
