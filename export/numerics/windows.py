"""The transposes of window ops (convolutions, poolings), in the lowerings that run fastest on XNNPACK.

A stride-s window op spreads each output over s phases of its input. Its transpose is therefore one ordinary stride-1
convolution that computes all phases as channels, followed by a rearrangement of channels into space. That beats
TRANSPOSE_CONV, which interpreters run scalar for int8, and is exact for every size, stride, dilation and padding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tflite import options as tables
from ..tflite.graph import Op, Tensor
from ..tflite.ops import Builder, same_padding
from ..tflite.options import Padding
from .emitter import Emitter
from .gradient import Deferred, Gradient
from .weights import Weights

# Input gradients with at most this many channels are computed 2x2 pixels at once, which fills the vector lanes.
_FEW_CHANNELS = 4


@dataclass(frozen=True)
class Axis:
    """One spatial dimension of a window op: ``output[j] = sum_a kernel[a] * input[j * stride + a - before]``.

    ``taps`` counts a dilated kernel with its gaps.
    """

    size: int
    outputs: int
    taps: int
    stride: int
    before: int

    @property
    def last_shift(self) -> int:
        """The largest t for which some phase reads the gradient at e - t."""
        return max((self.taps - 1 - self.before - phase) // self.stride for phase in range(self.stride))

    @property
    def first_shift(self) -> int:
        """The smallest such t."""
        return min(-((self.before + phase) // self.stride) for phase in range(self.stride))

    @property
    def phase_taps(self) -> int:
        """How many gradient values one input position can depend on."""
        return self.last_shift - self.first_shift + 1

    @property
    def blocks(self) -> int:
        """How many groups of ``stride`` input positions there are, the last perhaps incomplete."""
        return -(-self.size // self.stride)

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros to put before and after the gradient; negative where its end is never needed."""
        return self.last_shift, self.blocks - self.first_shift - self.outputs

    @property
    def tiles(self) -> bool:
        """Whether the windows cover the input without overlap, gap or padding."""
        return self.stride == self.taps and self.before == 0 and self.size == self.outputs * self.taps

    @property
    def active_phases(self) -> int:
        """How many phases there are up to the last that any tap reaches; a stride beyond the kernel leaves gaps."""
        return int(np.flatnonzero((self.tap_of() < self.taps).any(1)).max()) + 1

    def tap_of(self) -> NDArray[np.int64]:
        """Return ``[stride, phase_taps]``: which kernel tap links phase and gradient offset; ``taps`` for none."""
        phase = np.arange(self.stride)[:, None]
        shift = self.last_shift - np.arange(self.phase_taps)[None, :]
        tap = phase + self.before + self.stride * shift
        return np.where((tap >= 0) & (tap < self.taps), tap, self.taps)


def axes_of(op: Op, taps: tuple[int, int]) -> tuple[Axis, Axis]:
    """Return rows and columns of a convolution or pooling with ``taps`` kernel positions per dimension."""
    options: Any = op.options
    strides = (options.stride_h, options.stride_w)
    dilations = (getattr(options, "dilation_h_factor", 1), getattr(options, "dilation_w_factor", 1))
    axes = []
    for dimension in (0, 1):
        size, outputs = op.input(0).shape[dimension + 1], op.output.shape[dimension + 1]
        extent = (taps[dimension] - 1) * dilations[dimension] + 1
        before = same_padding(size, extent, strides[dimension])[0] if options.padding == Padding.SAME else 0
        axes.append(Axis(size, outputs, extent, strides[dimension], before))
    return axes[0], axes[1]


def dilate(kernel: NDArray[Any], axes: tuple[Axis, Axis], first: int) -> NDArray[Any]:
    """Return ``kernel`` with the gaps of its dilation filled with zeros; ``first`` is its row dimension."""
    for position, axis in enumerate(axes, first):
        if kernel.shape[position] != axis.taps:
            shape = list(kernel.shape)
            shape[position] = axis.taps
            wide = np.zeros(shape, kernel.dtype)
            step = (axis.taps - 1) // max(kernel.shape[position] - 1, 1)
            wide[(slice(None),) * position + (slice(None, None, step),)] = kernel
            kernel = wide
    return kernel


