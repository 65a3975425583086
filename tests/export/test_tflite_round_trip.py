"""Reading a ``.tflite`` file and writing it back loses nothing that an interpreter or a tool can see."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge.errors import WhyLiteError
from export import tflite
from export.tflite import Graph, Model, Op, Quantization, Signature, Tensor
from export.tflite import options as tables
from export.tflite.ops import INT8, Builder
from export.tflite.schema import camel
from export.tflite.writer import require_runtime
from tests.references import zoo
from tests.references.models import every_shared_model
from tests.references.runtime import Session

OWN_MODELS = [pytest.param(build, id=name) for name, build in zoo.MODELS.items()]
RUNNABLE = [zoo.float_classifier, zoo.int8_classifier, zoo.two_entries]


def unpack(data: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


def pack(root: Any) -> bytes:
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(root.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield every place in which two unpacked schema objects differ; bit patterns count, not values."""
    if isinstance(before, np.ndarray) and isinstance(after, np.ndarray):
        if before.dtype != after.dtype or before.tobytes() != after.tobytes():
            yield f"{path}: {before} -> {after}"
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{path}: {len(before)} -> {len(after)} entries"
        for index, pair in enumerate(zip(before, after, strict=False)):
            yield from differences(*pair, f"{path}[{index}]")
    elif hasattr(before, "__dict__") and type(before) is type(after):
        for name, value in vars(before).items():
            yield from differences(value, getattr(after, name), f"{path}.{name}")
    elif not (type(before) is type(after) and before == after):
        yield f"{path}: {before!r} -> {after!r}"


def assert_same_content(before: bytes, after: bytes) -> None:
    """Everything is equal but the two ways in which the schema can say the same."""
    old, new = unpack(before), unpack(after)
    for code in old.operatorCodes:
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)  # files from before the wider field
    for graph in old.subgraphs:
        graph.name = graph.name or b""
    for field in ("signatureDefs", "metadata", "metadataBuffer"):
        setattr(old, field, getattr(old, field) if np.size(getattr(old, field)) else None)
        setattr(new, field, getattr(new, field) if np.size(getattr(new, field)) else None)
    assert list(differences(old, new)) == []


@pytest.mark.parametrize("path", every_shared_model())
class TestRealModels:
    def test_outputs_stay_bit_identical(self, path):
        before, after = Session(path.read_bytes()), Session(tflite.write(tflite.read(path)))
        rng = np.random.default_rng(0)
        for _ in range(3):
            x = before.random_inputs(rng)
            for old, new in zip(before.run(*x), after.run(*x), strict=True):
                np.testing.assert_array_equal(old, new)

    def test_every_field_stays_as_it_was(self, path):
        assert_same_content(path.read_bytes(), tflite.write(tflite.read(path)))

    def test_writing_again_gives_the_same_bytes(self, path):
        once = tflite.write(tflite.read(path))
        assert tflite.write(tflite.read(once)) == once

    def test_a_second_entry_point_shares_weights_and_tables(self, path):
        model = tflite.read(path)
        plain = len(tflite.write(model))
        graph = model.graphs[0]
        second = graph.copy("second")
        model.graphs.append(second)
        ends = {"x": graph.inputs[0]}, {"y": graph.outputs[0]}
        model.signatures.append(Signature("second", second, *ends))
        # An offset for each tensor and op, and a signature.
        budget = 4 * (len(graph.tensors) + len(graph.ops)) + 4 * (len(graph.inputs) + len(graph.outputs)) + 256
        assert len(tflite.write(model)) <= plain + budget

    def test_buffers_lie_on_the_boundaries_the_schema_asks_for(self, path):
        assert misaligned_buffers(tflite.write(tflite.read(path))) == []


@pytest.mark.parametrize("build", OWN_MODELS)
def test_own_models_survive_field_by_field(build):
    once = tflite.write(build())
    again = tflite.write(tflite.read(once))
    assert again == once
    assert_same_content(once, again)


