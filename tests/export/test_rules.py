"""Every rule on its own: the compiled gradient in LiteRT against GradientTape and against differences of the forward.

The forward is LiteRT's too, so a rule that misreads an option of an op (a stride, a dilation, how SAME pads) cannot
agree with both. Shapes and options are drawn, numbers come from a seed.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from export.errors import UnsupportedModelError
from export.numerics import store_quantized
from export.tflite import Graph, Op, Quantization, Tensor
from export.tflite import options as tables
from export.tflite.ops import INT32, Builder
from export.tflite.options import Activation, Padding
from tests.references import tensorflow_twin
from tests.references.compiled import VectorJacobianProduct, relative_error

BOUND = 1e-5

seeds = st.integers(0, 1 << 16)
sizes = st.integers(1, 9)
strides = st.tuples(st.integers(1, 3), st.integers(1, 3))
taps = st.tuples(st.integers(1, 5), st.integers(1, 5))
dilations = st.one_of(st.just((1, 1)), st.tuples(st.integers(1, 3), st.integers(1, 3)))
paddings = st.sampled_from(Padding)
activations = st.sampled_from([Activation.NONE, Activation.RELU, Activation.RELU6])


def examples(count: int):
    return settings(max_examples=count, deadline=None, derandomize=True)


class Drawing:
    """A graph being built from random numbers."""

    def __init__(self, seed: int, *shape: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = Builder(Graph("main"))
        self.x = self.builder.tensor("x", shape)
        self.builder.graph.inputs = [self.x]

    def constant(self, *shape: int) -> Tensor:
        return self.builder.constant(self.rng.normal(0, 1, shape))

    def values(self, tensor: Tensor) -> np.ndarray:
        return self.rng.normal(0, 1, tensor.shape).astype(np.float32)


def check(drawing: Drawing, output: Tensor, *, linear: bool) -> VectorJacobianProduct:
    """Hold the compiled gradient of ``output`` against both references; return it."""
    graph = drawing.builder.graph
    graph.outputs = [output]
    compiled = VectorJacobianProduct(graph, output)
    x, upstream = drawing.values(drawing.x), drawing.values(output)
    gradient, y = compiled(x, upstream)

    expected = tensorflow_twin.vector_jacobian_product(graph, output, x, upstream)
    assert gradient.shape == x.shape
    assert relative_error(gradient, expected) < BOUND

    if linear:  # then a difference quotient is exact for steps of any size
        step = drawing.values(drawing.x)
        above, below = (compiled(x + sign * step, upstream)[1].astype(np.float64) for sign in (1, -1))
        rise = np.vdot(above - below, upstream) / 2
        scale = np.linalg.norm(gradient) * np.linalg.norm(step) + np.linalg.norm(y) * np.linalg.norm(upstream)
        assert abs(rise - np.vdot(gradient, step)) <= BOUND * scale
    return compiled


@examples(120)
@given(seeds, sizes, sizes, taps, strides, dilations, paddings, st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))
def test_conv_2d(seed, height, width, kernel, stride, dilation, padding, outputs, inputs, groups):
    reach = [(count - 1) * factor + 1 for count, factor in zip(kernel, dilation, strict=True)]
    assume(padding == Padding.SAME or (reach[0] <= height and reach[1] <= width))
    drawing = Drawing(seed, 1, height, width, inputs * groups)
    options = tables.Conv2DOptions(padding, stride[1], stride[0], Activation.NONE, dilation[1], dilation[0])
    weights = drawing.constant(outputs * groups, *kernel, inputs)
    check(
        drawing,
        drawing.builder.conv2d(drawing.x, weights, drawing.constant(outputs * groups), options),
        linear=True,
    )


@examples(60)
@given(seeds, sizes, sizes, taps, strides, dilations, paddings, st.integers(1, 5), st.integers(1, 3))
def test_depthwise_conv_2d(seed, height, width, kernel, stride, dilation, padding, channels, multiplier):
    reach = [(count - 1) * factor + 1 for count, factor in zip(kernel, dilation, strict=True)]
    assume(padding == Padding.SAME or (reach[0] <= height and reach[1] <= width))
    drawing = Drawing(seed, 1, height, width, channels)
    options = tables.DepthwiseConv2DOptions(
        padding, stride[1], stride[0], multiplier, Activation.NONE, dilation[1], dilation[0]
    )
    weights = drawing.constant(1, *kernel, channels * multiplier)
    check(drawing, drawing.builder.depthwise_conv2d(drawing.x, weights, options), linear=True)


@pytest.mark.parametrize("kernel", [1, 3, 4, 5])
@pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 6), (2, 2), (1, 12), (12, 1)])
@pytest.mark.parametrize("inputs", [1, 3, 4, 5, 40])
def test_convolutions_of_few_and_of_many_channels(kernel, height, width, inputs):
    """Four channels and fewer on even sizes are computed four pixels at once."""
    drawing = Drawing(kernel, 1, height, width, inputs)
    taps = (min(kernel, height), min(kernel, width))
    weights = drawing.constant(7, *taps, inputs)
    options = tables.Conv2DOptions(Padding.SAME)
    check(drawing, drawing.builder.conv2d(drawing.x, weights, drawing.constant(7), options), linear=True)


EDGES = {
    # height, width, taps, strides, padding
    "kernel larger than the input": (2, 3, (5, 5), (1, 1), Padding.SAME),
    "kernel larger than the input, strided": (3, 2, (5, 5), (2, 3), Padding.SAME),
    "kernel smaller than the stride": (9, 10, (1, 1), (3, 3), Padding.SAME),
    "kernel smaller than the stride, rows never read": (10, 9, (2, 1), (4, 3), Padding.VALID),
    "the whole input at once": (6, 5, (6, 5), (1, 1), Padding.VALID),
    "the last rows never read": (8, 8, (3, 3), (3, 3), Padding.VALID),
    "one dimension, along the width": (1, 16, (1, 5), (1, 2), Padding.SAME),
    "one dimension, along the height": (16, 1, (5, 1), (2, 1), Padding.SAME),
    "one dimension, the other stride set as well": (1, 15, (1, 3), (2, 2), Padding.SAME),
    "unequal strides": (9, 9, (3, 3), (1, 2), Padding.SAME),
    "unequal strides that do not divide": (7, 8, (4, 3), (3, 2), Padding.SAME),
    "a single pixel": (1, 1, (3, 3), (2, 2), Padding.SAME),
}


@pytest.mark.parametrize(("height", "width", "kernel", "stride", "padding"), EDGES.values(), ids=EDGES)
@pytest.mark.parametrize("kind", ["conv", "depthwise", "pool"])
def test_windows_at_the_edges_of_their_options(kind, height, width, kernel, stride, padding):
    drawing = Drawing(1, 1, height, width, 6)
    builder = drawing.builder
    if kind == "conv":
        options = tables.Conv2DOptions(padding, stride[1], stride[0])
        y = builder.conv2d(drawing.x, drawing.constant(4, *kernel, 6), drawing.constant(4), options)
    elif kind == "depthwise":
        options = tables.DepthwiseConv2DOptions(padding, stride[1], stride[0], depth_multiplier=1)
        y = builder.depthwise_conv2d(drawing.x, drawing.constant(1, *kernel, 6), options)
    else:
        y = average_pool(drawing, kernel, stride, padding)
    check(drawing, y, linear=True)


def average_pool(drawing: Drawing, window: tuple[int, int], stride: tuple[int, int], padding: Padding) -> Tensor:
    shape = [
        -(-size // step) if padding == Padding.SAME else (size - extent) // step + 1
        for size, extent, step in zip(drawing.x.shape[1:3], window, stride, strict=True)
    ]
    options = tables.Pool2DOptions(padding, stride[1], stride[0], window[1], window[0])
    return drawing.builder.op("AVERAGE_POOL_2D", [drawing.x], (1, *shape, drawing.x.shape[3]), options)


@examples(80)
@given(seeds, sizes, sizes, st.integers(1, 4), taps, strides, paddings)
def test_average_pool_2d(seed, height, width, channels, window, stride, padding):
    assume(padding == Padding.SAME or (window[0] <= height and window[1] <= width))
    drawing = Drawing(seed, 1, height, width, channels)
    check(drawing, average_pool(drawing, window, stride, padding), linear=True)


@examples(25)
@given(seeds, st.integers(1, 4), st.integers(1, 4), strides, st.integers(1, 3))
def test_average_pool_2d_whose_windows_tile_the_input(seed, rows, columns, window, channels):
    drawing = Drawing(seed, 1, rows * window[0], columns * window[1], channels)
    compiled = check(drawing, average_pool(drawing, window, window, Padding.VALID), linear=True)
    assert "DEPTHWISE_CONV_2D" not in compiled.codes


@examples(10)
@given(seeds, sizes, sizes, st.integers(1, 5))
def test_average_pool_2d_over_everything(seed, height, width, channels):
    drawing = Drawing(seed, 1, height, width, channels)
    check(drawing, average_pool(drawing, (height, width), (1, 1), Padding.VALID), linear=True)


@examples(40)
@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_fully_connected(seed, leading, inputs, outputs, keep_dims):
    """Rank 2 to 4; without ``keep_num_dims`` all leading dimensions become one."""
    shape = (1, *leading[1:], inputs)
    drawing = Drawing(seed, *shape)
    rows = int(np.prod(shape[:-1]))
    y = drawing.builder.op(
        "FULLY_CONNECTED",
        [drawing.x, drawing.constant(outputs, inputs), drawing.constant(outputs)],
        (*shape[:-1], outputs) if keep_dims else (rows, outputs),
        tables.FullyConnectedOptions(keep_num_dims=keep_dims),
        version=5 if keep_dims else 1,
    )
    check(drawing, y, linear=True)


def test_fully_connected_without_bias_over_a_whole_map():
    """A dense layer may take a map as it is and flatten it itself."""
    drawing = Drawing(0, 1, 3, 4, 2)
    y = drawing.builder.op(
        "FULLY_CONNECTED", [drawing.x, drawing.constant(5, 24), None], (1, 5), tables.FullyConnectedOptions()
    )
    check(drawing, y, linear=True)


@examples(40)
@given(seeds, st.data())
def test_add_with_broadcasting(seed, data):
    """Either operand may be the smaller one, also in rank."""
    full = (1, *data.draw(st.lists(st.integers(2, 4), min_size=1, max_size=3)))
    small = tuple(data.draw(st.sampled_from((1, size))) for size in full)
    small = small[data.draw(st.integers(0, len(small) - 1)) :] if data.draw(st.booleans()) else small
    grows = data.draw(st.booleans())
    if grows:
        assume(len(small) == len(full))  # an input has a batch dimension
    drawing = Drawing(seed, *(small if grows else full))
    other = drawing.constant(*(full if grows else small))
    operands = [drawing.x, other] if data.draw(st.booleans()) else [other, drawing.x]
    check(drawing, drawing.builder.op("ADD", operands, full, tables.AddOptions()), linear=True)


def test_add_of_a_tensor_to_itself():
    drawing = Drawing(0, 1, 3, 3, 2)
    check(drawing, drawing.builder.add(drawing.x, drawing.x), linear=True)


def test_add_of_a_map_and_its_own_mean():
    """Two paths meet, one of them with a gradient that is the same everywhere."""
    drawing = Drawing(0, 1, 3, 4, 2)
    builder = drawing.builder
    check(drawing, builder.add(drawing.x, builder.mean(drawing.x, (1, 2))), linear=True)


@examples(60)
@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=3), st.booleans(), st.data())
def test_mean(seed, trailing, keep_dims, data):
    shape = (1, *trailing)
    rank = len(shape)
    axes = data.draw(st.lists(st.integers(1, rank - 1), min_size=1, max_size=rank - 1, unique=True))
    stored = [axis - rank if data.draw(st.booleans()) else axis for axis in axes]
    left = [1 if position in axes else size for position, size in enumerate(shape)]
    left = left if keep_dims else [size for position, size in enumerate(shape) if position not in axes]
    drawing = Drawing(seed, *shape)
    indices = drawing.builder.constant(np.asarray(stored), INT32)
    y = drawing.builder.op("MEAN", [drawing.x, indices], left, tables.ReducerOptions(keep_dims))
    check(drawing, y, linear=True)


def test_mean_over_an_axis_given_as_a_scalar():
    drawing = Drawing(0, 1, 3, 4)
    axis = drawing.builder.constant(np.asarray(1), INT32)
    check(drawing, drawing.builder.op("MEAN", [drawing.x, axis], (1, 4), tables.ReducerOptions(False)), linear=True)


SHAPES = {
    "flatten": ((1, 3, 4, 2), (1, 24)),
    "unflatten": ((1, 24), (1, 2, 3, 4)),
    "add a dimension": ((1, 6, 3), (1, 6, 1, 3)),
    "drop a dimension": ((1, 6, 1, 3), (1, 6, 3)),
    "regroup": ((1, 6, 4), (1, 4, 6)),
    "into rows": ((1, 6, 4), (6, 4)),
}


@pytest.mark.parametrize(("source", "target"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("constant", [False, True], ids=["plain", "after a mean"])
def test_reshape(source, target, constant):
    """With a gradient that is the same along some dimension too, which RESHAPE must not lose count of."""
    drawing = Drawing(0, *source)
    builder = drawing.builder
    y = builder.reshape(drawing.x, target)
    if constant:
        y = builder.mean(y, (len(target) - 1,))
    check(drawing, y, linear=True)


def test_expand_dims_and_squeeze():
    drawing = Drawing(0, 1, 5, 3)
    builder = drawing.builder
    axis = builder.constant(np.asarray(2), INT32)
    wide = builder.op("EXPAND_DIMS", [drawing.x, axis], (1, 5, 1, 3), tables.ExpandDimsOptions())
    kernel = drawing.constant(4, 3, 1, 3)
    y = builder.conv2d(wide, kernel, drawing.constant(4))
    check(drawing, builder.op("SQUEEZE", [y], (1, 5, 4), tables.SqueezeOptions((2,))), linear=True)


# Activations


@examples(40)
@given(seeds, sizes, sizes, activations, st.booleans())
def test_activations_fused_and_on_their_own(seed, height, width, activation, fused):
    drawing = Drawing(seed, 1, height, width, 3)
    builder = drawing.builder
    kernel = builder.constant(drawing.rng.normal(0, 3, (4, 2, 2, 3)))
    options = tables.Conv2DOptions(fused_activation_function=activation if fused else Activation.NONE)
    y = builder.conv2d(drawing.x, kernel, drawing.constant(4), options)
    if not fused and activation != Activation.NONE:
        y = builder.op(activation.name, [y], y.shape)
    check(drawing, y, linear=False)


@pytest.mark.parametrize("code", ["RELU", "RELU6"])
def test_at_a_kink_the_gradient_is_zero_as_in_tensorflow(code):
    """Whole numbers hit 0 and 6 exactly."""
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 11))
    builder.graph.inputs = [x]
    y = builder.op(code, [x], x.shape)
    builder.graph.outputs = [y]
    values, upstream = np.arange(-2, 9, dtype=np.float32)[None], np.ones((1, 11), np.float32)
    gradient, _ = VectorJacobianProduct(builder.graph, y)(values, upstream)
    np.testing.assert_array_equal(gradient, tensorflow_twin.vector_jacobian_product(builder.graph, y, values, upstream))


@pytest.mark.parametrize("activation", [Activation.RELU, Activation.RELU6])
@pytest.mark.parametrize("count", [2, 5, 30])
def test_many_masks_in_a_row_do_not_underflow(count, activation):
    """Residual additions put masks one after the other with no kernel between them to absorb their factors."""
    drawing = Drawing(count, 1, 4, 4, 3)
    builder = drawing.builder
    y = drawing.x
    for _ in range(count):
        y = builder.add(y, builder.constant(drawing.rng.normal(0.5, 0.5, (1, 4, 4, 3))), activation)
    check(drawing, y, linear=False)


@pytest.mark.parametrize("blocks", [1, 4])
def test_residual_blocks(blocks):
    drawing = Drawing(blocks, 1, 5, 6, 4)
    builder = drawing.builder
    y = drawing.x
    relu = tables.Conv2DOptions(fused_activation_function=Activation.RELU)
    for _ in range(blocks):
        a = builder.conv2d(y, drawing.constant(4, 3, 3, 4), drawing.constant(4), relu)
        b = builder.conv2d(a, drawing.constant(4, 3, 3, 4), drawing.constant(4))
        y = builder.add(y, b, Activation.RELU)
    check(drawing, y, linear=False)


def test_a_tensor_read_three_times():
    drawing = Drawing(0, 1, 4, 4, 2)
    builder = drawing.builder
    a = builder.conv2d(drawing.x, drawing.constant(2, 1, 1, 2), drawing.constant(2))
    b = builder.depthwise_conv2d(a, drawing.constant(1, 3, 3, 2))
    c = average_pool_of(builder, a)
    check(drawing, builder.add(builder.add(a, b), builder.add(c, drawing.x)), linear=True)


def average_pool_of(builder: Builder, x: Tensor) -> Tensor:
    return builder.op("AVERAGE_POOL_2D", [x], x.shape, tables.Pool2DOptions(Padding.SAME, 1, 1, 3, 3))


# Stored weights


@pytest.mark.parametrize("kind", ["int8 per channel", "int8 per tensor", "uint8", "float16"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("code", ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"])
def test_weights_behind_dequantize_are_moved_not_rounded(kind, stride, code):
    """The model's own stored weights go backwards: same integers, other places, no copy in float32."""
    drawing = Drawing(3, 1, 6, 6, 5)
    builder, rng = drawing.builder, drawing.rng
    shape = {"CONV_2D": (8, 3, 3, 5), "DEPTHWISE_CONV_2D": (1, 3, 3, 5), "FULLY_CONNECTED": (8, 180)}[code]
    axis = 3 if code == "DEPTHWISE_CONV_2D" else 0
    stored = stored_weights(builder, rng, kind, shape, axis)
    weights = builder.dequantize(stored)
    if code == "CONV_2D":
        options = tables.Conv2DOptions(Padding.SAME, stride, stride)
        y = builder.conv2d(drawing.x, weights, drawing.constant(8), options)
    elif code == "DEPTHWISE_CONV_2D":
        options = tables.DepthwiseConv2DOptions(Padding.SAME, stride, stride, 1)
        y = builder.depthwise_conv2d(drawing.x, weights, options)
    else:
        y = builder.fully_connected(builder.reshape(drawing.x, (1, 180)), weights)
    graph = builder.graph
    graph.outputs = [y]
    x, upstream = drawing.values(drawing.x), drawing.values(y)
    gradient, _ = VectorJacobianProduct(graph, y, store_quantized)(x, upstream)
    expected = tensorflow_twin.vector_jacobian_product(graph, y, x, upstream)
    assert relative_error(gradient, expected) < BOUND


