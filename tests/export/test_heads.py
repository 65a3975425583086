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
from export.layout import channels_moved
from export.methods import GradCAM, Saliency
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
    assert head.yes_no == ((classes, ending) == (1, "LOGISTIC"))


@pytest.mark.parametrize(("classes", "ending"), [(1, "LOGISTIC"), (3, "LOGISTIC"), (1, None), (3, "LOG_SOFTMAX")])
def test_sigmoids_and_regressions_are_explained_from_end_to_end(classes, ending):
    bundle = export.explain(tflite.write(zoo.signed(Model([graph(classes, ending)]))), methods=METHODS)
    assert all(check.passed for check in bundle.manifest.checks)
    answers = 2 if (classes, ending) == (1, "LOGISTIC") else classes
    assert len(bundle.manifest.labels) == answers
    explainer = Explainer(bundle)
    x = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    assert explainer.predict(x).class_index < answers
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


# Channels-first models


def channels_first(ending: str) -> tuple[Graph, dict[str, Tensor]]:
    """A convolution, its channels moved in front of its positions; then flattened, or rectified and averaged."""
    rng = np.random.default_rng(0)
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 10, 8, 2))
    builder.graph.inputs = [x]
    named = {}
    maps = named["maps"] = builder.relu(builder.conv2d(x, builder.constant(rng.normal(size=(4, 3, 3, 2)))))
    y = named["moved"] = builder.transpose(maps, (0, 3, 1, 2))
    if ending != "flattened":
        y = named["rectified"] = builder.relu(builder.mul(y, builder.constant(rng.normal(size=(1, 4, 1, 1)))))
    if ending == "averaged":
        y = builder.mean(y, (2, 3))
    elif ending == "averaged in two steps":
        y = named["rows"] = builder.reshape(builder.mean(y, (2,)), (1, *y.shape[1:2], *y.shape[3:]))
        y = builder.mean(y, (2,))
    y = builder.reshape(y, (1, int(np.prod(y.shape))))
    builder.graph.outputs = [builder.fully_connected(y, builder.constant(rng.normal(size=(3, y.shape[-1]))))]
    for name, tensor in named.items():
        tensor.name = name
    return builder.graph, named


@pytest.mark.parametrize("ending", ["flattened", "averaged", "averaged in two steps"])
def test_gradcam_looks_in_front_of_channels_that_were_moved(ending):
    """Behind the TRANSPOSE, rows would be taken for channels."""
    main, named = channels_first(ending)
    assert heads.default_layer(main, heads.find(main)) is named["maps"]


@pytest.mark.parametrize(("ending", "layer"), [("flattened", "moved"), ("averaged", "rectified")])
def test_a_layer_with_its_channels_moved_is_refused_by_name(ending, layer):
    main, named = channels_first(ending)
    with pytest.raises(UnsupportedModelError, match=f"{layer}.*channels last") as caught:
        GradCAM(layer).target(main, heads.find(main))
    assert "maps [" in caught.value.hint
    assert layer not in caught.value.hint
    assert GradCAM("maps").target(main, heads.find(main)) is named["maps"]


def test_gradcam_of_a_channels_first_head_is_that_of_the_same_head_written_channels_last():
    first, _ = channels_first("flattened")
    last, _ = channels_first("flattened")
    dense = next(op for op in last.ops if op.code == "FULLY_CONNECTED")
    maps = next(tensor for tensor in last.tensors if tensor.name == "maps")
    _, height, width, channels = maps.shape
    weights = dense.input(1)
    weights.data = weights.data.reshape(3, channels, height, width).transpose(0, 2, 3, 1).reshape(3, -1).copy()
    flatten = next(op for op in last.ops if op.code == "RESHAPE")
    flatten.inputs[0] = maps
    last.ops = [op for op in last.ops if op.code != "TRANSPOSE"]
    x = np.random.default_rng(1).normal(size=(1, 10, 8, 2)).astype(np.float32)
    found = [
        compile_method(GradCAM(), Model([graph]), store_float)["gradcam"](x=x)["map"].ravel() for graph in (first, last)
    ]
    assert found[0].any()
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)


def test_channels_that_come_back_to_the_end_are_channels():
    """As in a mixer, or behind a channel shuffle."""
    main, named = channels_first("flattened")
    builder = Builder(main, "more/")
    back = builder.transpose(named["moved"], (0, 2, 3, 1))
    shape = back.shape
    split = builder.reshape(back, (*shape[:3], 2, 2))
    shuffled = builder.reshape(builder.transpose(split, (0, 1, 2, 4, 3)), shape)
    pooled = builder.reshape(named["moved"], (1, shape[3], shape[1] * shape[2]))
    moved = channels_moved(main)
    assert {named["moved"], pooled} <= moved
    assert not moved & {named["maps"], back, split, shuffled}


def test_layers_of_one_name_are_told_apart_by_their_op():
    main, named = tokens("mean")
    for name in ("first", "second"):
        named[name].name = "twin"
    with pytest.raises(UnsupportedModelError, match="several layers 'twin'") as caught:
        GradCAM("twin").target(main, heads.find(main))
    places = {name: main.ops.index(main.producers()[named[name]]) for name in ("first", "second")}
    for name, place in places.items():
        assert f"op:{place}" in caught.value.hint
        assert GradCAM(f"op:{place}").target(main, heads.find(main)) is named[name]


