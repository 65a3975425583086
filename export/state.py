"""State of streaming models: variables that one step leaves to the next, for explanations a constant of the step.

A step reads its variables (READ_VARIABLE) and assigns them anew (ASSIGN_VARIABLE). What is explained is a function of
the input *and* of what was read, which explanations are given as further inputs: they neither read a variable nor
assign one, so that they may come at any time, and as often as wanted, after the prediction they belong to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .errors import UnsupportedModelError
from .tflite.graph import Graph, Model, Op, Tensor, opaque_dtype
from .tflite.options import UnreadOptions

PREFIX = "state/"
_RESOURCE = opaque_dtype("RESOURCE")
_OF_VARIABLES = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"}
_HINT = "only variables that VAR_HANDLE names, READ_VARIABLE reads and ASSIGN_VARIABLE sets can be held fixed"


def variables(graph: Graph) -> dict[str, tuple[Op, Op]]:
    """Return the VAR_HANDLE and the READ_VARIABLE of each variable whose value a step starts from, by name.

    Raises :class:`UnsupportedModelError` naming the op where state is kept in another way.
    """
    handles: dict[Tensor, Op] = {}
    assigned: set[str] = set()
    found: dict[str, tuple[Op, Op]] = {}
    for position, op in enumerate(graph.ops):
        if op.code == "VAR_HANDLE":
            handles[op.output] = op
        elif op.code in {"READ_VARIABLE", "ASSIGN_VARIABLE"} and op.input(0) in handles:
            name = _name(handles[op.input(0)])
            if op.code == "ASSIGN_VARIABLE":
                assigned.add(name)
            elif name not in assigned:
                found.setdefault(name, (handles[op.input(0)], op))
        elif any(tensor is not None and tensor.dtype == _RESOURCE for tensor in (*op.inputs, *op.outputs)):
            raise UnsupportedModelError(f"op {position} {op.code} keeps state where it cannot be read", _HINT)
    return found


def detach(graph: Graph) -> Graph:
    """Return the step as a function of its input and its state: what variables hold before it are further inputs.

    These stand behind the graph's own inputs, called ``state/NAME``. Nothing is assigned, and what is read after it was
    assigned is what was assigned. A graph without variables is returned itself.
    """
    starts = variables(graph)
    if not any(op.code in _OF_VARIABLES for op in graph.ops):
        return graph
    names = {op.output: _name(op) for op in graph.ops if op.code == "VAR_HANDLE"}
    held = {
        name: replace(read.output, name=PREFIX + name, buffer=None, extras={}) for name, (_, read) in starts.items()
    }
    current = dict(held)
    instead: dict[Tensor, Tensor] = {}
    ops = []
    for op in graph.ops:
        inputs = [None if tensor is None else instead.get(tensor, tensor) for tensor in op.inputs]
        if op.code == "READ_VARIABLE":
            instead[op.output] = current[names[op.input(0)]]
        elif op.code == "ASSIGN_VARIABLE":
            current[names[op.input(0)]] = instead.get(op.input(1), op.input(1))
        elif op.code not in _OF_VARIABLES:
            ops.append(op if inputs == op.inputs else replace(op, inputs=inputs))
    states = list(held.values())
    outputs = [instead.get(tensor, tensor) for tensor in graph.outputs]
    return Graph(graph.name, [*graph.tensors, *states], [*graph.inputs, *states], outputs, ops, graph.extras)


def reader(graph: Graph, key: str) -> tuple[Graph, dict[str, Tensor]]:
    """Return a graph that reads the variables of ``graph`` and changes none, and its outputs by name.

    It begins as the step does, with setting them up (CALL_ONCE) if that has not been done.
    """
    starts = variables(graph)
    ops = [op for op in graph.ops if op.code == "CALL_ONCE"]
    for handle, read in starts.values():
        ops += [handle, read] if handle not in ops else [read]
    outputs = {PREFIX + name: read.output for name, (_, read) in starts.items()}
    tensors = list(dict.fromkeys(tensor for op in ops for tensor in op.outputs))
    return Graph(key, tensors, [], list(outputs.values()), ops), outputs


def check_calls(graph: Graph, model: Model) -> None:
    """Raise :class:`UnsupportedModelError` for control flow in ``graph`` that assigns variables.

    What it does cannot be left out of an explanation that runs it.
    """
    for position, op in enumerate(graph.ops):
        if op.code == "CALL_ONCE":
            continue
        for called in _called(op, model):
            if any(inner.code in _OF_VARIABLES for inner in called.ops):
                raise UnsupportedModelError(
                    f"op {position} {op.code} works with variables in subgraph {called.name!r}", _HINT
                )


def _called(op: Op, model: Model) -> Sequence[Graph]:
    """Return the subgraphs that an op runs, those they run in turn included."""
    reached: list[Graph] = []
    pending = [op]
    while pending:
        content = getattr(pending.pop().options, "content", None)
        for field, value in vars(content).items() if content is not None else ():
            if "ubgraph" in field and isinstance(value, int) and 0 <= value < len(model.graphs):
                called = model.graphs[value]
                if called not in reached:
                    reached.append(called)
                    pending += called.ops
    return reached


def _name(handle: Op) -> str:
    """Return what a VAR_HANDLE calls its variable: its shared name, behind its container where it has one."""
    content = handle.options.content if isinstance(handle.options, UnreadOptions) else None
    parts = [getattr(content, field, None) for field in ("container", "sharedName")]
    return "/".join(part.decode("utf-8", "replace") if isinstance(part, bytes) else part for part in parts if part)
