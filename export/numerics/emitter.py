"""Writes gradients as float32 TFLite ops. Rules say the mathematics; what a value costs to store is decided here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnsupportedModelError
from ..tflite.graph import Quantization, Tensor
from ..tflite.ops import FLOAT, INT8, INT32, Builder, elements, starts_at_zero
from ..tflite.options import Activation, MulOptions, OneHotOptions, SubOptions
from .gradient import Contribution, Deferred, Gradient, OneHot, Value
from .weights import Store, Weights

# A positive activation cut down to this is a mask of {0, _TINY}: one MINIMUM, which XNNPACK runs, and exact for every
# activation that is not itself a denormal's neighbour.
_TINY = float(np.float32(1e-12))
# Masks in a row without a kernel between them multiply; beyond this their product is scaled back before it underflows.
_SMALLEST_FACTOR = 1e-18
# Up to this many weights are unpacked once, when the graph is prepared; of more, only the chosen row at each call.
_SMALL_MATRIX = 1 << 12
_REARRANGEMENTS = {"DEPTH_TO_SPACE", "SLICE"}


class Emitter:
    """Emits backward ops into ``builder``'s graph; constants go through ``store``."""

    def __init__(self, builder: Builder, store: Store) -> None:
        self.builder = builder
        self.store = store
        self._reals: dict[Tensor, Tensor] = {}
        self._masks: dict[tuple[Tensor, float, float | None], Gradient] = {}

    # What the forward graph holds

    def weights(self, tensor: Tensor) -> Weights:
        """Return the constant behind ``tensor``; refuses what is computed at run time."""
        return Weights.of(self._constant(tensor, "weights"))

    def integers(self, tensor: Tensor) -> NDArray[np.int64]:
        """Return the values of a constant index or size operand."""
        return np.asarray(self._constant(tensor, "an index or size").data, np.int64)

    def _constant(self, tensor: Tensor, role: str) -> Tensor:
        constant = self.constant(tensor)
        if constant is None:
            raise UnsupportedModelError(
                f"tensor {tensor!r}, {role} of an op, is computed at run time",
                "only ops with constant operands there can be differentiated",
            )
        return constant

    def constant(self, tensor: Tensor) -> Tensor | None:
        """Return the constant tensor behind ``tensor``, or None where its value depends on the input."""
        if tensor.is_constant:
            return tensor
        producer = next((op for op in self.builder.graph.ops if tensor in op.outputs), None)
        if producer is not None and producer.code == "DEQUANTIZE" and producer.input(0).is_constant:
            return producer.input(0)
        return None

    def real(self, tensor: Tensor) -> Tensor:
        """Return a float32 view of an activation."""
        if tensor.dtype == FLOAT:
            return tensor
        if tensor not in self._reals:
            self._reals[tensor] = self.builder.dequantize(tensor)
        return self._reals[tensor]

    # Gradients

    def sum(self, contributions: Sequence[Contribution]) -> Value:
        """Return the sum of what reached a tensor over all paths, with one factor."""
        if len(contributions) == 1 and isinstance(contributions[0], OneHot):
            return contributions[0]
        values = [self.dense(part) if isinstance(part, OneHot) else part for part in contributions]
        settled = [part for part in values if isinstance(part, Gradient)]
        factor = settled[0].factor if settled else 1.0
        settled = [self.rescale(part, factor) for part in settled]
        settled += [part.settle(factor) for part in values if isinstance(part, Deferred)]
        total = settled[0].tensor
        for part in settled[1:]:
            total = self._add(total, part.tensor)
        return Gradient(total, factor)

    def _add(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ``left + right``; what was rearranged alike is added before and rearranged once."""
        made = {op.output: op for op in self.builder.graph.ops if op.code in _REARRANGEMENTS}
        if left not in made or right not in made:
            return self.builder.add(left, right)
        one, other = made[left], made[right]
        alike = (one.code, one.options, one.inputs[1:]) == (other.code, other.options, other.inputs[1:])
        if not alike or one.input(0).shape != other.input(0).shape:
            return self.builder.add(left, right)
        before = self._add(one.input(0), other.input(0))
        return self.builder.op(one.code, [before, *one.inputs[1:]], left.shape, one.options)

    def rescale(self, gradient: Gradient, factor: float) -> Gradient:
        """Return the same gradient stored with ``factor``."""
        if gradient.factor == factor:
            return gradient
        ratio = self.builder.constant(np.full((1,) * len(gradient.tensor.shape), factor / gradient.factor))
        return Gradient(self.builder.mul(gradient.tensor, ratio), factor)

    def scale(self, gradient: Value, by: float) -> Gradient:
        """Return ``gradient * by``; only the factor changes."""
        dense = self.dense(gradient)
        return Gradient(dense.tensor, dense.factor / by)

    def dense(self, value: Value) -> Gradient:
        """Return a seed as an ordinary gradient tensor."""
        if isinstance(value, Gradient):
            return value
        depth = value.shape[-1]
        levels = [self.builder.constant(np.float32(level)) for level in (1, 0)]
        operands = [value.index, self.builder.constant(depth, INT32), *levels]
        hot = self.builder.op("ONE_HOT", operands, (1, depth), OneHotOptions(-1), dtype=FLOAT)
        return Gradient(self._weighted(self.builder.reshape(hot, (1, *value.shape[1:])), value))

    def select_row(self, seed: OneHot, matrix: Tensor) -> Gradient:
        """Return ``seed @ matrix`` for weights whose first dimension is the classes: one row, ``[1, n]``.

        Gathers from the model's own stored weights, so no second copy of them is kept.
        """
        builder = self.builder
        tensor = builder.adopt(self._constant(matrix, "weights"))
        weights = Weights.of(tensor)
        grid = weights.quantization
        if grid is None and tensor.dtype != FLOAT:
            tensor = self.store(builder, weights, lambda values: values, 0, 1.0)
        elif elements(tensor.shape) <= _SMALL_MATRIX and grid is not None:
            tensor, grid = builder.dequantize(tensor), None
        if grid is None:
            row = builder.gather(tensor, seed.index)
        elif not grid.per_channel:
            row = builder.dequantize(builder.gather(tensor, seed.index))
        else:
            # The class decides the scale: gather the bare integers, and their row's scale beside them.
            row = builder.dequantize(builder.gather(tensor, seed.index, quantization=Quantization((1.0,), (0,))))
            scales = builder.constant(np.asarray(grid.scale).reshape(-1, *(1,) * (len(tensor.shape) - 1)))
            row = builder.mul(row, builder.gather(scales, seed.index))
        return Gradient(self._weighted(builder.reshape(row, (1, elements(tensor.shape[1:]))), seed))

    def _weighted(self, tensor: Tensor, seed: OneHot) -> Tensor:
        """Multiply by the seed's weights, one batch entry per weight."""
        if seed.weights is None:
            return tensor
        shape = (seed.weights.shape[0],) + (1,) * (len(tensor.shape) - 1)
        return self.builder.mul(tensor, self.builder.reshape(seed.weights, shape))

    def expand(self, gradient: Gradient, shape: Sequence[int]) -> Gradient:
        """Return a gradient that is constant along some dimensions in full size (the batch stays as it is)."""
        full = (gradient.tensor.shape[0], *shape[1:])
        return Gradient(self.builder.broadcast_to(gradient.tensor, full), gradient.factor)

    def reduce_to(self, value: Value, source: Sequence[int], operand: Sequence[int]) -> Value:
        """Return the gradient of an operand that an elementwise op broadcast from ``operand`` to ``source``."""
        padded = (1,) * (len(source) - len(operand)) + tuple(operand)
        axes = [position for position, size in enumerate(source) if padded[position] != size]
        if not axes and len(source) == len(operand):
            return value
        gradient = self.expand(self.dense(value), source)
        if 0 in axes:
            gradient = Gradient(self.builder.broadcast_to(gradient.tensor, source), gradient.factor)
        total = self.builder.sum(gradient.tensor, axes) if axes else gradient.tensor
        target = (total.shape[0], *operand[1:]) if len(source) == len(operand) else operand
        return Gradient(self.builder.reshape(total, target), gradient.factor)

    def times(self, value: Value, tensor: Tensor) -> Gradient:
        """Return ``value * tensor``, elementwise and broadcast; the tensor is a float32 value of the forward pass."""
        gradient = self.dense(value)
        return Gradient(self.builder.mul(gradient.tensor, tensor), gradient.factor)

    def multiply(self, value: Value, constant: NDArray[np.floating[Any]]) -> Gradient:
        """Return ``value * constant``, broadcast; only the factor changes where the constant is one number."""
        if constant.size and constant.min() == constant.max() != 0:
            return self.scale(value, float(constant.flat[0]))
        return self.times(value, self.builder.constant(constant))

    def positive(self, value: Value) -> Gradient:
        """Return what is positive of a gradient."""
        gradient = self.dense(value)
        if gradient.factor < 0:
            gradient = self.rescale(gradient, -gradient.factor)
        return Gradient(self.builder.relu(gradient.tensor), gradient.factor)

    def minus(self, left: Gradient, right: Gradient) -> Gradient:
        """Return ``left - right``."""
        return Gradient(self.builder.sub(left.tensor, self.rescale(right, left.factor).tensor), left.factor)

    def joined(
        self,
        values: Sequence[Value | None],
        outputs: Sequence[Tensor],
        axis: int,
        shape: Sequence[int] | None = None,
    ) -> Gradient:
        """Return gradients one after the other along ``axis``, zeros in place of those that are None.

        ``shape`` is that of each part, where it is not that of its output.
        """
        parts = [None if value is None else self.dense(value) for value in values]
        known = [part for part in parts if part is not None]
        factor, batch = known[0].factor, known[0].tensor.shape[0]
        tensors = []
        for part, output in zip(parts, outputs, strict=True):
            full = (batch, *(shape or output.shape)[1:])
            if part is None:
                tensors.append(self.builder.constant(np.zeros(full)))
            else:
                tensors.append(self.expand(self.rescale(part, factor), full).tensor)
        return Gradient(self.builder.concatenate(tensors, axis), factor)

    def along(self, value: Value, axis: int, matrix: NDArray[np.floating[Any]]) -> Gradient:
        """Return ``matrix.T`` applied along ``axis``: the transpose of a forward op that applies ``matrix`` there.

        Where each entry is copied from at most one, a GATHER from the gradient with a zero behind it; else a matrix
        product.
        """
        gradient, builder = self.dense(value), self.builder
        tensor = gradient.tensor
        backward_matrix = matrix.T
        rank = len(tensor.shape)
        if ((backward_matrix != 0).sum(1) <= 1).all() and set(np.unique(backward_matrix)) <= {0.0, 1.0}:
            source = np.where(backward_matrix.any(1), backward_matrix.argmax(1), matrix.shape[0])
            if (source == matrix.shape[0]).any():
                tensor = builder.pad(tensor, [(0, int(position == axis)) for position in range(rank)])
            return Gradient(builder.gather(tensor, builder.constant(source, INT32), axis), gradient.factor)
        order = [*(position for position in range(rank) if position != axis), axis]
        last = builder.transpose(tensor, order) if order != sorted(order) else tensor
        product = builder.fully_connected(last, builder.constant(backward_matrix))
        product = builder.reshape(product, (*last.shape[:-1], matrix.shape[1]))
        back = [order.index(position) for position in range(rank)]
        return Gradient(builder.transpose(product, back) if back != sorted(back) else product, gradient.factor)

    def matmul(self, value: Value, weights: Weights, target: Sequence[int]) -> Deferred:
        """Return ``value @ weights`` for weights ``[o, i]``, in the ``target`` shape of the forward operand."""
        upstream = self.dense(value)

        def settle(factor: float) -> Gradient:
            matrix = self.store(self.builder, weights, np.transpose, 1, factor / upstream.factor)
            outputs = weights.stored.shape[0]
            rows = self.builder.reshape(upstream.tensor, (elements(upstream.tensor.shape) // outputs, outputs))
            product = self.builder.fully_connected(rows, matrix)
            batch = elements(product.shape) // elements(target[1:])
            return Gradient(self.builder.reshape(product, (batch, *target[1:])), factor)

        return Deferred(settle)

    def reshape(self, value: Value, source: Sequence[int], target: Sequence[int]) -> Value:
        """Return the gradient of a ``source``-shaped tensor as one of the ``target`` shape, for RESHAPE and its kin.

        The first dimension follows the gradient's batch, which may be 1 or a multiple of the forward graph's.
        """
        if isinstance(value, OneHot):
            if len(target) > 1 and elements(target[1:]) == target[-1] == value.shape[-1]:
                return OneHot(value.index, tuple(target), value.weights)
            value = self.dense(value)
        stored = value.tensor.shape
        if len(stored) > 1 and elements(stored[1:]) != elements(source[1:]):
            reduced = _reshape_broadcast(stored, source, target)
            if reduced is not None:
                return Gradient(self.builder.reshape(value.tensor, reduced), value.factor)
            value = self.expand(value, source)
            stored = value.tensor.shape
        batch = elements(stored) // max(elements(target[1:]), 1)
        return Gradient(self.builder.reshape(value.tensor, (batch, *target[1:])), value.factor)

    # Masks

    def gate(self, value: Value, activation: Tensor, floor: float = 0.0, ceiling: float | None = None) -> Gradient:
        """Let the gradient pass where ``floor < activation`` (and ``< ceiling``), and stop it elsewhere."""
        upstream = self.dense(value)
        if abs(upstream.factor) < _SMALLEST_FACTOR:
            upstream = self.rescale(upstream, 1.0)
        mask = self.mask(activation, floor, ceiling)
        return Gradient(self.builder.mul(upstream.tensor, mask.tensor), upstream.factor * mask.factor)

    def mask(self, activation: Tensor, floor: float = 0.0, ceiling: float | None = None) -> Gradient:
        """Return 1 where the activation lies in the open interval and 0 elsewhere, as a tensor of {0, factor}."""
        key = (activation, floor, ceiling)
        if key not in self._masks:
            self._masks[key] = self._build_mask(activation, floor, ceiling)
        return self._masks[key]

    def indicator(self, activation: Tensor, floor: float = 0.0, ceiling: float | None = None) -> Tensor:
        """Return the mask as a tensor of {0, 1}."""
        return self.rescale(self.mask(activation, floor, ceiling), 1.0).tensor

    def _build_mask(self, activation: Tensor, floor: float, ceiling: float | None) -> Gradient:
        builder = self.builder
        if floor == 0 and activation.dtype == np.int8 and activation.is_quantized:
            return self._integer_mask(activation, ceiling)
        real = self.real(activation)
        above = builder.sub(real, builder.constant(np.full(1, floor))) if floor else real
        if ceiling is not None:
            top = builder.constant(np.full(1, _stored_ceiling(activation, ceiling)))
            above = builder.minimum(above, builder.sub(top, real))
        tiny = builder.minimum(above, builder.constant(np.full(1, _TINY)))
        return Gradient(tiny if floor == 0 and _never_negative(activation, builder) else builder.relu(tiny), _TINY)

    def _integer_mask(self, activation: Tensor, ceiling: float | None) -> Gradient:
        """Return the mask of an int8 activation: one op for each end, at 1/128 of its scale, where all saturates."""
        builder, grid = self.builder, activation.quantization
        assert grid is not None
        step = float(np.float32(grid.scale[0] / 128))
        mask = builder.quantize(activation, Quantization((step,), (0,)), INT8)
        never_negative = _never_negative(activation, builder)
        if ceiling is None:
            real = builder.dequantize(mask)
            return Gradient(real if never_negative else builder.relu(real), 127 * step)
        top = builder.constant([_largest_stored(activation, grid, ceiling)], INT8, grid)
        shape, saturating = activation.shape, Quantization((step,), (0,))
        below = builder.op("SUB", [top, activation], shape, SubOptions(), dtype=INT8, quantization=saturating)
        product = Quantization((float(np.float32(127 * step**2)),), (0,))
        real = builder.dequantize(builder.op("MUL", [mask, below], shape, MulOptions(), quantization=product))
        return Gradient(real if never_negative else builder.relu(real), 127 * product.scale[0])


def _never_negative(activation: Tensor, builder: Builder) -> bool:
    """Whether an activation comes out of a rectifier, or is stored as if it did, so that its mask needs none."""
    if starts_at_zero(activation):
        return True
    producer = next((op for op in reversed(builder.graph.ops) if activation in op.outputs), None)
    fused = getattr(producer.options, "fused_activation_function", Activation.NONE) if producer else Activation.NONE
    rectified = fused in (Activation.RELU, Activation.RELU6)
    return rectified or (producer is not None and producer.code in {"RELU", "RELU6"})


def _stored_ceiling(activation: Tensor, ceiling: float) -> np.float32:
    """Return the largest value a clipped activation can take: the ceiling itself, or its nearest stored value."""
    grid = activation.quantization
    if not activation.is_quantized or grid is None:
        return np.float32(ceiling)
    return np.float32(grid.scale[0]) * np.float32(_largest_stored(activation, grid, ceiling) - grid.zero_point[0])


def _largest_stored(activation: Tensor, grid: Quantization, ceiling: float) -> int:
    """Return the integer that the largest value of a clipped activation is stored as."""
    return min(
        round(ceiling / float(np.float32(grid.scale[0]))) + grid.zero_point[0], int(np.iinfo(activation.dtype).max)
    )


def _reshape_broadcast(stored: Sequence[int], source: Sequence[int], target: Sequence[int]) -> tuple[int, ...] | None:
    """Return the shape to give a gradient that is constant over some dimensions, where RESHAPE only adds or drops 1s.

    ``stored`` is the gradient of a ``source``-shaped tensor; None where the dimensions do not map one to one.
    """
    sizes = [(size, have) for size, have in zip(source[1:], stored[1:], strict=True) if size != 1]
    if [size for size, _ in sizes] != [size for size in target[1:] if size != 1]:
        return None
    having = iter(have for _, have in sizes)
    return (stored[0], *(1 if size == 1 else next(having) for size in target[1:]))