# Scores that are no function of logits


def ending_in(*codes: str) -> Graph:
    """Ten dense values, and what stands between them and the answer."""
    main = graph(10, None)
    builder = Builder(main, "more/")
    y = main.outputs[0]
    for code in codes:
        if code in ENDINGS:
            y = builder.op(code, [y], y.shape, ENDINGS[code])
        elif code == "TRANSPOSE":
            y = builder.transpose(y, (0, *range(len(y.shape))[:0:-1]))
        else:
            y = builder.reshape(y, [int(size) for size in code.split("x")])
    main.outputs = [y]
    return main


@pytest.mark.parametrize("ending", ["SOFTMAX", "LOGISTIC"])
def test_a_softmax_of_parts_is_explained_itself(ending):
    """Two heads of five, flattened: there are ten classes, and no vector of ten logits."""
    main = ending_in("1x2x5", ending, "1x10")
    head = heads.find(main)
    assert (head.logits, head.classes, head.squashed) == (main.outputs[0], 10, False)
    bundle = export.explain(tflite.write(zoo.signed(Model([main]))), methods=["saliency"])
    assert len(bundle.manifest.labels) == 10
    assert any("may be a probability" in note for note in bundle.manifest.notes)
    assert np.isfinite(Explainer(bundle).explain(np.ones((6, 5, 3), np.float32), "saliency").map).all()


@pytest.mark.parametrize(
    "between", [(), ("1x10x1", "1x10"), ("1x1x1x10", "TRANSPOSE", "1x10"), ("1x10x1", "TRANSPOSE", "1x10")]
)
def test_a_vector_of_probabilities_may_be_turned_any_way(between):
    main = ending_in("LOGISTIC", *between)
    head = heads.find(main)
    assert head.logits is logits_of(main)
    assert head.squashed


@pytest.mark.parametrize(("ending", "said"), [("SOFTMAX", False), (None, False), ("by hand", True)])
def test_an_answer_that_may_be_a_probability_is_said_to_be_explained_itself(ending, said):
    main = graph(3, None if ending == "by hand" else ending)
    if ending == "by hand":
        builder = Builder(main, "more/")
        raised = builder.exp(builder.scaled(main.outputs[0], 0.3))
        main.outputs = [builder.div(raised, builder.sum(raised, (1,)))]
    bundle = export.explain(tflite.write(zoo.signed(Model([main]))), methods=["saliency"])
    assert any("may be a probability" in note for note in bundle.manifest.notes) == said


# What is asked for by name, and what by default


@pytest.mark.parametrize(
    ("outputs", "ending", "said"), [(6, None, True), (5, None, False), (6, "SOFTMAX", False), (6, "LOGISTIC", False)]
)
def test_what_may_be_a_reconstruction_is_no_class_score(outputs, ending, said):
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 6))
    weights = builder.constant(np.random.default_rng(0).normal(size=(outputs, 6)))
    y = builder.fully_connected(x, weights)
    if ending is not None:
        y = builder.op(ending, [y], y.shape, ENDINGS[ending])
    builder.graph.inputs, builder.graph.outputs = [x], [y]
    bundle = export.explain(tflite.write(Model([builder.graph])), methods=["saliency"], numerics="f32")
    assert any("if it is a reconstruction" in note for note in bundle.manifest.notes) == said


def without_positions() -> bytes:
    rng = np.random.default_rng(0)
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 12))
    builder.graph.inputs = [x]
    hidden = builder.relu(builder.fully_connected(x, builder.constant(rng.normal(size=(8, 12)))))
    builder.graph.outputs = [builder.fully_connected(hidden, builder.constant(rng.normal(size=(3, 8))))]
    return tflite.write(zoo.signed(Model([builder.graph])))


def test_a_model_without_positions_is_explained_without_gradcam_unless_asked(tmp_path, capsys):
    path = tmp_path / "dense.tflite"
    path.write_bytes(without_positions())
    assert whylite.main(["export", str(path)]) == 0
    manifest = Bundle.open(path.with_suffix(".why")).manifest
    assert [head.method for head in manifest.heads] == ["integrated_gradients"]
    assert any(note.startswith("gradcam left out: ") for note in manifest.notes)
    assert whylite.main(["export", str(path), "--method", "gradcam"]) == 2
    assert "--method integrated_gradients" in capsys.readouterr().err
    assert whylite.main(["export", str(path), "--layer", "nowhere"]) == 2


@pytest.mark.parametrize(("output", "classes"), [("answer", 3), ("second answer", 2), ("other", 2)])
def test_an_output_goes_by_the_name_its_signature_gives_it(output, classes):
    model = two_outputs()
    model.signatures[0].outputs = dict(zip(("answer", "second answer"), model.graphs[0].outputs, strict=True))
    bundle = export.explain(tflite.write(model), methods=["saliency"], output=output)
    assert len(bundle.manifest.labels) == classes


def test_an_unknown_output_is_refused_with_both_names_of_those_there_are():
    model = two_outputs()
    model.signatures[0].outputs = dict(zip(("answer", "second answer"), model.graphs[0].outputs, strict=True))
    with pytest.raises(UnsupportedModelError, match="no output 'third'") as caught:
        export.explain(tflite.write(model), methods=["saliency"], output="third")
    assert all(repr(name) in caught.value.hint for name in ("scores", "answer", "other", "second answer"))
