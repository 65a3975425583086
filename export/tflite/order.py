"""The order of a graph's ops, from which interpreters make the parts that a delegate runs."""

from __future__ import annotations

from .graph import Graph, Op

# Picks a class's row of weights, which XNNPACK leaves to the interpreter.
_PICKS = {"GATHER", "ONE_HOT"}


def pick_class_first(graph: Graph) -> None:
    """Move the ops that pick weights by the class, and depend on nothing else, to the front of ``graph``.

    An interpreter cuts a graph into parts for itself and for the delegate by turns, each with all ops that are ready by
    then; whose turn is first, the first op decides. Picked between the forward and the backward pass, the row would cut
    the graph there, and every activation that the backward pass reads would go through the interpreter's memory.
    """
    producers = graph.producers()
    picks: dict[Op, bool] = {}

    def is_pick(op: Op) -> bool:
        if op not in picks:
            operands = [producers[tensor] for tensor in op.inputs if tensor in producers]
            code = _PICKS if operands else _PICKS | {"DEQUANTIZE"}
            picks[op] = op.code in code and all(map(is_pick, operands))
        return picks[op]

    first: dict[Op, None] = {}
    for op in graph.ops:
        if op.code in _PICKS and is_pick(op):
            first |= dict.fromkeys(producers[tensor] for tensor in op.inputs if tensor in producers)
            first[op] = None
    graph.ops = [*first, *(op for op in graph.ops if op not in first)]
