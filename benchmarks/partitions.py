"""What of a graph the interpreter runs itself, and in how many parts the delegate runs the rest."""

from __future__ import annotations

from collections import Counter

from ai_edge_litert.interpreter import Interpreter

DELEGATE = "DELEGATE"


def executed(interpreter: Interpreter) -> Counter[str]:
    """Return how often each op is run, once tensors are allocated: a part that the delegate took over is one op.

    The interpreter lists the ops that it gave away too. What is run is what its outputs are made from, with the
    delegate's parts, which stand last in the list, before the ops that they replace.
    """
    ops = interpreter._get_ops_details()
    producers = {int(tensor): place for place, op in enumerate(ops) for tensor in op["outputs"]}
    pending = [port["index"] for port in interpreter.get_output_details()]
    run: set[int] = set()
    while pending:
        place = producers.get(int(pending.pop()))
        if place is not None and place not in run:
            run.add(place)
            pending += [tensor for tensor in ops[place]["inputs"] if tensor >= 0]
    return Counter(ops[place]["op_name"] for place in run)
