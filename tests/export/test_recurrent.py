"""Recurrent layers: the fused op on its own, models with it, models that were unrolled, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import export
from edge.explainer import Explainer
from export import heads, support, tflite
from export.errors import UnsupportedModelError
from export.tflite import Op, Tensor
from export.tflite import options as tables
from export.tflite.fold import fold
from export.tflite.options import Activation
from tests.references import more_ops, networks, tensorflow_twin
from tests.references.compiled import relative_error
from tests.references.fused_lstm import convert_fused
from tests.references.runtime import Session
from tests.references.single_op import Drawing, check, exact, examples

layers = tf.keras.layers
STEPS, FEATURES = 5, 32


@pytest.fixture(autouse=True)
def all_ops(monkeypatch):
    monkeypatch.setattr(tensorflow_twin, "_OPS", tensorflow_twin._OPS | more_ops.MORE)


# The op on its own


def fused(drawing: Drawing, units: int, *, time_major: bool = False, clip: float = 10.0) -> Op:
    """Append an LSTM over the drawing's input."""
    builder, (*leading, features) = drawing.builder, drawing.x.shape
    batch = leading[1 if time_major else 0]
    operands: list[Tensor | None] = [None] * 24
    operands[0] = drawing.x
    for gate in range(4):
        operands[1 + gate] = drawing.constant(units, features)
        operands[5 + gate] = drawing.constant(units, units)
        operands[12 + gate] = drawing.constant(units)
    for position in (18, 19):
        operands[position] = builder.tensor("state", (batch, units))
        operands[position].is_variable = True
    output = builder.tensor("states", (*leading, units))
    options = tables.UnidirectionalSequenceLSTMOptions(Activation.TANH, clip, 0.0, time_major)
    op = Op("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, [output], options)
    builder.graph.ops.append(op)
    return op


sizes = st.integers(1, 5)


@examples(30)
@given(st.integers(0, 1 << 16), sizes, sizes, sizes, st.booleans(), st.sampled_from([0.0, 10.0, 0.5, 2.0]))
def test_the_fused_op(seed, steps, features, units, time_major, clip):
    """Its forward pass in LiteRT and its gradient, with a limit on the cell that is reached and one that is not."""
    drawing = Drawing(seed, *((steps, 1, features) if time_major else (1, steps, features)))
    op = fused(drawing, units, time_major=time_major, clip=clip)

    def reference(x):
        return more_ops.lstm(op, lambda tensor: x if tensor is drawing.x else exact(tensor))

    check(drawing, op.output, reference, batch=None, smooth=clip not in {0.5, 2.0})


# Models


def recurrent(units: int = 36, *, softmax: bool = True) -> tf.keras.Model:
    """Two LSTMs with enough weights for the converter to quantise them."""
    tf.keras.utils.set_random_seed(1)
    stack = [
        tf.keras.Input((STEPS, FEATURES)),
        layers.LSTM(units, return_sequences=True, bias_initializer="random_normal"),
        layers.LSTM(units, bias_initializer="random_normal", go_backwards=True),
        layers.Dense(3),
    ]
    return tf.keras.Sequential([*stack, layers.Softmax()] if softmax else stack)


def windows(count: int = 12) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (count, STEPS, FEATURES)).astype(np.float32)


def keras_gradient(logits: tf.keras.Model, x: np.ndarray, class_index: int) -> np.ndarray:
    variable = tf.constant(x[None])
    with tf.GradientTape() as tape:
        tape.watch(variable)
        score = logits(variable)[0, class_index]
    return tape.gradient(score, variable).numpy()[0]


@pytest.mark.parametrize("time_major", [False, True], ids=["batch first", "time first"])
@pytest.mark.parametrize("kind", ["float32", "float16", "dynamic-range", "int8"])
def test_models_with_the_fused_op(kind, time_major):
    data = windows()
    file = convert_fused(recurrent(), kind, data, time_major=time_major)
    graph = fold(tflite.read(file).graphs[0])
    assert sum(op.code == "UNIDIRECTIONAL_SEQUENCE_LSTM" for op in graph.ops) == 2
    methods = ["saliency", "integrated_gradients"]
    explainer = Explainer(export.explain(file, calibration=data, methods=methods, numerics="f32", batch=None))
    logits = heads.find(graph).logits
    for sample in data[:3]:
        gradient = explainer.explain(sample, "saliency", class_index=1).map
        assert relative_error(gradient[None], tensorflow_twin.input_gradient(graph, logits, sample[None], 1)) < 1e-5
        if kind == "float32":
            assert relative_error(gradient, keras_gradient(recurrent(softmax=False), sample, 1)) < 1e-5
        integrated = explainer.explain(sample, "integrated_gradients", class_index=1)
        assert abs(integrated.residual) < 0.01 * abs(integrated.map).sum()


@pytest.mark.parametrize("kind", ["dynamic-range", "int8"])
def test_steps_along_the_integer_forward_pass_have_a_state_each(kind):
    data = windows()
    file = convert_fused(recurrent(), kind, data)
    options = {"calibration": data, "methods": ["integrated_gradients"], "batch": 4}
    exact_, mixed = (Explainer(export.explain(file, numerics=name, **options)) for name in ("f32", "mixed"))
    for sample in data[:3]:
        maps = [explainer.explain(sample, class_index=1).map for explainer in (exact_, mixed)]
        assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] > 0.99


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_a_window_is_answered_alike_whatever_came_before(kind):
    data = windows()
    file = convert_fused(recurrent(), kind, data)
    bundle = export.explain(file, calibration=data)
    assert bundle.manifest.recurrent
    assert bundle.manifest.kind == kind
    assert any("zero state" in note for note in bundle.manifest.notes)
    explainer = Explainer(bundle)
    expected = [Session(file).run(sample[None])[0][0] for sample in data[:3]]
    for order in ((0, 1, 2), (2, 1, 0), (1, 1, 0, 2)):
        for index in order:
            np.testing.assert_array_equal(explainer.predict(data[index]).scores, expected[index])
            explanation = explainer.explain(data[index], "integrated_gradients", steps=8)
            np.testing.assert_array_equal(explanation.scores, expected[index])
            np.testing.assert_array_equal(
                Explainer(bundle).explain(data[index], "integrated_gradients", steps=8).map, explanation.map
            )
    assert explainer.check_golden() == 0