@pytest.mark.parametrize("build", RUNNABLE)
def test_own_models_compute_the_same_after_a_round_trip(build):
    once = tflite.write(build())
    before, after = Session(once), Session(tflite.write(tflite.read(once)))
    x = before.random_inputs(np.random.default_rng(0))
    for old, new in zip(before.run(*x), after.run(*x), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("build", OWN_MODELS)
def test_buffers_of_own_models_are_aligned(build):
    assert misaligned_buffers(tflite.write(build())) == []


def misaligned_buffers(data: bytes) -> list[int]:
    root = schema.Model.GetRootAs(data, 0)
    wrong = []
    for index in range(root.BuffersLength()):
        buffer = root.Buffers(index)
        if buffer.DataLength():
            table = buffer._tab
            if table.Vector(table.Offset(4)) % 16:
                wrong.append(index)
    return wrong


def test_a_graph_is_read_as_it_was_built():
    built = zoo.float_classifier()
    model = tflite.read(tflite.write(built))
    graph, source = model.graphs[0], built.graphs[0]
    assert [op.code for op in graph.ops] == [op.code for op in source.ops]
    assert [op.options for op in graph.ops] == [op.options for op in source.ops]
    assert [t.name for t in graph.tensors] == [t.name for t in source.tensors]
    for read, wrote in zip(graph.tensors, source.tensors, strict=True):
        assert (read.shape, read.dtype, read.is_constant) == (wrote.shape, wrote.dtype, wrote.is_constant)
        if wrote.data is not None:
            np.testing.assert_array_equal(read.data, wrote.data)
    assert (model.description, model.metadata) == ("built by a test", [("note", b"kept as it is")])
    (signature,) = model.signatures
    assert signature.key == "serving_default"
    assert signature.inputs == {"in0": graph.inputs[0]}
    assert signature.outputs == {"out0": graph.outputs[0]}


def test_what_a_file_can_say_of_a_tensor_is_kept():
    graph = tflite.read(tflite.write(zoo.rich_tensors())).graphs[0]
    assert graph.tensor("x").shape_signature == (-1, 3)
    assert graph.tensor("state").is_variable
    assert not graph.tensor("state").is_constant
    assert graph.tensor("noted").quantization == Quantization((0.5,), (7,), 0, (-3.5,), (124.0,))
    np.testing.assert_array_equal(graph.tensor("noted").real(), np.ones((2, 3)))
    np.testing.assert_array_equal(graph.tensor("halves").data, np.asarray((0.5, -1, 65504), np.float16))
    np.testing.assert_array_equal(graph.tensor("flags").data, (True, False))
    np.testing.assert_array_equal(graph.tensor("wide").data, (-1, 1 << 40))
    assert graph.tensor("empty").shape == (0,)


def test_a_custom_op_keeps_its_name_version_and_private_options():
    graph = tflite.read(tflite.write(zoo.custom_op())).graphs[0]
    op = graph.ops[1]
    assert (op.code, op.custom_code, op.version) == ("CUSTOM", "Acme_Frobnicate", 3)
    assert bytes(op.extras["customOptions"]) == b"\x01\x02opaque\x00\xff"
    assert op.inputs == [graph.ops[0].output, None]


def test_several_subgraphs_keep_their_entry_points():
    data = tflite.write(zoo.two_entries())
    interpreter = Session(data).interpreter
    rng = np.random.default_rng(3)
    left, right = rng.normal(size=(2, 8)).astype("f4"), rng.normal(size=(1, 8)).astype("f4")
    weights = zoo.two_entries().graphs[0].ops[1].input(1).data
    for key, other in (("first", np.maximum(left + right, 0) ** 2), ("second", left - right)):
        outputs = interpreter.get_signature_runner(key)(left=left, right=right)
        np.testing.assert_allclose(outputs["product"], np.maximum(left + right, 0) @ weights.T, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(outputs["other"], other, rtol=1e-6)


def test_equal_weights_of_two_graphs_are_stored_once():
    root = unpack(tflite.write(zoo.two_entries()))
    sizes = [len(buffer.data) for buffer in root.buffers if buffer.data is not None]
    assert sorted(sizes) == [5 * 8 * 4]


def test_buffers_behind_the_flatbuffer_are_brought_inside():
    """Files above 2 GB keep weights behind the flatbuffer: ``Buffer.offset`` counts from the file's start."""
    inside = tflite.write(zoo.float_classifier())
    root = unpack(inside)
    weights = [buffer for buffer in root.buffers if buffer.data is not None and len(buffer.data) > 16]
    contents = [bytes(buffer.data) for buffer in weights]
    for buffer in weights:
        buffer.data, buffer.offset, buffer.size = None, (1 << 40), (1 << 40)  # placeholders of full width
    end = len(pack(root))
    for buffer, content in zip(weights, contents, strict=True):
        buffer.offset, buffer.size = end, len(content)
        end += len(content)
    outside = pack(root) + b"".join(contents)

    written = tflite.write(tflite.read(outside))
    assert all(buffer.offset == 0 for buffer in unpack(written).buffers)
    reference, crafted, session = Session(inside), Session(outside), Session(written)
    x = reference.random_inputs(np.random.default_rng(0))
    np.testing.assert_array_equal(crafted.run(*x)[0], reference.run(*x)[0])  # the runtime reads such files as we do
    np.testing.assert_array_equal(session.run(*x)[0], reference.run(*x)[0])


def test_ops_of_the_second_options_union_and_of_the_future_are_carried():
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 4))
    content = schema.StablehloConcatenateOptionsT()
    content.dimension = 1
    joined = builder.op(
        "STABLEHLO_CONCATENATE", [x, x], (1, 8), tables.UnreadOptions("StablehloConcatenateOptions", content)
    )
    builder.graph.inputs, builder.graph.outputs = [x], [joined]
    data = tflite.write(Model([builder.graph]))
    op = unpack(data).subgraphs[0].operators[0]
    assert op.builtinOptions2Type == schema.BuiltinOptions2.StablehloConcatenateOptions
    assert op.builtinOptions2.dimension == 1
    assert_same_content(data, tflite.write(tflite.read(data)))

    root = unpack(data)
    root.operatorCodes[0].builtinCode = 9999
    unknown = pack(root)
    assert tflite.read(unknown).graphs[0].ops[0].code == "BUILTIN_9999"
    assert unpack(tflite.write(tflite.read(unknown))).operatorCodes[0].builtinCode == 9999


