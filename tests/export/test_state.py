"""Streaming models, whose variables one step leaves to the next: predicted as ever, explained at a state held fixed.

Made with `tf.Module`, `tf.Variable` and TensorFlow's converter; the references are the plain interpreter over the same
sequence, and GradientTape of the same step with the same state.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf

import edge
import export
import whylite
from edge.explanation import Flag
from edge.interpreter import load
from edge.run.loop import Run
from edge.wire.records import Map, Request
from export import report, state, tflite
from export.errors import UnsupportedModelError
from export.tflite.options import UnreadOptions
from tests.edge import run_fakes

METHODS = ["gradcam", "integrated_gradients", "saliency"]
CLASSES, CHANNELS, FRAMES = 4, 4, 6
BOUND = 1e-4
Values = Mapping[str, tf.Tensor]


@dataclass(frozen=True)
class Streaming:
    """A model: its file, its step from input and state to logits and next state, and the state it begins in."""

    file: bytes
    step: Callable[[tf.Tensor, Values], tuple[tf.Tensor, Values]]
    beginning: dict[str, np.ndarray]
    shape: tuple[int, ...]

    def inputs(self, count: int = 20) -> np.ndarray:
        return np.random.default_rng(1).normal(size=(count, *self.shape)).astype(np.float32)


def weights(*shape: int, seed: int = 0) -> tf.Tensor:
    values = np.random.default_rng(seed + sum(shape)).normal(0, (2 / np.prod(shape[:-1])) ** 0.5, shape)
    return tf.constant(values, tf.float32)


def converted(
    step: Callable[[tf.Tensor, Values], tuple[tf.Tensor, Values]],
    beginning: dict[str, np.ndarray],
    shape: tuple[int, ...],
    samples: np.ndarray | None = None,
) -> Streaming:
    class Module(tf.Module):
        def __init__(self) -> None:
            self.kept = {name: tf.Variable(value, name=name, trainable=False) for name, value in beginning.items()}

        @tf.function(input_signature=[tf.TensorSpec((1, *shape), tf.float32, name="x")])
        def __call__(self, x):
            logits, after = step(x, {name: variable.read_value() for name, variable in self.kept.items()})
            for name, value in after.items():
                self.kept[name].assign(value)
            return {"scores": tf.nn.softmax(logits)}

    module = Module()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([module.__call__.get_concrete_function()], module)
    converter.experimental_enable_resource_variables = True
    if samples is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return Streaming(converter.convert(), step, beginning, shape)


def ring_buffer() -> Streaming:
    """A convolution over the last frames, kept in a ring."""
    kernel, dense = weights(3, CHANNELS, 16), weights(16, CLASSES)

    def step(x: tf.Tensor, kept: Values) -> tuple[tf.Tensor, Values]:
        window = tf.concat([kept["ring"], x], 1)
        y = tf.nn.relu(tf.nn.conv1d(window, kernel, 1, "SAME"))
        return tf.reduce_mean(y, 1) @ dense, {"ring": window[:, FRAMES:]}

    return converted(step, {"ring": np.full((1, 8, CHANNELS), 0.5, np.float32)}, (FRAMES, CHANNELS))


def gain_and_recurrence() -> Streaming:
    """A gain control that multiplies the input by a state, and a recurrence read again after it was assigned."""
    kernel, dense, back = weights(3, CHANNELS, 8), weights(8, CLASSES), weights(8, 8)

    def step(x: tf.Tensor, kept: Values) -> tuple[tf.Tensor, Values]:
        y = tf.nn.relu(tf.nn.conv1d(x * kept["gain"], kernel, 1, "SAME"))
        memory = tf.tanh(tf.reduce_mean(y, 1) + kept["memory"] @ back)
        gain = 0.9 * kept["gain"] + 0.1 * tf.reduce_mean(tf.abs(x), [1, 2], keepdims=True)
        return memory @ dense, {"gain": gain, "memory": memory}

    beginning = {"gain": np.ones((1, 1, 1), np.float32), "memory": np.zeros((1, 8), np.float32)}
    return converted(step, beginning, (FRAMES, CHANNELS))


def barred_front_end() -> Streaming:
    """A spectrum of samples kept from the step before and new ones: neither can be reached, the spectrum can."""
    kernel, dense = weights(3, 3, 1, 8), weights(8, CLASSES)

    def step(x: tf.Tensor, kept: Values) -> tuple[tf.Tensor, Values]:
        wave = tf.concat([kept["tail"], x], 1)
        spectrum = tf.abs(tf.signal.stft(wave[0], 64, 32, 64))[None]
        y = tf.nn.relu(tf.nn.conv2d(spectrum[..., None], kernel, 1, "SAME"))
        return tf.reduce_mean(y, [1, 2]) @ dense + kept["bias"], {"tail": wave[:, 160:], "bias": kept["bias"] * 0.5}

    beginning = {"tail": np.zeros((1, 96), np.float32), "bias": np.ones((1, CLASSES), np.float32)}
    return converted(step, beginning, (160,))


def without_a_batch() -> Streaming:
    """A state without a batch dimension, so that steps cannot share a call."""
    kernel, dense = weights(3, CHANNELS, 8), weights(8, CLASSES)

    def step(x: tf.Tensor, kept: Values) -> tuple[tf.Tensor, Values]:
        window = tf.concat([kept["ring"], x[0]], 0)
        y = tf.nn.relu(tf.nn.conv1d(window[None], kernel, 1, "SAME"))
        return tf.reduce_mean(y, 1) @ dense, {"ring": window[FRAMES:]}

    return converted(step, {"ring": np.zeros((8, CHANNELS), np.float32)}, (FRAMES, CHANNELS))


MODELS = {make.__name__: make for make in (ring_buffer, gain_and_recurrence, without_a_batch)}


@pytest.fixture(scope="module", params=MODELS.values(), ids=MODELS)
def explained(request: pytest.FixtureRequest) -> tuple[Streaming, edge.Bundle]:
    model = request.param()
    options = {"methods": METHODS, "numerics": "f32", "schedule": "uniform midpoint", "refine": True}
    return model, export.explain(model.file, calibration=model.inputs(), **options)


def gradient(model: Streaming, x: np.ndarray, kept: Values, index: int) -> np.ndarray:
    at = tf.constant(x[None])
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = model.step(at, kept)[0][0, index]
    return tape.gradient(value, at).numpy()[0]


def relative_error(measured: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(measured - expected) / np.linalg.norm(expected))


def plain(model: bytes) -> Callable[[np.ndarray], np.ndarray]:
    interpreter, _ = load(model)
    run = interpreter.get_signature_runner("serving_default")
    return lambda x: np.array(run(x=x[None])["scores"][0])


def test_a_sequence_is_predicted_as_by_the_plain_model_with_explanations_in_between(explained):
    model, bundle = explained
    explainer, reference = edge.Explainer(bundle), plain(model.file)
    for x in model.inputs(8):
        explainer.explain(x, "saliency")  # alone, before
        prediction = explainer.predict(x)
        assert prediction.scores.tobytes() == reference(x).tobytes()
        for method in METHODS:
            explained_after = explainer.explain(x, method, prediction=prediction)
            assert explained_after.scores.tobytes() == prediction.scores.tobytes()


def test_a_tolerance_is_met_in_the_state_of_the_prediction(explained):
    model, bundle = explained
    explainer = edge.Explainer(bundle)
    kept: Values = {name: tf.constant(value) for name, value in model.beginning.items()}
    for x in model.inputs(3):
        prediction = explainer.predict(x)
        e = explainer.explain(x, "integrated_gradients", 2, prediction=prediction, tolerance=0.02, max_steps=128)
        path = (np.arange(200) + 0.5) / 200
        expected = np.mean([gradient(model, np.float32(a) * x, kept, 2) for a in path], 0) * x
        ends = [float(model.step(tf.constant(at[None]), kept)[0][0, 2]) for at in (np.zeros_like(x), x)]
        assert e.map.sum() + e.residual == pytest.approx(ends[1] - ends[0], abs=1e-4)
        assert abs(e.residual) <= 0.02 * abs(ends[1] - ends[0])
        assert relative_error(e.map, expected) < 0.1
        kept = model.step(tf.constant(x[None]), kept)[1]


def test_a_prediction_is_explained_in_the_state_it_was_made_in_whenever_that_is_asked(explained):
    model, bundle = explained
    explainer = edge.Explainer(bundle)
    kept: Values = {name: tf.constant(value) for name, value in model.beginning.items()}
    made = []
    for x in model.inputs(5):
        made.append((x, kept, explainer.predict(x)))
        kept = model.step(tf.constant(x[None]), kept)[1]
    for x, before, prediction in reversed(made):
        for index in range(CLASSES):
            e = explainer.explain(x, "saliency", class_index=index, prediction=prediction)
            assert relative_error(e.map, gradient(model, x, before, index)) < BOUND


def test_integrated_gradients_hold_the_state_along_the_path(explained):
    model, bundle = explained
    explainer = edge.Explainer(bundle)
    schedules = bundle.manifest.head("integrated_gradients").schedules
    schedule = [each for each in schedules if not each.intervals][-1]  # NUIG has nodes of its own for each input
    kept: Values = {name: tf.constant(value) for name, value in model.beginning.items()}
    for x in model.inputs(3):
        prediction = explainer.predict(x)
        e = explainer.explain(x, "integrated_gradients", class_index=1, steps=schedule.steps, prediction=prediction)
        along = [gradient(model, x * np.float32(node), kept, 1) for node in schedule.nodes]
        slopes = np.tensordot(schedule.weights, along, 1)
        assert relative_error(e.map, slopes * x) < BOUND
        ends = [model.step(tf.constant(at[None]), kept)[0][0, 1] for at in (x, np.zeros_like(x))]
        assert e.map.sum() + e.residual == pytest.approx(float(ends[0] - ends[1]), abs=1e-4)
        kept = model.step(tf.constant(x[None]), kept)[1]


def test_explaining_alone_is_of_the_present_state_and_leaves_it(explained):
    model, bundle = explained
    explainer = edge.Explainer(bundle)
    first, second = model.inputs(2)
    explainer.predict(first)
    for method in METHODS:
        alone = explainer.explain(second, method)
        again = explainer.explain(second, method)
        np.testing.assert_array_equal(alone.map, again.map)
    after = explainer.explain(second, METHODS[-1], prediction=explainer.predict(second))
    np.testing.assert_array_equal(after.map, alone.map)
    np.testing.assert_array_equal(after.scores, alone.scores)


def test_the_report_and_the_command_explain_each_step_in_the_state_it_came_in(explained, tmp_path, capsys):
    model, bundle = explained
    inputs = model.inputs(5)
    device = edge.Explainer(bundle)
    sums = [
        float(device.explain(x, "integrated_gradients", prediction=prediction).map.sum(dtype=np.float64))
        for x in inputs
        for prediction in [device.predict(x)]
    ]
    shown = [
        float(text.replace("−", "-")) for text in re.findall(r"sum ([+−][^ <]+)", report.make(bundle, inputs).decode())
    ]
    assert all(min(abs(found - total) for found in shown) <= 6e-3 * abs(total) for total in sums)
    bundle.save(tmp_path / "stream.why")
    np.savez(tmp_path / "x.npz", x=inputs)
    asked = ["--input", str(tmp_path / "x.npz"), "--index", "3", "--method", "integrated_gradients", "--json"]
    assert whylite.main(["explain", str(tmp_path / "stream.why"), *asked]) == 0
    assert json.loads(capsys.readouterr().out)["map"]["sum"] == pytest.approx(sums[3], rel=1e-4)


def test_a_device_proves_itself_without_moving_the_state(explained):
    model, bundle = explained
    explainer, reference = edge.Explainer(edge.Bundle.from_bytes(bundle.to_bytes())), plain(model.file)
    assert explainer.check_golden() == 0
    for x in model.inputs(3):
        assert explainer.predict(x).scores.tobytes() == reference(x).tobytes()
    assert explainer.check_golden() == 0


def test_a_run_explains_a_past_step_in_the_state_in_which_it_was_answered(explained):
    model, bundle = explained
    inputs = model.inputs(6)
    requests = {5: [Request(what=Map.code, sequence=k, method=2, class_index=1) for k in (3, 0)]}
    clock, stream = run_fakes.Clock(), run_fakes.Stream(requests=requests)
    capture = run_fakes.Stored(clock, inputs)
    begin = run_fakes.settings(METHODS, methods=(1,), deadline=1e6, kept=8)
    run = Run(capture, edge.Explainer(bundle), stream, METHODS, begin, run_fakes.SilentBell(clock))
    run.learn(inputs[0])  # which leaves the state as it is
    run.work()
    befores = []
    kept: Values = {name: tf.constant(value) for name, value in model.beginning.items()}
    for x in inputs:
        befores.append(kept)
        kept = model.step(tf.constant(x[None]), kept)[1]
    asked = [(sequence, e) for sequence, e in stream.maps if e.method == "saliency"]
    assert [sequence for sequence, _ in asked] == [3, 0]
    for sequence, e in asked:
        assert relative_error(e.map, gradient(model, inputs[sequence], befores[sequence], 1)) < BOUND


def test_what_answers_and_maps_in_one_pass_is_left_out(explained):
    _, bundle = explained
    explainer = edge.Explainer(bundle)
    assert not explainer.answers_too("gradcam")
    assert any("streaming model" in note for note in bundle.manifest.notes)
    checks = {check.name: check for check in bundle.manifest.checks}
    assert checks["prediction parity"].samples == 20
    assert checks["gradcam against its formula"].passed


def test_steps_share_a_call_where_the_state_can_be_repeated():
    steps = {}
    for name, make in MODELS.items():
        model = make()
        bundle = export.explain(model.file, methods=["integrated_gradients"], batch=None if "batch" in name else 4)
        steps[name] = bundle.manifest.heads[0].steps_per_call
    assert steps == {"ring_buffer": 4, "gain_and_recurrence": 4, "without_a_batch": 1}


def test_a_state_behind_what_bars_the_way_is_held_and_one_in_front_goes_into_it():
    model = barred_front_end()
    explainer = edge.Explainer(export.explain(model.file, calibration=model.inputs(), methods=METHODS, numerics="f32"))
    reference = plain(model.file)
    for x in model.inputs(4):
        prediction = explainer.predict(x)
        assert prediction.scores.tobytes() == reference(x).tobytes()
        wave = np.concatenate([prediction.state["state/tail"][0], x])
        spectrum = tf.abs(tf.signal.stft(wave, 64, 32, 64))
        bias = prediction.state["state/bias"]
        with tf.GradientTape() as tape:
            tape.watch(spectrum)
            y = tf.nn.relu(tf.nn.conv2d(spectrum[None, ..., None], weights(3, 3, 1, 8), 1, "SAME"))
            logit = (tf.reduce_mean(y, [1, 2]) @ weights(8, CLASSES) + bias)[0, 2]
        e = explainer.explain(x, "saliency", class_index=2, prediction=prediction)
        assert e.flags & Flag.NOT_AT_INPUT
        assert relative_error(e.map.reshape(spectrum.shape), tape.gradient(logit, spectrum).numpy()) < BOUND
        whole = explainer.explain(x, "integrated_gradients", class_index=2, prediction=prediction)
        assert abs(whole.residual) < 0.1 * np.abs(whole.map).sum()


def test_an_integer_model_streams_bit_for_bit_too():
    kernel, dense = weights(3, CHANNELS, 16), weights(16, CLASSES)

    def step(x: tf.Tensor, kept: Values) -> tuple[tf.Tensor, Values]:
        window = tf.concat([kept["ring"], x], 1)
        y = tf.nn.relu(tf.nn.conv1d(window, kernel, 1, "SAME"))
        return tf.reduce_mean(y, 1) @ dense, {"ring": window[:, FRAMES:]}

    samples = np.random.default_rng(1).normal(size=(16, FRAMES, CHANNELS)).astype(np.float32)
    model = converted(step, {"ring": np.zeros((1, 8, CHANNELS), np.float32)}, (FRAMES, CHANNELS), samples)
    bundle = export.explain(model.file, calibration=samples, methods=METHODS, numerics="deq")
    assert bundle.manifest.kind == "int8"
    explainer, reference = edge.Explainer(bundle), plain(model.file)
    for x in samples[:6]:
        prediction = explainer.predict(x)
        assert prediction.scores.tobytes() == reference(x).tobytes()
        kept = {"ring": tf.constant(prediction.state["state/ring"])}
        e = explainer.explain(x, "saliency", class_index=1, prediction=prediction)
        assert relative_error(e.map, gradient(model, x, kept, 1)) < 0.1  # weights of 8 bits


def test_a_read_after_an_assignment_is_what_was_assigned():
    graph = tflite.read(ring_buffer().file).graphs[0]
    read = next(op for op in graph.ops if op.code == "READ_VARIABLE")
    assigned = next(op for op in graph.ops if op.code == "ASSIGN_VARIABLE").input(1)
    again = tflite.Tensor("again", assigned.shape, assigned.dtype)
    graph.tensors.append(again)
    graph.ops.append(tflite.Op("READ_VARIABLE", [read.input(0)], [again]))
    graph.outputs.append(again)
    step = state.detach(graph)
    assert step.outputs[-1] is assigned
    assert [tensor.name for tensor in step.inputs[1:]] == ["state/ring"]
    assert not any("VAR" in op.code or op.code == "CALL_ONCE" for op in step.ops)


def test_the_model_itself_stays_as_it_is():
    model = ring_buffer()
    original = tflite.read(model.file)
    shipped = tflite.read(export.explain(model.file, methods=["saliency"]).model)
    for before, after in zip(original.graphs, shipped.graphs, strict=False):
        assert [op.code for op in before.ops] == [op.code for op in after.ops]
    entries = shipped.graphs[len(original.graphs) :]
    assert not any(op.code == "ASSIGN_VARIABLE" for graph in entries for op in graph.ops)
    calls = [op.options.content.initSubgraphIndex for graph in shipped.graphs for op in graph.ops if "ONCE" in op.code]
    assert calls == [1, 1]


def test_state_in_a_hash_table_is_refused_by_name():
    graph = tflite.read(ring_buffer().file).graphs[0]
    handle = next(op for op in graph.ops if op.code == "VAR_HANDLE")
    handle.code, handle.options = "HASHTABLE", UnreadOptions("HashtableOptions", None)
    with pytest.raises(UnsupportedModelError, match=r"op 1 HASHTABLE keeps state where it cannot be read"):
        state.detach(graph)
