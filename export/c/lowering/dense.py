"""Matrix products."""

from __future__ import annotations

import numpy as np

from ...tflite.graph import Op
from ...tflite.options import FullyConnectedOptions
from ..arithmetic import bounds, grid, multipliers, scales
from ..program import Parameters, size_of
from . import cmsis_nn
from .convolution import constants, folded_bias
from .matmul import variable_weights
from .packing import MACRO, TAPS, filled_up, packed, packed_figures
from .registry import Unit, int8, lowering, refuse

_DEEPEST = 2048
"""Values of a row that are spread to int16 beside it; a longer one would take the most of a small model's arena."""


@lowering("FULLY_CONNECTED")
def fully_connected(op: Op, unit: Unit) -> None:
    """On int8; weights with a scale per tensor or per channel if they are constant, per tensor if they are computed."""
    options = op.options
    assert isinstance(options, FullyConnectedOptions)
    x, weights, y = op.input(0), op.input(1), op.output
    int8(op, x, weights, y)
    if options.weights_format:
        raise refuse(op, "its weights are shuffled", "convert the model again")
    outputs, depth = weights.shape
    rows = size_of(x) // depth
    if size_of(x) != rows * depth or size_of(y) != rows * outputs:
        raise refuse(op, f"{weights!r} do not lead from {x!r} to {y!r}")
    if weights.data is None or (weights.quantization is not None and any(weights.quantization.zero_point)):
        variable_weights(op, unit)
        return
    kernel = weights.data
    scale, zero = grid(x)
    out, out_zero = grid(y)
    lowest, highest = bounds(y, options.fused_activation_function)
    own = scales(weights, outputs)
    mantissas, shifts = multipliers(scale * s / out for s in own)
    figures = filled_up(folded_bias(op, kernel.sum(1, dtype=np.int64), zero), mantissas, shifts)
    quick = bool(kernel.min() >= -127 and depth <= _DEEPEST)
    special = packed_figures(kernel, figures) if quick else None
    parameters = Parameters(
        "whylite_dense",
        {
            "weights": unit.constant(kernel, np.int8, "weights", {MACRO: packed(kernel[:, None])} if quick else None),
            **constants(unit, figures, special),
            "rows": rows,
            "depth": depth,
            "outputs": outputs,
            "out_zero": out_zero,
            "lowest": lowest,
            "highest": highest,
        },
    )
    unit.call(
        "dense",
        "whylite_fully_connected_fast" if quick else "whylite_fully_connected",
        parameters,
        unit.value(x),
        unit.value(y),
        unit.scratch(2 * (-(-depth // TAPS) * TAPS) if quick else 0, cmsis_nn.window_bytes(depth)),
        macs=rows * outputs * depth,
    )
