"""Models whose way to the input is barred: explained at the first tensor that can be reached, and said to be.

Embedding look-ups and RFFT front ends as TensorFlow's converter writes them, through `export.explain` and the device's
runtime, against GradientTape at the same tensor of the TensorFlow model.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import tensorflow as tf

import edge
import export
from edge.explanation import Flag
from edge.link.stream import introduction
from export import heads, reach, tflite
from export.errors import CalibrationError, UnsupportedModelError
from export.tflite import Graph, Tensor
from export.tflite import options as tables
from export.tflite.ops import FLOAT, INT32, Builder
from tests.link import chunks
from tests.references.runtime import Session

VOCABULARY, WORDS, DEPTH, CLASSES = 120, 10, 32, 4
METHODS = ["gradcam", "integrated_gradients", "saliency", "input_x_gradient"]
layers = tf.keras.layers


@dataclass(frozen=True)
class Case:
    """A model file, what TensorFlow computes up to and from the tensor to be explained, inputs, and that tensor."""

    model: bytes
    front: Callable[[np.ndarray], tf.Tensor]
    logits: Callable[[tf.Tensor], tf.Tensor]
    x: np.ndarray
    layer: str


def convert(converter: tf.lite.TFLiteConverter, dynamic_range: bool) -> bytes:
    if dynamic_range:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return converter.convert()


def masked_text() -> Case:
    """Words that are padding do not count: the mask goes past the look-up."""
    tf.keras.utils.set_random_seed(0)
    embedding = layers.Embedding(VOCABULARY, DEPTH, mask_zero=True, embeddings_initializer="normal")
    hidden, dense = layers.Dense(16, activation="tanh"), layers.Dense(CLASSES)
    inputs = layers.Input((WORDS,), dtype="int32")
    looked_up = embedding(inputs)
    pooled = layers.GlobalAveragePooling1D()(hidden(looked_up))
    model = tf.keras.Model(inputs, layers.Softmax()(dense(pooled)))
    x = np.random.default_rng(1).integers(1, VOCABULARY, (12, WORDS))
    x[:, WORDS // 2 :] *= np.random.default_rng(2).integers(0, 2, (12, 1))
    current: list[np.ndarray] = [x[0]]

    def front(sample: np.ndarray) -> tf.Tensor:
        current[0] = sample
        return embedding(sample[None].astype(np.int32))

    def logits(at: tf.Tensor) -> tf.Tensor:
        counts = tf.constant(current[0][None, :, None] != 0, tf.float32)
        return dense(tf.reduce_sum(hidden(at) * counts, 1) / tf.reduce_sum(counts, 1))

    return Case(convert(tf.lite.TFLiteConverter.from_keras_model(model), False), front, logits, x, "GatherV2")


def stored(model: bytes, *shape: int) -> np.ndarray:
    """Return the real values of the int8 weights of that shape in a file."""
    constants = (tensor for tensor in tflite.read(model).graphs[0].tensors if tensor.is_constant)
    (found,) = (tensor for tensor in constants if tensor.shape == shape and tensor.dtype == np.int8)
    return found.real().astype(np.float32)


def text(*, dynamic_range: bool = False, ids: str = "int32") -> Case:
    tf.keras.utils.set_random_seed(0)
    embedding = layers.Embedding(VOCABULARY, DEPTH, embeddings_initializer="normal")
    tail = [layers.Conv1D(32, 3, activation="relu"), layers.GlobalAveragePooling1D(), layers.Dense(CLASSES)]
    model = tf.keras.Sequential([layers.Input((WORDS,), dtype=ids), embedding, *tail, layers.Softmax()])
    x = np.random.default_rng(1).integers(0, VOCABULARY, (12, WORDS))

    def logits(at: tf.Tensor) -> tf.Tensor:
        for layer in tail:
            at = layer(at)
        return at

    file = convert(tf.lite.TFLiteConverter.from_keras_model(model), dynamic_range)
    if dynamic_range:
        embedding.set_weights([stored(file, VOCABULARY, DEPTH)])
        tail[0].set_weights([stored(file, 32, 1, 3, DEPTH)[:, 0].transpose(1, 2, 0), tail[0].get_weights()[1]])
    return Case(file, lambda sample: embedding(sample[None].astype(np.int32)), logits, x, "GatherV2")


def audio(*, dynamic_range: bool = False) -> Case:
    random = np.random.default_rng(0)
    mel = tf.Variable(tf.signal.linear_to_mel_weight_matrix(16, 65, 8000.0))
    kernel = tf.constant(random.normal(0, 0.3, (3, 3, 1, 8)), tf.float32)
    dense = tf.constant(random.normal(0, 0.5, (8, CLASSES)), tf.float32)

    def front(x: np.ndarray) -> tf.Tensor:
        return tf.abs(tf.signal.stft(x[None], 128, 64, 128))

    def logits(spectrum: tf.Tensor) -> tf.Tensor:
        y = tf.math.log(spectrum @ mel + 1.0)[..., None]
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(y, kernel, 1, "SAME")), [1, 2]) @ dense

    @tf.function(input_signature=[tf.TensorSpec((1, 800), tf.float32, name="wave")])
    def model(wave: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.nn.softmax(logits(front(wave[0])))}

    file = convert(tf.lite.TFLiteConverter.from_concrete_functions([model.get_concrete_function()]), dynamic_range)
    if dynamic_range:
        mel.assign(stored(file, 16, 65).T)
    x = random.normal(0, 1, (12, 800)).astype(np.float32)
    return Case(file, front, logits, x, "Abs")


def waveform() -> Case:
    """As sound classifiers in the wild are: samples without a batch, cut into a patch of their spectrum."""
    random = np.random.default_rng(0)
    kernel = tf.constant(random.normal(0, 0.3, (3, 3, 1, 8)), tf.float32)
    dense = tf.constant(random.normal(0, 0.5, (8, CLASSES)), tf.float32)

    def front(x: np.ndarray) -> tf.Tensor:
        return tf.abs(tf.signal.stft(x, 128, 64, 128))[None, ..., None]

    def logits(patch: tf.Tensor) -> tf.Tensor:
        y = tf.nn.relu(tf.nn.conv2d(tf.math.log(patch + 1.0), kernel, 1, "SAME"))
        return tf.reduce_mean(y, [1, 2]) @ dense

    @tf.function(input_signature=[tf.TensorSpec((800,), tf.float32, name="wave")])
    def model(wave: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": tf.nn.softmax(logits(front(wave)))}

    file = convert(tf.lite.TFLiteConverter.from_concrete_functions([model.get_concrete_function()]), False)
    return Case(file, front, logits, random.normal(0, 1, (12, 800)).astype(np.float32), "")


def gradient(case: Case, at: tf.Tensor, index: int) -> np.ndarray:
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = case.logits(at)[..., index]
    return tape.gradient(value, at).numpy()


def relative_error(measured: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(measured - expected) / np.linalg.norm(expected))


BOUND = 1e-4
KINDS = {
    "text": (text, {}),
    "text, ids in float": (text, {"ids": "float32"}),
    "text, ids in int64": (text, {"ids": "int64"}),
    "text, dynamic range": (text, {"dynamic_range": True}),
    "audio": (audio, {}),
    "audio, dynamic range": (audio, {"dynamic_range": True}),
    "audio without a batch": (waveform, {}),
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def explained(request: pytest.FixtureRequest) -> tuple[Case, edge.Explainer]:
    make, arguments = request.param
    case = make(**arguments)
    options = {"baseline": "mean", "numerics": "f32", "schedule": "uniform midpoint", "refine": True}
    bundle = export.explain(case.model, calibration=case.x, methods=METHODS, **options)
    return case, edge.Explainer(bundle)


def test_gradients_are_tensorflows_at_the_tensor_that_is_named(explained):
    case, explainer = explained
    for sample in case.x[:3]:
        at = case.front(sample)
        for index in range(CLASSES):
            e = explainer.explain(sample, "saliency", class_index=index)
            assert relative_error(e.map, gradient(case, at, index)[0]) < BOUND
            product = explainer.explain(sample, "input_x_gradient", class_index=index)
            assert relative_error(product.map, (at * gradient(case, at, index))[0].numpy()) < BOUND
            assert case.layer in e.layer


def test_integrated_gradients_start_at_the_mean_of_that_tensor_and_add_up(explained):
    case, explainer = explained
    fronts = tf.concat([case.front(sample) for sample in case.x], 0)
    baseline = tf.reduce_mean(fronts, 0, keepdims=True)
    schedules = explainer.manifest.head("integrated_gradients").schedules
    schedule = [each for each in schedules if not each.intervals][-1]  # NUIG has nodes of its own for each input
    for sample, at in zip(case.x[:2], fronts, strict=False):
        path = [baseline + np.float32(node) * (at[None] - baseline) for node in schedule.nodes]
        slopes = np.tensordot(schedule.weights, [gradient(case, point, 1)[0] for point in path], 1)
        expected = slopes * (at.numpy() - baseline.numpy()[0])
        e = explainer.explain(sample, "integrated_gradients", class_index=1, steps=schedule.steps)
        assert relative_error(e.map, expected) < BOUND
        values = [float(case.logits(end)[0, 1]) for end in (baseline, at[None])]
        e = explainer.explain(sample, "integrated_gradients", class_index=1, tolerance=0.02, max_steps=256)
        assert e.map.sum() + e.residual == pytest.approx(values[1] - values[0], abs=1e-4)
        assert abs(e.residual) <= 0.02 * abs(values[1] - values[0])
        assert relative_error(e.map, expected) < 0.1
        change = float(case.logits(at[None])[0, 1] - case.logits(baseline)[0, 1])
        assert abs(e.map.sum() + e.residual - change) < 2 * BOUND * np.abs(e.map).sum()


def test_predictions_are_those_of_the_plain_model_bit_for_bit(explained):
    case, explainer = explained
    plain = Session(case.model)
    kind = plain.interpreter.get_input_details()[0]["dtype"]
    for sample in case.x:
        (scores,) = plain.run(sample.reshape(plain.interpreter.get_input_details()[0]["shape"]).astype(kind))
        for method in METHODS:
            explainer.explain(sample, method)
        assert explainer.predict(sample).scores.tobytes() == scores.tobytes()


def test_the_manifest_the_map_and_the_link_say_so(explained):
    case, explainer = explained
    manifest = explainer.manifest
    for head in manifest.heads:
        e = explainer.explain(case.x[0], head.method)
        assert e.layer == head.layer
        moved = head.method != "gradcam"
        assert (head.front is not None) == moved
        assert bool(e.flags & Flag.NOT_AT_INPUT) == moved
        assert all(bool(record.flags & Flag.NOT_AT_INPUT) == moved for record in chunks(0, e, 0, "int8"))
        assert e.map.shape == head.map_shape
        if moved:
            assert head.map_shape == case.front(case.x[0]).shape[1:]
    (note,) = (note for note in manifest.notes if "not at the input" in note)
    assert note.startswith("integrated_gradients, saliency")
    assert case.layer in note
    assert "GATHER has integers for an operand" in note or "COMPLEX_ABS has no gradient rule" in note
    session = introduction(manifest, explainer.methods, "")
    assert all(layer in head.layer for layer, head in zip(session.layers, manifest.heads, strict=True))


def test_a_bundle_survives_its_file(explained):
    case, explainer = explained
    again = edge.Explainer(edge.Bundle.from_bytes(explainer.bundle.to_bytes()))
    for method in METHODS:
        one, other = (e.explain(case.x[0], method) for e in (explainer, again))
        np.testing.assert_array_equal(one.map, other.map)


def export_text(**arguments) -> edge.Bundle:
    return export.explain(text().model, methods=["integrated_gradients"], **arguments)


def test_made_up_inputs_are_legal_ids():
    bundle = export_text()
    x = bundle.arrays()["x"]
    assert (x == np.rint(x)).all()
    assert 0 <= x.min() < x.max() < VOCABULARY


@pytest.mark.parametrize("bad", [VOCABULARY, -VOCABULARY - 1])
def test_an_id_without_a_row_is_refused_with_the_table(bad):
    x = text().x
    x[7, 3] = bad
    with pytest.raises(CalibrationError, match=rf"sample 7 makes op \d+ GATHER .*rows 0 to {VOCABULARY - 1}"):
        export_text(calibration=x)
    with pytest.raises(edge.InputError, match=f"ids from {-VOCABULARY} to {VOCABULARY - 1}"):
        edge.Explainer(export_text()).predict(x[7])


@pytest.mark.parametrize(("value", "said"), [(1.5, "whole numbers"), (3e9, "whole numbers"), (np.nan, "finite")])
def test_what_is_no_integer_is_refused(value, said):
    x = text().x.astype(np.float64)
    x[2, 0] = value
    with pytest.raises(CalibrationError, match=f"1 of 12 calibration samples hold .*{said}"):
        export_text(calibration=x)
    explainer = edge.Explainer(export_text())
    with pytest.raises(edge.InputError):
        explainer.explain(x[2])
    assert explainer.explain(x[1]).map.shape == (WORDS, DEPTH)


def test_a_baseline_has_the_shape_of_what_is_explained():
    with pytest.raises(CalibrationError, match=r"GatherV2") as caught:
        export_text(baseline=np.zeros(WORDS))
    assert f"[{WORDS}, {DEPTH}]" in caught.value.hint
    given = np.full((WORDS, DEPTH), 0.25, np.float32)
    np.testing.assert_array_equal(export_text(baseline=given).baseline, given)


def test_a_dense_layer_on_every_word_keeps_positions_and_steps_apart():
    tf.keras.utils.set_random_seed(0)
    tail = [layers.Dense(16, activation="tanh"), layers.GlobalAveragePooling1D(), layers.Dense(CLASSES)]
    model = tf.keras.Sequential([layers.Input((WORDS, 6)), *tail])
    file = convert(tf.lite.TFLiteConverter.from_keras_model(model), False)
    explainer = edge.Explainer(export.explain(file, methods=["integrated_gradients"], batch=4))
    x = np.random.default_rng(0).normal(size=(1, WORDS, 6)).astype(np.float32)
    case = Case(file, tf.constant, model, x, "")
    slopes = np.mean([gradient(case, tf.constant(x * np.float32((k + 0.5) / 16)), 1)[0] for k in range(16)], 0)
    found = explainer.explain(x[0], class_index=1, steps=16)
    assert relative_error(found.map, slopes * x[0]) < BOUND


def test_a_padding_mask_goes_past_the_look_up_and_is_held_fixed():
    case = masked_text()
    bundle = export.explain(case.model, calibration=case.x, methods=METHODS[1:], batch=4)
    explainer = edge.Explainer(edge.Bundle.from_bytes(bundle.to_bytes()))
    plain = Session(case.model)
    assert any("held fixed" in note for note in bundle.manifest.notes)
    for sample in case.x[:6]:
        at = case.front(sample)
        e = explainer.explain(sample, "saliency", class_index=1)
        assert case.layer in e.layer
        assert relative_error(e.map, gradient(case, at, 1)[0]) < BOUND
        assert (np.abs(e.map).sum(1) > 0).tolist() == (sample != 0).tolist()
        path = [at * np.float32((step + 0.5) / 16) for step in range(16)]
        slopes = np.mean([gradient(case, point, 2)[0] for point in path], 0)
        whole = explainer.explain(sample, "integrated_gradients", class_index=2, steps=16)
        assert relative_error(whole.map, slopes * at.numpy()[0]) < BOUND
        change = float(case.logits(at)[0, 2] - case.logits(tf.zeros_like(at))[0, 2])
        assert whole.map.sum() + whole.residual == pytest.approx(change, abs=1e-5)
        (scores,) = plain.run(sample[None].astype(np.int32))
        assert explainer.predict(sample).scores.tobytes() == scores.tobytes()


class Ids:
    """A graph on ids in the making."""

    def __init__(self) -> None:
        self.builder = Builder(Graph("main"))
        self.ids = self.builder.tensor("ids", (1, 6), INT32)
        self.builder.graph.inputs = [self.ids]
        self.random = np.random.default_rng(0)

    def look_up(self, width: int = 3) -> Tensor:
        table = self.builder.constant(self.random.normal(size=(9, width)), FLOAT)
        return self.builder.op("GATHER", [table, self.ids], (1, 6, width), tables.GatherOptions(0, 0))

    def cast(self) -> Tensor:
        return self.builder.op("CAST", [self.ids], (1, 6), tables.CastOptions(2, 0), dtype=FLOAT)

    def dense(self, x: Tensor, width: int = CLASSES) -> Tensor:
        weights = self.builder.constant(self.random.normal(size=(width, int(np.prod(x.shape)))), FLOAT)
        return self.builder.fully_connected(self.builder.reshape(x, (1, int(np.prod(x.shape)))), weights)

    def found(self, logits: Tensor) -> Tensor:
        self.builder.graph.outputs = [logits]
        return reach.first_reachable(self.builder.graph, heads.find(self.builder.graph))


def test_of_two_ways_the_tensor_where_they_meet_is_the_first_that_everything_goes_through():
    model = Ids()
    met = model.builder.concatenate([model.dense(model.look_up(), 5), model.dense(model.cast(), 2)], 1)
    assert model.found(model.dense(model.builder.relu(met))) is met


def test_a_detour_around_the_barred_op_is_no_way_around():
    model = Ids()
    looked_up = model.look_up()
    y = model.builder.add(model.builder.relu(looked_up), model.builder.exp(looked_up))
    assert model.found(model.dense(y)) is looked_up


def test_where_ways_meet_in_the_answer_only_the_op_is_named():
    model = Ids()
    logits = model.builder.add(model.dense(model.look_up()), model.dense(model.cast()))
    with pytest.raises(UnsupportedModelError, match=r"op \d CAST has integers(.|\n)*no tensor behind it carries all"):
        model.found(logits)
    with pytest.raises(UnsupportedModelError, match=r"cannot explain model: op \d CAST has integers"):
        export.explain(tflite.write(tflite.Model([model.builder.graph])), methods=["saliency"])


def test_an_input_of_numbers_is_explained_itself():
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 6))
    builder.graph.inputs = [x]
    builder.graph.outputs = [builder.fully_connected(builder.relu(x), builder.constant(np.ones((CLASSES, 6))))]
    assert reach.first_reachable(builder.graph, heads.find(builder.graph)) is x


def test_an_embedding_lookup_is_a_table_too():
    model = Ids()
    table = model.builder.constant(model.random.normal(size=(9, 3)), FLOAT)
    ids = model.builder.reshape(model.ids, (6,))
    found = model.builder.op("EMBEDDING_LOOKUP", [ids, table], (6, 3), dtype=FLOAT)
    words = model.builder.reshape(found, (1, 6, 3))
    assert model.found(model.dense(model.builder.relu(words))) is words  # the first with a batch dimension
    file = tflite.write(tflite.Model([model.builder.graph]))
    bundle = export.explain(file, methods=["saliency"])
    assert bundle.manifest.input.limits == (0, 8)
    assert 0 <= bundle.arrays()["x"].min() < bundle.arrays()["x"].max() <= 8
    x = np.zeros((2, 6))
    x[1, 2] = 9
    with pytest.raises(CalibrationError, match=r"sample 1 makes op 1 EMBEDDING_LOOKUP look up 9 .*rows 0 to 8"):
        export.explain(file, methods=["saliency"], calibration=x)
