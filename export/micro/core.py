"""The part of a model that a microcontroller computes: int8 from its input to its scores, of ops there are kernels for.

Ops between an input or output of another type and the int8 tensor that stands for it are left to whoever fills the
arena; all others stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..c.lowering import LOWERINGS
from ..errors import UnsupportedModelError
from ..heads import Head
from ..support import described
from ..tflite.graph import Graph, Op, Tensor
from ..tflite.ops import INT8, prune

_OTHER_TARGET = "export it for --target pi"
_QUANTIZE_HINT = (
    "quantise its float model to full int8 (in TensorFlow's converter: Optimize.DEFAULT, a representative_dataset, "
    f"TFLITE_BUILTINS_INT8), or {_OTHER_TARGET}"
)


@dataclass(frozen=True)
class Core:
    """The graph from ``input`` to ``scores``, both int8; ``logits`` is what its softmax or sigmoid is taken of."""

    graph: Graph
    input: Tensor
    scores: Tensor
    logits: Tensor


def core_of(graph: Graph, head: Head) -> Core:
    """Return the int8 core of a model.

    Raises :class:`UnsupportedModelError` naming op and tensor where a part of it computes in another type, keeps state,
    or is an op that target micro has not.
    """
    if head.states or len(graph.inputs) > 1:
        raise UnsupportedModelError("target micro takes no models that keep state in variables", _OTHER_TARGET)
    for op in graph.ops:
        if any(tensor is not None and tensor.is_variable for tensor in op.inputs):
            raise UnsupportedModelError(
                f"{described(graph, op, 'keeps state from run to run')}\n  at tensor {op.output!r}", _OTHER_TARGET
            )
    found = graph.copy("micro")
    entry = _entry(found, head.input)
    scores, logits = _exit(found, head.scores), _exit(found, head.logits)
    found.inputs, found.outputs = [entry], [scores]
    prune(found)
    for op in found.ops:
        _check(found, op)
    return Core(found, entry, scores, logits)


def _entry(graph: Graph, tensor: Tensor) -> Tensor:
    """Return the int8 tensor that an input is first stored as."""
    if tensor.dtype == INT8:
        return tensor
    readers = [op for op in graph.ops if tensor in op.inputs]
    if len(readers) == 1 and readers[0].code == "QUANTIZE" and readers[0].output.dtype == INT8:
        graph.ops.remove(readers[0])
        return readers[0].output
    raise UnsupportedModelError(
        f"target micro takes int8 models, and what this one computes from input {tensor!r} is {tensor.dtype}, not int8",
        _QUANTIZE_HINT,
    )


def _exit(graph: Graph, tensor: Tensor) -> Tensor:
    """Return the int8 tensor of which an output of another type is made."""
    producers = graph.producers()
    found = tensor
    while found.dtype != INT8 and found in producers and producers[found].code in {"DEQUANTIZE", "QUANTIZE"}:
        found = producers[found].input(0)
    if found.dtype != INT8:
        raise UnsupportedModelError(
            f"target micro takes int8 models, and output {tensor!r} is computed in {tensor.dtype}", _QUANTIZE_HINT
        )
    return found


def _check(graph: Graph, op: Op) -> None:
    """Refuse an op that target micro has not, or that computes on anything but int8."""
    where = f"\n  at tensor {op.output!r}"
    if op.code not in LOWERINGS:
        raise UnsupportedModelError(
            described(graph, op, "has no int8 kernel on target micro") + where, f"use another op, or {_OTHER_TARGET}"
        )
    for tensor in (*op.inputs, *op.outputs):
        if tensor is None or (tensor.is_constant and tensor.dtype.kind == "i"):
            continue
        if tensor.dtype != INT8 or tensor.is_constant:
            raise UnsupportedModelError(
                described(graph, op, f"works on {tensor.dtype}, and target micro on int8")
                + f"\n  at tensor {tensor!r}",
                _QUANTIZE_HINT,
            )