def stored_weights(builder: Builder, rng: np.random.Generator, kind: str, shape: tuple[int, ...], axis: int) -> Tensor:
    if kind == "float16":
        return builder.constant(rng.normal(0, 1, shape), np.dtype(np.float16))
    if kind == "uint8":
        grid = Quantization((0.0173,), (131,))
        return builder.constant(rng.integers(0, 256, shape), np.dtype(np.uint8), grid)
    count = shape[axis] if kind == "int8 per channel" else 1
    scales = tuple(float(np.float32(scale)) for scale in rng.uniform(0.001, 0.1, count))
    grid = Quantization(scales, (0,) * count, axis if count > 1 else 0)
    return builder.constant(rng.integers(-127, 128, shape), np.dtype(np.int8), grid)


# Refusals


def test_an_op_without_a_rule_is_refused_by_name():
    drawing = Drawing(0, 1, 4, 4, 2)
    builder = drawing.builder
    y = builder.op("ATAN2", [drawing.x, drawing.constant(1, 4, 4, 2)], (1, 4, 4, 2), name="angle")
    with pytest.raises(UnsupportedModelError) as caught:
        VectorJacobianProduct(builder.graph, builder.mean(y, (1, 2)))
    assert "ATAN2" in caught.value.cause
    assert "'angle' (float32 [1, 4, 4, 2])" in caught.value.cause
    assert caught.value.hint


