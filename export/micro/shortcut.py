"""What is linear between two tensors of a walk, as one matrix: GradCAM needs the mean of a gradient only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge import interpreter

from ..tflite.graph import Graph, Model, Op, Signature, Tensor
from ..tflite.ops import FLOAT, Builder, elements
from ..tflite.options import FullyConnectedOptions
from ..tflite.writer import write

# Linear in the first operand where all others are constants, and there is no bias; so is a product with a constant.
_LINEAR = {
    "BROADCAST_TO",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "DEPTH_TO_SPACE",
    "FULLY_CONNECTED",
    "MEAN",
    "MUL",
    "PAD",
    "RESHAPE",
    "SLICE",
    "SUM",
    "TRANSPOSE",
}


def take(graph: Graph, target: Tensor) -> None:
    """Compute ``target`` ``[1, n]`` by one FULLY_CONNECTED from as far back as it is linear, in place.

    Only where the matrix is no larger than the weights that it stands for.
    """
    chain = _chain(graph, target)
    if not chain:
        return
    start = chain[-1].input(0)
    weights = sum(t.data.size for op in chain for t in op.inputs if t is not None and t.data is not None)
    if elements(start.shape) * elements(target.shape) > weights:
        return
    matrix = Builder(graph, "shortcut/").constant(_matrix(chain[::-1], start, target))
    short = Op("FULLY_CONNECTED", [start, matrix, None], [target], FullyConnectedOptions())
    graph.ops[graph.ops.index(chain[0])] = short


def _chain(graph: Graph, target: Tensor) -> list[Op]:
    """Return the linear ops that lead to ``target``, one behind the other, the last first."""
    producers = graph.producers()
    chain: list[Op] = []
    while target in producers and (op := producers[target]).code in _LINEAR:
        first, *others = op.inputs
        fixed = all(tensor is None or tensor.is_constant for tensor in others)
        biased = len(op.inputs) > 2 and op.inputs[2] is not None and np.any(op.inputs[2].data)
        if first is None or first.dtype != FLOAT or not fixed or (biased and op.code not in {"SLICE"}):
            break
        chain.append(op)
        target = first
    return chain


def _matrix(ops: list[Op], start: Tensor, target: Tensor) -> NDArray[np.float32]:
    """Return what ``ops`` do to a flattened ``start``, ``[n, elements]``."""
    tensors = dict.fromkeys(t for op in ops for t in (*op.inputs, *op.outputs) if t is not None)
    part = Graph("shortcut", list(tensors), [start], [target], ops)
    instance, _ = interpreter.load(write(Model([part], [Signature("linear", part, {"x": start}, {"y": target})])))
    run = instance.get_signature_runner("linear")
    units = np.eye(elements(start.shape), dtype=np.float32)
    columns = [np.ravel(run(x=unit.reshape(start.shape))["y"]) for unit in units]
    return np.stack(columns, axis=1)
