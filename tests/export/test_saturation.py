"""Rectifiers that converters leave to the range of a quantised result: the gradient must know of them all the same."""

from __future__ import annotations

import numpy as np
import pytest

from export import heads
from export.methods import GradCAM, Saliency
from export.numerics import store_quantized
from export.numerics.twin import float_twin
from export.tflite import Graph, Model, Quantization, Tensor
from export.tflite import options as tables
from export.tflite.ops import INT8, INT32, Builder, fused_activation
from export.tflite.options import Activation
from tests.references import zoo
from tests.references.compiled import compile_method
from tests.references.runtime import Session, evaluate

NONE, RELU, RELU6 = Activation.NONE, Activation.RELU, Activation.RELU6
UINT8 = np.dtype(np.uint8)


def lowest(dtype: np.dtype) -> int:
    return int(np.iinfo(dtype).min)


def conv(builder: Builder, x: Tensor, activation: Activation, grid: Quantization, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    inputs = x.shape[3]
    weights = Quantization((0.02,), (0 if x.dtype == INT8 else 128,))
    stored = rng.integers(-100, 100, (6, 3, 3, inputs)) + weights.zero_point[0]
    bias = Quantization((x.quantization.scale[0] * 0.02,), (0,))
    operands = [
        x,
        builder.constant(stored, x.dtype, weights),
        builder.constant(rng.integers(-900, 900, 6), INT32, bias),
    ]
    options = tables.Conv2DOptions(fused_activation_function=activation)
    return builder.op("CONV_2D", operands, (*x.shape[:3], 6), options, quantization=grid, version=3)


def classifier(dtype: np.dtype, activation: Activation, top: float) -> Model:
    """Two convolutions, their sum, a mean and a dense layer; ranges from 0 to ``top`` behind the first two."""
    builder = Builder(Graph("main"))
    grid = Quantization((top / 255,), (lowest(dtype),))
    x = builder.tensor("x", (1, 6, 6, 3), dtype, Quantization((0.02,), (lowest(dtype) + 128,)))
    builder.graph.inputs = [x]
    first = conv(builder, x, activation, grid, 0)
    second = conv(builder, first, activation, grid, 1)
    free = Quantization((0.2,), (lowest(dtype) + 128,))
    wide = Quantization((2 * top / 255,), (lowest(dtype),))
    added = builder.op("ADD", [first, second], first.shape, tables.AddOptions(), quantization=wide, version=2)
    axes = builder.constant(np.asarray((1, 2)), INT32)
    mean = builder.op("MEAN", [added, axes], (1, 6), tables.ReducerOptions(False), quantization=wide, version=2)
    rng = np.random.default_rng(2)
    weights = Quantization((0.02,), (0 if dtype == INT8 else 128,))
    dense = builder.constant(rng.integers(-100, 100, (4, 6)) + weights.zero_point[0], dtype, weights)
    logits = builder.op(
        "FULLY_CONNECTED",
        [mean, dense, None],
        (1, 4),
        tables.FullyConnectedOptions(),
        quantization=free,
        version=4 if dtype == INT8 else 1,
    )
    builder.graph.outputs = [logits]
    return zoo.signed(Model([builder.graph]))


@pytest.mark.parametrize("dtype", [INT8, UINT8], ids=str)
@pytest.mark.parametrize(("activation", "top"), [(RELU, 20.0), (RELU6, 6.0)])
def test_a_rectifier_left_to_the_range_is_one(dtype, activation, top):
    """The same file with and without its rectifiers declared: the same answers, so the same explanations."""
    declared, silent = (classifier(dtype, kind, top) for kind in (activation, NONE))
    x = np.random.default_rng(3).normal(0, 1.5, (1, 6, 6, 3)).astype(np.float32)
    maps = []
    for model in (declared, silent):
        run = compile_method(Saliency(), model, store_quantized)["saliency"]
        maps.append(run(x=x, class_index=np.asarray([1], np.int32))["map"])
    assert np.abs(maps[0]).max() > 0
    np.testing.assert_array_equal(*maps)

    layer = declared.graphs[0].ops[0].output.name
    stored = declared.graphs[0].inputs[0].quantization.quantize(x, dtype)
    cams = [compile_method(GradCAM(layer), model)["gradcam"](x=stored)["map"] for model in (declared, silent)]
    assert np.abs(cams[0]).max() > 0
    np.testing.assert_array_equal(*cams)


@pytest.mark.parametrize("dtype", [INT8, UINT8], ids=str)
def test_the_twin_stays_close_to_the_model(dtype):
    from export import tflite

    model = classifier(dtype, NONE, 6.0)
    graph = model.graphs[0]
    x = np.random.default_rng(4).uniform(-2.5, 2.5, (1, 6, 6, 3)).astype(np.float32)
    stored = graph.inputs[0].quantization.quantize(x, dtype)
    (answer,) = Session(tflite.write(model)).run(stored)
    twin, _ = float_twin(graph, heads.find(graph).logits, store_quantized)
    (twins_answer,) = evaluate(twin, {twin.inputs[0]: x}).values()
    real = graph.outputs[0].quantization.dequantize(answer)
    assert np.abs(real - twins_answer).max() < 2 * graph.outputs[0].quantization.scale[0]


def test_what_cannot_be_negative_is_not_rectified():
    """The sum of two rectified maps starts at 0 of itself; an output that goes below 0 saturates at no kink."""
    graph = classifier(INT8, NONE, 6.0).graphs[0]
    assert [fused_activation(op) for op in graph.ops] == [RELU6, RELU6, NONE, NONE, NONE]


def test_logits_that_happened_to_be_positive_are_not_rectified():
    """A class whose logit rounds to the end of its range is explained all the same."""
    model = classifier(INT8, RELU, 20.0)
    graph = model.graphs[0]
    graph.outputs[0].quantization = Quantization((0.2,), (-128,))
    x = np.zeros((1, 6, 6, 3), np.float32)
    run = compile_method(Saliency(), model, store_quantized)["saliency"]
    assert all(np.abs(run(x=x, class_index=np.asarray([index], np.int32))["map"]).max() > 0 for index in range(4))
