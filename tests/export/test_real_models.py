"""The models people use for measuring: predictions untouched, gradients right, explanations of int8 faithful to float.

MLPerf Tiny's ResNet-8 and VWW exist as float32 and int8 files: the int8 explanations are held against those of the
float file. Its key-word model (DS-CNN) is there in int8 only: its reference is the float model with the file's own
weights, dequantised.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest
import tensorflow as tf

from export import heads, tflite
from export.methods import GradCAM, IntegratedGradients, Saliency
from export.numerics import Store, store_float, store_quantized
from export.tflite import Graph, Model
from tests.references import tensorflow_twin
from tests.references.compiled import CompiledEntry, compile_method, relative_error
from tests.references.inputs import pearson, photographs, words
from tests.references.models import (
    KWS_INT8,
    RESNET_FLOAT,
    RESNET_INT8,
    VWW_FLOAT,
    VWW_INT8,
    needs_shared,
    shared_model,
)
from tests.references.runtime import Session, random_values

pytestmark = needs_shared

STEPS = 64
NODES = ((np.arange(STEPS) + 0.5) / STEPS).astype(np.float32)
BATCH = 8


@dataclass(frozen=True)
class Subject:
    """A model file and where its inputs come from."""

    file: str
    store: Store

    @cached_property
    def model(self) -> Model:
        return tflite.read(shared_model(self.file))

    @property
    def graph(self) -> Graph:
        return self.model.graphs[0]

    @cached_property
    def head(self) -> heads.Head:
        return heads.find(self.graph)

    def inputs(self, count: int) -> np.ndarray:
        """Return real inputs, float as the model was trained on, ``[count, 1, ...]``."""
        if self.file == KWS_INT8:
            return words(count)[:, None]
        size = self.graph.inputs[0].shape[1]
        return photographs(size, count, 1 / 255 if "vww" in self.file else 1.0)[:, None]

    def stored(self, x: np.ndarray) -> np.ndarray:
        tensor = self.graph.inputs[0]
        return tensor.quantization.quantize(x, tensor.dtype) if tensor.is_quantized else x

    def predicted(self, x: np.ndarray) -> int:
        """Return the class the float model or float twin sees."""
        return int(tensorflow_twin.forward(self.graph, x)[self.head.logits].numpy().argmax())


RESNET = Subject(RESNET_FLOAT, store_float)
RESNET8 = Subject(RESNET_INT8, store_quantized)
VWW = Subject(VWW_FLOAT, store_float)
VWW8 = Subject(VWW_INT8, store_quantized)
KWS8 = Subject(KWS_INT8, store_quantized)
ALL = {"resnet float": RESNET, "resnet int8": RESNET8, "vww float": VWW, "vww int8": VWW8, "kws int8": KWS8}
# Whose gradients are those of a float function that TensorFlow can be given exactly.
FLOAT = {"resnet float": RESNET, "vww float": VWW, "kws dequantised": KWS8}


def over(subjects: dict[str, object]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("subject", subjects.values(), ids=subjects)


def class_of(index: int) -> np.ndarray:
    return np.asarray([index], np.int32)


@pytest.mark.slow
@over(ALL)
def test_predictions_stay_bit_identical_on_a_thousand_inputs(subject):
    plain = Session(shared_model(subject.file).read_bytes())
    entries = compile_method(GradCAM(), subject.model, subject.store)
    rng = np.random.default_rng(0)
    port = subject.graph.inputs[0]
    noise = [random_values(rng, port.shape, port.dtype) for _ in range(800)]
    real = subject.inputs(200)
    noise = noise if port.is_quantized else [real[i % 200] + value * real.std() for i, value in enumerate(noise)]
    for number, x in enumerate([*map(subject.stored, real), *noise]):
        (scores,) = plain.run(x)
        predicted = entries["gradcam"](x=x)
        assert predicted["scores"].tobytes() == scores.tobytes()
        assert predicted["class_index"][0] == scores.argmax()
        asked = entries["gradcam_class"](x=x, class_index=class_of(number % subject.head.classes))
        assert asked["scores"].tobytes() == scores.tobytes()


@over(FLOAT)
def test_the_reference_computes_what_the_interpreter_computes(subject):
    logits = compile_method(IntegratedGradients(BATCH), subject.model, subject.store)["logits"]
    for x in subject.inputs(4):
        expected = tensorflow_twin.forward(subject.graph, x)[subject.head.logits].numpy().reshape(-1)
        assert relative_error(logits(x=x)["logits"], expected) < 1e-5


@over(FLOAT)
def test_the_input_gradient_is_that_of_the_gradient_tape(subject, record_property):
    """To 1e-5 wherever float32 can decide on which side of its kink every activation lies."""
    saliency = compile_method(Saliency(), subject.model, subject.store)["saliency"]
    errors = []
    for x in subject.inputs(10):
        index = subject.predicted(x)
        if not tensorflow_twin.decided(subject.graph, subject.head.logits, x, index)[0]:
            continue
        expected = tensorflow_twin.input_gradient(subject.graph, subject.head.logits, x, index)
        errors.append(relative_error(saliency(x=x, class_index=class_of(index))["map"], expected))
    record_property("largest error", float(max(errors)))
    assert max(errors) < 1e-5
    assert len(errors) >= 3


@over(FLOAT)
def test_the_input_gradient_agrees_with_central_differences(subject):
    """Of the forward pass in float64, over steps so small that no activation changes sides."""
    saliency = compile_method(Saliency(), subject.model, subject.store)["saliency"]
    rng = np.random.default_rng(0)
    smooth = 0
    for x in subject.inputs(10):
        index = subject.predicted(x)
        if not tensorflow_twin.decided(subject.graph, subject.head.logits, x, index)[0]:
            continue
        smooth += 1
        gradient = saliency(x=x, class_index=class_of(index))["map"].astype(np.float64)
        direction = gradient / np.linalg.norm(gradient) + rng.normal(0, 1, x.shape) / np.sqrt(x.size)
        step = direction * 1e-8 * np.linalg.norm(x)
        both = tf.constant(np.concatenate([x + step, x - step]), tf.float64)
        above, below = (
            tensorflow_twin.forward(subject.graph, both, tf.float64)[subject.head.logits].numpy().reshape(2, -1)
        )
        slope = (above[index] - below[index]) / 2
        assert abs(slope - np.vdot(gradient, step)) < 1e-5 * np.linalg.norm(gradient) * np.linalg.norm(step)
    assert smooth >= 3


@over({"resnet float": RESNET, "vww float": VWW})
def test_gradcam_is_that_of_the_gradient_tape(subject):
    graph, head = subject.graph, subject.head
    layer = heads.default_layer(graph, head)
    entries = compile_method(GradCAM(), subject.model, subject.store)
    for number, x in enumerate(subject.inputs(8)):
        predicted = entries["gradcam"](x=x)
        assert_gradcam(predicted["map"], graph, layer, head, x, int(predicted["class_index"][0]))
        other = number % head.classes
        asked = entries["gradcam_class"](x=x, class_index=class_of(other))
        assert_gradcam(asked["map"], graph, layer, head, x, other)


@over({"resnet float": RESNET, "vww float": VWW})
def test_gradcam_at_every_layer(subject):
    graph, head = subject.graph, subject.head
    layers = [op.output for op in graph.ops if len(op.output.shape) == 4 and np.prod(op.output.shape[1:3]) > 1]
    candidates = (x for x in subject.inputs(16) if tensorflow_twin.decided(graph, head.logits, x, 1)[0])
    x = next(candidates)
    for layer in layers:
        entry = compile_method(GradCAM(layer.name), subject.model, subject.store)["gradcam_class"]
        assert_gradcam(entry(x=x, class_index=class_of(1))["map"], graph, layer, head, x, 1)


def assert_gradcam(measured, graph, layer, head, x, index) -> None:
    weighted_sum = tensorflow_twin.gradcam(graph, layer, head.logits, x, index)
    error = np.abs(measured.reshape(-1) - np.maximum(weighted_sum, 0)).max()
    assert error < 1e-5 * np.abs(weighted_sum).max()


INT8_AND_FLOAT = {"resnet": (RESNET8, RESNET), "vww": (VWW8, VWW), "kws against its dequantised twin": (KWS8, KWS8)}


@pytest.mark.parametrize(("quantised", "reference"), INT8_AND_FLOAT.values(), ids=INT8_AND_FLOAT)
def test_gradcam_of_int8_is_faithful_to_float(quantised, reference, record_property):
    """Of the class that the int8 model predicts; mean correlation with GradientTape's map on the float model."""
    entry = compile_method(GradCAM(), quantised.model, quantised.store)["gradcam"]
    layer = heads.default_layer(reference.graph, reference.head)
    correlations = []
    for x in quantised.inputs(32):
        predicted = entry(x=quantised.stored(x))
        index = int(predicted["class_index"][0])
        expected = np.maximum(tensorflow_twin.gradcam(reference.graph, layer, reference.head.logits, x, index), 0)
        if expected.any() or predicted["map"].any():
            correlations.append(pearson(predicted["map"], expected))
    assert len(correlations) >= 28
    record_property("mean correlation", float(np.mean(correlations)))
    record_property("smallest correlation", float(min(correlations)))
    assert np.mean(correlations) >= 0.97