def test_gradcam_at_a_convolution_before_the_fused_op():
    data = windows()
    tf.keras.utils.set_random_seed(1)
    convolution = layers.Conv1D(8, 3, activation="relu", padding="same")
    model = tf.keras.Sequential([tf.keras.Input((STEPS, FEATURES)), convolution, layers.LSTM(24), layers.Dense(3)])
    file = convert_fused(model)
    explainer = Explainer(export.explain(file, calibration=data, methods=["gradcam"]))
    for sample in data[:3]:
        explanation = explainer.explain(sample, "gradcam")
        activations = convolution(sample[None])
        with tf.GradientTape() as tape:
            tape.watch(activations)
            score = model.layers[2](model.layers[1](activations))[0, explanation.class_index]
        weights = tape.gradient(score, activations).numpy()[0].mean(0)
        np.testing.assert_array_equal(explanation.scores, Session(file).run(sample[None])[0][0])
        assert explanation.map.shape == (STEPS,)
        assert relative_error(explanation.map, np.maximum(activations.numpy()[0] @ weights, 0)) < 1e-4


CELLS = {
    "LSTM": lambda: layers.LSTM(12, unroll=True),
    "GRU": lambda: layers.GRU(12, unroll=True),
    "GRU of the first kind": lambda: layers.GRU(12, unroll=True, reset_after=False),
    "simple": lambda: layers.SimpleRNN(12, unroll=True),
    "both ways": lambda: layers.Bidirectional(layers.LSTM(8, unroll=True)),
}


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("cell", CELLS)
def test_models_that_were_unrolled(cell, kind):
    """With unroll=True the converter writes the steps out."""
    data = windows()

    def network(x):
        return layers.Dense(3)(CELLS[cell]()(x))

    classifier, logits = networks.build(network, (STEPS, FEATURES))
    file = networks.convert(classifier, kind, data)
    bundle = export.explain(file, calibration=data, methods=["saliency", "integrated_gradients"], numerics="f32")
    assert not bundle.manifest.recurrent
    explainer = Explainer(bundle)
    for sample in data[:3]:
        explanation = explainer.explain(sample, "saliency", class_index=1)
        np.testing.assert_array_equal(explanation.scores, Session(file).run(sample[None])[0][0])
        # Those of int8 are rounded.
        bound = 1e-5 if kind == "float32" else 0.05
        assert relative_error(explanation.map, keras_gradient(logits, sample, 1)) < bound


# What is refused


def test_a_loop_bars_the_way_and_the_manifest_says_what_to_do_instead():
    x = tf.keras.Input((STEPS, FEATURES), batch_size=1)
    file = networks.convert(tf.keras.Model(x, layers.Dense(3)(layers.LSTM(5)(x))))
    bundle = export.explain(file, methods=["saliency"])
    assert any("WHILE is a loop" in note and "unroll=True" in note for note in bundle.manifest.notes)


def refusal(drawing: Drawing, output: Tensor) -> str:
    graph = drawing.builder.graph
    graph.outputs = [drawing.builder.reshape(output, (1, int(np.prod(output.shape))))]
    with pytest.raises(UnsupportedModelError) as caught:
        support.check(graph, heads.find(graph), [drawing.x])
    return caught.value.cause


@pytest.mark.parametrize("what", ["peephole", "projection", "normalisation", "coupled gates", "activation", "diagonal"])
def test_other_cells_are_refused(what):
    drawing = Drawing(0, 1, STEPS, FEATURES)
    op = fused(drawing, 4)
    if what == "activation":
        op.options = tables.UnidirectionalSequenceLSTMOptions(Activation.RELU)
    elif what == "diagonal":
        op.options = tables.UnidirectionalSequenceLSTMOptions(Activation.TANH, diagonal_recurrent_tensors=True)
    elif what == "coupled gates":
        op.inputs[1] = None
    else:
        op.inputs[{"peephole": 9, "projection": 16, "normalisation": 20}[what]] = drawing.constant(4)
    assert "is an LSTM with other than four full gates" in refusal(drawing, op.output)


def test_a_memory_of_earlier_inputs_is_refused():
    drawing = Drawing(0, 1, FEATURES)
    state = drawing.builder.tensor("state", (1, 4 * 3))
    state.is_variable = True
    output = drawing.builder.tensor("y", (1, 4))
    operands = [drawing.x, drawing.constant(4, FEATURES), drawing.constant(4, 3), None, state]
    drawing.builder.graph.ops.append(Op("SVDF", operands, [output]))
    assert "SVDF has a memory of earlier inputs" in refusal(drawing, output)
    builder = drawing.builder  # at a layer behind it as well
    behind = builder.fully_connected(output, drawing.constant(3, 4))
    builder.graph.outputs = [behind]
    with pytest.raises(UnsupportedModelError, match="SVDF has a memory"):
        support.check(builder.graph, heads.find(builder.graph), [output])
