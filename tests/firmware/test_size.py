"""How much flash kernels, link and runtime take beside a model with convolutions and its GradCAM."""

from __future__ import annotations

import numpy as np
import pytest

import export
from export import tflite
from export.tflite import Graph, Model, Quantization
from export.tflite import options as tables
from export.tflite.ops import INT8, INT32, Builder
from export.tflite.options import Activation, Padding
from firmware_bridge import boards
from firmware_bridge.build import BuildOptions, build
from firmware_bridge.footprint import KERNELS, LINK, MODEL, RUNTIME
from tests.tools import GCC, needs

GOAL = 12 << 10
RELU = Quantization((0.1,), (-128,))


def separable() -> Model:
    """A convolution, a depthwise and a pointwise one, average pooling, a dense layer, and softmax."""
    rng = np.random.default_rng(0)
    builder = Builder(Graph("main"))

    def weights(axis, *shape):
        scales = tuple(float(np.float32(scale)) for scale in rng.uniform(0.004, 0.008, shape[axis]))
        grid = Quantization(scales, (0,) * shape[axis], axis)
        return builder.constant(rng.integers(-127, 128, shape), INT8, grid)

    def layer(code, x, kernel, shape, options, grid):
        axis, scales = kernel.quantization.axis, kernel.quantization.scale
        of_bias = tuple(float(np.float32(x.quantization.scale[0]) * np.float32(scale)) for scale in scales)
        grid_of_bias = Quantization(of_bias, (0,) * len(of_bias), 0)
        bias = builder.constant(rng.integers(-500, 500, kernel.shape[axis]), INT32, grid_of_bias)
        return builder.op(code, [x, kernel, bias], shape, options, quantization=grid)

    x = builder.tensor("image", (1, 10, 10, 3), INT8, Quantization((0.05,), (-3,)))
    builder.graph.inputs = [x]
    strided = tables.Conv2DOptions(Padding.SAME, 2, 2, Activation.RELU)
    one = tables.Conv2DOptions(Padding.SAME, 1, 1, Activation.RELU)
    by_channel = tables.DepthwiseConv2DOptions(Padding.SAME, 1, 1, 1, Activation.RELU)
    pool = tables.Pool2DOptions(Padding.VALID, 5, 5, 5, 5, Activation.NONE)
    y = layer("CONV_2D", x, weights(0, 8, 3, 3, 3), (1, 5, 5, 8), strided, RELU)
    y = layer("DEPTHWISE_CONV_2D", y, weights(3, 1, 3, 3, 8), (1, 5, 5, 8), by_channel, RELU)
    y = layer("CONV_2D", y, weights(0, 12, 1, 1, 8), (1, 5, 5, 12), one, RELU)
    y = builder.op("AVERAGE_POOL_2D", [y], (1, 1, 1, 12), pool, quantization=RELU)
    y = builder.op("RESHAPE", [y, builder.constant(np.array((1, 12)), INT32)], (1, 12), None, quantization=RELU)
    dense = tables.FullyConnectedOptions()
    y = layer("FULLY_CONNECTED", y, weights(0, 4, 12), (1, 4), dense, Quantization((0.2,), (5,)))
    softmax = tables.SoftmaxOptions(1.0)
    y = builder.op("SOFTMAX", [y], (1, 4), softmax, quantization=Quantization((1 / 256,), (-128,)))
    builder.graph.outputs = [y]
    return Model([builder.graph])


@pytest.mark.slow
@needs(GCC)
def test_kernels_link_and_runtime_take_12_kilobytes(tmp_path):
    x = np.random.default_rng(1).normal(0, 2, (16, 10, 10, 3)).astype(np.float32)
    bundle = export.explain(
        tflite.write(separable()), calibration=x, target="micro", methods=["gradcam"], allow_unfaithful=True
    )
    kernels = {operation.kernel for operation in bundle.manifest.micro.operations}
    assert {"whylite_conv_2d_fast", "whylite_depthwise_conv_2d_fast", "whylite_multiply_runs"} <= kernels
    footprint = build(bundle, boards.named("qemu-mps2-an386"), tmp_path / "build", BuildOptions("gcc")).footprint
    sizes = {name: footprint.group(name) for name in (KERNELS, LINK, RUNTIME)}
    assert all(part.code for part in sizes.values())
    assert sum(part.code + part.constants + part.data for part in sizes.values()) <= GOAL
    model = footprint.group(MODEL)
    texts = footprint.flash - sum(part.code + part.constants + part.data for part in footprint.parts)
    assert 0 < texts < 700  # those of the model and padding included
    assert model.constants > 0
    assert not any(part.source == "whylite_integrate.c" for part in footprint.parts)
