"""What fuzzing found, each made again by hand: the answer it must give, or the error and what that must say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import export
from edge.bundle import Bundle
from edge.errors import WhyLiteError
from export.errors import CheckFailedError, ModelFileError, UnsupportedModelError
from tests.fuzz import seeds
from tests.fuzz.schema_mutations import pack

NAME = "victim.tflite"


def bent(seed: str, *changes: Callable[[Any], None]) -> bytes:
    """Return a seed whose tables were changed."""
    model = schema.ModelT.InitFromPackedBuf(seeds.models()[seed])
    for change in changes:
        change(model)
    return pack(model)


def op_of(model: Any, code: str) -> Any:
    number = getattr(schema.BuiltinOperator, code)
    return next(o for o in model.subgraphs[0].operators if model.operatorCodes[o.opcodeIndex].builtinCode == number)


def operand(model: Any, code: str, index: int) -> Any:
    return model.subgraphs[0].tensors[op_of(model, code).inputs[index]]


def result(model: Any, code: str) -> Any:
    return model.subgraphs[0].tensors[op_of(model, code).outputs[0]]


def explained(data: bytes, *methods: str) -> Bundle:
    """Return what a device would read of the exported bundle."""
    return Bundle.from_bytes(export.explain(data, methods=methods or ["gradcam"], name=NAME).to_bytes())


def refused(data: bytes, kind: type[WhyLiteError], message: str, *methods: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        explained(data, *methods)
    assert NAME in caught.value.cause
    assert caught.value.hint


def huge_weights(model: Any) -> None:
    kernel = operand(model, "CONV_2D", 1)
    model.buffers[kernel.buffer].data = np.full(int(np.prod(kernel.shape)), 1e38, np.float32).view(np.uint8)


def packed_weights(model: Any) -> None:
    kernel = operand(model, "CONV_2D", 1)
    kernel.type = schema.TensorType.INT4
    kernel.quantization = schema.QuantizationParametersT()
    kernel.quantization.scale, kernel.quantization.zeroPoint = np.full(4, 0.1, np.float32), np.zeros(4, np.int64)
    model.buffers[kernel.buffer].data = np.full(-(-int(np.prod(kernel.shape)) // 2), 0x21, np.uint8)


def axes_in_a_row(model: Any) -> None:
    axes = operand(model, "MEAN", 1)
    axes.shape = np.asarray((1, 2), np.int32)


def name_of_any_bytes(model: Any) -> None:
    result(model, "CONV_2D").name = b"conv\xff\xfe"


def empty_graph(model: Any) -> None:
    model.subgraphs.append(schema.SubGraphT())


def integers_for_scores(model: Any) -> None:
    result(model, "SOFTMAX").type = schema.TensorType.INT64


def options_of_another_op(model: Any) -> None:
    op = op_of(model, "LEAKY_RELU")
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.ReshapeOptions, schema.ReshapeOptionsT()


def custom_op(model: Any) -> None:
    """Add an op of somebody else's beside the way from the input to the scores."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = b"Acme_Frobnicate", 1
    model.operatorCodes.append(code)
    aside = schema.TensorT()
    aside.name, aside.shape, aside.buffer = b"aside", np.asarray((1,), np.int32), 0
    graph = model.subgraphs[0]
    graph.tensors.append(aside)
    op = schema.OperatorT()
    op.opcodeIndex = len(model.operatorCodes) - 1
    op.inputs, op.outputs = np.asarray(graph.inputs), np.asarray([len(graph.tensors) - 1], np.int32)
    graph.operators.append(op)


def stride_of_zero(model: Any) -> None:
    op_of(model, "CONV_2D").builtinOptions.strideH = 0


def test_the_seeds_are_bent_and_nothing_else():
    assert explained(bent("op nothing")).manifest.kind == "float32"


def test_a_file_that_only_the_interpreter_finds_damaged_is_refused_before_it_is_loaded():
    """Our reader does not mind a name whose end is not marked; LiteRT's verifier does, as a check in mid-work found."""
    data = seeds.models()["op nothing"]
    assert data.count(b"const0\0") == 1
    refused(
        data.replace(b"const0\0", b"const0!"), UnsupportedModelError, "does not run: The model is not a valid Flatb"
    )


