"""One sigmoid score is a yes or a no: answers by one half, maps of the logit of yes, and words that say so."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import export
import whylite
from edge.bundle import Bundle
from edge.errors import InputError
from edge.explainer import Explainer
from edge.explanation import Flag
from edge.sources import npz
from edge.wire.records import Health, Map, Ping, Result, Session
from export import tflite
from export.errors import CalibrationError
from export.report import make
from export.tflite import Graph, Model
from export.tflite.ops import Builder
from firmware_bridge.session import Tracker
from tests.link import FarEnd
from tests.references import zoo

METHODS = ["gradcam", "saliency", "integrated_gradients"]
LABELS = ["vertical", "horizontal"]
RNG = np.random.default_rng(4)
KERNEL = RNG.normal(size=(4, 1, 1, 3)).astype(np.float32)
SIZES = np.linalg.norm(KERNEL, axis=-1).ravel()
DENSE = RNG.normal(size=(1, 4))
DENSE = (DENSE - DENSE @ SIZES / (SIZES @ SIZES) * SIZES).astype(np.float32)  # as many yes as no
INPUTS = RNG.normal(size=(24, 6, 5, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    """A 1x1 convolution without a bias, ReLU, a mean, a dense layer: z(s x) = s z(x) for s > 0."""
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 6, 5, 3))
    builder.graph.inputs = [x]
    maps = builder.relu(builder.conv2d(x, builder.constant(KERNEL)))
    mean = builder.reshape(builder.mean(maps, (1, 2)), (1, 4))
    logit = builder.fully_connected(mean, builder.constant(DENSE))
    builder.graph.outputs = [builder.op("LOGISTIC", [logit], logit.shape, None, name="score")]
    return tflite.write(zoo.signed(Model([builder.graph])))


@pytest.fixture(scope="module")
def bundle(model):
    return export.explain(model, calibration=INPUTS, methods=METHODS, labels=LABELS, truth=truth(), name="lines")


@pytest.fixture(scope="module")
def explainer(bundle):
    return Explainer(bundle)


def activations(x):
    return np.maximum(x.astype(np.float64) @ KERNEL[:, 0, 0].T.astype(np.float64), 0)


def logits(x):
    return activations(x).mean((-3, -2)) @ DENSE[0].astype(np.float64)


def truth():
    """The model's answers, but for the first of each: 22 of 24 are right."""
    answers = (logits(INPUTS) > 0).astype(np.int64)
    for wrong in (answers.argmin(), answers.argmax()):
        answers[wrong] ^= 1
    return answers


def at(logit):
    """An input with this logit."""
    x = next(x for x in INPUTS if np.sign(logits(x)) == np.sign(logit))
    return x * (logit / logits(x))


def test_the_other_class_has_what_is_left_of_one_and_one_half_decides(explainer):
    assert explainer.manifest.yes_no
    assert 4 <= (logits(INPUTS) > 0).sum() <= 20
    for x in INPUTS:
        p = 1 / (1 + np.exp(-logits(x)))
        found = explainer.predict(x)
        np.testing.assert_allclose(found.scores, [1 - p, p], atol=1e-6)
        assert found.class_index == found.predicted == int(p > 0.5)
    assert explainer.predict(np.zeros_like(INPUTS[0])).scores.tolist() == [0.5, 0.5]
    assert explainer.predict(np.zeros_like(INPUTS[0])).class_index == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_maps_are_of_the_logit_whatever_the_answer(explainer, sign):
    x = at(2.0 * sign)
    weights = DENSE[0].astype(np.float64) / 30
    gates = (activations(x) > 0) * weights
    expected = {
        "saliency": gates @ KERNEL[:, 0, 0].astype(np.float64),
        "integrated_gradients": x * (gates @ KERNEL[:, 0, 0].astype(np.float64)),
        "gradcam": np.maximum(activations(x) @ weights, 0),
    }
    prediction = explainer.predict(x)
    for method, own in expected.items():
        for found in (
            explainer.explain(x, method),
            explainer.explain(x, method, class_index=1),
            explainer.explain(x, method, prediction=prediction),
        ):
            assert (found.class_index, found.predicted) == (1, int(sign > 0))
            scale = found.map.sum() / own.sum() if method == "gradcam" else 1  # in the unit of its mean weights
            np.testing.assert_allclose(found.map, own * scale, atol=1e-5)
    path = explainer.logit_along(x, [1.0], "integrated_gradients", prediction)
    np.testing.assert_allclose(path, [2.0 * sign], atol=1e-5)


def test_there_is_no_map_of_no(explainer):
    with pytest.raises(InputError, match="one score, that of 'horizontal': there is no map of 'vertical'"):
        explainer.explain(INPUTS[0], class_index=0)
    with pytest.raises(InputError, match="there is no class 2"):
        explainer.explain(INPUTS[0], class_index=2)


@pytest.mark.parametrize(("score", "near"), [(0.44, False), (0.46, True), (0.54, True), (0.56, False), (0.9, False)])
def test_a_small_margin_is_less_than_a_tenth_between_yes_and_no(explainer, score, near):
    found = explainer.explain(at(np.log(score / (1 - score))), "saliency")
    assert found.scores[1] == pytest.approx(score, abs=1e-5)
    assert bool(found.flags & Flag.SMALL_MARGIN) == near


