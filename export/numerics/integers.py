"""Integer gradients: the backward walk in int8, for processors whose float arithmetic is slow or missing.

The walk is emitted in float32 first, along the model's own integer forward pass. Calibration inputs then show how
large each gradient gets, and the ops between the first mask and the last kernel are replaced by their int8 twins on
symmetric grids of that size. Masks are int8 already (0 or 127), and multiplying by one is exact. What is summed over
interpolation steps, and what is returned, stays float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tflite.graph import Graph, Op, Quantization, Tensor, reachable_from
from ..tflite.ops import FLOAT, INT8, INT32, Builder, declared_activation, prune
from ..tflite.options import Activation
from . import peaks as observed
from .equalize import LAYOUT, equalizing_scales
from .hybrid import SMALLEST_SCALE, use_hybrid_convolutions
from .peaks import Calibration

Array = NDArray[np.float64]

# Where the output and the input channels of a kernel's weights lie.
_OUTPUT_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}
_INPUT_AXIS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 1}
_ELEMENTWISE = {"ADD", "MUL", "SUB"}
_COMPARING = {"GREATER_EQUAL", "TOPK_V2"}
_SYMMETRIC = 127
# XNNPACK refuses a graph in which a kernel's scales over its result's leave 2**-32 to 2**8, a sum's 2**-10 to 2**8.
_LARGEST_RATIO, _SMALLEST_RATIO, _SMALLEST_ADDEND = 2.0**6, 2.0**-30, 2.0**-9
_REQUANTIZING = 2.0**6


def use_integers(
    graph: Graph, inputs: Mapping[str, Tensor], outputs: dict[str, Tensor], calibration: Calibration | None
) -> None:
    """Let the walk from ``class_index`` to ``map`` run in int8 as far as its ops can, in place."""
    if calibration is None:
        raise ValueError("integer gradients need calibration")
    region = _region(graph, inputs, outputs)
    _level_classes(graph, region, inputs, outputs, calibration.classes)
    operands = {t for op in region for t in (*op.inputs, op.output) if t is not None and t.dtype == FLOAT and t.shape}
    wanted = [tensor for tensor in graph.tensors if tensor in operands and not tensor.is_constant]
    if wanted:
        peaks = observed.find(graph, inputs, wanted, calibration)
        undone = _late(graph, inputs, outputs)
        Lowering(graph, region, peaks, equalizing_scales(graph, region, peaks, undone)).run()
    use_hybrid_convolutions(graph)
    prune(graph)


def _region(graph: Graph, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> list[Op]:
    """Return the ops to run in int8."""
    float_ = _late(graph, inputs, outputs) | _deciding(graph)
    walk = reachable_from(graph, {inputs["class_index"]})
    return [op for op in graph.ops if op.output not in float_ and _has_a_twin(op, walk)]


def _deciding(graph: Graph) -> set[Tensor]:
    """Return what is only compared: rounded to one grid for all inputs, a quiet one's values would all be alike."""
    readers: dict[Tensor, list[Op]] = {}
    for op in graph.ops:
        for tensor in op.inputs:
            if tensor is not None:
                readers.setdefault(tensor, []).append(op)
    deciding: set[Tensor] = set()
    for op in reversed(graph.ops):
        if all(reader.code in _COMPARING or reader.output in deciding for reader in readers.get(op.output, [op])):
            deciding.add(op.output)
    return deciding


