from pathlib import Path

import numpy as np
import pytest

from edge import interpreter
from examples.watch import convert, data, predict, train
from examples.watch import model as network
from export.frontends.keras import to_tflite

EXPLAINABLE = {
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "ADD",
    "AVERAGE_POOL_2D",
    "MEAN",
    "RESHAPE",
    "EXPAND_DIMS",
    "SOFTMAX",
}


@pytest.fixture(scope="module")
def model():
    return network.load()


@pytest.fixture(scope="module")
def answers(model, recordings, unseen):
    """Scores on the unseen subjects, and the file that gave them, by how the model computes."""
    files = {"float": to_tflite(model), "int8": to_tflite(model, data.calibration(recordings).x)}
    return {kind: (content, predict.scores(content, unseen.x)) for kind, content in files.items()}


def test_is_small_and_keeps_a_useful_resolution_in_time(model):
    assert model.count_params() <= 30_000
    assert model.get_layer(network.TARGET_LAYER).output.shape[1:] == (25, 64)
    assert network.MODEL_PATH.stat().st_size < 200_000


def test_is_the_network_that_build_describes(model):
    built = network.build()
    assert [w.shape for w in built.weights] == [w.shape for w in model.weights]
    built.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(4, data.WINDOW, 6)).astype(np.float32)
    assert np.allclose(built(x, training=False), model(x, training=False), atol=1e-6)


def test_is_the_model_the_readme_speaks_of(model):
    readme = Path(network.__file__).with_name("README.md").read_text()
    assert network.weights_digest(model) in readme


def test_recognises_what_unseen_people_do(model, unseen):
    scores = model(unseen.x, training=False).numpy()
    assert (scores.argmax(axis=1) == unseen.y).mean() > 0.9
    assert min(train.accuracy(scores, unseen).values()) > 0.85
    assert train.confusion(scores, unseen).sum() == len(unseen)


def test_tflite_computes_what_keras_computes(model, unseen, answers):
    assert np.allclose(answers["float"][1], model(unseen.x, training=False).numpy(), atol=1e-4)


def test_int8_answers_like_float(unseen, answers):
    exact, rounded = answers["float"][1], answers["int8"][1]
    assert (exact.argmax(axis=1) == rounded.argmax(axis=1)).mean() > 0.98
    assert (rounded.argmax(axis=1) == unseen.y).mean() > 0.9


def test_conversion_leaves_only_ops_that_can_be_explained(answers):
    for content, _ in answers.values():
        assert set(convert.operators(content)) <= EXPLAINABLE


def test_int8_is_int8_from_end_to_end(answers):
    content, _ = answers["int8"]
    runner, _ = interpreter.load(content)
    (source,), (sink,) = runner.get_input_details(), runner.get_output_details()
    assert source["dtype"] == sink["dtype"] == np.int8
    assert list(source["shape"]) == [1, data.WINDOW, 6]
    assert not any(tensor["dtype"] == np.float32 for tensor in runner.get_tensor_details())


def test_training_twice_gives_the_same_weights(recordings, monkeypatch):
    monkeypatch.setattr(train, "EPOCHS", 1)
    monkeypatch.setattr(train, "STEPS", 3)
    training = data.of_subjects(recordings, data.TRAIN_SUBJECTS)
    digests = [network.weights_digest(train.fit(training, seed)) for seed in (0, 0, 1)]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]
