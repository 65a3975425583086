"""Models whose bytes are sound and whose meaning is not: one typed error, before anything is compiled or shipped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import export
from edge.errors import WhyLiteError
from export import tflite
from export.errors import ModelFileError, UnsupportedModelError
from export.tflite import Model, Op, Quantization, Signature
from export.tflite import options as tables
from export.tflite.admission import check_shapes, check_weights, try_out
from export.tflite.options import Padding
from tests.export.test_methods import mobilenet_v1, one_dimensional, quantised_network
from tests.references import zoo
from tests.references.models import every_shared_model

SECONDS = 30  # of work


def op(model: Model, code: str, index: int = 0) -> Op:
    return [op for op in model.graphs[0].ops if op.code == code][index]


def options(code: str, index: int = 0, **changes: object) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        target = op(model, code, index)
        target.options = replace(target.options, **changes)

    return change


def shape(code: str, *sizes: int) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        op(model, code).output.shape = sizes

    return change


def grid(code: str, quantization: Quantization | None) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        op(model, code).output.quantization = quantization

    return change


def of_type(code: str, dtype: type) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        op(model, code).output.dtype = np.dtype(dtype)

    return change


def operands(code: str, *picks: int | None) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        target = op(model, code)
        target.inputs = [None if pick is None else target.inputs[pick] for pick in picks]

    return change


def constant(code: str, index: int, values: np.ndarray) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        tensor = op(model, code).input(index)
        tensor.data, tensor.shape = values, values.shape

    return change


def other_options(code: str, table: tables.Options | None) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        op(model, code).options = table

    return change


def renamed(code: str, new: str) -> Callable[[Model], None]:
    def change(model: Model) -> None:
        op(model, code).code = new

    return change


FLOAT = {
    "a stride of zero": options("CONV_2D", stride_h=0),
    "a stride of two thousand million": options("CONV_2D", stride_w=2**31 - 1),
    "a negative stride": options("DEPTHWISE_CONV_2D", stride_h=-1),
    "a dilation of zero": options("DEPTHWISE_CONV_2D", dilation_w_factor=0),
    "a kernel that does not fit": options("CONV_2D", 0, padding=Padding.VALID, dilation_h_factor=50),
    "a pooling over nothing": options("AVERAGE_POOL_2D", filter_height=0),
    "options of another op": other_options("CONV_2D", tables.ReshapeOptions((1,))),
    "no options": other_options("CONV_2D", None),
    "too few operands": operands("CONV_2D", 0),
    "an operand left out": operands("DEPTHWISE_CONV_2D", 0, None, 2),
    "too many operands": operands("ADD", 0, 1, 1),
    "an op by another name": renamed("ADD", "CONV_2D"),
    "an op of the future": renamed("ADD", "BUILTIN_9999"),
    "a result of other size": shape("CONV_2D", 1, 4, 65535, 6),
    "a result of no size": shape("ADD", 1, 0, 4, 6),
    "a result without dimensions": shape("DEPTHWISE_CONV_2D"),
    "a result of another type": of_type("ADD", np.complex128),
    "results of gigabytes": shape("ADD", 1, 2**15, 2**15, 1),
    "weights of other channels": constant("CONV_2D", 1, np.ones((6, 3, 3, 2), np.float32)),
    "weights of other rank": constant("CONV_2D", 1, np.ones((6, 3), np.float32)),
    "a bias of other size": constant("CONV_2D", 2, np.ones(5, np.float32)),
    "weights that are no numbers": constant("CONV_2D", 1, np.full((6, 3, 3, 3), np.nan, np.float32)),
    "weights without end": constant("CONV_2D", 1, np.full((6, 3, 3, 3), np.inf, np.float32)),
}
INT8 = {
    "no grid": grid("ADD", None),
    "a zero point and no scale": grid("ADD", Quantization((), (-128,))),
    "a scale of zero": grid("ADD", Quantization((0.0,), (-128,))),
    "a scale next to zero": grid("ADD", Quantization((1e-38,), (0,))),
    "a scale next to infinity": grid("CONV_2D", Quantization((3e38,), (0,))),
    "a softmax on another grid": grid("SOFTMAX", Quantization((1 / 256,), (0,))),
    "a mean over a dimension that is not there": constant("MEAN", 1, np.asarray((1, 9), np.int32)),
    "a type the op does not know": of_type("ADD", np.complex128),
}
CASES = [
    *(pytest.param(mobilenet_v1, change, id=name) for name, change in FLOAT.items()),
    *(pytest.param(lambda: quantised_network("int8 per tensor"), change, id=name) for name, change in INT8.items()),
]


@pytest.mark.parametrize(("build", "change"), CASES)
def test_a_model_that_contradicts_itself_is_refused(build, change):
    model = build()
    change(model)
    begin = time.process_time()
    with pytest.raises(WhyLiteError) as caught:
        export.explain(tflite.write(model), methods=["gradcam", "saliency"], name="victim.tflite")
    assert time.process_time() - begin < SECONDS
    assert "victim.tflite" in caught.value.cause
    assert caught.value.hint


def test_the_models_that_are_twisted_are_sound_themselves():
    for build in (mobilenet_v1, lambda: quantised_network("int8 per tensor")):
        bundle = export.explain(tflite.write(build()), methods=["gradcam", "saliency"], name="victim.tflite")
        assert [head.method for head in bundle.manifest.heads] == ["gradcam", "saliency"]


def test_an_interpreter_that_dies_is_survived_and_reported():
    """Kernels stop the whole process at numbers they do not count on; here it is one of its own."""
    model = quantised_network("int8 per tensor")
    grid("ADD", Quantization((), (-128,)))(model)
    with pytest.raises(UnsupportedModelError, match=r"the interpreter stops with status -\d+"):
        try_out(model.graphs[0], [], "victim.tflite")


def test_a_shape_that_lies_is_named():
    model = mobilenet_v1()
    shape("CONV_2D", 1, 4, 5, 6)(model)
    model = tflite.read(tflite.write(model))
    found = try_out(model.graphs[0], [], "victim.tflite")
    message = r"victim.tflite: tensor '0' is declared \[1, 4, 5, 6\] and comes out \[1, 4, 4, 6\]"
    with pytest.raises(ModelFileError, match=message):
        check_shapes(model.graphs[0], found, "victim.tflite")


def test_weights_that_are_not_finite_are_named():
    model = mobilenet_v1()
    constant("CONV_2D", 1, np.full((6, 3, 3, 3), np.nan, np.float32))(model)
    with pytest.raises(ModelFileError, match=r"victim.tflite: constant 'const0' holds values that are not finite"):
        check_weights(model.graphs[0], "victim.tflite")


@pytest.mark.parametrize("path", every_shared_model())
def test_real_models_are_let_in(path):
    model = tflite.read(path)
    check_weights(model.graphs[0], path.name)
    check_shapes(model.graphs[0], try_out(model.graphs[0], model.graphs[1:], path.name), path.name)


def test_several_entry_points_and_one_dimension_are_let_in():
    for build in (zoo.two_entries, zoo.rich_tensors, one_dimensional):
        model = build()
        for graph in model.graphs:
            check_shapes(graph, try_out(graph, [], "own"), "own")


def test_ops_of_others_are_left_to_those_who_ask_for_their_gradient():
    graph = zoo.custom_op().graphs[0]
    assert try_out(graph, [], "own") is None


@pytest.mark.parametrize("name", ["serving\0default", "serving_default\udcff"])
def test_a_signature_whose_name_is_no_text_is_refused(name):
    model = zoo.float_classifier()
    model.signatures[0].key = name
    with pytest.raises(ModelFileError, match="a name that is no text"):
        tflite.read(tflite.write(model), "victim.tflite")


def test_a_signature_that_does_not_take_the_input_is_passed_over():
    model = mobilenet_v1()
    graph = model.graphs[0]
    model.signatures = [Signature("serving_default", graph, {}, {"scores": graph.outputs[0]})]
    bundle = export.explain(tflite.write(model), methods=["saliency"], name="model")
    assert bundle.manifest.predict == "whylite_predict"