def integrate(entry: CompiledEntry, x: np.ndarray, index: int, weights: np.ndarray) -> np.ndarray:
    """Return the attributions from a zero baseline at the nodes of 64 steps, each step's gradient weighted."""
    baseline = np.zeros_like(x)
    total = np.zeros(x.shape)
    for start in range(0, STEPS, BATCH):
        part = slice(start, start + BATCH)
        given = {"x": x, "baseline": baseline, "alphas": NODES[part], "weights": weights[part]}
        total += entry(**given, class_index=class_of(index))["map"]
    return total * (x - baseline)


@pytest.mark.slow
@over(FLOAT)
def test_integrated_gradients_equal_the_reference_at_the_same_nodes(subject, record_property):
    """Step by step: nodes where float32 cannot decide on which side of a kink some activation lies get no weight."""
    graph, logits = subject.graph, subject.head.logits
    entry = compile_method(IntegratedGradients(BATCH), subject.model, subject.store)["integrated_gradients"]
    kept, errors = 0, []
    for x in subject.inputs(4):
        index = subject.predicted(x)
        path = tensorflow_twin.path(x, np.zeros_like(x), NODES)
        decided = tensorflow_twin.decided(graph, logits, path, index)
        kept += decided.sum()
        weights = (decided / STEPS).astype(np.float32)
        expected = x * np.tensordot(weights, tensorflow_twin.input_gradient(graph, logits, path, index), 1)
        errors.append(relative_error(integrate(entry, x, index, weights), expected))
    record_property("decided steps of 256", int(kept))
    record_property("largest error", float(max(errors)))
    assert max(errors) < 1e-5
    assert kept >= STEPS


