"""Whether a model runs at all, and computes what its file says: asked before anything trusts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelFileError, UnsupportedModelError
from .graph import Graph, Model, Op
from .schema import BUILTIN_CODE
from .writer import write

_HINT = "the file is damaged or was written by a broken converter; convert it again"
_RUN_HINT = "a model must run in LiteRT before it can be explained: convert it again"
_MAX_BYTES = 1 << 30  # of all activations together; explaining takes some twelve times as much at the most
_SECONDS = 60
_LINEAR = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}

Shapes = Mapping[int, tuple[int, ...]]


def try_out(
    graph: Graph,
    others: Sequence[Graph],
    name: str,
    original: bytes = b"",
    signatures: Sequence[str] = (),
    other_signatures: Sequence[str] = (),
) -> Shapes | None:
    """Run ``graph`` once, in a process of its own, and return the shapes of its tensors by position.

    ``others`` are the subgraphs behind it, for control flow. What is written back is run first, so that the interpreter
    never meets a wild offset, and then the ``original`` file, by its primary graph, by each of ``signatures``, and by
    ``other_signatures``, which may fail but not bring it down. Returns None for a graph that does not run for ops that
    only their author's interpreter knows: it must not be run here either. Raises :class:`UnsupportedModelError` where
    the interpreter refuses the graph, dies of it or does not come back, :class:`ModelFileError` where it would want
    more memory than there may be or declares another type than comes out.
    """
    _check_size(graph, name)
    answer = _trial(write(Model([graph, *others])), original, signatures, other_signatures)
    if "refused" in answer and any(not is_builtin(op) for g in (graph, *others) for op in g.ops):
        return None
    if "refused" in answer:
        raise UnsupportedModelError(f"it does not run: {answer['refused']}", _RUN_HINT)
    for position, tensor in enumerate(graph.tensors):
        kind = answer["types"].get(str(position), tensor.dtype.name)
        if not tensor.dtype.names and tensor.dtype.name != kind:
            raise ModelFileError(
                f"{name}: tensor {tensor.name!r} is declared {tensor.dtype} and comes out {kind}", _HINT
            )
    shapes = {int(position): tuple(shape) for position, shape in answer["shapes"].items()}
    # Behind the graph's own tensors stand those that the interpreter adds.
    return {position: shape for position, shape in shapes.items() if position < len(graph.tensors)}


def is_builtin(op: Op) -> bool:
    """Whether the installed schema knows an op."""
    return op.code in BUILTIN_CODE and op.code != "CUSTOM"


def check_shapes(graph: Graph, found: Shapes, name: str) -> None:
    """Raise :class:`ModelFileError` where ``graph`` declares another shape than was found."""
    for position, tensor in enumerate(graph.tensors):
        shape = found.get(position, tensor.shape)
        if not tensor.is_constant and shape != tensor.shape:
            raise ModelFileError(
                f"{name}: tensor {tensor.name!r} is declared {list(tensor.shape)} and comes out {list(shape)}", _HINT
            )


def check_weights(graph: Graph, name: str) -> None:
    """Raise :class:`ModelFileError` for a constant that is not a number, or weights without end.

    Elsewhere infinity has its uses, such as in the mask of an attention.
    """
    linear = {tensor for op in graph.ops if op.code in _LINEAR for tensor in op.inputs}
    for tensor in graph.tensors:
        if tensor.data is None or tensor.data.dtype.kind != "f":
            continue
        if np.isnan(tensor.data).any() or (tensor in linear and np.isinf(tensor.data).any()):
            raise ModelFileError(f"{name}: constant {tensor.name!r} holds values that are not finite", _HINT)


def _check_size(graph: Graph, name: str) -> None:
    sizes = [
        int(np.prod(np.maximum(tensor.shape, 1), dtype=object)) * tensor.dtype.itemsize
        for tensor in graph.tensors
        if not tensor.is_constant
    ]
    if sum(sizes) > _MAX_BYTES:
        raise ModelFileError(f"{name} declares activations of {sum(sizes) / 2**30:.1f} GiB", _HINT)


def _trial(written: bytes, original: bytes, signatures: Sequence[str], others: Sequence[str]) -> dict[str, Any]:
    program = [sys.executable, str(Path(__file__).with_name("trial.py"))]
    file = json.dumps([len(written), list(signatures), list(others)]).encode() + b"\n" + written + original
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # its threads' stacks count as memory
    try:
        done = subprocess.run(program, input=file, capture_output=True, timeout=_SECONDS, env=environment, check=False)
    except subprocess.TimeoutExpired:
        return {"refused": f"no answer within {_SECONDS} s"}
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return {
            "refused": f"the interpreter stops with status {done.returncode} ({said[-1] if said else 'no message'})"
        }
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
