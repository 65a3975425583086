"""One typed builder per builtin op that WhyLite emits: works out the output's shape and the op's version.

Versions are the lowest that carries the types used, so that what is written runs on tflite-runtime 2.14 as well as on
LiteRT (the converter's ``op_version`` table, https://github.com/tensorflow/tensorflow, is the source of the numbers).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UnsupportedModelError
from . import options as tables
from .graph import Graph, Op, Quantization, Tensor
from .options import Activation, Options, Padding

FLOAT = np.dtype(np.float32)
INT8 = np.dtype(np.int8)
INT32 = np.dtype(np.int32)

# Op versions for 8-bit operands where they differ from 1, the version for float32.
_INT8_VERSION = {
    "ADD": 2,
    "ARG_MAX": 2,
    "BROADCAST_TO": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEPTH_TO_SPACE": 2,
    "DEQUANTIZE": 2,
    "FULLY_CONNECTED": 4,
    "GATHER": 2,
    "MAXIMUM": 2,
    "MEAN": 2,
    "MINIMUM": 2,
    "MUL": 2,
    "PAD": 2,
    "QUANTIZE": 2,
    "RELU": 2,
    "SLICE": 2,
    "SUB": 2,
    "SUM": 2,
    "TRANSPOSE": 2,
}
_PER_CHANNEL_DEQUANTIZE = 5
# Ops whose results are spread over a range of their own, unlike those of poolings and concatenations.
_MAY_GO_BELOW_ZERO = {"ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL", "SUB", "TRANSPOSE_CONV"}
_RECURRENT = {"LSTM", "RNN", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN"}
_RECURRENT |= {"BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN"}
_CONV, _DEPTHWISE = tables.Conv2DOptions(), tables.DepthwiseConv2DOptions()


class Builder:
    """Appends ops to ``graph``. Names of what it makes start with ``prefix``; equal constants are made once."""

    def __init__(self, graph: Graph, prefix: str = "") -> None:
        self.graph = graph
        self.prefix = prefix
        self._constants: dict[tuple[Any, ...], Tensor] = {}
        self._unpacked: dict[Tensor, Tensor] = {}

    def tensor(
        self, name: str, shape: Sequence[int], dtype: np.dtype[Any] = FLOAT, quantization: Quantization | None = None
    ) -> Tensor:
        """Add a tensor that some op or caller will fill."""
        tensor = Tensor(self.prefix + name, tuple(int(size) for size in shape), dtype, quantization)
        self.graph.tensors.append(tensor)
        return tensor

    def constant(
        self, values: ArrayLike, dtype: np.dtype[Any] = FLOAT, quantization: Quantization | None = None
    ) -> Tensor:
        """Add a constant, or return the equal one that is already there."""
        data = np.asarray(values, dtype, order="C")
        key = (data.shape, data.dtype, data.tobytes(), quantization)
        if key not in self._constants:
            tensor = self.tensor(f"const{len(self._constants)}", data.shape, dtype, quantization)
            tensor.data = data
            self._constants[key] = tensor
        return self._constants[key]

    def adopt(self, tensor: Tensor) -> Tensor:
        """Bring a constant of another graph into this one; its bytes are shared in the file."""
        if tensor not in self.graph.tensors:
            self.graph.tensors.append(tensor)
        return tensor

    def op(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        options: Options | None = None,
        *,
        dtype: np.dtype[Any] | None = None,
        quantization: Quantization | None = None,
        version: int | None = None,
        name: str = "",
    ) -> Tensor:
        """Append one op with one output and return the output."""
        first = next(tensor for tensor in inputs if tensor is not None)
        small = first.dtype in (np.int8, np.uint8)
        output = self.tensor(name or f"{len(self.graph.ops)}", shape, dtype or first.dtype, quantization)
        version = version or (_INT8_VERSION.get(code, 1) if small else 1)
        self.graph.ops.append(Op(code, list(inputs), [output], options, version))
        return output

    # Arithmetic

    def add(self, left: Tensor, right: Tensor, activation: Activation = Activation.NONE) -> Tensor:
        """Return ``left + right``, broadcast."""
        return self.op("ADD", [left, right], _broadcast(left, right), tables.AddOptions(activation))

    def sub(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ``left - right``, broadcast."""
        return self.op("SUB", [left, right], _broadcast(left, right), tables.SubOptions())

    def mul(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ``left * right``, broadcast."""
        return self.op("MUL", [left, right], _broadcast(left, right), tables.MulOptions())

    def minimum(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the smaller of both, broadcast."""
        return self.op("MINIMUM", [left, right], _broadcast(left, right), tables.MaximumMinimumOptions())

    def maximum(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the larger of both, broadcast."""
        return self.op("MAXIMUM", [left, right], _broadcast(left, right), tables.MaximumMinimumOptions())

    def div(self, left: Tensor, right: Tensor) -> Tensor:
        """Return ``left / right``, broadcast."""
        return self.op("DIV", [left, right], _broadcast(left, right), tables.DivOptions())

    def relu(self, x: Tensor) -> Tensor:
        """Return ``max(x, 0)``."""
        return self.op("RELU", [x], x.shape)

    def exp(self, x: Tensor) -> Tensor:
        """Return e to the power of ``x``."""
        return self.op("EXP", [x], x.shape, tables.ExpOptions())

    def rsqrt(self, x: Tensor) -> Tensor:
        """Return ``1 / sqrt(x)``."""
        return self.op("RSQRT", [x], x.shape)

    def pow(self, x: Tensor, exponent: float) -> Tensor:
        """Return ``x`` to the power of a number."""
        return self.op("POW", [x, self.number(exponent)], x.shape, tables.PowOptions())

    def number(self, value: float) -> Tensor:
        """Return a constant of shape ``[1]``."""
        return self.constant(np.full(1, value))

    def scaled(self, x: Tensor, by: float) -> Tensor:
        """Return ``x * by``."""
        return self.mul(x, self.number(by))

    def shifted(self, x: Tensor, by: float) -> Tensor:
        """Return ``x + by``."""
        return self.add(x, self.number(by))

    # Linear maps

    def conv2d(
        self,
        x: Tensor,
        kernel: Tensor,
        bias: Tensor | None = None,
        options: tables.Conv2DOptions = _CONV,
    ) -> Tensor:
        """Correlate ``x`` ``[n, h, w, i]`` with ``kernel`` ``[o, kh, kw, i]`` (grouped where ``i`` divides)."""
        shape = (x.shape[0], *_window_shape(x, kernel.shape[1:3], options), kernel.shape[0])
        return self.op("CONV_2D", [x, kernel, bias or self.zeros(kernel.shape[0])], shape, options)

    def depthwise_conv2d(
        self, x: Tensor, kernel: Tensor, options: tables.DepthwiseConv2DOptions = _DEPTHWISE
    ) -> Tensor:
        """Correlate each channel of ``x`` ``[n, h, w, c]`` with its own plane of ``kernel`` ``[1, kh, kw, c]``."""
        shape = (x.shape[0], *_window_shape(x, kernel.shape[1:3], options), kernel.shape[3])
        return self.op("DEPTHWISE_CONV_2D", [x, kernel, self.zeros(kernel.shape[3])], shape, options)

    def fully_connected(self, x: Tensor, weights: Tensor, activation: Activation = Activation.NONE) -> Tensor:
        """Return ``x @ weights.T``, ``[n, o]``, for ``x`` that ends in ``i`` and ``weights`` ``[o, i]``."""
        shape = (elements(x.shape) // weights.shape[1], weights.shape[0])
        return self.op("FULLY_CONNECTED", [x, weights, None], shape, tables.FullyConnectedOptions(activation))

    def batch_matmul(self, a: Tensor, b: Tensor, transpose_a: bool = False, transpose_b: bool = False) -> Tensor:
        """Return the matrix products over the last two dimensions, the others broadcast."""
        rows = a.shape[-1] if transpose_a else a.shape[-2]
        columns = b.shape[-2] if transpose_b else b.shape[-1]
        shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), rows, columns)
        return self.op("BATCH_MATMUL", [a, b], shape, tables.BatchMatMulOptions(transpose_a, transpose_b))

    def zeros(self, count: int) -> Tensor:
        """Return a bias of zeros, which some kernels insist on."""
        return self.constant(np.zeros(count, np.float32))

    # Selection and reduction

    def arg_max(self, x: Tensor) -> Tensor:
        """Return the index of the largest value along the last dimension, int32."""
        if x.dtype == np.int16:  # no kernel compares these; as reals they are in the same order
            x = self.dequantize(x)
        axis = self.constant(len(x.shape) - 1, INT32)
        # Type code 2 is the schema's INT32.
        return self.op("ARG_MAX", [x, axis], x.shape[:-1], tables.ArgMaxOptions(2), dtype=INT32)

    def gather(self, x: Tensor, indices: Tensor, axis: int = 0, quantization: Quantization | None = None) -> Tensor:
        """Return the slices of ``x`` at ``indices`` along ``axis``, read on its own grid or on another."""
        shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
        return self.op(
            "GATHER", [x, indices], shape, tables.GatherOptions(axis, 0), quantization=quantization or x.quantization
        )

    def sum(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """Return the sum over ``axes``, which stay as 1."""
        return self._reduce("SUM", x, axes)

    def mean(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """Return the mean over ``axes``, which stay as 1."""
        return self._reduce("MEAN", x, axes)

    def _reduce(self, code: str, x: Tensor, axes: Sequence[int]) -> Tensor:
        shape = [1 if position in axes else size for position, size in enumerate(x.shape)]
        return self.op(code, [x, self.constant(np.asarray(axes), INT32)], shape, tables.ReducerOptions(True))

    # Layout

    def reshape(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Return ``x`` with its elements in ``shape``; ``x`` itself where nothing changes."""
        last = self.graph.ops[-1] if self.graph.ops else None
        if last is not None and last.code == "RESHAPE" and last.output is x:
            x = last.input(0)  # a reshape of a reshape is one
        if tuple(shape) == x.shape:
            return x
        sizes = self.constant(np.asarray(shape), INT32)
        return self.op(
            "RESHAPE", [x, sizes], shape, tables.ReshapeOptions(tuple(shape)), quantization=x.quantization, version=1
        )

    def pad(self, x: Tensor, amounts: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
        """Return ``x`` with zeros (or another value) around it; ``x`` itself where there is nothing to add."""
        if not any(before or after for before, after in amounts):
            return x
        shape = [size + before + after for size, (before, after) in zip(x.shape, amounts, strict=True)]
        operands = [x, self.constant(np.asarray(amounts), INT32)]
        if value:
            return self.op("PADV2", [*operands, self.number(value)], shape, tables.PadV2Options())
        return self.op("PAD", operands, shape, tables.PadOptions(), quantization=x.quantization)

    def strided_slice(self, x: Tensor, begin: Sequence[int], extent: Sequence[int], strides: Sequence[int]) -> Tensor:
        """Return every ``strides``-th row and column of ``x`` ``[n, h, w, c]``, from ``begin`` over ``extent``."""
        end = [first + size for first, size in zip(begin, extent, strict=True)]
        n, _, _, c = x.shape
        bounds = [(0, *begin, 0), (n, *end, c), (1, *strides, 1)]
        shape = (n, *(-(-size // stride) for size, stride in zip(extent, strides, strict=True)), c)
        operands = [x, *(self.constant(np.asarray(bound), INT32) for bound in bounds)]
        return self.op("STRIDED_SLICE", operands, shape, tables.StridedSliceOptions())

    def slice(self, x: Tensor, begin: Sequence[int], shape: Sequence[int]) -> Tensor:
        """Return the block of ``x`` of ``shape`` that starts at ``begin``; ``x`` itself where that is all of it."""
        if tuple(shape) == x.shape:
            return x
        bounds = [self.constant(np.asarray(values), INT32) for values in (begin, shape)]
        return self.op("SLICE", [x, *bounds], shape, tables.SliceOptions(), quantization=x.quantization)

    def transpose(self, x: Tensor, order: Sequence[int]) -> Tensor:
        """Return ``x`` with its dimensions in ``order``."""
        shape = [x.shape[position] for position in order]
        return self.op("TRANSPOSE", [x, self.constant(np.asarray(order), INT32)], shape, tables.TransposeOptions())

    def concatenate(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """Return ``parts`` one after the other along ``axis``."""
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.op("CONCATENATION", parts, shape, tables.ConcatenationOptions(axis))

    def depth_to_space(self, x: Tensor, block: int) -> Tensor:
        """Return ``[n, h*block, w*block, c]`` from ``[n, h, w, block*block*c]``."""
        n, h, w, c = x.shape
        shape = (n, h * block, w * block, c // (block * block))
        return self.op("DEPTH_TO_SPACE", [x], shape, tables.DepthToSpaceOptions(block))

    def broadcast_to(self, x: Tensor, shape: Sequence[int]) -> Tensor:
        """Return ``x`` repeated to ``shape``; ``x`` itself where it has that shape."""
        if tuple(shape) == x.shape:
            return x
        sizes = self.constant(np.asarray(shape), INT32)
        return self.op("BROADCAST_TO", [x, sizes], shape, version=2, quantization=x.quantization)

    # Between integers and reals

    def quantize(self, x: Tensor, quantization: Quantization, dtype: np.dtype[Any] = INT8) -> Tensor:
        """Return ``x`` stored with another scale and zero point."""
        return self.op("QUANTIZE", [x], x.shape, tables.QuantizeOptions(), dtype=dtype, quantization=quantization)

    def dequantize(self, x: Tensor) -> Tensor:
        """Return the real values of a quantised tensor, float32; a constant is unpacked once."""
        if x in self._unpacked:
            return self._unpacked[x]
        per_channel = x.quantization is not None and x.quantization.per_channel
        version = (
            _PER_CHANNEL_DEQUANTIZE
            if per_channel
            else {"u": 1, "f": 3}.get(x.dtype.kind, 3 if x.dtype == np.int16 else 2)
        )
        real = self.op("DEQUANTIZE", [x], x.shape, tables.DequantizeOptions(), dtype=FLOAT, version=version)
        if x.is_constant:
            self._unpacked[x] = real
        return real


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return how far SAME windows reach beyond both ends of an axis."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _window_shape(
    x: Tensor, kernel: Sequence[int], options: tables.Conv2DOptions | tables.DepthwiseConv2DOptions
) -> tuple[int, int]:
    strides = (options.stride_h, options.stride_w)
    dilations = (options.dilation_h_factor, options.dilation_w_factor)
    sizes = []
    for size, taps, stride, dilation in zip(x.shape[1:3], kernel, strides, dilations, strict=True):
        reach = (taps - 1) * dilation if options.padding == Padding.VALID else 0
        sizes.append(-(-(size - reach) // stride))
    return sizes[0], sizes[1]


def _broadcast(left: Tensor, right: Tensor) -> tuple[int, ...]:
    return tuple(np.broadcast_shapes(left.shape, right.shape))


def prune(graph: Graph) -> None:
    """Drop the ops and tensors that no output needs, in place."""
    needed = set(graph.outputs) | set(graph.inputs)
    kept = []
    for op in reversed(graph.ops):
        if any(tensor in needed for tensor in op.outputs):
            kept.append(op)
            needed.update(tensor for tensor in op.inputs if tensor is not None)
            needed.update(op.outputs)
            needed.update(op.intermediates)
    graph.ops = kept[::-1]
    graph.tensors = [tensor for tensor in graph.tensors if tensor in needed]


def skip_flattening(graph: Graph) -> None:
    """Let matrix products read what lies before a RESHAPE: they flatten by themselves, bit for bit alike.

    Ops may be shared with other graphs, so those that change are replaced.
    """
    producers = graph.producers()
    for position, op in enumerate(graph.ops):
        if not isinstance(op.options, tables.FullyConnectedOptions) or op.options.keep_num_dims:
            continue
        before = producers.get(op.input(0))
        if before is None or before.code != "RESHAPE" or before.input(0).quantization != op.input(0).quantization:
            continue
        graph.ops[position] = dataclasses.replace(op, inputs=[before.input(0), *op.inputs[1:]])


def with_options(op: Op, **changes: Any) -> Options:
    """Return an op's options with some fields changed; :class:`UnsupportedModelError` where it has no such fields."""
    if op.options is None or not all(hasattr(op.options, field) for field in changes):
        raise UnsupportedModelError(
            f"op {op} lacks the options {', '.join(changes)}", "convert the model again; these belong to every such op"
        )
    return dataclasses.replace(op.options, **changes)


def declared_activation(op: Op) -> Activation:
    """Return the activation in an op's options; that of a recurrent layer is inside it, not on its result."""
    if op.code in _RECURRENT:
        return Activation.NONE
    return Activation(getattr(op.options, "fused_activation_function", Activation.NONE))


def fused_activation(op: Op) -> Activation:
    """Return the activation an op applies to its own result.

    Converters drop a rectifier where the range of a quantised result starts at 0: what saturates there is rectified
    all the same, and is told here.
    """
    declared = declared_activation(op)
    if declared != Activation.NONE or op.code not in _MAY_GO_BELOW_ZERO or not starts_at_zero(op.output):
        return declared
    if op.code in {"ADD", "MUL"} and all(starts_at_zero(tensor) for tensor in op.inputs):
        return declared
    assert op.output.quantization is not None
    scale = op.output.quantization.scale[0]
    steps = np.iinfo(op.output.dtype).max - np.iinfo(op.output.dtype).min
    return Activation.RELU6 if (steps - 0.5) * scale <= 6 else Activation.RELU


def starts_at_zero(tensor: Tensor | None) -> bool:
    """Whether a quantised tensor has no way to hold a negative number."""
    if tensor is None or not tensor.is_quantized or tensor.quantization is None:
        return False
    if tensor.is_constant:
        return float(tensor.real().min(initial=0)) >= 0
    zero_point = tensor.quantization.zero_point
    return bool(zero_point) and zero_point[0] == np.iinfo(tensor.dtype).min


def elements(shape: Sequence[int]) -> int:
    """Return how many elements a shape holds."""
    return math.prod(shape)


Array = NDArray[np.float64]