def conv_transpose(
    emit: Emitter, upstream: Gradient, kernel: Weights, axes: tuple[Axis, Axis], groups: int
) -> Deferred:
    """Emit the transpose of a convolution with ``kernel`` ``[o, kh, kw, i/groups]``."""
    rows, columns = axes
    inputs = kernel.stored.shape[3]
    pack = (
        groups == 1
        and inputs <= _FEW_CHANNELS
        and rows.stride == columns.stride == 1
        and rows.size % 2 == columns.size % 2 == 0
    )

    # Where the first phase is all that a kernel reaches, as in a 1x1 shortcut, the others are not worth a product.
    phases = 1 if rows.active_phases == columns.active_phases == 1 else rows.stride * columns.stride

    def arrange(values: NDArray[Any]) -> NDArray[Any]:
        dense = _ungrouped(dilate(values, axes, 1), groups)
        return _packed_kernel(dense) if pack else _phase_kernel(dense, axes)[: phases * inputs * groups]

    def settle(factor: float) -> Gradient:
        stored = emit.store(emit.builder, kernel, arrange, 3, factor / upstream.factor)
        builder, gradient = emit.builder, upstream.tensor
        step = 2 if pack else 1
        padding = [_packed_padding(axis) if pack else axis.padding for axis in axes]
        gradient, mode = _padded(builder, gradient, padding, stored.shape[1:3], step)
        options = tables.Conv2DOptions(padding=mode, stride_w=step, stride_h=step)
        result = builder.conv2d(gradient, stored, options=options)
        gaps = 0 if pack else (rows.stride * columns.stride - phases) * inputs * groups
        result = builder.pad(result, [(0, 0), (0, 0), (0, 0), (0, gaps)])
        return Gradient(_interleave(builder, result, axes, (2, 2) if pack else (rows.stride, columns.stride)), factor)

    return Deferred(settle)


def depthwise_transpose(emit: Emitter, upstream: Gradient, kernel: Weights, axes: tuple[Axis, Axis]) -> Deferred:
    """Emit the transpose of a depthwise convolution with ``kernel`` ``[1, kh, kw, c]``, one output per channel."""
    rows, columns = axes
    phases = rows.stride * columns.stride

    def arrange(values: NDArray[Any]) -> NDArray[Any]:
        # [kh, kw, c] -> [nh, nw, phases * c]
        taps = _pick_taps(dilate(values[0], axes, 0), axes, 0)
        return taps.transpose(1, 3, 0, 2, 4).reshape(1, rows.phase_taps, columns.phase_taps, -1)

    def settle(factor: float) -> Gradient:
        builder = emit.builder
        stored = emit.store(builder, kernel, arrange, 3, factor / upstream.factor)
        padding = [axis.padding for axis in axes]
        gradient, mode = _padded(builder, upstream.tensor, padding, stored.shape[1:3], 1)
        if phases > 1:
            gradient = builder.concatenate([gradient] * phases, 3)
        result = builder.depthwise_conv2d(gradient, stored, tables.DepthwiseConv2DOptions(padding=mode))
        return Gradient(_interleave(builder, result, axes, (rows.stride, columns.stride)), factor)

    return Deferred(settle)


def upsample(emit: Emitter, upstream: Gradient, axes: tuple[Axis, Axis]) -> Gradient:
    """Emit the transpose of a sum over windows that tile their input: each value repeated over its window."""
    strides = (axes[0].stride, axes[1].stride)
    copies = [upstream.tensor] * (strides[0] * strides[1])
    return Gradient(_interleave(emit.builder, emit.builder.concatenate(copies, 3), axes, strides), upstream.factor)


def gather_windows(emit: Emitter, x: Tensor, axes: tuple[Axis, Axis]) -> list[Tensor]:
    """Return, for each place in the window, what stands there in every window: ``[n, oh, ow, c]`` each, row by row."""
    builder = emit.builder
    reach = [(axis.outputs - 1) * axis.stride + axis.taps for axis in axes]
    after = [need - axis.before - axis.size for need, axis in zip(reach, axes, strict=True)]
    kept = [axis.size + min(extra, 0) for axis, extra in zip(axes, after, strict=True)]
    x = builder.slice(x, [0, 0, 0, 0], [x.shape[0], *kept, x.shape[3]])
    amounts = [(0, 0), *((axis.before, max(extra, 0)) for axis, extra in zip(axes, after, strict=True)), (0, 0)]
    padded = builder.pad(x, amounts, value=float(np.finfo(np.float32).min))
    starts = [(row, column) for row in range(axes[0].taps) for column in range(axes[1].taps)]
    ends = [(axis.outputs - 1) * axis.stride + 1 for axis in axes]
    strides = (axes[0].stride, axes[1].stride)
    return [builder.strided_slice(padded, start, ends, strides) for start in starts]


