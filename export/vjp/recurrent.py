"""Rules of recurrent layers."""

from __future__ import annotations

from ..numerics.emitter import Emitter
from ..numerics.gradient import Contribution, Value
from ..numerics.recurrent import unrolled_lstm
from ..tflite.graph import Op
from .backward import backward, rule


@rule("UNIDIRECTIONAL_SEQUENCE_LSTM")
def lstm(op: Op, upstream: Value, emit: Emitter) -> list[Contribution | None]:
    """h_t = o tanh(c_t), c_t = f c_{t-1} + i g from h_0 = c_0 = 0, hence ∂/∂x = ∂/∂h back through all steps."""
    x = emit.real(op.input(0))
    states = unrolled_lstm(emit.builder, op, x, emit.weights, emit.store)
    return list(backward(emit.builder.graph, {states: upstream}, [x], emit))
