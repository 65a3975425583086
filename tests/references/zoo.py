"""Small models built here, op by op: enough variety to exercise a reader, small enough to damage by the thousand."""

from __future__ import annotations

import numpy as np

from export.tflite import Graph, Model, Op, Quantization, Signature, Tensor
from export.tflite import options as tables
from export.tflite.ops import INT8, INT32, Builder
from export.tflite.options import Activation, Padding


def signed(model: Model, key: str = "serving_default") -> Model:
    """Give the primary graph a signature."""
    graph = model.graphs[0]
    inputs = {f"in{index}": tensor for index, tensor in enumerate(graph.inputs)}
    outputs = {f"out{index}": tensor for index, tensor in enumerate(graph.outputs)}
    model.signatures.append(Signature(key, graph, inputs, outputs))
    return model


def float_classifier(seed: int = 0) -> Model:
    """A convolution, a residual pair, pooling, a dense layer and a softmax."""
    rng = np.random.default_rng(seed)
    builder = Builder(Graph("main"))
    x = builder.tensor("image", (1, 6, 5, 2))
    builder.graph.inputs = [x]
    relu = tables.Conv2DOptions(stride_w=2, stride_h=1, fused_activation_function=Activation.RELU)
    kernel = builder.constant(rng.normal(0, 1, (4, 3, 3, 2)))
    first = builder.conv2d(x, kernel, builder.constant(rng.normal(0, 1, 4)), relu)
    same = tables.DepthwiseConv2DOptions(depth_multiplier=1, fused_activation_function=Activation.RELU6)
    second = builder.depthwise_conv2d(first, builder.constant(rng.normal(0, 1, (1, 3, 3, 4))), same)
    joined = builder.add(first, second)
    pooled = builder.mean(joined, (1, 2))
    logits = builder.fully_connected(builder.reshape(pooled, (1, 4)), builder.constant(rng.normal(0, 1, (3, 4))))
    scores = builder.op("SOFTMAX", [logits], logits.shape, tables.SoftmaxOptions(1.0))
    builder.graph.outputs = [scores]
    return signed(Model([builder.graph], description="built by a test", metadata=[("note", b"kept as it is")]))


def int8_classifier(seed: int = 0) -> Model:
    """The same kind of network in int8, with weights quantised per channel."""
    rng = np.random.default_rng(seed)
    builder = Builder(Graph("main"))
    grid = Quantization((0.05,), (-3,))
    x = builder.tensor("image", (1, 6, 6, 3), INT8, grid)
    builder.graph.inputs = [x]
    scales = tuple(float(np.float32(scale)) for scale in rng.uniform(0.01, 0.02, 4))
    kernel = builder.constant(rng.integers(-127, 128, (4, 3, 3, 3)), INT8, Quantization(scales, (0,) * 4, 0))
    bias_scales = tuple(float(np.float32(0.05) * np.float32(scale)) for scale in scales)
    bias = builder.constant(rng.integers(-500, 500, 4), INT32, Quantization(bias_scales, (0,) * 4, 0))
    options = tables.Conv2DOptions(Padding.VALID, 1, 1, Activation.RELU)
    maps = builder.op("CONV_2D", [x, kernel, bias], (1, 4, 4, 4), options, quantization=Quantization((0.1,), (-128,)))
    axes = builder.constant(np.asarray((1, 2)), INT32)
    pooled = builder.op(
        "MEAN", [maps, axes], (1, 4), tables.ReducerOptions(False), quantization=Quantization((0.1,), (-128,))
    )
    weights = builder.constant(rng.integers(-127, 128, (3, 4)), INT8, Quantization((0.02,), (0,)))
    logits = builder.op(
        "FULLY_CONNECTED",
        [pooled, weights, None],
        (1, 3),
        tables.FullyConnectedOptions(),
        quantization=Quantization((0.2,), (5,)),
    )
    scores = builder.op(
        "SOFTMAX", [logits], (1, 3), tables.SoftmaxOptions(1.0), quantization=Quantization((1 / 256,), (-128,))
    )
    builder.graph.outputs = [scores]
    return signed(Model([builder.graph]))


def two_entries() -> Model:
    """Two subgraphs over one set of weights, a signature each, with several inputs and outputs."""
    rng = np.random.default_rng(1)
    weights = rng.normal(0, 1, (5, 8))
    graphs = []
    for name in ("first", "second"):
        builder = Builder(Graph(name))
        left, right = builder.tensor("left", (2, 8)), builder.tensor("right", (1, 8))
        builder.graph.inputs = [left, right]
        total = builder.add(left, right, Activation.RELU)
        product = builder.fully_connected(total, builder.constant(weights))
        builder.graph.outputs = [product, builder.mul(total, total) if name == "first" else builder.sub(left, right)]
        graphs.append(builder.graph)
    signatures = [
        Signature(
            graph.name,
            graph,
            {"left": graph.inputs[0], "right": graph.inputs[1]},
            {"product": graph.outputs[0], "other": graph.outputs[1]},
        )
        for graph in graphs
    ]
    return Model(graphs, signatures)


def custom_op() -> Model:
    """An op of somebody else's, with options only its author can read, between two builtins."""
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 4))
    doubled = builder.add(x, x)
    between = builder.tensor("between", (1, 4))
    extras = {"customOptions": np.frombuffer(b"\x01\x02opaque\x00\xff", np.uint8)}
    builder.graph.ops.append(Op("CUSTOM", [doubled, None], [between], None, 3, "Acme_Frobnicate", extras=extras))
    builder.graph.inputs, builder.graph.outputs = [x], [builder.mul(between, between)]
    return Model([builder.graph])


def rich_tensors() -> Model:
    """Tensors with what most models lack: dynamic sizes, state, float16 weights, min and max notes, other types."""
    builder = Builder(Graph("main"))
    graph = builder.graph
    x = Tensor("x", (1, 3), np.dtype(np.float32), shape_signature=(-1, 3))
    state = Tensor("state", (1, 3), np.dtype(np.float32), is_variable=True)
    noted = Tensor(
        "noted",
        (2, 3),
        np.dtype(np.uint8),
        Quantization((0.5,), (7,), 0, (-3.5,), (124.0,)),
        np.full((2, 3), 9, np.uint8),
    )
    halves = Tensor("halves", (3,), np.dtype(np.float16), data=np.asarray((0.5, -1, 65504), np.float16))
    flags = Tensor("flags", (2,), np.dtype(np.bool_), data=np.asarray((True, False)))
    wide = Tensor("wide", (2,), np.dtype(np.int64), data=np.asarray((-1, 1 << 40)))
    empty = Tensor("empty", (0,), np.dtype(np.int32))
    graph.tensors += [x, state, noted, halves, flags, wide, empty]
    graph.inputs = [x]
    summed = builder.add(builder.add(x, state), builder.dequantize(halves))
    graph.outputs = [builder.add(summed, builder.dequantize(noted)), flags, wide]
    return signed(Model([graph], metadata=[("a", b""), ("b", b"\0" * 40)]))


MODELS = {
    "float_classifier": float_classifier,
    "int8_classifier": int8_classifier,
    "two_entries": two_entries,
    "custom_op": custom_op,
    "rich_tensors": rich_tensors,
}
