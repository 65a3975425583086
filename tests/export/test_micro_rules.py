"""Rules that target micro has of its own: global max pooling and hard swish, walked back in int8."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from export import heads, micro, tflite
from export.errors import UnsupportedModelError
from export.micro import reference
from export.micro.model import MicroModel, stored
from export.micro.reference import Reference
from export.tflite import Graph, Model, Quantization
from export.tflite import options as tables
from export.tflite.fold import fold
from export.tflite.graph import Tensor
from export.tflite.ops import INT8, INT32, Builder
from export.tflite.options import Activation, Padding
from tests.c.harness import Case
from tests.c.reference import assert_as_reference
from tests.references import inputs, more_ops, tensorflow_twin, zoo
from tests.references.networks import convert

layers = tf.keras.layers
CLASSES = 4
GRID = Quantization((0.05,), (-7,))


@pytest.fixture(autouse=True)
def twin_of_more_ops(monkeypatch):
    monkeypatch.setattr(tensorflow_twin, "_OPS", tensorflow_twin._OPS | more_ops.MORE)


def dense(builder: Builder, x: Tensor) -> Tensor:
    return product(builder, x, CLASSES, Activation.NONE, Quantization((1.0,), (0,)))


def product(builder: Builder, x: Tensor, count: int, activation: Activation, grid: Quantization) -> Tensor:
    random = np.random.default_rng(4)
    flat = builder.reshape(x, (1, int(np.prod(x.shape))))
    weights = builder.constant(random.integers(-127, 128, (count, flat.shape[1])), INT8, Quantization((0.02,), (0,)))
    options = tables.FullyConnectedOptions(activation)
    return builder.op("FULLY_CONNECTED", [flat, weights, None], (1, count), options, quantization=grid)


def started(*shape: int, grid: Quantization = GRID) -> tuple[Builder, Tensor]:
    builder = Builder(Graph("main"))
    x = builder.tensor("x", shape, INT8, grid)
    builder.graph.inputs = [x]
    return builder, x


def ended(builder: Builder, logits: Tensor) -> Model:
    builder.graph.outputs = [logits]
    return zoo.signed(Model([builder.graph]))


def largest(builder: Builder, x: Tensor, axes: tuple[int, ...], keep_dims: bool) -> Tensor:
    gone = {axis % len(x.shape) for axis in axes}
    shape = [1 if axis in gone else size for axis, size in enumerate(x.shape) if keep_dims or axis not in gone]
    operands = [x, builder.constant(np.asarray(axes), INT32)]
    return builder.op("REDUCE_MAX", operands, shape, tables.ReducerOptions(keep_dims), quantization=x.quantization)


def pooled(builder: Builder, x: Tensor, window: int, stride: int, padding: Padding = Padding.VALID) -> Tensor:
    reach = 0 if padding == Padding.SAME else window - 1
    sizes = [-(-(size - reach) // stride) for size in x.shape[1:3]]
    options = tables.Pool2DOptions(padding, stride, stride, window, window)
    shape = (1, *sizes, x.shape[3])
    return builder.op("MAX_POOL_2D", [x], shape, options, quantization=x.quantization, version=2)


def built(model: Model, method: str, x: np.ndarray, layer: Tensor | None = None) -> MicroModel:
    graph = model.graphs[0]
    head = heads.find(graph)
    return micro.build(graph, head, {method: layer or head.input}, x, np.zeros(x.shape[1:], np.float32))


@functools.cache
def running(found: MicroModel) -> Reference:
    return Reference(found.file_of_classes())


def explained(found: MicroModel, sample: np.ndarray, class_index: int) -> np.ndarray:
    (own,) = found.explanations
    place = found.outputs_of_classes.index(own.map)
    given = [stored(found.input, sample), np.asarray([class_index], np.int32)]
    result = running(found).run(given, place + 1)[place]
    return (own.map.quantization.dequantize(result) * own.units[class_index]).reshape(own.shape)


def tied(shape: tuple[int, ...], levels: int, count: int = 4) -> np.ndarray:
    return (0.05 * np.random.default_rng(6).integers(0, levels, (count, *shape))).astype(np.float32)


@pytest.mark.parametrize("keep_dims", [True, False])
@pytest.mark.parametrize(
    ("shape", "axes"), [((5, 7, 3), (1, 2)), ((12, 3), (1,)), ((4, 6, 3), (2,)), ((4, 5), (-1,)), ((3, 4, 5), (3, 1))]
)
def test_the_gradient_of_a_maximum_goes_to_the_largest_and_is_shared_by_all_that_tie(shape, axes, keep_dims):
    builder, x = started(1, *shape)
    y = largest(builder, x, axes, keep_dims)
    model = ended(builder, dense(builder, y))
    weights = model.graphs[0].ops[-1].input(1).real()
    gone = tuple(axis % (len(shape) + 1) for axis in axes)
    values = np.concatenate([tied(shape, 2), tied(shape, 22, 12)])
    found = built(model, "saliency", values)
    for sample in values:
        real = x.quantization.dequantize(stored(x, sample))
        equal = real == real.max(gone, keepdims=True)
        for index in range(CLASSES):
            upstream = weights[index].reshape(equal.max(gone, keepdims=True).shape)
            exact = (upstream * equal / equal.sum(gone, keepdims=True))[0]
            # A share is off by half a 127th, beside the gradient's own rounding.
            assert np.abs(explained(found, sample, index) - exact).max() < 0.01 * np.abs(upstream).max()


@pytest.mark.parametrize(("size", "window", "padding"), [((6, 6), 6, Padding.VALID), ((5, 3), 9, Padding.SAME)])
def test_a_window_over_the_whole_map_is_such_a_maximum(size, window, padding):
    shape = (*size, 3)
    wholes = []
    for code in ("MAX_POOL_2D", "REDUCE_MAX"):
        builder, x = started(1, *shape)
        y = pooled(builder, x, window, window, padding) if code == "MAX_POOL_2D" else largest(builder, x, (1, 2), True)
        assert y.shape == (1, 1, 1, 3)
        wholes.append(built(ended(builder, dense(builder, y)), "saliency", tied(shape, 5)))
    for sample in tied(shape, 5):
        one, other = (explained(found, sample, 2) for found in wholes)
        assert one.any()
        assert np.array_equal(one, other)


def test_scores_may_be_the_maxima_themselves():
    builder, x = started(1, 5, 5, CLASSES)
    model = ended(builder, largest(builder, x, (1, 2), False))
    sample = tied((5, 5, CLASSES), 3)[0]
    real = x.quantization.dequantize(stored(x, sample))[0]
    for index in range(CLASSES):
        exact = np.zeros_like(real)
        equal = real[..., index] == real[..., index].max()
        exact[..., index] = equal / equal.sum()
        assert np.abs(explained(built(model, "saliency", sample[None]), sample, index) - exact).max() < 0.01


def test_of_more_positions_than_the_softmax_takes_only_gradcam_is_had():
    builder, x = started(1, 23, 23, 2)
    twice = builder.op("ADD", [x, x], x.shape, tables.AddOptions(), quantization=Quantization((0.1,), (-7,)))
    model = ended(builder, dense(builder, largest(builder, twice, (1, 2), False)))
    values = tied((23, 23, 2), 9)
    with pytest.raises(UnsupportedModelError, match=r"REDUCE_MAX over 529 values.* 511 are the most"):
        built(model, "saliency", values)
    assert explained(built(model, "gradcam", values, twice), values[0], 1).any()


def global_head(builder: Builder, layer: Tensor) -> Tensor:
    return dense(builder, largest(builder, layer, (1, 2), False))


def reshaped_head(builder: Builder, layer: Tensor) -> Tensor:
    """As global pooling of a sequence is written."""
    flat = builder.reshape(layer, (1, layer.shape[1] * layer.shape[2], layer.shape[3]))
    return dense(builder, largest(builder, flat, (1,), False))


def rows_head(builder: Builder, layer: Tensor) -> Tensor:
    return dense(builder, largest(builder, layer, (1,), True))


def overlapping_head(builder: Builder, layer: Tensor) -> Tensor:
    return dense(builder, pooled(builder, layer, 3, 2, Padding.SAME))


def hidden_head(builder: Builder, layer: Tensor) -> Tensor:
    hidden = product(builder, pooled(builder, layer, 3, 2), 8, Activation.RELU, Quantization((0.1,), (-128,)))
    return dense(builder, hidden)


def two_ways_head(builder: Builder, layer: Tensor) -> Tensor:
    short = pooled(builder, layer, 2, 2)
    operands, grid = [short, pooled(builder, layer, 3, 2, Padding.SAME)], Quantization((0.1,), (-5,))
    return dense(builder, builder.op("ADD", operands, short.shape, tables.AddOptions(), quantization=grid))


def channels_head(builder: Builder, layer: Tensor) -> Tensor:
    """Here the gradient's mean over positions depends on which channel is the largest at each."""
    return dense(builder, largest(builder, layer, (3,), True))