def test_files_attached_behind_the_model_survive(tmp_path):
    """Label lists that the metadata tools append as a zip archive."""
    path = tmp_path / "labelled.tflite"
    path.write_bytes(tflite.write(zoo.float_classifier()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat\ndog\nowl\n")
    model = tflite.read(path)
    assert model.associated_files == {"labels.txt": b"cat\ndog\nowl\n"}
    again = tmp_path / "again.tflite"
    tflite.save(model, again)
    assert zipfile.ZipFile(again).read("labels.txt") == b"cat\ndog\nowl\n"
    x = Session(path.read_bytes()).random_inputs(np.random.default_rng(0))
    np.testing.assert_array_equal(Session(again.read_bytes()).run(*x)[0], Session(path.read_bytes()).run(*x)[0])


def test_weights_that_look_like_the_end_of_an_archive_are_weights():
    model = zoo.float_classifier()
    model.metadata.append(("noise", b"PK\x05\x06" + bytes(range(64))))
    assert tflite.read(tflite.write(model)).associated_files == {}
    model.associated_files = {"labels.txt": b"cat\ndog\n"}
    again = tflite.read(tflite.write(model))
    assert (again.associated_files, again.metadata) == (model.associated_files, model.metadata)


def test_an_archive_inside_the_model_is_not_the_one_behind_it():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as inner:
        inner.writestr("inner.txt", "not attached")
    model = zoo.float_classifier()
    model.metadata.append(("archive", archive.getvalue()))
    model.associated_files = {"labels.txt": b"cat\ndog\n"}
    data = tflite.write(model)
    again = tflite.read(data)
    assert (again.associated_files, again.metadata) == (model.associated_files, model.metadata)
    assert tflite.write(again) == data


@pytest.mark.parametrize(
    ("stated", "wanted", "result"),
    [("1.5.0", "2.14.0", b"2.14.0"), ("2.17.0", "2.14.0", b"2.17.0"), ("2.9.0", "2.14.0", b"2.14.0")],
)
def test_the_note_on_the_oldest_runtime_is_raised_and_never_lowered(stated, wanted, result):
    model = zoo.float_classifier()
    model.metadata.append(("min_runtime_version", stated.encode().ljust(16, b"\0")))
    require_runtime(model, wanted)
    assert dict(tflite.read(tflite.write(model)).metadata)["min_runtime_version"].rstrip(b"\0") == result


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "model.tflite"
    tflite.save(zoo.float_classifier(), path)
    assert tflite.read(path).graphs[0].ops
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.tflite"]
    with pytest.raises(WhyLiteError, match="cannot write"):
        tflite.save(zoo.float_classifier(), tmp_path / "absent" / "model.tflite")


# Fields newer than the oldest LiteRT that WhyLite runs with: an op that uses one travels unread and is not explained.
NEWER_FIELDS = {"FullyConnectedOptions": {"quantSpec"}}
DECLARED = [cls for cls in tables.Options.__subclasses__() if cls is not tables.UnreadOptions]


@pytest.mark.parametrize("cls", DECLARED, ids=lambda cls: cls.__name__)
def test_options_are_declared_field_by_field_as_in_the_schema(cls):
    blank = vars(getattr(schema, cls.__name__ + "T")())
    declared = [camel(field.name) for field in dataclasses.fields(cls)]
    assert declared == [name for name in blank if name not in NEWER_FIELDS.get(cls.__name__, ())]


def test_options_with_a_field_that_is_not_declared_travel_unread():
    data = tflite.write(zoo.float_classifier())
    root = unpack(data)
    dense = next(
        op for op in root.subgraphs[0].operators if isinstance(op.builtinOptions, schema.FullyConnectedOptionsT)
    )
    if not hasattr(dense.builtinOptions, "quantSpec"):
        pytest.skip("the installed LiteRT's schema has no such field")
    dense.builtinOptions.quantSpec = np.asarray((1, 2, 3), np.uint8)
    crafted = pack(root)
    op = next(op for op in tflite.read(crafted).graphs[0].ops if op.code == "FULLY_CONNECTED")
    assert isinstance(op.options, tables.UnreadOptions)
    assert_same_content(crafted, tflite.write(tflite.read(crafted)))


def test_several_signatures_of_the_converter_survive(converted_signatures):
    before = Session(converted_signatures).interpreter
    after = Session(tflite.write(tflite.read(converted_signatures))).interpreter
    assert after.get_signature_list() == before.get_signature_list()
    assert len(after.get_signature_list()) == 2
    x = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)
    for key in before.get_signature_list():
        old, new = before.get_signature_runner(key)(x=x), after.get_signature_runner(key)(x=x)
        for name in old:
            np.testing.assert_array_equal(old[name], new[name])
    assert_same_content(converted_signatures, tflite.write(tflite.read(converted_signatures)))


def test_control_flow_of_the_converter_survives(converted_signatures):
    """WHILE and IF name other subgraphs by number, which reading and adding graphs must not change."""
    model = tflite.read(converted_signatures)
    codes = {op.code for graph in model.graphs for op in graph.ops}
    assert {"WHILE", "IF"} <= codes
    extra = Builder(Graph("extra"))
    x = extra.tensor("x", (1, 4))
    extra.graph.inputs, extra.graph.outputs = [x], [extra.add(x, x)]
    model.graphs.append(extra.graph)
    model.signatures.append(Signature("extra", extra.graph, {"x": x}, {"y": extra.graph.outputs[0]}))
    before, after = Session(converted_signatures).interpreter, Session(tflite.write(model)).interpreter
    for value in (-2.0, 0.5):
        given = np.full((1, 4), value, np.float32)
        for key in before.get_signature_list():
            old, new = before.get_signature_runner(key)(x=given), after.get_signature_runner(key)(x=given)
            assert {name: value.tolist() for name, value in old.items()} == {
                name: value.tolist() for name, value in new.items()
            }
        np.testing.assert_array_equal(after.get_signature_runner("extra")(x=given)["y"], 2 * given)


@pytest.fixture(scope="module")
def converted_signatures(tmp_path_factory) -> bytes:
    """A file of TensorFlow's converter with two signatures, a loop and a branch."""
    import tensorflow as tf

    class Two(tf.Module):
        def __init__(self):
            super().__init__()
            self.weights = tf.Variable(np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
        def looped(self, x):
            count = tf.constant(0)
            while count < 3:
                x = tf.nn.relu(x @ self.weights)
                count += 1
            return {"y": x, "count": count}

        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32)])
        def branched(self, x):
            return {"y": tf.cond(tf.reduce_sum(x) > 0, lambda: x @ self.weights, lambda: -x)}

    module, folder = Two(), tmp_path_factory.mktemp("saved")
    signatures = {"looped": module.looped, "branched": module.branched}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=list(signatures)).convert()