def scatter_windows(emit: Emitter, parts: list[Gradient], axes: tuple[Axis, Axis]) -> Gradient:
    """Return the transpose of :func:`gather_windows`: each part added where it was taken from."""
    total: Tensor | None = None
    builder, factor = emit.builder, parts[0].factor
    rows, columns = axes
    channels = parts[0].tensor.shape[3]
    places = [(row, column) for row in range(rows.taps) for column in range(columns.taps)]
    for (row, column), part in zip(places, parts, strict=True):
        single = np.zeros((1, rows.taps, columns.taps, channels), np.float32)
        single[:, row, column] = 1
        moved = depthwise_transpose(emit, part, Weights(single, None), axes).settle(factor).tensor
        total = moved if total is None else builder.add(total, moved)
    assert total is not None
    return Gradient(total, factor)


def _ungrouped(kernel: NDArray[Any], groups: int) -> NDArray[Any]:
    """Return a grouped kernel as the block-diagonal dense one."""
    if groups == 1:
        return kernel
    o, kh, kw, i = kernel.shape
    dense = np.zeros((o, kh, kw, i * groups), kernel.dtype)
    for group in range(groups):
        block = slice(group * o // groups, (group + 1) * o // groups)
        dense[block, :, :, group * i : (group + 1) * i] = kernel[block]
    return dense


def _pick_taps(kernel: NDArray[Any], axes: tuple[Axis, Axis], first: int) -> NDArray[Any]:
    """Replace the dimensions kh, kw at ``first`` by phase and offset of each: [..., sh, nh, sw, nw, ...]."""
    for position, axis in zip((first, first + 2), axes, strict=True):
        gap = np.zeros_like(np.take(kernel, [0], position))
        kernel = np.take(np.concatenate([kernel, gap], position), axis.tap_of(), position)
    return kernel


def _phase_kernel(kernel: NDArray[Any], axes: tuple[Axis, Axis]) -> NDArray[Any]:
    """[o, kh, kw, i] -> [sh*sw*i, nh, nw, o], output channels ordered phase by phase."""
    taps = _pick_taps(kernel, axes, 1)  # [o, sh, nh, sw, nw, i]
    rows, columns = axes
    return taps.transpose(1, 3, 5, 2, 4, 0).reshape(-1, rows.phase_taps, columns.phase_taps, kernel.shape[0])


def _packed_kernel(kernel: NDArray[Any]) -> NDArray[Any]:
    """[o, kh, kw, i] of stride 1 -> [4*i, kh+1, kw+1, o]: the flipped kernel at the four places of a 2x2 block."""
    o, kh, kw, i = kernel.shape
    packed = np.zeros((2, 2, i, kh + 1, kw + 1, o), kernel.dtype)
    flipped = kernel[:, ::-1, ::-1].transpose(3, 1, 2, 0)
    for row in (0, 1):
        for column in (0, 1):
            packed[row, column, :, row : row + kh, column : column + kw] = flipped
    return packed.reshape(4 * i, kh + 1, kw + 1, o)


def _packed_padding(axis: Axis) -> tuple[int, int]:
    before = axis.taps - 1 - axis.before
    return before, axis.size - 2 + axis.taps + 1 - before - axis.outputs


def _padded(
    builder: Builder,
    gradient: Tensor,
    padding: list[tuple[int, int]],
    taps: tuple[int, ...],
    step: int,
) -> tuple[Tensor, Padding]:
    """Return the gradient with zeros around it and the padding mode to use; no PAD op where SAME does the same."""
    shape = gradient.shape
    if all(
        pads == same_padding(size, count, step) for pads, size, count in zip(padding, shape[1:3], taps, strict=True)
    ):
        return gradient, Padding.SAME
    keep = [size + min(after, 0) for size, (_, after) in zip(shape[1:3], padding, strict=True)]
    gradient = builder.slice(gradient, [0, 0, 0, 0], [shape[0], *keep, shape[3]])
    amounts = [(before, max(after, 0)) for before, after in padding]
    return builder.pad(gradient, [(0, 0), *amounts, (0, 0)]), Padding.VALID


def _interleave(builder: Builder, x: Tensor, axes: tuple[Axis, Axis], block: tuple[int, int]) -> Tensor:
    """Return ``[n, h, w, c]`` from ``[n, eh, ew, bh*bw*c]``, cut to the forward input's size."""
    n, eh, ew, channels = x.shape
    bh, bw = block
    c = channels // (bh * bw)
    if bh == bw and bh > 1:
        x = builder.depth_to_space(x, bh)
    elif bh == 1 or (bw == 1 and ew == 1):
        # Phases of one dimension stand next to each other in memory already: a reshape moves nothing.
        x = builder.reshape(x, (n, eh * bh, ew * bw, c))
    else:
        x = builder.transpose(builder.reshape(x, (n, eh, ew, bh, bw * c)), (0, 1, 3, 2, 4))
        x = builder.reshape(x, (n, eh * bh, ew * bw, c))
    return builder.slice(x, [0, 0, 0, 0], [n, axes[0].size, axes[1].size, c])
