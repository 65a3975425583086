"""Recurrent layers written out step by step, in ops whose gradients are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..tflite.graph import Op, Quantization, Tensor
from ..tflite.ops import FLOAT, INT32, Builder
from ..tflite.options import (
    FullyConnectedOptions,
    PackOptions,
    SplitOptions,
    UnidirectionalSequenceLSTMOptions,
    UnpackOptions,
)
from .weights import Store, Weights

# Operands of UNIDIRECTIONAL_SEQUENCE_LSTM; gates are input, forget, cell, output.
LSTM_KERNELS = (1, 2, 3, 4)
LSTM_RECURRENT_KERNELS = (5, 6, 7, 8)
LSTM_BIASES = (12, 13, 14, 15)
LSTM_STATES = (18, 19)
_KEEP_NUM_DIMS_VERSION = 5


def unrolled_lstm(builder: Builder, op: Op, x: Tensor, weights_of: Callable[[Tensor], Weights], store: Store) -> Tensor:
    """Write an LSTM over the sequence ``x`` (float32, of the shape of the op's first operand) out, from zero state.

    Hochreiter & Schmidhuber 1997 with forget gates, as Keras has it: c_t = f c_{t-1} + i g, h_t = o tanh(c_t).
    ``weights_of`` returns the constant behind an operand. The result is every h_t, float32 like the op's output.
    """
    options = op.options
    assert isinstance(options, UnidirectionalSequenceLSTMOptions)
    time, units = 0 if options.time_major else 1, op.output.shape[-1]
    kernel, recurrent = (
        store(builder, _stacked([weights_of(op.input(index)) for index in part]), lambda values: values, 0, 1.0)
        for part in (LSTM_KERNELS, LSTM_RECURRENT_KERNELS)
    )
    bias = builder.constant(np.concatenate([weights_of(op.input(index)).values for index in LSTM_BIASES]))
    # What the inputs add to the gates does not wait for earlier steps: one product for all of them.
    dense = FullyConnectedOptions(keep_num_dims=True)
    shape = (*x.shape[:-1], 4 * units)
    driven = builder.op("FULLY_CONNECTED", [x, kernel, bias], shape, dense, version=_KEEP_NUM_DIMS_VERSION)
    cell: Tensor | None = None
    states: list[Tensor] = []
    for step in _unpacked(builder, driven, time):
        gates = builder.add(step, builder.fully_connected(states[-1], recurrent)) if states else step
        i, f, g, o = _split(builder, gates, 4)
        written = builder.mul(builder.op("LOGISTIC", [i], i.shape), builder.op("TANH", [g], g.shape))
        if cell is not None:
            written = builder.add(written, builder.mul(builder.op("LOGISTIC", [f], f.shape), cell))
        cell = _clipped(builder, written, options.cell_clip, len(states) + 1)
        states.append(builder.mul(builder.op("LOGISTIC", [o], o.shape), builder.op("TANH", [cell], cell.shape)))
    return builder.op("PACK", states, op.output.shape, PackOptions(len(states), time))


def _clipped(builder: Builder, cell: Tensor, limit: float, steps: int) -> Tensor:
    """Return a cell held within its limit; each step adds at most 1, so that the first few cannot reach it."""
    if not limit or steps <= limit:
        return cell
    return builder.maximum(builder.minimum(cell, builder.number(limit)), builder.number(-limit))


def _stacked(parts: Sequence[Weights]) -> Weights:
    """Return matrices one above the other, as the integers they are stored as, each row with its own scale."""
    stored = np.concatenate([part.stored for part in parts])
    if any(part.quantization is None for part in parts):
        if all(part.quantization is None for part in parts):
            return Weights(stored, None)
        return Weights(np.concatenate([part.values for part in parts]), None)
    scales: list[float] = []
    zeros: list[int] = []
    for part in parts:
        grid, rows = part.quantization, part.stored.shape[0]
        assert grid is not None
        scales += grid.scale if grid.per_channel else grid.scale * rows
        zeros += (grid.zero_point or (0,)) * (rows // max(len(grid.zero_point), 1))
    return Weights(stored, Quantization(tuple(scales), tuple(zeros), 0))


def _unpacked(builder: Builder, x: Tensor, axis: int) -> list[Tensor]:
    count = x.shape[axis]
    outputs = [builder.tensor("step", (*x.shape[:axis], *x.shape[axis + 1 :])) for _ in range(count)]
    builder.graph.ops.append(Op("UNPACK", [x], outputs, UnpackOptions(count, axis)))
    return outputs


def _split(builder: Builder, x: Tensor, parts: int) -> list[Tensor]:
    axis = len(x.shape) - 1
    outputs = [builder.tensor("part", (*x.shape[:-1], x.shape[-1] // parts), FLOAT) for _ in range(parts)]
    builder.graph.ops.append(Op("SPLIT", [builder.constant(axis, INT32), x], outputs, SplitOptions(parts)))
    return outputs
