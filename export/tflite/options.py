"""Options of builtin ops: one frozen dataclass per schema table, its fields named as in the schema, in snake case.

``file.py`` reads and writes them by name, so a table is declared here once and nowhere else. A table that is not
declared travels as :class:`UnreadOptions`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class Padding(enum.IntEnum):
    """Where a window op may look beyond the edge."""

    SAME = 0
    VALID = 1


class Activation(enum.IntEnum):
    """The activation fused into an op."""

    NONE = 0
    RELU = 1
    RELU_N1_TO_1 = 2
    RELU6 = 3
    TANH = 4
    SIGN_BIT = 5


@dataclass(frozen=True)
class Options:
    """Base of all options tables."""


@dataclass(frozen=True)
class UnreadOptions(Options):
    """A table that WhyLite does not interpret, kept as the schema's own object."""

    table: str
    content: Any


@dataclass(frozen=True)
class Conv2DOptions(Options):  # noqa: D101 - these classes are the schema's tables, documented there
    padding: Padding = Padding.SAME
    stride_w: int = 1
    stride_h: int = 1
    fused_activation_function: Activation = Activation.NONE
    dilation_w_factor: int = 1
    dilation_h_factor: int = 1
    quantized_bias_type: int = 0


@dataclass(frozen=True)
class DepthwiseConv2DOptions(Options):  # noqa: D101
    padding: Padding = Padding.SAME
    stride_w: int = 1
    stride_h: int = 1
    depth_multiplier: int = 1
    fused_activation_function: Activation = Activation.NONE
    dilation_w_factor: int = 1
    dilation_h_factor: int = 1


@dataclass(frozen=True)
class TransposeConvOptions(Options):  # noqa: D101
    padding: Padding = Padding.SAME
    stride_w: int = 1
    stride_h: int = 1
    fused_activation_function: Activation = Activation.NONE
    quantized_bias_type: int = 0


@dataclass(frozen=True)
class FullyConnectedOptions(Options):  # noqa: D101
    fused_activation_function: Activation = Activation.NONE
    weights_format: int = 0
    keep_num_dims: bool = False
    asymmetric_quantize_inputs: bool = False
    quantized_bias_type: int = 0


@dataclass(frozen=True)
class BatchMatMulOptions(Options):  # noqa: D101
    adj_x: bool = False
    adj_y: bool = False
    asymmetric_quantize_inputs: bool = False


@dataclass(frozen=True)
class Pool2DOptions(Options):  # noqa: D101
    padding: Padding = Padding.SAME
    stride_w: int = 1
    stride_h: int = 1
    filter_width: int = 1
    filter_height: int = 1
    fused_activation_function: Activation = Activation.NONE


@dataclass(frozen=True)
class AddOptions(Options):  # noqa: D101
    fused_activation_function: Activation = Activation.NONE
    pot_scale_int16: bool = True


@dataclass(frozen=True)
class SubOptions(Options):  # noqa: D101
    fused_activation_function: Activation = Activation.NONE
    pot_scale_int16: bool = True


@dataclass(frozen=True)
class MulOptions(Options):  # noqa: D101
    fused_activation_function: Activation = Activation.NONE


@dataclass(frozen=True)
class DivOptions(Options):  # noqa: D101
    fused_activation_function: Activation = Activation.NONE


@dataclass(frozen=True)
class MaximumMinimumOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class ConcatenationOptions(Options):  # noqa: D101
    axis: int = 0
    fused_activation_function: Activation = Activation.NONE


@dataclass(frozen=True)
class SoftmaxOptions(Options):  # noqa: D101
    beta: float = 1.0


@dataclass(frozen=True)
class ReducerOptions(Options):  # noqa: D101
    keep_dims: bool = False


@dataclass(frozen=True)
class ReshapeOptions(Options):  # noqa: D101
    new_shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class SqueezeOptions(Options):  # noqa: D101
    squeeze_dims: tuple[int, ...] | None = None


