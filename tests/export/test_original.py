"""What ships is still the model that came: every subgraph's content, every signature's answers, and this is checked."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

import edge
import export
from edge.interpreter import load
from export import compiling, tflite
from export.errors import CheckFailedError, UnsupportedModelError
from export.tflite import Model
from export.trust import original
from tests.references import small_models

METHODS = ["gradcam", "saliency"]
SHAPE, CLASSES = (8, 8, 1), 4


class Module(tf.Module):
    """Three classifiers on the same weights: plain, behind a loop, in front of a branch."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.kernel = tf.constant(random.normal(0, 0.4, (3, 3, 1, 8)), tf.float32)
        self.dense = tf.constant(random.normal(0, 0.5, (8, CLASSES)), tf.float32)

    def logits(self, x: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.nn.relu(tf.nn.conv2d(x, self.kernel, 1, "SAME")), [1, 2]) @ self.dense

    @tf.function(input_signature=[tf.TensorSpec((1, *SHAPE), tf.float32, name="x")])
    def plain(self, x):
        return {"scores": tf.nn.softmax(self.logits(x))}

    @tf.function(input_signature=[tf.TensorSpec((1, *SHAPE), tf.float32, name="x")])
    def looped(self, x):
        def go_on(i, y):
            return tf.logical_and(i < 3, tf.reduce_sum(y) < 1e9)

        _, y = tf.while_loop(go_on, lambda i, y: (i + 1, tf.tanh(y) * 1.5), (tf.constant(0), x))
        return {"scores": tf.nn.softmax(self.logits(tf.reshape(y, x.shape)))}

    @tf.function(input_signature=[tf.TensorSpec((1, *SHAPE), tf.float32, name="x")])
    def branched(self, x):
        y = self.logits(x)
        return {"scores": tf.cond(tf.reduce_sum(x) > 0, lambda: y * 2, lambda: y - 1)}


SIGNATURES = ("branched", "looped", "plain")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file with a signature, and a subgraph, for each of the three."""
    folder, module = str(tmp_path_factory.mktemp("several")), Module()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        tf.saved_model.save(module, folder, signatures={name: getattr(module, name) for name in SIGNATURES})
        return tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(SIGNATURES)).convert()


def answers(model: bytes, signature: str) -> Callable[[np.ndarray], bytes]:
    interpreter, _ = load(model)
    run = interpreter.get_signature_runner(signature)
    return lambda x: run(x=x[None])["scores"].tobytes()


@pytest.mark.parametrize("signature", ["plain", "looped"])
def test_the_signature_asked_for_is_explained_and_the_others_answer_as_ever(several, signature):
    bundle = export.explain(several, methods=[*METHODS, "integrated_gradients"], signature=signature)
    explainer = edge.Explainer(bundle)
    module = Module()
    assert bundle.manifest.predict == signature
    for x in np.random.default_rng(1).normal(size=(3, *SHAPE)).astype(np.float32):
        for other in SIGNATURES:
            assert answers(bundle.model, other)(x) == answers(several, other)(x)
        assert explainer.predict(x).scores.tobytes() == answers(several, signature)(x)
        at = tf.constant(x[None])
        for _ in range(3 if signature == "looped" else 0):
            at = tf.tanh(at) * 1.5
        with tf.GradientTape() as tape:
            tape.watch(at)
            logit = module.logits(at)[0, 1]
        expected = tape.gradient(logit, at).numpy()[0]
        found = explainer.explain(x, "saliency", class_index=1).map
        assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)
    checks = {check.name: check for check in bundle.manifest.checks}
    assert checks["original subgraphs"].samples == len(tflite.read(several).graphs)
    assert checks["other signatures"].samples == 2
    assert all(check.passed for check in checks.values())


@pytest.mark.parametrize("method", METHODS)
def test_control_flow_on_the_way_to_the_answer_is_refused_by_name(several, method):
    with pytest.raises(UnsupportedModelError, match=r"op \d+ IF has no gradient rule"):
        export.explain(several, methods=[method], signature="branched", name="several.tflite")


@pytest.fixture(scope="module")
def shipped() -> tuple[bytes, bytes]:
    model = small_models.quantized_classifier()
    return model, export.explain(model, methods=METHODS, numerics="deq").model


def test_what_ships_is_found_unchanged(shipped):
    check = original.unchanged(*shipped)
    assert (check.passed, check.value, check.samples) == (True, 0, 1)


def weight(model: Model) -> None:
    tensor = next(t for t in model.graphs[0].tensors if t.is_constant and t.dtype == np.int8)
    tensor.data = tensor.data.copy()
    tensor.data.flat[0] ^= 1


def option(model: Model) -> None:
    op = next(op for op in model.graphs[0].ops if op.code == "CONV_2D")
    op.options = replace(op.options, stride_w=op.options.stride_w + 1)


def scale(model: Model) -> None:
    tensor = next(t for t in model.graphs[0].tensors if t.is_quantized and not t.is_constant)
    tensor.quantization = replace(tensor.quantization, scale=(tensor.quantization.scale[0] * 1.001,))


def version(model: Model) -> None:
    next(op for op in model.graphs[0].ops if op.code == "CONV_2D").version += 1


def name(model: Model) -> None:
    model.graphs[0].tensors[1].name += "x"


def order(model: Model) -> None:
    model.graphs[0].inputs, model.graphs[0].outputs = model.graphs[0].outputs, model.graphs[0].inputs


def signature(model: Model) -> None:
    del model.signatures[0]


def note(model: Model) -> None:
    model.metadata = [(key, data + b"x") for key, data in model.metadata]


@pytest.mark.parametrize("change", [weight, option, scale, version, name, order, signature, note])
def test_any_change_is_found_and_told(shipped, change):
    before, after = shipped
    model = tflite.read(after)
    change(model)
    check = original.unchanged(before, tflite.write(model))
    assert not check.passed
    assert "of subgraph 0" in check.detail or "signature" in check.detail or "note" in check.detail


def test_a_changed_file_does_not_ship(monkeypatch):
    write = tflite.write

    def careless(model: Model) -> bytes:
        weight(model)
        return write(model)

    monkeypatch.setattr(compiling.tflite, "write", careless)
    with pytest.raises(CheckFailedError, match=r"original subgraphs: 1, bound 0 \(tensors of subgraph 0\)"):
        export.explain(small_models.quantized_classifier(), methods=["gradcam"], numerics="deq")


def test_signatures_that_answer_otherwise_are_found(several):
    model = tflite.read(several)
    looped = next(s.graph for s in model.signatures if s.key == "looped")
    tensor = next(t for t in looped.tensors if t.is_constant and t.dtype == np.float32)
    tensor.data = tensor.data * np.float32(1.01)
    check = original.answers_of_others(several, tflite.write(model), "plain")
    assert check is not None
    assert (check.passed, check.samples) == (False, 2)
    assert "looped" in check.detail
    assert original.answers_of_others(several, several, "plain").passed
