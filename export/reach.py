"""Where input gradients are taken: at the input, or at the first tensor that can be reached where the way is barred."""

from __future__ import annotations

from .errors import UnsupportedModelError
from .heads import Head
from .support import barring, can_be_explained, described
from .tflite.graph import Graph, Op, Tensor, between, reachable_from
from .vjp.backward import NO_WAY_HINT


def first_reachable(graph: Graph, head: Head) -> Tensor:
    """Return the tensor that gradients are taken at: the input, or the first one behind what bars the way to it.

    That is the first, in execution order, that everything the input does to the logits goes through, and from which
    there is a gradient all the way. What the input only decides (which words are padding, say) may go past it: see
    :func:`held_fixed`. Raises :class:`UnsupportedModelError` naming the op that bars the way where no tensor is like
    that.
    """
    barred = {op for op, _ in barring(graph, head, head.input)}
    if not barred and can_be_explained(head.input):
        return head.input
    carrying, carried = _carrying(graph, head)
    free = max((position for position, op in enumerate(carrying) if op in barred), default=0)
    last_read = {tensor: position for position, op in enumerate(carrying) for tensor in op.inputs if tensor is not None}
    waiting = {head.input}
    for position, op in enumerate(carrying):
        reached = carried.intersection(op.outputs) | waiting
        waiting = {tensor for tensor in reached if last_read.get(tensor, -1) > position}
        if position < free or len(waiting) != 1:
            continue
        (only,) = waiting
        if can_be_explained(only) and not any(barring(graph, head, only)):
            return only
    raise UnsupportedModelError(
        f"{obstacle(graph, head)};\n"
        f"  no tensor behind it carries all that reaches output {head.scores.name!r} from {head.input.name!r}",
        NO_WAY_HINT,
    )


def held_fixed(graph: Graph, head: Head, start: Tensor) -> tuple[Tensor, ...]:
    """Return what goes past ``start`` from the input to the logits: decisions, through which there is no gradient.

    Padding masks are like that: comparisons of ids, used wherever positions are averaged or attended to.
    """
    behind = reachable_from(graph, {start})
    from_input = reachable_from(graph, {head.input})
    path = between(graph, {start}, head.logits)
    past = (t for op in path for t in op.inputs if t is not None and t in from_input and t not in behind)
    return tuple(dict.fromkeys(past))


def obstacle(graph: Graph, head: Head) -> str:
    """Return what bars the way to the input last, where :func:`first_reachable` is another tensor."""
    carrying, _ = _carrying(graph, head)
    for op, why in reversed(list(barring(graph, head, head.input))):
        if op in carrying:
            return f"{described(graph, op, why)}, at tensor {op.output!r}"
    return f"input {head.input!r} has no batch dimension"


def _carrying(graph: Graph, head: Head) -> tuple[list[Op], set[Tensor]]:
    """Return the ops from the input to the logits that hand on more than decisions, and what they hand on."""
    carried = {head.input}
    ops = []
    for op in between(graph, {head.input}, head.logits):
        handed_on = [tensor for tensor in op.outputs if tensor.dtype.kind != "b"]
        if handed_on and carried.intersection(op.inputs):
            ops.append(op)
            carried.update(handed_on)
    return ops, carried