def test_a_custom_op_is_refused_by_its_own_name():
    drawing = Drawing(0, 1, 4)
    builder = drawing.builder
    y = builder.tensor("y", (1, 4))
    builder.graph.ops.append(Op("CUSTOM", [drawing.x], [y], None, 1, "Acme_Frobnicate"))
    with pytest.raises(UnsupportedModelError, match="Acme_Frobnicate") as caught:
        VectorJacobianProduct(builder.graph, y)
    assert "'y'" in caught.value.cause


def test_an_activation_without_a_rule_is_refused_by_name():
    drawing = Drawing(0, 1, 4)
    y = drawing.builder.fully_connected(drawing.x, drawing.constant(3, 4), Activation.SIGN_BIT)
    with pytest.raises(UnsupportedModelError, match="SIGN_BIT"):
        VectorJacobianProduct(drawing.builder.graph, y)


def test_weights_computed_at_run_time_are_refused():
    drawing = Drawing(0, 1, 4)
    builder = drawing.builder
    moving = builder.add(builder.reshape(drawing.x, (1, 4)), drawing.constant(3, 4))
    y = builder.fully_connected(drawing.x, moving)
    with pytest.raises(UnsupportedModelError, match="computed at run time") as caught:
        VectorJacobianProduct(builder.graph, y)
    assert repr(moving) in caught.value.cause


def test_a_target_the_output_does_not_depend_on_is_refused():
    drawing = Drawing(0, 1, 4)
    builder = drawing.builder
    y = builder.add(drawing.constant(1, 4), drawing.constant(1, 4))
    with pytest.raises(UnsupportedModelError, match="does not depend on tensor 'x'"):
        VectorJacobianProduct(builder.graph, y)