@dataclass(frozen=True)
class ExpandDimsOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class TransposeOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class PadOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class PadV2Options(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class SliceOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class GatherOptions(Options):  # noqa: D101
    axis: int = 0
    batch_dims: int = 0


@dataclass(frozen=True)
class ArgMaxOptions(Options):  # noqa: D101
    output_type: int = 0


@dataclass(frozen=True)
class OneHotOptions(Options):  # noqa: D101
    axis: int = 0


@dataclass(frozen=True)
class DepthToSpaceOptions(Options):  # noqa: D101
    block_size: int = 1


@dataclass(frozen=True)
class SpaceToDepthOptions(Options):  # noqa: D101
    block_size: int = 1


@dataclass(frozen=True)
class QuantizeOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class DequantizeOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class CastOptions(Options):  # noqa: D101
    in_data_type: int = 0
    out_data_type: int = 0


@dataclass(frozen=True)
class LeakyReluOptions(Options):  # noqa: D101
    alpha: float = 0.0


@dataclass(frozen=True)
class GeluOptions(Options):  # noqa: D101
    approximate: bool = False


@dataclass(frozen=True)
class HardSwishOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class LogSoftmaxOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class L2NormOptions(Options):  # noqa: D101
    fused_activation_function: Activation = Activation.NONE


@dataclass(frozen=True)
class LocalResponseNormalizationOptions(Options):  # noqa: D101
    radius: int = 0
    bias: float = 0.0
    alpha: float = 0.0
    beta: float = 0.0


@dataclass(frozen=True)
class AbsOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class ExpOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class NegOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class PowOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class SquareOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class SquaredDifferenceOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class MirrorPadOptions(Options):  # noqa: D101
    mode: int = 0  # 0 reflect, 1 symmetric


@dataclass(frozen=True)
class SplitOptions(Options):  # noqa: D101
    num_splits: int = 0


@dataclass(frozen=True)
class SplitVOptions(Options):  # noqa: D101
    num_splits: int = 0


@dataclass(frozen=True)
class PackOptions(Options):  # noqa: D101
    values_count: int = 0
    axis: int = 0


@dataclass(frozen=True)
class UnpackOptions(Options):  # noqa: D101
    num: int = 0
    axis: int = 0


@dataclass(frozen=True)
class StridedSliceOptions(Options):  # noqa: D101
    begin_mask: int = 0
    end_mask: int = 0
    ellipsis_mask: int = 0
    new_axis_mask: int = 0
    shrink_axis_mask: int = 0
    offset: bool = False


@dataclass(frozen=True)
class ResizeBilinearOptions(Options):  # noqa: D101
    align_corners: bool = False
    half_pixel_centers: bool = False


@dataclass(frozen=True)
class ResizeNearestNeighborOptions(Options):  # noqa: D101
    align_corners: bool = False
    half_pixel_centers: bool = False


@dataclass(frozen=True)
class SpaceToBatchNDOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class BatchToSpaceNDOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class ShapeOptions(Options):  # noqa: D101
    out_type: int = 0


@dataclass(frozen=True)
class TileOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class BroadcastToOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class ReverseV2Options(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class SelectOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class SelectV2Options(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class GreaterOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class GreaterEqualOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class LessOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class LessEqualOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class EqualOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class NotEqualOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class LogicalAndOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class LogicalOrOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class LogicalNotOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class SignOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class ArgMinOptions(Options):  # noqa: D101
    output_type: int = 0


@dataclass(frozen=True)
class AddNOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class CumsumOptions(Options):  # noqa: D101
    exclusive: bool = False
    reverse: bool = False


@dataclass(frozen=True)
class FloorDivOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class FloorModOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class GatherNdOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class CosOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class ZerosLikeOptions(Options):  # noqa: D101
    pass


@dataclass(frozen=True)
class UnidirectionalSequenceLSTMOptions(Options):  # noqa: D101
    fused_activation_function: Activation = Activation.NONE
    cell_clip: float = 0.0
    proj_clip: float = 0.0
    time_major: bool = False
    asymmetric_quantize_inputs: bool = False
    diagonal_recurrent_tensors: bool = False