def test_int4_and_string_tensors_travel_as_raw_bytes():
    graph = Graph("main")
    x = Tensor("x", (1, 2), INT8, Quantization((1.0,), (0,)))
    graph.inputs = graph.outputs = [x]
    graph.tensors = [x]
    root = unpack(tflite.write(Model([graph])))
    for kind, content in (
        (schema.TensorType.INT4, b"\x21\x03"),
        (schema.TensorType.STRING, b"\1\0\0\0\x0c\0\0\0\x0c\0\0\0hi"),
    ):
        tensor, buffer = schema.TensorT(), schema.BufferT()
        tensor.shape, tensor.type, tensor.name, tensor.buffer = [3], kind, b"opaque", len(root.buffers)
        buffer.data = np.frombuffer(content, np.uint8)
        root.buffers.append(buffer)
        root.subgraphs[0].tensors.append(tensor)
    data = pack(root)
    assert_same_content(data, tflite.write(tflite.read(data)))


def test_an_op_without_options_stays_without():
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 4))
    y = builder.tensor("y", (1, 4))
    builder.graph.ops.append(Op("RELU", [x], [y]))
    builder.graph.inputs, builder.graph.outputs = [x], [y]
    data = tflite.write(Model([builder.graph]))
    assert tflite.read(data).graphs[0].ops[0].options is None
    np.testing.assert_array_equal(Session(data).run(np.asarray([[-1, 0, 1, 2]], "f4"))[0], [[0, 0, 1, 2]])


def test_equal_names_shapes_and_options_are_written_once():
    long_name = "x" * 1000

    def poolings(count: int) -> Graph:
        graph = Graph("main")
        builder = Builder(graph)
        y = builder.tensor(long_name, (1, 4, 4, 2))
        graph.inputs = [y]
        for _ in range(count):
            window = tables.Pool2DOptions(tables.Padding.SAME, 1, 1, 2, 2)
            y = builder.op("AVERAGE_POOL_2D", [y], y.shape, window, name=long_name)
        graph.outputs = [y]
        return graph

    few, many = (tflite.write(Model([poolings(count)])) for count in (2, 12))
    assert len(many) - len(few) < 10 * 120  # a tensor and an op each, without the name
    (graph,) = tflite.read(many).graphs
    assert [op.options.filter_width for op in graph.ops] == [2] * 12
    assert {tensor.name for tensor in graph.tensors} == {long_name}
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
    (y,) = Session(many).run(x)
    assert y.shape == x.shape
