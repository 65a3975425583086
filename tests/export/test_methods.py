"""The methods on whole small classifiers: every kind of head and of number format, against GradientTape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

import export
from export import heads, tflite
from export.errors import UnsupportedModelError
from export.methods import GradCAM, IntegratedGradients, Saliency
from export.numerics import store_float, store_quantized
from export.tflite import Graph, Model, Op, Quantization, Tensor
from export.tflite import options as tables
from export.tflite.ops import FLOAT, INT8, INT32, Builder
from export.tflite.options import Activation, Padding
from tests.references import small_models, tensorflow_twin, zoo
from tests.references.compiled import VectorJacobianProduct, compile_method, relative_error
from tests.references.runtime import Session

BOUND = 1e-5
CLASSES = 4
RELU = Activation.RELU


class Network:
    """A float classifier in the making."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = Builder(Graph("main"))
        self.x = self.builder.tensor("image", shape)
        self.builder.graph.inputs = [self.x]

    def weights(self, *shape: int) -> Tensor:
        fan = max(int(np.prod(shape[1:])), 1)
        return self.builder.constant(self.rng.normal(0, np.sqrt(2 / fan), shape), FLOAT)

    def bias(self, count: int) -> Tensor:
        return self.builder.constant(self.rng.normal(0.1, 0.1, count), FLOAT)

    def conv(self, x: Tensor, outputs: int, taps: int = 3, stride: int = 1, activation: Activation = RELU) -> Tensor:
        options = tables.Conv2DOptions(Padding.SAME, stride, stride, activation)
        kernel = self.weights(outputs, min(taps, x.shape[1]), min(taps, x.shape[2]), x.shape[3])
        return self.builder.conv2d(x, kernel, self.bias(outputs), options)

    def dense(self, x: Tensor, outputs: int, activation: Activation = Activation.NONE) -> Tensor:
        options = tables.FullyConnectedOptions(activation)
        inputs = int(np.prod(x.shape[1:]))
        return self.builder.op(
            "FULLY_CONNECTED", [x, self.weights(outputs, inputs), self.bias(outputs)], (1, outputs), options
        )

    def average(self, x: Tensor) -> Tensor:
        options = tables.Pool2DOptions(Padding.VALID, 1, 1, x.shape[2], x.shape[1])
        return self.builder.op("AVERAGE_POOL_2D", [x], (1, 1, 1, x.shape[3]), options)

    def softmax(self, x: Tensor) -> Tensor:
        return self.builder.op("SOFTMAX", [x], x.shape, tables.SoftmaxOptions(1.0), name="scores")

    def model(self, scores: Tensor) -> Model:
        self.builder.graph.outputs = [scores]
        return zoo.signed(Model([self.builder.graph]))


def body(network: Network) -> Tensor:
    """A strided convolution, a residual block, a depthwise convolution."""
    builder = network.builder
    a = network.conv(network.x, 6, stride=2)
    b = builder.add(a, network.conv(a, 6, activation=Activation.NONE), RELU)
    options = tables.DepthwiseConv2DOptions(Padding.SAME, 1, 1, 1, Activation.RELU6)
    return builder.depthwise_conv2d(b, network.weights(1, 3, 3, 6), options)


def mean_and_dense() -> Model:
    network = Network(1, 9, 8, 3)
    pooled = network.builder.mean(body(network), (1, 2))
    return network.model(network.softmax(network.dense(network.builder.reshape(pooled, (1, 6)), CLASSES)))


def pool_and_dense() -> Model:
    network = Network(1, 8, 8, 3)
    return network.model(network.softmax(network.dense(network.average(body(network)), CLASSES)))


def flatten_and_dense() -> Model:
    network = Network(1, 8, 8, 3)
    y = body(network)
    flat = network.builder.reshape(y, (1, int(np.prod(y.shape))))
    return network.model(network.softmax(network.dense(flat, CLASSES)))


def dense_twice() -> Model:
    network = Network(1, 8, 8, 3)
    y = body(network)
    flat = network.builder.reshape(y, (1, int(np.prod(y.shape))))
    return network.model(network.softmax(network.dense(network.dense(flat, 10, RELU), CLASSES)))


