"""A float walk over an int8 graph, all of it in int8: no op of it may compute on anything else.

What depends on the class alone (the rows of a classifier's weights, and all that an affine head makes of them) is
computed here for every class and stored as a table, each class's row as large as the others': the weights of one class
may be many times those of another, and one int8 grid must do for all. What follows is linear in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedModelError
from ..numerics import peaks as observed
from ..numerics.equalize import LAYOUT, equalizing_scales
from ..numerics.integers import Lowering
from ..numerics.peaks import Calibration
from ..support import described
from ..tflite.graph import Graph, Op, Quantization, Tensor, reachable_from
from ..tflite.ops import FLOAT, INT8, Builder, declared_activation, prune
from ..tflite.options import Activation
from . import shortcut

Array = NDArray[np.float64]

_ELEMENTWISE = {"ADD", "MUL", "SUB"}
_KERNELS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
_REDUCTIONS = {"MEAN", "SUM"}
_LEVELS = 127
_UNHURRIED = float("inf")  # grids are to be the same whatever else the machine does
HINT = "choose another --layer, or export it for --target pi"


def lower(
    graph: Graph, x: Tensor, index: Tensor, maps: Sequence[Tensor], calibration: Calibration
) -> tuple[list[Tensor], Array]:
    """Let the float ``maps`` be computed in int8, in place; return them so, and the unit of each class.

    What the graph gives already, it gives still; a map's real values times the unit of its class are the float map's.
    ``calibration`` gives inputs as ``x`` stores them. Raises :class:`UnsupportedModelError` naming the op that has no
    int8 twin.
    """
    given = {"x": x, "class_index": index}
    kept = graph.outputs
    graph.inputs, graph.outputs = [x, index], [*kept, *maps]
    units = _tabulate(graph, x, index, calibration.classes)
    maps = graph.outputs[len(kept) :]
    for op in list(graph.ops):
        if _is_product(op):
            shortcut.take(graph, op.input(1))
    prune(graph)
    region = [op for op in graph.ops if op.output.dtype == FLOAT and op.code != "DEQUANTIZE"]
    for op in region:
        _check(graph, op)
    read = {tensor for op in region for tensor in (*op.inputs, op.output) if tensor is not None}
    wanted = [t for t in graph.tensors if t in read and t.dtype == FLOAT and t.shape and not t.is_constant]
    peaks = observed.find(graph, given, wanted, calibration, _UNHURRIED) if wanted else {}
    levelled = [op for op in region if not _is_product(op)]  # what products multiply is as it is
    lowering = _Whole(graph, region, peaks, equalizing_scales(graph, levelled, peaks, set()))
    graph.outputs = kept
    lowering.run()
    found = [lowering.stored[tensor] for tensor in maps]
    graph.outputs = [*kept, *found]
    prune(graph)
    return found, units


def _tabulate(graph: Graph, x: Tensor, index: Tensor, classes: int) -> Array:
    """Replace what depends on the class alone by rows of int8 tables; return by what each class's were divided."""
    of_input, of_class = reachable_from(graph, {x}), reachable_from(graph, {index})
    alone = of_class - of_input - {index}
    readers = [op for op in graph.ops if op.output in of_input and alone.intersection(op.inputs)]
    read = [tensor for op in readers for tensor in op.inputs] + graph.outputs
    seeds = list(dict.fromkeys(tensor for tensor in read if tensor in alone and tensor is not None))
    if not seeds:
        return np.ones(classes)
    tables = observed.of_classes(graph, index, seeds, classes)
    sizes = observed.size_of_classes(tables)
    units = np.where(sizes > 0, sizes, 1.0)
    builder = Builder(graph, "class/")
    position = min((graph.ops.index(op) for op in readers), default=len(graph.ops))
    later, graph.ops = graph.ops[position:], graph.ops[:position]
    rows = {
        seed: _row(builder, table.reshape(classes, -1) / units[:, None], index, seed.shape)
        for seed, table in zip(seeds, tables, strict=True)
    }
    graph.ops += later
    for op in readers:
        op.inputs = [None if tensor is None else rows.get(tensor, tensor) for tensor in op.inputs]
    graph.outputs = [rows.get(tensor, tensor) for tensor in graph.outputs]
    return units


def _row(builder: Builder, table: Array, index: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a class's row of ``table`` ``[classes, n]``, real values of an int8 tensor of ``shape``."""
    peak = float(np.abs(table).max())
    grid = Quantization((float(np.float32(peak / _LEVELS if peak else 1.0)),), (0,))
    stored = builder.constant(np.rint(table / grid.scale[0]), INT8, grid)
    return builder.dequantize(builder.reshape(builder.gather(stored, index), shape))


def _is_product(op: Op) -> bool:
    """Whether an op multiplies features by weights that are computed too."""
    return op.code == "FULLY_CONNECTED" and op.output.dtype == FLOAT and op.input(1).data is None


def _check(graph: Graph, op: Op) -> None:
    """Refuse an op of the walk that :class:`_Whole` has no twin of."""
    if op.code in _KERNELS:
        dynamic = _is_product(op)
        activations = {Activation.NONE, Activation.RELU} if dynamic else {Activation.NONE}
        bias = op.inputs[2] if len(op.inputs) > 2 else None
        silent = bias is None or (bias.data is not None and not bias.data.any())
        fits = silent and declared_activation(op) in activations and (dynamic or op.input(1).is_constant)
    else:
        known = op.code in _ELEMENTWISE or op.code in _REDUCTIONS or op.code in LAYOUT
        fits = known and declared_activation(op) == Activation.NONE
    if not fits:
        raise UnsupportedModelError(
            f"an explanation needs an op that target micro cannot compute in int8\n"
            f"  {described(graph, op, 'of the walk back to the explained layer')}, at tensor {op.output!r}",
            HINT,
        )


class _Whole(Lowering):
    """A lowering that leaves nothing in float: reductions and products of two results are int8 too."""

    def _twin(self, op: Op) -> Tensor:
        if _is_product(op):
            return self._product(op)
        if op.code in _REDUCTIONS:
            return self._emit(op, [self._operand(op.input(0)), op.input(1)], self._grid(op.output))
        return super()._twin(op)

    def _product(self, op: Op) -> Tensor:
        """Return features times weights of which both are computed, what is positive of it on all 256 levels."""
        operands = [self._operand(op.input(0)), self._operand(op.input(1)), None]
        grid = self._grid(op.output)
        if declared_activation(op) == Activation.RELU:
            grid = Quantization((float(np.float32(grid.scale[0] * _LEVELS / 255)),), (-128,))
        return self._emit(op, operands, grid)

    def _on(self, grid: Quantization, tensor: Tensor) -> Tensor:
        return tensor if tensor.quantization == grid else self.builder.quantize(tensor, grid)
