"""What can be explained, decided before any work: a constraint's docstring is the message the user reads."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Any

from .errors import UnsupportedModelError
from .heads import Head
from .numerics.recurrent import LSTM_BIASES, LSTM_KERNELS, LSTM_RECURRENT_KERNELS, LSTM_STATES
from .tflite.admission import is_builtin
from .tflite.graph import Graph, Op, Tensor, between
from .tflite.ops import fused_activation
from .tflite.options import Activation, UnidirectionalSequenceLSTMOptions, UnreadOptions
from .vjp import GRADIENT
from .vjp.backward import NO_WAY_HINT


def is_no_loop(op: Op) -> bool:
    """Is a loop, which is not unrolled here: build the recurrent layer with unroll=True and convert it again."""
    return op.code != "WHILE"


def has_no_memory_of_inputs(op: Op) -> bool:
    """Has a memory of earlier inputs, which no other graph of the file can read."""
    return op.code != "SVDF"


def has_a_plain_cell(op: Op) -> bool:
    """Is an LSTM with other than four full gates, biases and tanh: peepholes, a projection, a normalisation."""
    if op.code != "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return True
    options = op.options
    given = {index for index, tensor in enumerate(op.inputs) if tensor is not None}
    plain = {0, *LSTM_KERNELS, *LSTM_RECURRENT_KERNELS, *LSTM_BIASES, *LSTM_STATES}
    return (
        isinstance(options, UnidirectionalSequenceLSTMOptions)
        and given == plain
        and options.fused_activation_function == Activation.TANH
        and not options.diagonal_recurrent_tensors
        and all(op.input(index).is_variable for index in LSTM_STATES)
    )


def has_a_rule(op: Op) -> bool:
    """Has no gradient rule."""
    return op.code in GRADIENT


def activation_has_a_rule(op: Op) -> bool:
    """Has a fused activation without a gradient rule."""
    activation = fused_activation(op)
    return activation == Activation.NONE or activation.name in GRADIENT


def has_known_options(op: Op) -> bool:
    """Has options of a newer schema than the installed LiteRT's."""
    return not isinstance(op.options, UnreadOptions)


def stays_real(op: Op) -> bool:
    """Has integers for a result, through which there is no gradient."""
    return all(t.dtype.kind == "b" or _is_real(t) for t in op.outputs)


def _is_real(tensor: Tensor) -> bool:
    return tensor.dtype.kind == "f" or (tensor.is_quantized and tensor.dtype.itemsize <= 2)


Constraint = Callable[[Op], bool]
CONSTRAINTS: tuple[Constraint, ...] = (
    is_no_loop,
    has_no_memory_of_inputs,
    has_a_plain_cell,
    has_a_rule,
    activation_has_a_rule,
    has_known_options,
    stays_real,
)


def message(constraint: Callable[..., bool]) -> str:
    """Return what a constraint says of an op that it refuses."""
    text = first_line(constraint).rstrip(".")
    return text[0].lower() + text[1:]


def first_line(function: Callable[..., Any]) -> str:
    """Return what a rule or constraint says of itself."""
    return (function.__doc__ or "").strip().splitlines()[0]


def takes_real(op: Op, moving: Container[Tensor]) -> bool:
    """Has integers for an operand, such as the ids of a look-up, at which there is no gradient."""
    return all(t is None or t not in moving or t.dtype.kind == "b" or _is_real(t) for t in op.inputs)


def check(graph: Graph, head: Head, targets: list[Tensor], *, runs: bool = True) -> None:
    """Raise :class:`UnsupportedModelError` for the first op between ``targets`` and the logits that bars the way.

    ``runs`` says whether an interpreter here runs the graph, or knows not all of its ops.
    """
    if not _is_real(head.scores):
        raise UnsupportedModelError(f"output {head.scores!r} holds no real numbers", "choose another with --output")
    for op in graph.ops:
        if not has_no_memory_of_inputs(op):  # wherever it is: a prediction and its explanation would remember apart
            raise UnsupportedModelError(
                described(graph, op, message(has_no_memory_of_inputs)),
                "a model that reads its whole window at once can be explained",
            )
    for target in targets:
        for op, why in barring(graph, head, target):
            raise UnsupportedModelError(
                f"{described(graph, op, why)}\n"
                f"  at tensor {op.output!r}; its result reaches output {head.scores.name!r} from {target.name!r}",
                NO_WAY_HINT,
            )
    if not runs:
        op = next(op for op in graph.ops if not is_builtin(op))
        raise UnsupportedModelError(
            f"op {graph.ops.index(op)} {op.custom_code or op.code} is known to no interpreter here",
            "explanations are checked on the whole model: convert it without the op",
        )


def barring(graph: Graph, head: Head, target: Tensor) -> Iterator[tuple[Op, str]]:
    """Yield the ops between ``target`` and the logits through which there is no gradient, and why."""
    path = between(graph, {target}, head.logits)
    moving = {target} | {tensor for op in path for tensor in op.outputs}
    for op in path:
        refusals = [constraint for constraint in CONSTRAINTS if not constraint(op)]
        if refusals or not takes_real(op, moving):
            yield op, message(refusals[0] if refusals else takes_real)


def described(graph: Graph, op: Op, why: str) -> str:
    """Return an op with its place in the graph, and what is said of it."""
    what = f"CUSTOM {op.custom_code!r}" if op.code == "CUSTOM" else op.code
    return f"op {graph.ops.index(op)} {what} {why}"


def can_be_explained(tensor: Tensor) -> bool:
    """Whether gradients can be taken at a tensor: real numbers, with a batch of one."""
    return _is_real(tensor) and len(tensor.shape) > 1 and tensor.shape[0] == 1