def whole_head(builder: Builder, layer: Tensor) -> Tensor:
    return dense(builder, pooled(builder, layer, 6, 6))


AFFINE = [global_head, reshaped_head, rows_head, whole_head, overlapping_head, two_ways_head]
"""Heads behind which GradCAM's weights depend on the class alone."""


def convolution(head: Callable[[Builder, Tensor], Tensor]) -> tuple[Model, Tensor]:
    """Return a convolution and ``head``, and the layer between."""
    random = np.random.default_rng(1)
    builder, x = started(1, 6, 6, 2)
    kernel = builder.constant(random.integers(-127, 128, (5, 3, 3, 2)), INT8, Quantization((0.01,), (0,)))
    bias = builder.constant(random.integers(-300, 300, 5), INT32, Quantization((0.0005,), (0,)))
    options, grid = tables.Conv2DOptions(Padding.SAME, 1, 1, Activation.RELU), Quantization((0.05,), (-128,))
    layer = builder.op("CONV_2D", [x, kernel, bias], (1, 6, 6, 5), options, quantization=grid, version=3)
    return ended(builder, head(builder, layer)), layer


def noise(count: int = 6) -> np.ndarray:
    return np.random.default_rng(2).normal(0, 1, (count, 6, 6, 2)).astype(np.float32)