def pixelwise_classifier() -> Model:
    """The classes are a 1x1 convolution's channels, averaged afterwards."""
    network = Network(1, 8, 8, 3)
    maps = network.conv(body(network), CLASSES, 1, activation=Activation.NONE)
    y = network.builder.mean(maps, (1, 2))
    return network.model(network.softmax(network.builder.reshape(y, (1, CLASSES))))


def mobilenet_v1() -> Model:
    """Pooling, a 1x1 convolution to the classes, SQUEEZE, SOFTMAX, RESHAPE."""
    network = Network(1, 8, 8, 3)
    logits = network.conv(network.average(body(network)), CLASSES, 1, activation=Activation.NONE)
    squeezed = network.builder.op("SQUEEZE", [logits], (1, CLASSES), tables.SqueezeOptions((1, 2)))
    scores = network.builder.op("SOFTMAX", [squeezed], squeezed.shape, tables.SoftmaxOptions(1.0))
    sizes = network.builder.constant(np.asarray((1, CLASSES)), INT32)
    return network.model(
        network.builder.op("RESHAPE", [scores, sizes], (1, CLASSES), tables.ReshapeOptions((1, CLASSES)))
    )


def softmax_before_reshape() -> Model:
    """SOFTMAX over the four-dimensional result, RESHAPE to a vector at the very end."""
    network = Network(1, 8, 8, 3)
    logits = network.conv(network.average(body(network)), CLASSES, 1, activation=Activation.NONE)
    return network.model(network.builder.reshape(network.softmax(logits), (1, CLASSES)))


def no_softmax() -> Model:
    network = Network(1, 8, 8, 3)
    return network.model(network.dense(network.average(body(network)), CLASSES))


def one_dimensional() -> Model:
    """What Keras makes of Conv1D: dimensions added and dropped around 2-D convolutions."""
    network = Network(1, 20, 3)
    builder = network.builder
    axis = builder.constant(np.asarray(1), INT32)
    wide = builder.op("EXPAND_DIMS", [network.x, axis], (1, 1, 20, 3), tables.ExpandDimsOptions())
    a = network.conv(wide, 5, stride=1)
    b = network.conv(a, 8, 5, 2)
    narrow = builder.op("SQUEEZE", [b], (1, *b.shape[2:]), tables.SqueezeOptions((1,)))
    return network.model(network.softmax(network.dense(builder.mean(narrow, (1,)), CLASSES)))


def pooling_behind_the_last_convolution() -> Model:
    """The head is a pooling that leaves positions, then a dense layer over them."""
    network = Network(1, 12, 12, 3)
    y = body(network)
    pool = tables.Pool2DOptions(Padding.VALID, 2, 2, 2, 2)
    y = network.builder.op("AVERAGE_POOL_2D", [y], (1, 3, 3, y.shape[3]), pool)
    return network.model(network.softmax(network.dense(y, CLASSES)))


HEADS: dict[str, Callable[[], Model]] = {
    build.__name__: build
    for build in (
        mean_and_dense,
        pool_and_dense,
        flatten_and_dense,
        dense_twice,
        pixelwise_classifier,
        mobilenet_v1,
        softmax_before_reshape,
        no_softmax,
        one_dimensional,
        pooling_behind_the_last_convolution,
    )
}

every_head = pytest.mark.parametrize("build", HEADS.values(), ids=HEADS)


def samples(model: Model, count: int = 3, seed: int = 7) -> list[np.ndarray]:
    shape = model.graphs[0].inputs[0].shape
    return list(np.random.default_rng(seed).normal(0, 1, (count, *shape)).astype(np.float32))


def class_of(index: int) -> np.ndarray:
    return np.asarray([index], np.int32)


def assert_gradcam(measured: np.ndarray, weighted_sum: np.ndarray) -> None:
    """The map is what is positive of the weighted sum, to within a part of its largest magnitude."""
    error = np.abs(measured.reshape(-1) - np.maximum(weighted_sum, 0)).max()
    assert error < BOUND * np.abs(weighted_sum).max()


