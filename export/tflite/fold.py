"""What does not depend on the input, made constant: above all the sizes that converters leave to be worked out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from .graph import Graph, Model, Op, Tensor
from .ops import prune
from .sparsity import densified, is_sparse
from .writer import write

# These read nothing of a tensor but its shape.
_OF_SHAPES = {"RANK", "SHAPE"}
# Weights stay as they are stored, state stays state, and chance is not a constant.
_NEVER = {"DEQUANTIZE", "CALL", "CALL_ONCE", "CUSTOM", "IF", "WHILE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}
_NEVER |= {"HASHTABLE", "MULTINOMIAL", "RANDOM_STANDARD_NORMAL", "RANDOM_UNIFORM", "STABLEHLO_RNG_BIT_GENERATOR"}


def fold(graph: Graph, called: Sequence[Graph] = ()) -> Graph:
    """Return a graph in which what depends on no input is constant, and every tensor has the shape it has when run.

    For a dynamic batch, converters write SHAPE -> STRIDED_SLICE -> PACK -> RESHAPE and the like, and declare shapes
    full of ones behind it. Values and shapes are found out by running the graph once, at the batch it declares.
    Sparse constants become dense. ``graph`` stays as it is and shares its tensors with the result where nothing is
    known better; it is returned itself where there is nothing to find out, or where no interpreter runs it. ``called``
    are the subgraphs behind the primary one, where control flow finds them by their place.
    """
    folded = _independent(graph)
    dense = {tensor: densified(tensor) for tensor in graph.tensors if is_sparse(tensor)}
    open_sizes = any(-1 in (tensor.shape_signature or ()) for tensor in graph.tensors)
    if not folded and not dense and not open_sizes:
        return graph
    needed = [t for op in graph.ops if op not in folded for t in op.inputs if t is not None]
    results = {tensor for op in folded for tensor in op.outputs}
    boundary = [tensor for tensor in dict.fromkeys([*needed, *graph.outputs]) if tensor in results]
    try:
        values, shapes = _run(graph, boundary, called)
    except (RuntimeError, ValueError):
        return graph
    known = dense
    for tensor, value in values.items():
        if tensor not in graph.outputs:
            known[tensor] = Tensor(tensor.name, value.shape, tensor.dtype, tensor.quantization, value)
    for tensor, shape in shapes.items():
        if tensor not in known and not tensor.is_constant and shape != tensor.shape:
            known[tensor] = replace(tensor, shape=shape, shape_signature=None)
    if not known:
        return graph
    ops = [_with_tensors(op, known) for op in graph.ops if op not in folded or set(op.outputs) & set(graph.outputs)]
    tensors = [known.get(tensor, tensor) for tensor in graph.tensors]
    inputs, outputs = ([known.get(tensor, tensor) for tensor in side] for side in (graph.inputs, graph.outputs))
    return Graph(graph.name, tensors, inputs, outputs, ops, graph.extras)


def _independent(graph: Graph) -> set[Op]:
    """Return the ops whose results are the same for every input of the same shape."""
    known: set[Tensor] = set()
    ops = set()
    for op in graph.ops:
        fixed = all(tensor is None or tensor.is_constant or tensor in known for tensor in op.inputs)
        if op.code in _OF_SHAPES or (fixed and op.inputs and op.code not in _NEVER):
            ops.add(op)
            known.update(op.outputs)
    return ops


def _run(
    graph: Graph, wanted: list[Tensor], called: Sequence[Graph]
) -> tuple[dict[Tensor, NDArray[Any]], dict[Tensor, tuple[int, ...]]]:
    """Return the values of some tensors and the shapes of all, for an input of zeros."""
    watched = graph.copy(graph.name)
    watched.outputs = list(dict.fromkeys([*graph.outputs, *wanted]))
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # delegates keep shapes to themselves
    interpreter = Interpreter(
        model_content=write(Model([watched, *called])), num_threads=1, experimental_op_resolver_type=plain
    )
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    interpreter.invoke()
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    shapes = {
        tensor: tuple(int(size) for size in details[index]["shape"])
        for index, tensor in enumerate(watched.tensors)
        if index in details  # it leaves out what no op uses
    }
    positions = {tensor: index for index, tensor in enumerate(watched.tensors)}
    return {tensor: np.array(interpreter.get_tensor(positions[tensor])) for tensor in wanted}, shapes


def _with_tensors(op: Op, known: dict[Tensor, Tensor]) -> Op:
    if not any(tensor in known for tensor in (*op.inputs, *op.outputs) if tensor is not None):
        return op
    inputs = [None if tensor is None else known.get(tensor, tensor) for tensor in op.inputs]
    return replace(op, inputs=inputs, outputs=[known.get(tensor, tensor) for tensor in op.outputs])


def unfold(graph: Graph, entered: Graph, folded: Graph) -> dict[Tensor, Tensor]:
    """Put the ops of ``entered`` back in place of those of its ``folded`` twin; return where tensors went.

    An interpreter may run a size that is worked out and one that is written down with different kernels, whose sums
    differ in the last bit. What must answer exactly as the original does needs the original's ops.
    """
    pairs = zip(folded.tensors, entered.tensors, strict=True)
    back = {tensor: original for tensor, original in pairs if tensor is not original and not tensor.is_constant}
    own = {tensor for op in folded.ops for tensor in op.outputs}
    added = [_with_tensors(op, back) for op in graph.ops if not own.intersection(op.outputs)]
    graph.ops = [*entered.ops, *added]
    graph.tensors = list(dict.fromkeys([*entered.tensors, *(back.get(tensor, tensor) for tensor in graph.tensors)]))
    graph.inputs = [back.get(tensor, tensor) for tensor in graph.inputs]
    graph.outputs = [back.get(tensor, tensor) for tensor in graph.outputs]
    prune(graph)
    return back
