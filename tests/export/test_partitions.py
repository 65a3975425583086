"""How many parts XNNPACK runs of what is emitted: one, where no op of the gradient is beyond it.

Between two parts, activations go through the interpreter's own memory, which costs time and twice the room.
"""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from benchmarks.partitions import DELEGATE, executed
from export import calibration, heads
from export.compiling import compile_methods
from export.methods import GradCAM, IntegratedGradients, Saliency
from export.numerics import NUMERICS, Calibration
from export.tflite import Graph, Model, Signature, read, write
from export.tflite.graph import Quantization
from export.tflite.ops import FLOAT, Builder
from export.tflite.options import Activation, Conv2DOptions
from tests.references import small_models
from tests.references.models import KWS_INT8, RESNET_INT8, VWW_FLOAT, VWW_INT8, shared_model

# What XNNPACK leaves alone at the edges: picking a row of the classifier's weights.
EDGES = {"GATHER", "DEQUANTIZE"}


def run_by(file: bytes):
    interpreter = Interpreter(model_content=file, num_threads=1)
    interpreter.allocate_tensors()
    return executed(interpreter)


def parts(file: bytes, method, numerics: str):
    """What is executed of each entry of a method that gives a map, by key."""
    graph = read(file).graphs[0]
    head = heads.find(graph)
    x = calibration.synthetic(graph, head, 2)
    seen = Calibration([{"x": sample[None]} for sample in x], np.zeros_like(x[0]), head.classes)
    compiled = compile_methods(file, [method], NUMERICS[numerics], seen).compiled[method.name]
    origin = read(file).origin
    return {e.key: run_by(write(Model([e.graph], origin=origin))) for e in compiled.entries if "map" in e.outputs}


@pytest.fixture(scope="module")
def quantized():
    return small_models.quantized_classifier()


@pytest.mark.parametrize("method", [Saliency(), IntegratedGradients(8), IntegratedGradients(1)])
def test_gradients_of_a_float_model_are_one_part(method):
    (run,) = parts(small_models.float_classifier(), method, "f32").values()
    assert run.pop(DELEGATE) == 1
    assert set(run) <= EDGES


@pytest.mark.parametrize("numerics", ["f32", "deq", "hybrid", "mixed", "int8"])
@pytest.mark.parametrize("method", [Saliency(), IntegratedGradients(8)])
def test_gradients_of_a_quantised_model_are_one_part(quantized, method, numerics):
    (run,) = parts(quantized, method, numerics).values()
    assert run.pop(DELEGATE) == 1
    assert set(run) <= EDGES


def uint8_model() -> bytes:
    """A convolution on uint8 weights with a zero point: XNNPACK unpacks int8 weights only."""
    random = np.random.default_rng(0)
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 8, 8, 4))
    grid = Quantization((0.01,), (131,))
    stored = random.integers(0, 256, (6, 3, 3, 4)).astype(np.uint8)
    kernel = builder.dequantize(builder.constant(stored, np.dtype(np.uint8), grid))
    bias = builder.constant(random.normal(size=6), FLOAT)
    a = builder.conv2d(x, kernel, bias, Conv2DOptions(fused_activation_function=Activation.RELU))
    pooled = builder.reshape(builder.mean(a, [1, 2]), (1, 6))
    logits = builder.fully_connected(pooled, builder.constant(random.normal(size=(5, 6)), FLOAT))
    graph = builder.graph
    graph.inputs, graph.outputs = [x], [logits]
    return write(Model([graph], [Signature("serving_default", graph, {"x": x}, {"logits": logits})]))


@pytest.mark.parametrize("numerics", ["deq", "hybrid"])
@pytest.mark.parametrize("method", [Saliency(), IntegratedGradients(8)])
def test_gradients_on_uint8_weights_are_one_part(method, numerics):
    (run,) = parts(uint8_model(), method, numerics).values()
    assert run.pop(DELEGATE) == 1
    assert set(run) <= EDGES


def test_uint8_weights_lose_nothing_by_being_stored_as_int8():
    file = uint8_model()
    x = np.random.default_rng(1).normal(size=(1, 8, 8, 4)).astype(np.float32)
    maps = []
    for numerics in ("deq", "f32"):
        shipped = compile_methods(file, [Saliency()], NUMERICS[numerics])
        (entry,) = shipped.compiled["saliency"].entries
        maps.append(shipped.runtime.call(entry.key, x=x, class_index=np.array([2], np.int32))["map"] * entry.unit)
    np.testing.assert_allclose(*maps, rtol=1e-5, atol=1e-6 * np.abs(maps[1]).max())


@pytest.mark.parametrize("model", [VWW_INT8, KWS_INT8, RESNET_INT8, VWW_FLOAT])
def test_real_models_are_one_part(model):
    """Also where the plain model is not, for its pooling: nothing is computed that the map does not need."""
    file = shared_model(model).read_bytes()
    for numerics in ("f32",) if model == VWW_FLOAT else ("deq", "hybrid", "mixed"):
        for method in (Saliency(), IntegratedGradients(8)):
            (run,) = parts(file, method, numerics).values()
            assert run.pop(DELEGATE) == 1
            assert set(run) <= EDGES


@pytest.mark.parametrize("model", [VWW_INT8, KWS_INT8, RESNET_INT8, VWW_FLOAT])
def test_gradcam_cuts_nothing_in_two(model):
    """Only what it adds behind the model's own ops may be one more part."""
    file = shared_model(model).read_bytes()
    plain = run_by(file)
    for run in parts(file, GradCAM(), "f32" if model == VWW_FLOAT else "deq").values():
        assert run[DELEGATE] <= plain[DELEGATE] + 1
        assert all(run[code] >= count for code, count in plain.items() if code != DELEGATE)
        added = sum(run.values()) - sum(plain.values())
        assert added <= 6
