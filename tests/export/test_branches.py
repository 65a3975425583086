"""Which layer class activation maps look at where branches meet behind their pooling, and what is said of others."""

from __future__ import annotations

import numpy as np

import export
from edge.bundle import Bundle
from export import heads, tflite
from export.tflite import Graph, Model
from export.tflite import options as tables
from export.tflite.ops import Builder
from tests.references import zoo

X = np.random.default_rng(3).normal(size=(10, 8, 8, 2)).astype(np.float32)


def branched(branches: int, *, skip: bool = False) -> Graph:
    """Return convolutions side by side, each pooled, and a dense layer of all; ``skip`` adds a pooled first layer."""
    rng = np.random.default_rng(branches)
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 8, 8, 2))
    builder.graph.inputs = [x]

    def convolved(value, name):
        maps = builder.conv2d(value, builder.constant(rng.normal(size=(4, 3, 3, value.shape[-1]))))
        relu = builder.op("RELU", [maps], maps.shape)
        relu.name = name
        return relu

    stem = convolved(x, "stem")
    layers = [convolved(stem, f"branch{place}") for place in range(branches)] + [stem] * skip
    means = [builder.reshape(builder.mean(layer, (1, 2)), (1, 4)) for layer in layers]
    joined = means[0]
    if len(means) > 1:
        joined = builder.op("CONCATENATION", means, (1, 4 * len(means)), tables.ConcatenationOptions(1))
    logits = builder.fully_connected(joined, builder.constant(rng.normal(size=(3, 4 * len(means)))))
    builder.graph.outputs = [builder.op("SOFTMAX", [logits], logits.shape, tables.SoftmaxOptions(1.0))]
    return builder.graph


def notes(graph: Graph, **asked) -> list[str]:
    bundle = export.explain(tflite.write(zoo.signed(Model([graph]))), calibration=X, **asked)
    return [note for note in Bundle.from_bytes(bundle.to_bytes()).manifest.notes if "branches" in note]


def beside(graph: Graph) -> list[str]:
    head = heads.find(graph)
    return [layer.name for layer in heads.layers_beside(graph, head, heads.default_layer(graph, head))]


def test_the_other_branches_are_named_with_what_asks_for_them():
    graph = branched(2)
    (note,) = notes(graph, methods=["gradcam", "hirescam", "saliency"])
    place = next(place for place, op in enumerate(graph.ops) if op.output.name == "branch1")
    assert note.startswith("gradcam, hirescam: of layer 'branch0' [")
    assert note.endswith(f"what passes by it is explained at 'branch1' [8, 8, 4] (op:{place}), with --layer")
    for layer in ("branch1", f"op:{place}"):
        assert not notes(graph, methods=["gradcam"], layer=layer)


def test_a_layer_that_all_passes_through_has_none_beside_it():
    assert beside(branched(1)) == []
    assert notes(branched(1), methods=["gradcam"]) == []
    assert beside(zoo.float_classifier().graphs[0]) == []  # a sum of two ways is one layer


def test_a_layer_that_both_leads_to_the_one_chosen_and_past_it_is_beside_it():
    assert beside(branched(1, skip=True)) == ["stem"]
    assert beside(branched(3)) == ["branch1", "branch2"]


def test_of_many_branches_some_are_named():
    (note,) = notes(branched(7), methods=["gradcam"])
    assert "'branch4'" in note
    assert "'branch5'" not in note
    assert "and 2 more, with --layer" in note
