"""One sigmoid score on a microcontroller: firmware says the yes, the no and the maps that Python says."""

from __future__ import annotations

import numpy as np
import pytest

import export
from edge.explainer import Explainer
from edge.micro import SOURCES
from edge.wire.records import Map, Request
from export import tflite
from export.c import standalone
from export.tflite import Graph, Model, Quantization
from export.tflite import options as tables
from export.tflite.ops import INT8, INT32, Builder
from firmware_bridge import boards
from firmware_bridge.build import BuildOptions, build
from firmware_bridge.emulate import start
from firmware_bridge.errors import FlashError
from firmware_bridge.flash.golden import hold, vectors
from firmware_bridge.flash.talk import Talk
from tests.references import zoo

BOARD = boards.named("unicorn-cortex-m4")
PATIENCE = 60.0
LOGIT_STEP = 0.1
ROUNDED = LOGIT_STEP / 4 + 1.01 / 256  # LiteRT's kernels may round a logit the other way than the reference's
RNG = np.random.default_rng(4)
X = RNG.normal(0, 1, (20, 4, 4, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def original():
    """A 1x1 convolution, ReLU, a mean, a dense layer and a sigmoid, in int8."""
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 4, 4, 2), INT8, Quantization((0.05,), (-3,)))
    builder.graph.inputs = [x]
    kernel = builder.constant(RNG.integers(-127, 128, (3, 1, 1, 2)), INT8, Quantization((0.01,), (0,)))
    relu = tables.Conv2DOptions(fused_activation_function=tables.Activation.RELU)
    grid = Quantization((0.02,), (-128,))
    bias = builder.constant(np.zeros(3), INT32, Quantization((0.0005,), (0,)))
    maps = builder.op("CONV_2D", [x, kernel, bias], (1, 4, 4, 3), relu, quantization=grid)
    axes = builder.constant(np.asarray((1, 2)), INT32)
    mean = builder.op("MEAN", [maps, axes], (1, 3), tables.ReducerOptions(False), quantization=grid)
    weights = builder.constant(np.asarray([[120, -127, 90]]), INT8, Quantization((0.04,), (0,)))
    dense = tables.FullyConnectedOptions()
    logit = builder.op(
        "FULLY_CONNECTED", [mean, weights, None], (1, 1), dense, quantization=Quantization((LOGIT_STEP,), (5,))
    )
    score = builder.op("LOGISTIC", [logit], (1, 1), quantization=Quantization((1 / 256,), (-128,)))
    builder.graph.outputs = [score]
    return tflite.write(zoo.signed(Model([builder.graph])))


@pytest.fixture(scope="module")
def bundle(original):
    methods, labels = ("gradcam", "saliency"), ("no", "yes")
    return export.explain(
        original, calibration=X, target="micro", methods=methods, labels=labels, name="fall", allow_unfaithful=True
    )


def test_a_board_answers_as_the_python_device_does(bundle, tmp_path):
    explainer, methods = Explainer(bundle), dict(enumerate(bundle.manifest.micro.explanations))
    found = []
    with start(build(bundle, BOARD, tmp_path / "firmware", BuildOptions(optimize="-Os")).elf, BOARD) as machine:
        talk = Talk(machine.url, 921600)
        session, _ = talk.introduce(PATIENCE)
        number = 0
        for vector in vectors(bundle):
            number, answer = talk.answer(number, vector.x, tuple(methods), PATIENCE)
            hold(answer, vector, methods)
            found.append((vector, answer))
        talk.request(Request(class_index=1, acknowledge=True, what=Map.code), PATIENCE)
        with pytest.raises(FlashError, match="no maps of this class"):
            talk.request(Request(class_index=0, acknowledge=True, what=Map.code), PATIENCE)
        talk.close()
    assert session.labels == bundle.manifest.labels == ("no", "yes")
    assert {answer.result.class_index for _, answer in found} == {0, 1}
    for vector, answer in found:
        x = bundle.manifest.input.dequantize(np.frombuffer(vector.x, np.int8)).reshape(X.shape[1:])
        expected = explainer.explain(x, "gradcam")
        np.testing.assert_allclose(answer.result.scores, expected.scores, atol=ROUNDED)
        if abs(expected.scores[1] - 0.5) > ROUNDED:
            assert answer.result.class_index == expected.predicted
        classes = {piece.class_index for pieces in answer.maps.values() for piece in pieces}
        assert classes == {expected.class_index} == {1}


def test_the_c_says_what_its_one_score_is(bundle, original):
    assert "The one score is that of class 1" in bundle.members[f"{SOURCES}whylite_fall.h"].decode()
    _, plain = standalone.compiled(original, "fall.tflite", "fall")
    assert ".yes_no = 1" in plain.files["whylite_fall.c"]