def test_labels_are_two_or_what_it_says_yes_to(model):
    def labels(given):
        return export.explain(model, methods=["saliency"], labels=given).manifest.labels

    assert labels(None) == ("class 0", "class 1")
    assert labels(["a cat"]) == ("not a cat", "a cat")
    assert labels(["a dog", "a cat"]) == ("a dog", "a cat")
    with pytest.raises(CalibrationError, match="3 labels for a model of 2 classes"):
        labels(["a", "b", "c"])


def test_true_classes_are_0_and_1(model, tmp_path):
    with pytest.raises(CalibrationError, match="the model has 2 classes"):
        export.explain(model, calibration=INPUTS, methods=["saliency"], truth=truth() + 1)
    path = tmp_path / "x.npz"
    np.savez(path, x=INPUTS, y=truth() + 1)
    with pytest.raises(InputError, match="class indices below 2"):
        npz.read(str(path), INPUTS.shape[1:], 2)


def test_a_bundle_of_before_has_one_label_and_one_class(bundle):
    older = replace(bundle.manifest, yes_no=False, labels=("horizontal",))
    explainer = Explainer(Bundle(older, bundle.members))
    found = explainer.explain(at(-2.0), "saliency")
    assert (found.class_index, found.scores.shape) == (0, (1,))


def test_explain_says_what_is_denied(bundle, tmp_path, capsys):
    np.savez(tmp_path / "x.npz", x=np.stack([at(-3.0), at(3.0)]), y=[0, 1])
    bundle.save(tmp_path / "lines.why")
    command = ["explain", str(tmp_path / "lines.why"), "--input", str(tmp_path / "x.npz")]
    assert whylite.main([*command, "--method", "saliency"]) == 0
    assert "saliency for horizontal, which the model denies (score 0.0474)" in capsys.readouterr().out
    assert whylite.main([*command, "--method", "saliency", "--index", "1"]) == 0
    assert "saliency for horizontal (score 0.953)" in capsys.readouterr().out
    assert whylite.main([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["label"] for row in said["scores"]] == ["vertical", "horizontal"]
    assert said["label"] == "horizontal"


def test_a_class_activation_map_of_what_is_denied_may_be_zero_and_says_so(bundle, tmp_path, capsys):
    """Where no activation speaks for yes, GradCAM has nothing to show."""
    column = KERNEL[:, 0, 0] @ np.linalg.pinv(KERNEL[:, 0, 0]) @ np.where(DENSE[0] < 0, 1.0, -1.0)
    direction = np.linalg.pinv(KERNEL[:, 0, 0]) @ column
    x = np.broadcast_to(direction, INPUTS.shape[1:]).astype(np.float32)
    assert logits(x) < 0
    np.savez(tmp_path / "x.npz", x=x[None])
    bundle.save(tmp_path / "lines.why")
    command = ["explain", str(tmp_path / "lines.why"), "--input", str(tmp_path / "x.npz"), "--method", "gradcam"]
    assert whylite.main(command) == 0
    assert "nothing speaks for it: the map is zero everywhere" in capsys.readouterr().out


def test_the_report_marks_by_one_half_and_says_of_what_maps_are(bundle):
    html = make(bundle, INPUTS, truth()).decode()
    assert "The model has one score, that of horizontal: above one half" in html
    assert "for horizontal, which the model denies" in html
    assert "the most certain mistake" in html
    cards = re.findall(r"<h3>Input (\d+): (\w+) <b class=\"\w+\">(✓ right|✗ wrong: it is \w+)</b>", html)
    assert len(cards) >= 2
    for index, answer, verdict in cards:
        own, known = int(logits(INPUTS[int(index)]) > 0), truth()[int(index)]
        assert answer == LABELS[own]
        assert verdict == ("✓ right" if own == known else f"✗ wrong: it is {LABELS[known]}")


def test_over_the_link_the_answer_is_no_and_the_map_of_yes(bundle, tmp_path, modem):
    np.savez(tmp_path / "x.npz", x=INPUTS, y=truth())
    bundle.save(tmp_path / "lines.why")
    source = ["--source", f"npz:{tmp_path / 'x.npz'}", "--port", modem.device, "--wait-host", "600"]
    host, tracker = FarEnd(modem.host), Tracker()
    with subprocess.Popen([sys.executable, "-m", "whylite", "run", str(tmp_path / "lines.why"), *source]) as process:
        host.listen_for(Session)
        host.say(Ping(token=1))
        host.listen(lambda: host.of(Health) and host.of(Health)[-1].final)
        assert process.wait(60) == 0
    host.close()
    for received in host.received:
        list(tracker.feed(received))
    account = tracker.account
    assert account.session.labels == tuple(LABELS)
    assert (account.labelled, account.correct) == (24, 22)
    assert [result.class_index for result in host.of(Result)] == (logits(INPUTS) > 0).astype(int).tolist()
    assert {m.class_index for m in host.of(Map)} == {1}
