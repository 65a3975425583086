"""Layer-wise relevance propagation (LRP) as tables for the same walk: the rules that all its variants share.

What flows back is c = R / a, the relevance of a value over the value: times the input, it is the relevance there. An op
that shares relevance in proportion to what each operand contributes, R_i = sum_j x_i J_ji R_j / y_j, hands c on as it
hands on a gradient, with no division, and a bias keeps its share because nothing hands it on. An activation passes its
relevance on whole, so c is multiplied by f(x)/x (Ancona et al. 2018, arXiv 1711.06104, prop. 1). What is left to the
variants are the layers with weights.

The walk goes over a graph whose activations are ops of their own (:func:`export.numerics.twin.unfused`), for shares are
those of what a layer computes before its activation.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import UnsupportedModelError
from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Value
from ..tflite.graph import Graph, Op, Tensor
from ..tflite.ops import elements
from .backward import AFFINE, GRADIENT, OTHER_METHOD_HINT, Rule, Rules

WEIGHTED = ("BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
"""The layers with weights."""

# Their results grow as their operands do for as long as no kink is crossed: f(x)/x is the gradient.
_HOMOGENEOUS = {"ABS", "LEAKY_RELU", "MAXIMUM", "MAX_POOL_2D", "MINIMUM", "PRELU", "REDUCE_MAX", "REDUCE_MIN", "RELU"}
_HOMOGENEOUS |= {"SELECT", "SELECT_V2"}
# What decides has no gradient and takes no relevance.
_DECISIONS = {"ARG_MAX", "ARG_MIN", "CEIL", "EQUAL", "FLOOR", "FLOOR_DIV", "GREATER", "GREATER_EQUAL", "LESS"}
_DECISIONS |= {"LESS_EQUAL", "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "NOT_EQUAL", "ONE_HOT", "REDUCE_ALL"}
_DECISIONS |= {"REDUCE_ANY", "ROUND", "SIGN", "ZEROS_LIKE"}
# What bounds a factor makes it a gate, and what normalises is one, whichever of the others come after it.
_MAKE_GATES = {"LOGISTIC", "RELU6", "RELU_0_TO_1", "RSQRT", "SOFTMAX"}
_STILL_A_GATE = {"ADD", "EXPAND_DIMS", "MUL", "RESHAPE", "SPLIT", "SPLIT_V", "SQUEEZE", "SUB", "UNPACK"}
# A value smaller than this hands on less than its relevance, instead of a quotient that is not finite.
_NOTHING = 1e-6

_SHARED: dict[str, Rule] = {code: GRADIENT[code] for code, operands in AFFINE.items() if operands}
_SHARED |= {code: GRADIENT[code] for code in _HOMOGENEOUS | _DECISIONS}


def relevance(kind: str, weighted: Rule) -> Rules:
    """Return the table of a variant: ``weighted`` is its rule for layers with weights."""

    def by_weights(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
        if op.code == "BATCH_MATMUL" and emit.constant(op.input(1)) is None:
            raise _refused(kind, op, "multiplies two activations")
        return list(weighted(op, upstream, emit))

    by_weights.__doc__ = weighted.__doc__
    return Rules(kind, _SHARED | dict.fromkeys(WEIGHTED, by_weights))


def _shared(*codes: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        _SHARED.update(dict.fromkeys(codes, function))
        return function

    return register


@_shared("ELU", "GELU", "HARD_SWISH", "LOGISTIC", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "TANH")
@_shared("L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION")
def passed_on(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = f(x), hence R_x = R_y, element by element; what x is normalised by takes none."""
    build, x, y = emit.builder, op.input(0), op.output
    squares = build.maximum(build.mul(x, x), build.number(_NOTHING**2))
    return [emit.times(upstream, build.div(build.mul(x, y), squares))]


@_shared("MUL", "DIV")
def product(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """y = x g or x / g, hence R_x = R_y: a gate, a constant and what divides take none."""
    signal = signal_of(op, emit.builder.graph)
    gradients = GRADIENT[op.code](op, upstream, emit)
    return [gradient if place == signal else None for place, gradient in enumerate(gradients)]


def signal_of(op: Op, graph: Graph) -> int:
    """Return which operand of a product is the signal, the other being a constant, a gate or a divisor.

    A gate comes of what bounds it (a sigmoid, as in LSTM and swish) or normalises (a layer's own deviation), or is
    broadcast over the signal (squeeze and excitation). Raises :class:`UnsupportedModelError` where that tells nothing.
    """
    if op.code == "DIV":
        return 0
    producers = graph.producers()
    for is_factor in (_is_constant, _is_gate):
        factors = [is_factor(tensor, producers) for tensor in (op.input(0), op.input(1))]
        if factors[0] != factors[1]:
            return int(factors[0])
    sizes = [elements(op.input(place).shape) for place in (0, 1)]
    if sizes[0] == sizes[1]:
        raise _refused("LRP", op, "multiplies two activations, neither of which is a gate")
    return int(sizes[1] > sizes[0])


def _refused(kind: str, op: Op, why: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"op {op.code} has no {kind} rule: it {why}\n  at tensor {op.output!r}", OTHER_METHOD_HINT
    )


def _is_constant(tensor: Tensor, producers: dict[Tensor, Op]) -> bool:
    made = producers.get(tensor)
    return tensor.is_constant or (made is not None and made.code == "DEQUANTIZE" and made.input(0).is_constant)


def _is_gate(tensor: Tensor, producers: dict[Tensor, Op]) -> bool:
    while tensor in producers:
        op = producers[tensor]
        if op.code in _MAKE_GATES:
            return True
        moving = [t for t in op.inputs if t is not None and t.dtype.kind == "f" and not _is_constant(t, producers)]
        if op.code not in _STILL_A_GATE or len(moving) != 1:
            return False
        (tensor,) = moving
    return False
