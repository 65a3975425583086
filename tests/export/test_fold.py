"""Shape arithmetic made constant, and what must stay as it is."""

from __future__ import annotations

import numpy as np
import pytest

import export
from export import tflite
from export.tflite import Graph, Model, Op, Quantization, Tensor
from export.tflite import options as tables
from export.tflite.fold import fold
from export.tflite.ops import FLOAT, INT8, INT32, Builder
from tests.references import zoo
from tests.references.runtime import Session


class Flattened:
    """[batch, 4, 3, 2] -> conv -> [batch, 24] with the batch asked of the input at run time -> dense -> softmax."""

    def __init__(self, sizes, *, declared: tuple[int, ...] = (1, 24)) -> None:
        rng = np.random.default_rng(0)
        self.builder = builder = Builder(Graph("main"))
        x = builder.tensor("x", (1, 4, 3, 2))
        x.shape_signature = (-1, 4, 3, 2)
        builder.graph.inputs = [x]
        self.kernel = builder.dequantize(
            builder.constant(rng.integers(-100, 100, (2, 3, 3, 2)), INT8, Quantization((0.01,), (0,)))
        )
        maps = builder.conv2d(x, self.kernel)
        shape = builder.op("SHAPE", [maps], (4,), tables.ShapeOptions(2), dtype=INT32)
        flat = builder.op("RESHAPE", [maps, sizes(builder, shape)], declared)
        flat.shape_signature = (-1, -1) if declared == (1, 1) else (-1, 24)
        logits = builder.op(
            "FULLY_CONNECTED",
            [flat, builder.constant(rng.normal(size=(5, 24))), None],
            (1, 5),
            tables.FullyConnectedOptions(),
        )
        builder.graph.outputs = [builder.op("SOFTMAX", [logits], (1, 5), tables.SoftmaxOptions(1.0))]
        self.model = zoo.signed(Model([builder.graph]))


def vector(builder: Builder, *values: int) -> Tensor:
    return builder.constant(np.asarray(values), INT32)


def first_of(builder: Builder, shape: Tensor) -> Tensor:
    bounds = [vector(builder, value) for value in (0, 1, 1)]
    options = tables.StridedSliceOptions(shrink_axis_mask=1)
    return builder.op("STRIDED_SLICE", [shape, *bounds], (), options)


def packed(builder: Builder, shape: Tensor) -> Tensor:
    """As Flatten is converted."""
    parts = [first_of(builder, shape), builder.constant(24, INT32)]
    return builder.op("PACK", parts, (2,), tables.PackOptions(2, 0))


def multiplied(builder: Builder, shape: Tensor) -> Tensor:
    """As Dense on a sequence is converted: GATHER, REDUCE_PROD, CONCATENATION."""
    rest = builder.op("GATHER", [shape, vector(builder, 1, 2, 3)], (3,), tables.GatherOptions(0))
    product = builder.op("REDUCE_PROD", [rest, vector(builder, 0)], (1,), tables.ReducerOptions(True))
    first = builder.op("GATHER", [shape, vector(builder, 0)], (1,), tables.GatherOptions(0))
    return builder.op("CONCATENATION", [first, product], (2,), tables.ConcatenationOptions(0))


def computed(builder: Builder, shape: Tensor) -> Tensor:
    """CAST there and back, MUL, ADD."""
    real = builder.op("CAST", [first_of(builder, shape)], (), tables.CastOptions(2, 0), dtype=FLOAT)
    back = builder.op("CAST", [real], (), tables.CastOptions(0, 2), dtype=INT32)
    eight = builder.op("MUL", [back, builder.constant(8, INT32)], (), tables.MulOptions())
    all_ = builder.op("ADD", [eight, builder.constant(16, INT32)], (), tables.AddOptions())
    return builder.op("PACK", [back, all_], (2,), tables.PackOptions(2, 0))


@pytest.mark.parametrize("sizes", [packed, multiplied, computed])
@pytest.mark.parametrize("declared", [(1, 24), (1, 1)], ids=["declared", "declared as ones"])
def test_sizes_worked_out_at_run_time_become_constants(sizes, declared):
    model = Flattened(sizes, declared=declared).model
    before = tflite.write(model)
    graph = model.graphs[0]
    folded = fold(graph)
    assert [op.code for op in folded.ops] == ["DEQUANTIZE", "CONV_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"]
    reshape = folded.ops[2]
    np.testing.assert_array_equal(reshape.input(1).data, (1, 24))
    assert reshape.output.shape == (1, 24)
    assert folded.inputs == graph.inputs
    assert folded.outputs == graph.outputs
    assert tflite.write(model) == before, "the original has changed"

    x = np.random.default_rng(1).normal(size=(1, 4, 3, 2)).astype(np.float32)
    (expected,), (answer,) = (Session(tflite.write(Model([g]))).run(x) for g in (graph, folded))
    np.testing.assert_allclose(answer, expected, rtol=1e-6)


def test_weights_stay_as_they_are_stored():
    folded = fold(Flattened(packed).model.graphs[0])
    assert folded.ops[0].code == "DEQUANTIZE"
    assert folded.ops[0].input(0).dtype == np.int8


def test_a_graph_with_nothing_to_fold_is_returned_itself():
    graph = zoo.float_classifier().graphs[0]
    assert fold(graph) is graph


def test_what_no_interpreter_runs_is_left_alone():
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 4))
    shape = builder.op("SHAPE", [x], (2,), tables.ShapeOptions(2), dtype=INT32)
    y = builder.tensor("y", (1, 4))
    builder.graph.ops.append(Op("CUSTOM", [x, shape], [y], None, 1, "Acme_Frobnicate"))
    builder.graph.inputs, builder.graph.outputs = [x], [y]
    assert fold(builder.graph) is builder.graph


@pytest.mark.parametrize("declared", [(1, 24), (1, 1)], ids=["declared", "declared as ones"])
def test_such_models_are_explained_and_answer_as_before(declared):
    """Bit for bit, with the original's own ops below the explanation."""
    model = tflite.write(Flattened(packed, declared=declared).model)
    bundle = export.explain(model, methods=["gradcam", "saliency", "integrated_gradients"])
    assert all(check.passed for check in bundle.manifest.checks)
    written = tflite.read(bundle.members["model.tflite"])
    assert [op.code for op in written.graphs[0].ops] == [op.code for op in tflite.read(model).graphs[0].ops]
    (gradcam,) = (signature.graph for signature in written.signatures if signature.key == "gradcam")
    assert "SHAPE" in [op.code for op in gradcam.ops]