def gradcams(head: Callable[[Builder, Tensor], Tensor]) -> tuple[MicroModel, list[tuple[np.ndarray, np.ndarray]]]:
    """Return the model, and maps as measured and as the tape has them, of several inputs and all classes."""
    model, layer = convolution(head)
    graph, pairs = model.graphs[0], []
    logits = heads.find(graph).logits
    found = built(model, "gradcam", noise(), layer)
    for sample in noise():
        given = found.input.quantization.dequantize(stored(found.input, sample)).astype(np.float32)
        for index in range(CLASSES):
            exact = tensorflow_twin.gradcam(graph, layer, logits, given, index)
            pairs.append((explained(found, sample, index).ravel(), np.maximum(exact, 0).ravel()))
    return found, pairs


@pytest.mark.parametrize("head", [*AFFINE, hidden_head], ids=lambda head: head.__name__)
def test_gradcam_before_max_pooling_is_the_tapes(head):
    found, pairs = gradcams(head)
    explaining = [op.code for op in found.graph.ops[found.predicting + 1 :]]
    assert (explaining == ["GATHER", "FULLY_CONNECTED", "RESHAPE"]) == (head in AFFINE)
    for measured, exact in pairs:
        assert np.abs(measured - exact).max() < 0.05 * exact.max() + 0.01


def test_a_maximum_over_channels_is_none_over_positions():
    """Which channel is the largest at a position is another in int8, now and then."""
    _, pairs = gradcams(channels_head)
    alike = [inputs.pearson(measured, exact) for measured, exact in pairs if exact.max() > 0.1]
    assert len(alike) > 8
    assert np.median(alike) > 0.97


def swish(builder: Builder, x: Tensor) -> Tensor:
    options, grid = tables.HardSwishOptions(), Quantization((0.1,), (-20,))
    return builder.op("HARD_SWISH", [x], x.shape, options, quantization=grid)


def swish_head(builder: Builder, layer: Tensor) -> Tensor:
    return dense(builder, largest(builder, swish(builder, layer), (1, 2), False))


def test_c_gives_the_bytes_of_the_reference(tmp_path):
    """Scores, class and map."""
    cases = []
    for head in (global_head, reshaped_head, channels_head, whole_head, swish_head):
        for method in ("gradcam", "saliency"):
            model, layer = convolution(head)
            found = built(model, method, noise(), layer if method == "gradcam" else None)
            given = np.stack([stored(found.input, sample) for sample in noise()])
            cases.append(Case(found.graph, (given,)))
    assert_as_reference(cases, tmp_path)


@settings(max_examples=12, deadline=None)
@given(st.one_of(st.floats(0.01, 0.12), st.floats(0.12, 1.45)), st.integers(-128, 127))
@example(1.0, 0)
def test_the_slope_of_hard_swish_is_exact_to_the_grid_for_every_value(scale, zero_point):
    grid = Quantization((float(np.float32(scale)),), (zero_point,))
    builder, x = started(1, 256, grid=grid)
    model = ended(builder, dense(builder, swish(builder, x)))
    weights = model.graphs[0].ops[-1].input(1).real()[0]
    real = grid.dequantize(np.arange(-128, 128))
    found = built(model, "saliency", real.astype(np.float32)[None])
    slope = np.where((real > -3) & (real < 3), real / 3 + 0.5, real >= 3)
    error = np.abs(explained(found, real, 0) - weights * slope)
    # One step of the slope's 127 of 1.5, and half of one of the product's.
    assert (error <= 1.6 / 127 * np.abs(weights) + 0.5 * np.abs(weights).max() * 1.5 / 127).all()
    assert (error[real <= -3] == 0).all()


def test_a_grid_too_coarse_for_the_slope_of_hard_swish_is_refused_by_name():
    builder, x = started(1, 256, grid=Quantization((4.0,), (0,)))
    model = ended(builder, dense(builder, swish(builder, x)))
    with pytest.raises(UnsupportedModelError, match=r"HARD_SWISH needs smaller steps in int8 than 4, at tensor 'x'"):
        built(model, "saliency", np.zeros((8, 256), np.float32))


