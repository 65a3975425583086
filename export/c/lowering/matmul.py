"""Products of matrices of which neither needs to be a constant."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...tflite.graph import Op
from ...tflite.options import Activation, BatchMatMulOptions, FullyConnectedOptions
from ..arithmetic import bounds, grid, multiplier
from ..program import Constant, Parameters
from .broadcast import axes
from .registry import Unit, constant, int8, lowering, refuse

_LONGEST = 1 << 15
"""How many products of two int8 values, less their zero points, a sum of 32 bits holds."""


@lowering("BATCH_MATMUL")
def batch_matmul(op: Op, unit: Unit) -> None:
    """On int8, either operand constant or not, either one transposed, any broadcast of batches; at most 32,768 deep."""
    options = op.options
    assert isinstance(options, BatchMatMulOptions)
    x, right, y = op.input(0).shape, op.input(1).shape, op.output.shape
    int8(op, op.input(0), op.input(1), op.output)
    if min(len(x), len(right)) < 2:
        raise refuse(op, f"{list(x)} by {list(right)} is no product of matrices", "reshape the operands")
    depth, rows = x[-2:] if options.adj_x else x[:-3:-1]
    columns, inner = right[-2:] if options.adj_y else right[:-3:-1]
    if inner != depth or y[-2:] != (rows, columns):
        raise refuse(op, f"{list(x)} by {list(right)} does not make {list(y)}", "convert the model again")
    matrices = np.array([[1], [rows * depth], [depth * columns]], np.int32)
    batches = axes(op, x[:-2], right[:-2], y[:-2]) * matrices
    layout = {
        "rows": rows,
        "columns": columns,
        "depth": depth,
        "left_row": 1 if options.adj_x else depth,
        "left_step": rows if options.adj_x else 1,
        "right_column": depth if options.adj_y else 1,
        "right_step": 1 if options.adj_y else columns,
    }
    _multiply(op, unit, layout, batches)


def variable_weights(op: Op, unit: Unit) -> None:
    """Lower FULLY_CONNECTED with weights that are computed, or that have a zero point."""
    options = op.options
    assert isinstance(options, FullyConnectedOptions)
    outputs, depth = op.input(1).shape
    bias = op.inputs[2] if len(op.inputs) > 2 else None
    if bias is not None and bias.shape != (outputs,):
        raise refuse(op, f"bias {bias!r} is not one value for each of {outputs} outputs")
    layout = {
        "rows": int(np.prod(op.input(0).shape)) // depth,
        "columns": outputs,
        "depth": depth,
        "left_row": depth,
        "left_step": 1,
        "right_column": depth,
        "right_step": 1,
    }
    added = None if bias is None else unit.constant(constant(op, bias), np.int32, "bias")
    _multiply(op, unit, layout, axes(op, (), (), ()), added, options.fused_activation_function)


def _multiply(
    op: Op,
    unit: Unit,
    layout: Mapping[str, int],
    batches: NDArray[np.int32],
    bias: Constant | None = None,
    activation: Activation = Activation.NONE,
) -> None:
    left, right, y = op.input(0), op.input(1), op.output
    if layout["depth"] > _LONGEST:
        raise refuse(op, f"a sum of {layout['depth']:,} products does not fit in 32 bits", "split it")
    (left_scale, left_zero), (right_scale, right_zero), (out, out_zero) = grid(left), grid(right), grid(y)
    mantissa, shift = multiplier(left_scale * right_scale / out)
    lowest, highest = bounds(y, activation)
    fields = {"multiplier": mantissa, "shift": shift, "left_zero": left_zero, "right_zero": right_zero}
    fields |= {"out_zero": out_zero, "lowest": lowest, "highest": highest}
    parameters = Parameters("whylite_matmul", {"bias": bias, **layout, **fields})
    operands = (unit.value(left), unit.value(right), unit.value(y))
    macs = int(np.prod(y.shape)) * layout["depth"]
    if np.all(batches[0] == 1) and layout["left_step"] == layout["right_step"] == 1:
        unit.call("matmul", "whylite_multiply_runs", parameters, *operands, macs=macs)
    else:
        axes_of = unit.constant(batches, np.int32, "axes")
        unit.call("matmul", "whylite_multiply_matrices", parameters, axes_of, *operands, macs=macs)