def _late(graph: Graph, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> set[Tensor]:
    """Return what stays float: sums over steps, and what comes of the last kernel."""
    weighted = reachable_from(graph, {inputs["weights"]}) if "weights" in inputs else set()
    return weighted | _last_kernel(graph, outputs["map"])


def _level_classes(
    graph: Graph, region: Sequence[Op], inputs: Mapping[str, Tensor], outputs: dict[str, Tensor], classes: int
) -> None:
    """Start every class's walk at the same size, and give the map its own back: the walk is linear in its seeds.

    The weights of one class may be many times those of another, and one grid must do for all.
    """
    own = {inputs["class_index"]}
    of_inputs = reachable_from(graph, set(inputs.values()) - own)
    made = {op.output for op in region}
    walk = reachable_from(graph, own)
    read = dict.fromkeys(t for op in region for t in op.inputs if t in walk and t not in made)
    seeds = [tensor for tensor in read if tensor is not None and tensor not in of_inputs]
    if not seeds or any(tensor in of_inputs for tensor in read if tensor is not None):
        return
    sizes = observed.size_of_classes(observed.of_classes(graph, inputs["class_index"], seeds, classes))
    loudness = np.where(sizes > 0, sizes, 1.0)
    builder = Builder(graph, "level/")
    position = max(number for number, op in enumerate(graph.ops) if op.output in seeds) + 1
    later, graph.ops = graph.ops[position:], graph.ops[:position]
    levelled = {}
    for seed in seeds:
        quiet = builder.gather(builder.constant(1 / loudness), inputs["class_index"])
        levelled[seed] = builder.mul(seed, builder.reshape(quiet, (1,) * len(seed.shape)))
    graph.ops += later
    for op in region:
        op.inputs = [tensor if tensor is None else levelled.get(tensor, tensor) for tensor in op.inputs]
    plain = outputs["map"]
    loud = builder.gather(builder.constant(loudness), inputs["class_index"])
    outputs["map"] = builder.mul(plain, builder.reshape(loud, (1,) * len(plain.shape)))
    graph.outputs = [outputs["map"] if tensor is plain else tensor for tensor in graph.outputs]


def _last_kernel(graph: Graph, output: Tensor) -> set[Tensor]:
    """Return the results from the last kernel to the output, which stay float: an explanation consists of them."""
    tail = {output}
    for op in reversed(graph.ops):
        if op.output in tail and op.code not in _OUTPUT_AXIS:
            tail.update(tensor for tensor in op.inputs if tensor is not None and tensor.dtype == FLOAT)
    return tail


def _has_a_twin(op: Op, walk: set[Tensor]) -> bool:
    """Whether an op is on the walk and computes the same on symmetric int8 grids."""
    operands = [tensor for tensor in op.inputs if tensor is not None]
    if op.output.dtype != FLOAT or op.input(0).dtype != FLOAT or declared_activation(op) != Activation.NONE:
        return False
    if op.code in _OUTPUT_AXIS:
        bias = op.inputs[2] if len(op.inputs) > 2 else None
        silent = bias is None or (bias.data is not None and not bias.data.any())
        return operands[0] in walk and operands[1] not in walk and silent
    if op.code in _ELEMENTWISE:
        return any(tensor in walk for tensor in operands) and all(tensor.shape for tensor in operands)
    return op.code in LAYOUT and all(tensor in walk for tensor in operands if tensor.dtype == FLOAT)


class Lowering:
    """Writes a graph's ops anew, those of the region in int8; ``stored`` says what is held as int8, and where.

    ``scales`` says by what the channels of a tensor are multiplied before they are stored; those that are read or
    written by float ops have none.
    """

    def __init__(
        self, graph: Graph, region: Sequence[Op], peaks: Mapping[Tensor, Array], scales: Mapping[Tensor, Array]
    ) -> None:
        self.graph = graph
        self.region = set(region)
        self.peaks = peaks
        self.scales = scales
        self.unpacked = graph.producers()
        self.stored: dict[Tensor, Tensor] = {}
        self.pending: set[Tensor] = set()  # stored, but not as floats
        self.readers = Counter(tensor for op in graph.ops for tensor in op.inputs)
        self.builder = Builder(graph, "int8/")

    def run(self) -> None:
        """Rewrite the graph, in place."""
        ops, self.graph.ops = self.graph.ops, []
        for op in ops:
            if op in self.region:
                self.stored[op.output] = self._twin(op)
                self.pending.add(op.output)
                continue
            if op.code == "DEQUANTIZE" and op.input(0).dtype == INT8 and not op.input(0).is_constant:
                self.stored[op.output] = op.input(0)
            for tensor in op.inputs:
                if tensor in self.pending:
                    self._unpack(tensor, op)
            self.graph.ops.append(op)
        for tensor in self.graph.outputs:
            if tensor in self.pending:
                self._unpack(tensor, None)

    def _unpack(self, tensor: Tensor, reader: Op | None) -> None:
        """Make floats of what a float op reads and undo its scales: in a small factor, where it has one to itself."""
        self.pending.remove(tensor)
        real = self.builder.dequantize(self.stored[tensor])
        if tensor not in self.scales:
            self.graph.ops[-1].outputs = [tensor]
            return
        undo = self.builder.constant((1 / self.scales[tensor]).reshape((1,) * (len(tensor.shape) - 1) + (-1,)))
        alone = self.readers[tensor] == 1 and reader is not None and reader.code == "MUL"
        if alone and reader is not None and reader.input(0) is tensor and reader.input(1).shape[-1] == 1:
            reader.inputs[:] = [real, self.builder.mul(reader.input(1), undo)]
            return
        self.builder.mul(real, undo)
        self.graph.ops[-1].outputs = [tensor]

    def _twin(self, op: Op) -> Tensor:
        if op.code in _OUTPUT_AXIS:
            return self._kernel(op)
        if op.code in _ELEMENTWISE:
            left, right = (self._operand(op.input(place)) for place in (0, 1))
            if op.code == "MUL":
                return self._emit(op, [left, right], self._product_grid(op, left, right))
            grid = self._grid(op.output, max(_scale_of(left), _scale_of(right)))
            coarse = Quantization((grid.scale[0] * _SMALLEST_ADDEND,), (0,))
            addends = [self._on(coarse, t) if _scale_of(t) < coarse.scale[0] else t for t in (left, right)]
            return self._emit(op, addends, grid)
        operands = [
            self._operand(tensor) if tensor is not None and tensor.dtype == FLOAT else tensor for tensor in op.inputs
        ]
        grid = max((_grid_of(t) for t in operands if t is not None and t.dtype == INT8), key=lambda grid: grid.scale[0])
        same = [self._on(grid, t) if t is not None and t.dtype == INT8 else t for t in operands]
        return self._emit(op, same, grid)

    def _on(self, grid: Quantization, tensor: Tensor) -> Tensor:
        """Return an int8 tensor on another grid."""
        ratio = _scale_of(tensor) / grid.scale[0]
        if ratio == 1:
            return tensor
        near = 1 / _REQUANTIZING <= ratio <= _REQUANTIZING
        return self.builder.quantize(tensor if near else self.builder.dequantize(tensor), grid)

    def _emit(self, op: Op, operands: Sequence[Tensor | None], grid: Quantization) -> Tensor:
        return self.builder.op(op.code, operands, op.output.shape, op.options, quantization=grid)

    def _operand(self, tensor: Tensor) -> Tensor:
        """Return a float tensor as int8."""
        if tensor not in self.stored:
            if tensor.data is not None:
                peak = float(np.abs(tensor.data).max())
                grid = _symmetric(peak)
                values = np.rint(tensor.data / grid.scale[0])
                self.stored[tensor] = self.builder.constant(values, INT8, grid)
            else:
                self.stored[tensor] = self.builder.quantize(tensor, self._grid(tensor))
        return self.stored[tensor]

    def _grid(self, tensor: Tensor, unit: float = 0.0) -> Quantization:
        """Return the symmetric grid on which everything that calibration showed of a tensor fits.

        ``unit`` is what the integers it is computed from count: a much finer grid says nothing more.
        """
        peak = float((self.peaks[tensor] * self.scales.get(tensor, 1.0)).max())
        return _symmetric(max(peak, unit * _SYMMETRIC / _LARGEST_RATIO))

    def _product_grid(self, op: Op, left: Tensor, right: Tensor) -> Quantization:
        """Return the grid of a product: that of the gradient where the other is a mask, which makes it exact."""
        unit = _scale_of(left) * _scale_of(right)
        needed = self._grid(op.output, unit)
        return needed if needed.scale[0] < unit * _SYMMETRIC / 2 else _symmetric(unit * _SYMMETRIC**2)

    def _kernel(self, op: Op) -> Tensor:
        x = self._operand(op.input(0))
        values, axis = self._weights(op), _OUTPUT_AXIS[op.code]
        grid = self._grid(op.output, _scale_of(x) * _largest_scale(values))
        smallest = grid.scale[0] / _scale_of(x) * _SMALLEST_RATIO
        weights = self.builder.constant(*_rounded(values, axis if op.code != "FULLY_CONNECTED" else None, smallest))
        scales = tuple(_scale_of(x) * scale for scale in _grid_of(weights).scale)
        bias = None
        if op.code != "FULLY_CONNECTED":
            zeros = np.zeros(weights.shape[axis], np.int32)
            bias = self.builder.constant(zeros, INT32, Quantization(scales, (0,) * len(scales), 0))
        return self._emit(op, [x, weights, bias], grid)

    def _weights(self, op: Op) -> Array:
        """Return a kernel's weights with the scales of its channels in them."""
        source = op.input(1)
        if source.data is None:
            source = self.unpacked[source].input(0)
        incoming, outgoing = self.scales.get(op.input(0)), self.scales.get(op.output)
        values = source.real()
        if incoming is not None:
            values = values / _along(incoming, _INPUT_AXIS[op.code], values.shape)
        if outgoing is not None:
            values = values * _along(outgoing, _OUTPUT_AXIS[op.code], values.shape)
        return values


def _along(scales: Array, axis: int, shape: Sequence[int]) -> Array:
    """Return scales of channels, repeated to as many as there are, in a shape that multiplies weights."""
    repeated = np.tile(scales, shape[axis] // len(scales))
    return repeated.reshape([-1 if position == axis else 1 for position in range(len(shape))])


def _largest_scale(values: Array) -> float:
    return float(np.abs(values).max()) / _SYMMETRIC


def _rounded(values: Array, axis: int | None, smallest: float) -> tuple[NDArray[Any], np.dtype[Any], Quantization]:
    """Return values rounded onto a symmetric grid per channel along ``axis`` (or one for all), type and grid.

    Grids are no finer than ``smallest``. Weights that lie on such a grid already stay what they are.
    """
    others = tuple(position for position in range(values.ndim) if position != axis)
    largest = np.abs(values).max(axis=others if axis is not None else None, keepdims=True)
    floor = max(smallest, float(largest.max()) / _SYMMETRIC * SMALLEST_SCALE, float(np.finfo(np.float32).tiny))
    scale = np.maximum(largest / _SYMMETRIC, floor).astype(np.float32)
    stored = np.clip(np.rint(values / scale), -_SYMMETRIC, _SYMMETRIC)
    return stored, INT8, Quantization(tuple(scale.ravel().tolist()), (0,) * scale.size, axis or 0)


def _symmetric(peak: float) -> Quantization:
    """Return the grid of 255 values between plus and minus ``peak``; some grid where there is nothing to hold."""
    return Quantization((float(np.float32(peak / _SYMMETRIC if peak else 1.0)),), (0,))


def _grid_of(tensor: Tensor) -> Quantization:
    assert tensor.quantization is not None
    return tensor.quantization


def _scale_of(tensor: Tensor) -> float:
    return _grid_of(tensor).scale[0]


__all__ = ["Calibration", "Lowering", "use_integers"]