def test_a_further_graph_without_tensors_is_refused_before_it_is_loaded():
    refused(bent("op nothing", empty_graph), UnsupportedModelError, "does not run: Did not get tensors in subgraph 1")


def test_a_check_that_fails_names_the_file():
    refused(bent("op nothing", huge_weights), CheckFailedError, "explanation does not hold: gradcam at its layer")


def test_numbers_that_overflow_are_an_error_and_no_warnings(recwarn):
    refused(bent("op nothing", huge_weights), CheckFailedError, "does not hold", "integrated_gradients", "saliency")
    assert not recwarn


def test_axes_may_stand_in_a_matrix():
    plain, odd = bent("op mean"), bent("op mean", axes_in_a_row)
    x = np.random.default_rng(0).normal(size=(6, 6, 4)).astype(np.float32)
    maps = [export_map(data, x) for data in (plain, odd)]
    assert maps[0].any()
    np.testing.assert_array_equal(*maps)


def export_map(data: bytes, x: np.ndarray) -> np.ndarray:
    from edge.explainer import Explainer

    return Explainer(explained(data, "saliency")).explain(x, "saliency", class_index=1).map


def test_weights_of_four_bits_are_refused_by_name():
    refused(
        bent("op nothing", packed_weights), UnsupportedModelError, r"'const0' .* form that is not unpacked", "saliency"
    )


def test_a_layer_may_have_any_bytes_for_a_name():
    assert explained(bent("op nothing", name_of_any_bytes)).manifest.head("gradcam").layer == "conv??"


def test_positions_that_lie_in_the_batch_are_no_map():
    assert explained(bent("op space_to_batch")).manifest.head("gradcam").layer == "0"


def test_scores_that_are_integers_are_refused_by_name():
    refused(bent("op nothing", integers_for_scores), UnsupportedModelError, r"output 'scores' \(int64 .* holds no real")


def test_options_of_another_op_are_refused_by_op_and_tensor():
    message = r"op LEAKY_RELU has operands or options that its gradient rule cannot take\n  at tensor '1'"
    refused(bent("op leaky_relu", options_of_another_op), UnsupportedModelError, message, "saliency")


@pytest.mark.parametrize("changes", [(custom_op,), (custom_op, stride_of_zero)], ids=["sound", "with a wild stride"])
def test_a_model_with_an_op_of_others_beside_the_way_is_not_run_in_this_process(changes):
    refused(bent("op nothing", *changes), UnsupportedModelError, "op 4 Acme_Frobnicate is known to no interpreter here")


def test_too_little_memory_is_an_error_that_names_the_file(monkeypatch):
    """A file of 4 kB that enlarges its input to a gigabyte asked for twelve of them."""

    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr("export.pipeline.compile_methods", exhausted)
    refused(bent("op nothing"), UnsupportedModelError, "takes more memory than there is")


def test_activations_beyond_a_gigabyte_are_refused_unseen():
    def enlarged(model):
        result(model, "RESIZE_NEAREST_NEIGHBOR").shape = np.asarray((1, 9000, 9000, 4), np.int32)

    refused(bent("op resize_nearest", enlarged), ModelFileError, r"declares activations of 1\.2 GiB")


@pytest.mark.parametrize(
    ("seed", "given"), [("two entrances", {"signature": "second"}), ("streaming", {}), ("words", {})]
)
def test_the_seeds_that_enter_in_other_ways_are_sound(seed, given):
    bundle = export.explain(seeds.models()[seed], methods=["saliency"], name=NAME, **given)
    assert all(check.passed for check in bundle.manifest.checks)


def test_sparsity_that_makes_no_sense_is_refused_with_the_file():
    def sparse(model):
        level = schema.DimensionMetadataT()
        level.denseSize = -1
        sparsity = operand(model, "MEAN", 1).sparsity = schema.SparsityParametersT()
        sparsity.traversalOrder, sparsity.dimMetadata = np.zeros(1, np.int32), [level]

    refused(
        bent("op mean", sparse), ModelFileError, r"victim.tflite: constant 'const2' .* sparsity that makes no sense"
    )