@every_head
def test_the_logits_are_found_in_front_of_the_softmax(build):
    model = build()
    head = heads.find(model.graphs[0])
    assert head.classes == CLASSES
    x = samples(model, 1)[0]
    values = tensorflow_twin.forward(model.graphs[0], x)
    (scores,) = Session(tflite.write(model)).run(x)
    np.testing.assert_allclose(values[head.scores].numpy(), scores, rtol=1e-5, atol=1e-6)
    if build is not no_softmax:
        logits = values[head.logits].numpy().reshape(-1)
        np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), scores.reshape(-1), rtol=1e-4, atol=1e-6)


@every_head
def test_saliency_is_the_input_gradient(build):
    model = build()
    graph = model.graphs[0]
    head = heads.find(graph)
    saliency = compile_method(Saliency(), model)["saliency"]
    for x in samples(model):
        for index in range(CLASSES):
            expected = tensorflow_twin.input_gradient(graph, head.logits, x, index)
            assert relative_error(saliency(x=x, class_index=class_of(index))["map"], expected) < BOUND


@every_head
def test_saliency_agrees_with_central_differences_of_the_forward_pass(build):
    """In float64 and with steps so small that no activation changes sides."""
    model = build()
    graph = model.graphs[0]
    head = heads.find(graph)
    saliency = compile_method(Saliency(), model)["saliency"]
    rng = np.random.default_rng(0)
    (x,) = samples(model, 1)
    gradient = saliency(x=x, class_index=class_of(1))["map"].astype(np.float64)

    def logit(at: np.ndarray) -> float:

        return float(
            tensorflow_twin.forward(graph, tf.constant(at, tf.float64), tf.float64)[head.logits].numpy().flat[1]
        )

    for _ in range(5):
        step = rng.normal(0, 1e-6, x.shape)
        slope = (logit(x + step) - logit(x - step)) / 2
        assert abs(slope - np.vdot(gradient, step)) < BOUND * np.linalg.norm(gradient) * np.linalg.norm(step)