def test_as_many_positions_as_channels():
    """Two constants of the walk back and of what follows it are one then."""
    builder, x = started(1, 6, 6)
    model = ended(builder, dense(builder, x))
    found = built(model, "gradcam", tied((6, 6), 40, 8))
    reference.arena_of(found.file(), "what was compiled")
    weights = model.graphs[0].ops[-1].input(1).real().reshape(CLASSES, 6, 6)
    for sample in tied((6, 6), 40, 8):
        exact = np.maximum((sample * weights[1].mean(0)).sum(-1), 0)
        assert np.abs(explained(found, sample, 1) - exact).max() < 0.05 * exact.max() + 0.01


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return crosses, squares, diagonals and stripes in noise, somewhere in each image, and which it is."""
    random = np.random.default_rng(seed)
    shapes = np.zeros((CLASSES, 7, 7), np.float32)
    shapes[0, 3] = shapes[0, :, 3] = 1
    shapes[1, [0, -1]] = shapes[1, :, [0, -1]] = 1
    shapes[2] = np.maximum(np.eye(7), np.eye(7)[::-1])
    shapes[3, ::2] = 1
    x, kinds = random.normal(0, 0.15, (count, 16, 16, 1)).astype(np.float32), random.integers(0, CLASSES, count)
    for image, kind in zip(x, kinds, strict=True):
        row, column = random.integers(0, 10, 2)
        image[row : row + 7, column : column + 7, 0] += shapes[kind] * random.uniform(0.6, 1.4)
    return x, kinds


def convolved(x: tf.Tensor, channels: int, activation: str, stride: int = 1) -> tf.Tensor:
    y = layers.Conv2D(channels, 3, stride, "same", use_bias=False)(x)
    return layers.Activation(activation)(layers.BatchNormalization()(y))


def max_over_sequences(x):
    x = layers.Conv1D(24, 7, activation="relu", name="features")(layers.Reshape((16, 16))(x))
    x = layers.Dense(16, activation="relu")(layers.GlobalMaxPooling1D()(x))
    return layers.Dense(CLASSES)(x)


def hard_swishes(x):
    x = convolved(convolved(x, 8, "hard_silu", 2), 16, "hard_silu", 2)
    return layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))


def trained(network: Callable[[tf.Tensor], tf.Tensor]) -> tf.keras.Model:
    """Return a network that tells the shapes apart, its softmax left out."""
    tf.keras.utils.set_random_seed(1)
    x, kinds = images(600, 1)
    entry = tf.keras.Input(x.shape[1:])
    model = tf.keras.Model(entry, network(entry))
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf.keras.optimizers.Adam(1e-2), loss)
    model.fit(x, kinds, 32, 6, verbose=0)
    return model


def by_the_tape(model: tf.keras.Model, layer: str | None, sample: np.ndarray, class_index: int) -> np.ndarray:
    """Return GradCAM at a layer of the float network, or the gradient at its input."""
    inner = model.input if layer is None else model.get_layer(layer).output
    with tf.GradientTape() as tape:
        features = tf.convert_to_tensor(tf.keras.Model(model.input, inner)(sample[None]))
        tape.watch(features)
        logit = tf.keras.Model(inner, model.output)(features)[0, class_index]
    gradient = tape.gradient(logit, features).numpy()[0]
    if layer is None:
        return gradient
    weights = gradient.mean(tuple(range(gradient.ndim - 1)))
    return np.maximum((features.numpy()[0] * weights).sum(-1), 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "layer"), [(max_over_sequences, "features"), (hard_swishes, None)], ids=["gradcam", "saliency"]
)
def test_trained_networks_are_explained_as_the_tape_explains_them_in_floats(network, layer, tmp_path):
    model, (x, kinds) = trained(network), images(24, 2)
    file = convert(tf.keras.Model(model.input, layers.Softmax()(model.output)), "int8", images(100, 1)[0], stored=True)
    graph = fold(tflite.read(file).graphs[0])
    head = heads.find(graph)
    method, target = ("saliency", head.input) if layer is None else ("gradcam", heads.default_layer(graph, head))
    found = micro.build(graph, head, {method: target}, x, np.zeros(x.shape[1:], np.float32))
    alike = []
    for sample, kind in zip(x, kinds, strict=True):
        exact, measured = by_the_tape(model, layer, sample, int(kind)), explained(found, sample, int(kind))
        if exact.any() and measured.any():
            alike.append(inputs.pearson(measured, exact))
    assert len(alike) > 12
    assert np.median(alike) > 0.97
    given = np.stack([stored(found.input, sample) for sample in x])
    assert_as_reference([Case(found.graph, (given,))], tmp_path)
