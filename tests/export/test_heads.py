"""Which number is explained: logits under softmax or sigmoid, regressions, outputs and signatures asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import export
import whylite
from edge.bundle import Bundle
from edge.explainer import Explainer
from export import heads, tflite
from export.errors import UnsupportedModelError
from export.methods import Saliency
from export.numerics import store_float
from export.tflite import Graph, Model, Signature, Tensor
from export.tflite import options as tables
from export.tflite.ops import Builder
from tests.references import zoo
from tests.references.compiled import compile_method

METHODS = ["gradcam", "saliency", "integrated_gradients"]
ENDINGS = {"LOGISTIC": None, "LOG_SOFTMAX": tables.LogSoftmaxOptions(), "SOFTMAX": tables.SoftmaxOptions(1.0)}


def graph(classes: int, ending: str | None, seed: int = 0, name: str = "main") -> Graph:
    """A convolution, a mean, a dense layer."""
    rng = np.random.default_rng(seed)
    builder = Builder(Graph(name))
    x = builder.tensor("x", (1, 6, 5, 3))
    builder.graph.inputs = [x]
    maps = builder.conv2d(x, builder.constant(rng.normal(size=(4, 3, 3, 3))))
    mean = builder.reshape(builder.mean(builder.relu(maps), (1, 2)), (1, 4))
    logits = builder.fully_connected(mean, builder.constant(rng.normal(size=(classes, 4))))
    scores = builder.op(ending, [logits], logits.shape, ENDINGS[ending], name="scores") if ending else logits
    builder.graph.outputs = [scores]
    return builder.graph


def logits_of(graph: Graph) -> Tensor:
    return next(op.output for op in graph.ops if op.code == "FULLY_CONNECTED")


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("ending", [*ENDINGS, None])
def test_what_is_explained_is_in_front_of_the_squashing(classes, ending):
    main = graph(classes, ending)
    head = heads.find(main)
    assert head.logits is logits_of(main)
    assert head.scores is main.outputs[0]
    assert head.classes == classes


@pytest.mark.parametrize(("classes", "ending"), [(1, "LOGISTIC"), (3, "LOGISTIC"), (1, None), (3, "LOG_SOFTMAX")])
def test_sigmoids_and_regressions_are_explained_from_end_to_end(classes, ending):
    bundle = export.explain(tflite.write(zoo.signed(Model([graph(classes, ending)]))), methods=METHODS)
    assert all(check.passed for check in bundle.manifest.checks)
    assert len(bundle.manifest.labels) == classes
    explainer = Explainer(bundle)
    x = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    assert explainer.predict(x).class_index < classes
    for method in METHODS:
        assert np.isfinite(explainer.explain(x, method).map).all()


def test_the_gradient_of_a_sigmoid_is_that_of_its_logit():
    """Not squashed where the sigmoid is saturated."""
    x = np.random.default_rng(0).normal(size=(1, 6, 5, 3)).astype(np.float32)
    maps = [
        compile_method(Saliency(), Model([graph(1, ending)]), store_float)["saliency"](
            x=x, class_index=np.zeros(1, np.int32)
        )["map"]
        for ending in ("LOGISTIC", None)
    ]
    assert np.abs(maps[0]).max() > 0
    np.testing.assert_array_equal(*maps)


def two_outputs() -> Model:
    main = graph(3, "SOFTMAX")
    builder = Builder(main, "more/")
    mean = next(op.input(0) for op in main.ops if op.code == "FULLY_CONNECTED")
    weights = builder.constant(np.random.default_rng(5).normal(size=(2, 4)))
    main.outputs.append(builder.op("SOFTMAX", [builder.fully_connected(mean, weights)], (1, 2), ENDINGS["SOFTMAX"]))
    main.outputs[1].name = "other"
    return zoo.signed(Model([main]))


@pytest.mark.parametrize(("output", "classes"), [("scores", 3), ("other", 2)])
def test_one_of_several_outputs(output, classes):
    bundle = export.explain(tflite.write(two_outputs()), methods=METHODS, output=output)
    assert len(bundle.manifest.labels) == classes


def test_several_outputs_want_a_choice():
    with pytest.raises(UnsupportedModelError, match="2 outputs") as caught:
        export.explain(tflite.write(two_outputs()))
    assert "'scores'" in caught.value.hint
    assert "'other'" in caught.value.hint


def two_signatures() -> Model:
    """Two classifiers in one file, the second of them not the primary graph."""
    graphs = [graph(3, "SOFTMAX", 0, "first"), graph(2, "LOGISTIC", 1, "second")]
    signatures = [Signature(g.name, g, {"image": g.inputs[0]}, {"answer": g.outputs[0]}) for g in graphs]
    return Model(graphs, signatures)


@pytest.mark.parametrize(("signature", "classes"), [(None, 3), ("first", 3), ("second", 2)])
def test_one_of_several_signatures(signature, classes):
    bundle = export.explain(tflite.write(two_signatures()), methods=METHODS, signature=signature)
    assert all(check.passed for check in bundle.manifest.checks)
    assert len(bundle.manifest.labels) == classes
    assert bundle.manifest.predict == (signature or "first")
    x = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    assert Explainer(bundle).predict(x).scores.size == classes


def test_the_command_line_takes_a_signature(tmp_path):
    path = tmp_path / "two.tflite"
    path.write_bytes(tflite.write(two_signatures()))
    assert whylite.main(["export", str(path), "--signature", "second", "--method", "saliency"]) == 0
    assert Bundle.open(path.with_suffix(".why")).manifest.predict == "second"


def test_an_unknown_signature_is_refused_with_those_there_are(tmp_path, capsys):
    path = tmp_path / "two.tflite"
    path.write_bytes(tflite.write(two_signatures()))
    assert whylite.main(["export", str(path), "--signature", "third"]) == 2
    printed = capsys.readouterr().err
    assert "no signature 'third'" in printed
    assert "'first', 'second'" in printed


def test_an_input_of_open_size_is_refused():
    main = graph(3, "SOFTMAX")
    main.inputs[0].shape_signature = (-1, -1, -1, 3)
    with pytest.raises(UnsupportedModelError, match="open dimensions") as caught:
        heads.find(main)
    assert "fixed input shape" in caught.value.hint


# The layer GradCAM looks at


def tokens(ending: str) -> tuple[Graph, dict[str, Tensor]]:
    """Two dense layers over a sequence, its steps mixed in between; its mean or its last step is classified."""
    rng = np.random.default_rng(0)
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 7, 5))
    builder.graph.inputs = [x]
    options = tables.FullyConnectedOptions(keep_num_dims=True)
    named = {}
    y = x
    for name in ("first", "second"):
        weights = builder.constant(rng.normal(size=(4, y.shape[-1])))
        y = builder.op("FULLY_CONNECTED", [y, weights, None], (1, 7, 4), options, version=5, name=name)
        y = named[name] = builder.op("LOGISTIC", [y], y.shape, name=f"{name} activated")
        if name == "first":
            y = builder.batch_matmul(builder.constant(rng.normal(size=(1, 7, 7))), y)
    if ending == "mean":
        y = builder.mean(y, (1,))
    else:
        last = builder.slice(y, (0, 6, 0), (1, 1, 4))
        y = builder.reshape(last, (1, 4))
    builder.graph.outputs = [
        builder.fully_connected(builder.reshape(y, (1, 4)), builder.constant(rng.normal(size=(3, 4))))
    ]
    return builder.graph, named


def test_a_sequence_has_positions():
    main, named = tokens("mean")
    assert heads.default_layer(main, heads.find(main)) is named["second"]
    bundle = export.explain(tflite.write(Model([main])), methods=["gradcam"], layer="first activated")
    assert bundle.manifest.head("gradcam").layer == "first activated"
    assert bundle.manifest.head("gradcam").map_shape == (7,)


def test_a_layer_of_which_one_position_is_read_is_passed_by():
    """Nothing before it helps either until the steps were mixed."""
    main, named = tokens("last")
    assert heads.default_layer(main, heads.find(main)) is named["first"]


def test_a_layer_of_which_one_position_is_read_is_better_than_none():
    main, named = tokens("last")
    main.ops = [op for op in main.ops if op.code != "BATCH_MATMUL"]
    second = next(op for op in main.ops if op.output.name == "second")
    second.inputs[0] = named["first"]
    assert heads.default_layer(main, heads.find(main)) is named["second"]


def test_a_tensor_of_open_size_is_shown_as_it_was_declared():
    x = Tensor("x", (1, 1, 1, 2), np.dtype(np.float32), shape_signature=(-1, -1, -1, 2))
    assert repr(x) == "'x' (float32 [-1, -1, -1, 2])"
    assert repr(replace(x, shape_signature=(-1, 1, 1, 2))) == "'x' (float32 [1, 1, 1, 2])"
    assert repr(replace(x, shape_signature=None)) == "'x' (float32 [1, 1, 1, 2])"