@pytest.mark.slow
@over(FLOAT)
def test_integrated_gradients_of_64_steps_equal_the_reference(subject, record_property):
    """All 64 steps, undecided activations and all: TensorFlow's own float32 is as far from its float64 as we are."""
    graph, logits = subject.graph, subject.head.logits
    entry = compile_method(IntegratedGradients(BATCH), subject.model, subject.store)["integrated_gradients"]
    errors = []
    for x in subject.inputs(8):
        index = subject.predicted(x)
        measured = integrate(entry, x, index, np.full(STEPS, 1 / STEPS, np.float32))
        expected = tensorflow_twin.integrated_gradients(graph, logits, x, np.zeros_like(x), index, NODES, tf.float64)
        errors.append(np.linalg.norm(measured - expected) / np.linalg.norm(expected))
    record_property("median error", float(np.median(errors)))
    record_property("largest error", float(max(errors)))
    assert np.median(errors) < 1e-4
    assert max(errors) < 5e-3


@pytest.mark.slow
@pytest.mark.parametrize(("quantised", "reference"), [(RESNET8, RESNET), (VWW8, VWW)], ids=["resnet", "vww"])
def test_integrated_gradients_of_dequantised_weights_are_faithful_to_float(quantised, reference, record_property):
    entry = compile_method(IntegratedGradients(BATCH), quantised.model, quantised.store)["integrated_gradients"]
    correlations = []
    for x in quantised.inputs(12):
        index = reference.predicted(x)
        measured = integrate(entry, x, index, np.full(STEPS, 1 / STEPS, np.float32))
        logits = reference.head.logits
        expected = tensorflow_twin.integrated_gradients(reference.graph, logits, x, np.zeros_like(x), index, NODES)
        correlations.append(pearson(measured, expected))
    record_property("mean correlation", float(np.mean(correlations)))
    record_property("smallest correlation", float(min(correlations)))
    assert np.mean(correlations) >= 0.95