@every_head
def test_gradcam_is_that_of_the_gradient_tape(build):
    model = build()
    graph = model.graphs[0]
    head = heads.find(graph)
    layer = heads.default_layer(graph, head)
    entries = compile_method(GradCAM(), model)
    plain = Session(tflite.write(model))
    for x in samples(model):
        predicted = entries["gradcam"](x=x)
        scores = plain.run(x)[0]
        assert predicted["scores"].tobytes() == scores.tobytes()
        assert int(predicted["class_index"][0]) == int(scores.argmax())
        for index in range(CLASSES):
            asked = entries["gradcam_class"](x=x, class_index=class_of(index))
            assert asked["scores"].tobytes() == scores.tobytes()
            assert_gradcam(asked["map"], tensorflow_twin.gradcam(graph, layer, head.logits, x, index))
            if index == int(scores.argmax()):
                np.testing.assert_allclose(predicted["map"], asked["map"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("build", [mean_and_dense, dense_twice, mobilenet_v1], ids=lambda build: build.__name__)
def test_gradcam_at_any_layer(build):
    model = build()
    graph = model.graphs[0]
    head = heads.find(graph)
    maps = [op.output for op in graph.ops if len(op.output.shape) == 4 and np.prod(op.output.shape[1:3]) > 1]
    assert len(maps) >= 4
    (x,) = samples(model, 1)
    for layer in maps:
        entry = compile_method(GradCAM(layer.name), model)["gradcam_class"]
        for index in (0, 2):
            measured = entry(x=x, class_index=class_of(index))["map"]
            assert_gradcam(measured, tensorflow_twin.gradcam(graph, layer, head.logits, x, index))


@every_head
@pytest.mark.parametrize("steps", [1, 4])
def test_integrated_gradients_at_the_same_nodes(build, steps):
    model = build()
    graph = model.graphs[0]
    head = heads.find(graph)
    entries = compile_method(IntegratedGradients(steps), model)
    nodes = ((np.arange(8) + 0.5) / 8).astype(np.float32)
    eighth = np.full(steps, 1 / 8, np.float32)
    baseline = samples(model, 1, seed=1)[0] * np.float32(0.1)
    for x in samples(model, 2):
        total = np.zeros(x.shape)
        for alphas in nodes.reshape(-1, steps):
            given = {"x": x, "baseline": baseline, "alphas": alphas, "weights": eighth, "class_index": class_of(2)}
            total += entries["integrated_gradients"](**given)["map"]
        expected = tensorflow_twin.integrated_gradients(graph, head.logits, x, baseline, 2, nodes)
        assert relative_error(total * (x - baseline), expected) < BOUND * 2
        for end in (baseline, x):
            there = tensorflow_twin.forward(graph, end)[head.logits].numpy()
            np.testing.assert_allclose(entries["logits"](x=end)["logits"], there, rtol=1e-4, atol=1e-5)


@every_head
def test_integrated_gradients_add_up(build):
    """Completeness: the attributions sum to the change of the logit, ever more closely with more steps."""
    model = build()
    entries = compile_method(IntegratedGradients(8), model)
    (x,) = samples(model, 1)
    baseline = np.zeros_like(x)
    change = [entries["logits"](x=at)["logits"].reshape(-1)[1] for at in (baseline, x)]
    count = 512
    total = np.zeros(x.shape)
    for alphas in ((np.arange(count) + 0.5) / count).astype(np.float32).reshape(-1, 8):
        weights = np.full(8, 1 / count, np.float32)
        given = {"x": x, "baseline": baseline, "alphas": alphas, "weights": weights, "class_index": class_of(1)}
        total += entries["integrated_gradients"](**given)["map"]
    attribution = (total * (x - baseline)).astype(np.float64)
    assert abs(attribution.sum() - (change[1] - change[0])) < 1e-2 * np.abs(attribution).sum()


def test_weights_need_not_be_equal():
    """The schedule is data: any nodes with any weights."""
    model = pool_and_dense()
    head = heads.find(model.graphs[0])
    entry = compile_method(IntegratedGradients(4), model)["integrated_gradients"]
    (x,) = samples(model, 1)
    baseline = np.zeros_like(x)
    alphas, weights = np.float32([0, 0.1, 0.7, 1]), np.float32([0.5, 0, 0.3, 2])
    measured = entry(x=x, baseline=baseline, alphas=alphas, weights=weights, class_index=class_of(0))["map"]
    gradients = [tensorflow_twin.input_gradient(model.graphs[0], head.logits, a * x, 0) for a in alphas]
    assert relative_error(measured, np.tensordot(weights, gradients, 1)) < BOUND * 2


# Quantised models


def quantised_network(kind: str, *, residual: bool = True) -> Model:
    """A classifier on integers, its grids wide enough that nothing saturates."""
    rng = np.random.default_rng(5)
    builder = Builder(Graph("main"))
    dtype = np.dtype(np.uint8) if kind == "uint8" else INT8
    zero = 128 if kind == "uint8" else 0
    low = 0 if kind == "uint8" else -128

    def constant(shape: tuple[int, ...], axis: int = 0) -> Tensor:
        count = shape[axis] if kind == "int8 per channel" else 1
        scales = tuple(float(np.float32(scale)) for scale in rng.uniform(0.002, 0.01, count))
        grid = Quantization(scales, (7 + zero if kind == "uint8" else 0,) * count, axis if count > 1 else 0)
        return builder.constant(rng.integers(low + 1, low + 256, shape), dtype, grid)

    def bias(x: Tensor, weights: Tensor, count: int) -> Tensor:
        scales = np.float32(x.quantization.scale[0]) * np.asarray(weights.quantization.scale, np.float32)
        grid = Quantization(tuple(float(scale) for scale in scales), (0,) * len(scales), 0)
        return builder.constant(rng.integers(-200, 200, count), INT32, grid)

    def conv(x: Tensor, outputs: int, scale: float, activation: Activation = RELU) -> Tensor:
        weights = constant((outputs, 3, 3, x.shape[3]))
        options = tables.Conv2DOptions(Padding.SAME, 1, 1, activation)
        grid = Quantization((scale,), (low if activation == RELU else zero,))
        return builder.op(
            "CONV_2D",
            [x, weights, bias(x, weights, outputs)],
            (*x.shape[:3], outputs),
            options,
            dtype=dtype,
            quantization=grid,
            version=3,
        )

    x = builder.tensor("image", (1, 6, 6, 3), dtype, Quantization((0.03,), (zero,)))
    builder.graph.inputs = [x]
    a = conv(x, 5, 0.04)
    if residual:
        b = conv(a, 5, 0.05, Activation.NONE)
        a = builder.op(
            "ADD",
            [a, b],
            a.shape,
            tables.AddOptions(RELU),
            dtype=dtype,
            quantization=Quantization((0.06,), (low,)),
            version=2,
        )
    axes = builder.constant(np.asarray((1, 2)), INT32)
    pooled = builder.op(
        "MEAN", [a, axes], (1, 5), tables.ReducerOptions(False), dtype=dtype, quantization=a.quantization, version=2
    )
    kind = "int8 per tensor" if kind == "int8 per channel" else kind  # as converters quantise dense layers
    weights = constant((CLASSES, 5))
    logits = builder.op(
        "FULLY_CONNECTED",
        [pooled, weights, bias(pooled, weights, CLASSES)],
        (1, CLASSES),
        tables.FullyConnectedOptions(),
        dtype=dtype,
        quantization=Quantization((0.1,), (zero,)),
        version=4,
    )
    grid = Quantization((1 / 256,), (low,))
    scores = builder.op(
        "SOFTMAX", [logits], (1, CLASSES), tables.SoftmaxOptions(1.0), dtype=dtype, quantization=grid, version=2
    )
    builder.graph.outputs = [scores]
    return zoo.signed(Model([builder.graph]))


every_quantisation = pytest.mark.parametrize("kind", ["int8 per channel", "int8 per tensor", "uint8"])


@every_quantisation
@pytest.mark.parametrize("store", [store_float, store_quantized], ids=["f32", "deq"])
def test_saliency_of_a_quantised_model_is_that_of_its_float_twin(kind, store):
    model = quantised_network(kind)
    graph = model.graphs[0]
    head = heads.find(graph)
    saliency = compile_method(Saliency(), model, store)["saliency"]
    for x in samples(model):
        for index in range(CLASSES):
            expected = tensorflow_twin.input_gradient(graph, head.logits, x, index)
            assert relative_error(saliency(x=x, class_index=class_of(index))["map"], expected) < BOUND


@every_quantisation
def test_a_bias_without_a_grid_lies_on_that_of_the_products(kind):
    """Interpreters never look at the scale of a bias, and some exporters leave it out."""
    told, untold = quantised_network(kind), quantised_network(kind)
    for op in untold.graphs[0].ops:
        if op.code in {"CONV_2D", "FULLY_CONNECTED"}:
            op.input(2).quantization = None
    (x,) = samples(told, 1)
    maps = [
        compile_method(Saliency(), m, store_quantized)["saliency"](x=x, class_index=class_of(1)) for m in (told, untold)
    ]
    np.testing.assert_allclose(maps[0]["map"], maps[1]["map"], rtol=1e-4, atol=1e-6)


@every_quantisation
@pytest.mark.parametrize("store", [store_float, store_quantized], ids=["f32", "deq"])
def test_integrated_gradients_of_a_quantised_model_are_those_of_its_float_twin(kind, store):
    model = quantised_network(kind)
    graph = model.graphs[0]
    head = heads.find(graph)
    entry = compile_method(IntegratedGradients(4), model, store)["integrated_gradients"]
    (x,) = samples(model, 1)
    baseline, alphas = np.zeros_like(x), np.float32([0.125, 0.375, 0.625, 0.875])
    weights = np.full(4, 0.25, np.float32)
    measured = entry(x=x, baseline=baseline, alphas=alphas, weights=weights, class_index=class_of(3))["map"]
    expected = tensorflow_twin.integrated_gradients(graph, head.logits, x, baseline, 3, alphas)
    assert relative_error(measured * x, expected) < BOUND * 2


@every_quantisation
@pytest.mark.parametrize("store", [store_float, store_quantized], ids=["f32", "deq"])
def test_gradcam_of_a_quantised_model_reads_its_own_activations(kind, store):
    """The head is affine in the layer, so that integers and weights say what the map must be, exactly."""
    model = quantised_network(kind)
    graph = model.graphs[0]
    head = heads.find(graph)
    layer = heads.default_layer(graph, head)
    entries = compile_method(GradCAM(), model, store)
    exposed = graph.copy("exposed")
    exposed.outputs = [layer, head.scores]
    reader = Session(tflite.write(Model([exposed])))
    weights = graph.producers()[head.logits].input(1).real()
    rng = np.random.default_rng(0)
    for _ in range(5):
        x = rng.integers(*((0, 256) if kind == "uint8" else (-128, 128)), (1, 6, 6, 3)).astype(graph.inputs[0].dtype)
        activation, scores = reader.run(x)
        real = layer.quantization.dequantize(activation).reshape(-1, 5)
        predicted = entries["gradcam"](x=x)
        assert predicted["scores"].tobytes() == scores.tobytes()
        for index in range(CLASSES):
            measured = entries["gradcam_class"](x=x, class_index=class_of(index))["map"]
            assert_gradcam(measured, real @ weights[index] / len(real))


def test_gradcam_of_a_quantised_model_behind_a_mask():
    """The target layer lies before a ReLU of the int8 pass, whose own rounded values are the mask."""
    model = quantised_network("int8 per channel")
    graph = model.graphs[0]
    head = heads.find(graph)
    layer = graph.ops[0].output
    entry = compile_method(GradCAM(layer.name), model, store_quantized)["gradcam_class"]
    exposed = graph.copy("exposed")
    exposed.outputs = [layer, graph.ops[2].output]
    reader = Session(tflite.write(Model([exposed])))
    x = np.random.default_rng(0).integers(-128, 128, (1, 6, 6, 3)).astype(np.int8)
    activation, summed = reader.run(x)
    mask = (summed > graph.ops[2].output.quantization.zero_point[0]).astype(np.float64)
    row = graph.producers()[head.logits].input(1).real()[2]
    upstream = mask * row / mask.shape[1] / mask.shape[2]
    # Through the residual sum: as it is, and through the transposed second convolution.
    second = graph.ops[1]
    piece = Graph("piece", inputs=[layer], outputs=[second.output], ops=[second], tensors=graph.tensors)
    gradient = upstream + tensorflow_twin.vector_jacobian_product(
        piece, second.output, layer.quantization.dequantize(activation), upstream
    )
    weighted = layer.quantization.dequantize(activation).reshape(-1, 5) @ gradient.reshape(-1, 5).mean(0)
    assert_gradcam(entry(x=x, class_index=class_of(2))["map"], weighted)


def test_dense_weights_quantised_per_channel():
    """The class then decides the scale of the row that is gathered."""
    network = Network(1, 6, 6, 3)
    builder, rng = network.builder, network.rng
    pooled = builder.mean(network.conv(network.x, 5), (1, 2))
    scales = tuple(float(np.float32(scale)) for scale in (0.001, 0.02, 0.3, 4.0))
    grid = Quantization(scales, (0,) * CLASSES, 0)
    weights = builder.dequantize(builder.constant(rng.integers(-127, 128, (CLASSES, 5)), INT8, grid))
    model = network.model(network.softmax(builder.fully_connected(builder.reshape(pooled, (1, 5)), weights)))
    graph = model.graphs[0]
    head = heads.find(graph)
    saliency = compile_method(Saliency(), model, store_quantized)["saliency"]
    (x,) = samples(model, 1)
    for index in range(CLASSES):
        expected = tensorflow_twin.input_gradient(graph, head.logits, x, index)
        assert relative_error(saliency(x=x, class_index=class_of(index))["map"], expected) < BOUND


@pytest.mark.parametrize("head", ["dense", "convolution"])
def test_float16_weights(head):
    network = Network(1, 6, 6, 3)
    builder, rng = network.builder, network.rng

    def halves(*shape: int) -> Tensor:
        return builder.dequantize(builder.constant(rng.normal(0, 0.3, shape), np.dtype(np.float16)))

    options = tables.Conv2DOptions(Padding.SAME, 2, 2, RELU)
    y = builder.conv2d(network.x, halves(5, 3, 3, 3), network.bias(5), options)
    pooled = network.average(y)
    if head == "dense":
        logits = builder.fully_connected(builder.reshape(pooled, (1, 5)), halves(CLASSES, 5))
    else:
        logits = builder.reshape(builder.conv2d(pooled, halves(CLASSES, 1, 1, 5)), (1, CLASSES))
    model = network.model(network.softmax(logits))
    graph = model.graphs[0]
    found = heads.find(graph)
    (x,) = samples(model, 1)
    for store in (store_float, store_quantized):
        saliency = compile_method(Saliency(), model, store)["saliency"]
        cam = compile_method(GradCAM(), model, store)["gradcam_class"]
        for index in range(CLASSES):
            expected = tensorflow_twin.input_gradient(graph, found.logits, x, index)
            assert relative_error(saliency(x=x, class_index=class_of(index))["map"], expected) < BOUND
            layer = heads.default_layer(graph, found)
            measured = cam(x=x, class_index=class_of(index))["map"]
            assert_gradcam(measured, tensorflow_twin.gradcam(graph, layer, found.logits, x, index))


# Refusals


def test_a_model_without_positions_is_refused_by_gradcam():
    network = Network(1, 12)
    model = network.model(network.softmax(network.dense(network.dense(network.x, 8, RELU), CLASSES)))
    with pytest.raises(UnsupportedModelError, match="spatial positions") as caught:
        compile_method(GradCAM(), model)
    assert caught.value.hint


def test_a_layer_that_is_not_there_is_refused_with_those_that_are():
    model = pool_and_dense()
    with pytest.raises(UnsupportedModelError, match="'conv9'") as caught:
        compile_method(GradCAM("conv9"), model)
    assert heads.default_layer(model.graphs[0], heads.find(model.graphs[0])).name in caught.value.hint


@pytest.mark.parametrize("method", [GradCAM(), IntegratedGradients(), Saliency()], ids=lambda method: method.name)
def test_an_op_without_a_rule_on_the_way_is_refused_by_name(method):
    network = Network(1, 6, 6, 3)
    builder = network.builder
    y = network.conv(network.x, 4)
    if method.name == "gradcam":
        method = GradCAM(y.name)
    else:  # what is behind it can be explained, unless that is the answer itself
        y = network.dense(network.average(y), CLASSES)
    strange = builder.tensor("strange", y.shape)
    builder.graph.ops.append(Op("CUSTOM", [y], [strange], None, 1, "Acme_Frobnicate"))
    logits = network.dense(network.average(strange), CLASSES) if method.name == "gradcam" else strange
    model = network.model(network.softmax(logits))
    with pytest.raises(UnsupportedModelError, match="Acme_Frobnicate") as caught:
        compile_method(method, model)
    assert "'strange'" in caught.value.cause
    assert caught.value.hint


def test_matrix_products_read_past_a_flattening_and_answer_alike():
    file = small_models.float_classifier()
    bundle = export.explain(file, calibration=small_models.inputs(4), methods=["gradcam"])
    compiled = tflite.read(bundle.model)
    entry = next(s.graph for s in compiled.signatures if s.key == "gradcam")
    assert "RESHAPE" not in [op.code for op in entry.ops]
    # The model itself keeps it; that the scores are equal bit for bit is a check of every export.
    assert "RESHAPE" in [op.code for op in compiled.graphs[0].ops]
    assert next(check for check in bundle.manifest.checks if check.name == "prediction parity").passed


def test_a_strided_kernel_of_one_pixel_computes_no_gaps_and_shares_its_rearrangement():
    """As in the shortcut of a residual block: gradients of both ways are added before they are spread over pixels."""
    graph = Graph("block")
    builder = Builder(graph)
    x = builder.tensor("x", (1, 9, 8, 3))
    graph.inputs = [x]
    random = np.random.default_rng(0)
    stride = tables.Conv2DOptions(Padding.SAME, 2, 2)
    weights = [random.normal(size=(5, size, size, 3)) for size in (1, 3)]
    ways = [builder.conv2d(x, builder.constant(kernel), options=stride) for kernel in weights]
    y = builder.add(*ways)
    graph.outputs = [y]
    product = VectorJacobianProduct(graph, y)
    assert product.codes.count("DEPTH_TO_SPACE") == 1
    given, upstream = (random.normal(size=size).astype(np.float32) for size in (x.shape, y.shape))
    with tf.GradientTape() as tape:
        variable = tf.Variable(given)
        kernels = [tf.constant(kernel.transpose(1, 2, 3, 0), tf.float32) for kernel in weights]
        answer = tf.add_n([tf.nn.conv2d(variable, kernel, 2, "SAME") for kernel in kernels])
    np.testing.assert_allclose(
        product(given, upstream)[0], tape.gradient(answer, variable, upstream), rtol=1e-4, atol=1e-5
    )
