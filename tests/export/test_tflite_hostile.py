"""Damaged, lying and malicious ``.tflite`` files: a sound model or one typed error, in bounded time and memory."""

from __future__ import annotations

import io
import random
import resource
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export import tflite
from export.errors import ModelFileError
from tests.references import zoo
from tests.references.models import SHARED
from tests.references.mutate import mutant

MUTANTS = 20_000
SECONDS_PER_FILE = 5.0
MEMORY = 512 << 20
NAME = "victim.tflite"


class Hang(BaseException):
    """Not an Exception, so that nothing under test swallows it."""


@contextmanager
def bounded(seconds: float, memory: int = MEMORY) -> Iterator[None]:
    """Raise :class:`Hang` after ``seconds`` of work, and ``MemoryError`` for ``memory`` bytes more than now."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGPROF, _hang)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, hard))
        signal.setitimer(signal.ITIMER_PROF, seconds)  # the processor's: others are at work on this machine
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGPROF, before)


def _hang(*_: object) -> None:
    raise Hang


def judge(data: bytes) -> bool:
    """Return whether ``data`` is accepted; then it must be a model that survives writing and reading again.

    Anything but acceptance or :class:`ModelFileError` with the file's name surfaces as the exception it is.
    """
    try:
        model = tflite.read(data, NAME)
    except ModelFileError as error:
        assert NAME in str(error)
        assert error.hint
        return False
    written = tflite.write(model)
    assert tflite.write(tflite.read(written)) == written
    return True


def originals() -> list[bytes]:
    models = [tflite.write(build()) for build in zoo.MODELS.values()]
    labelled = io.BytesIO(models[0])
    with zipfile.ZipFile(labelled, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", "cat\ndog\nowl\n" * 20)
    return [*models, labelled.getvalue()]


@pytest.mark.slow
def test_mutants_of_models_built_here():
    assert _hunt(originals(), MUTANTS - 1_000, seed=20) > 500


@pytest.mark.slow
def test_mutants_of_real_models():
    """Small real files where there are any; the number is made up with our own where there are none."""
    models = [path for path in sorted((SHARED / "models").rglob("*.tflite")) if path.stat().st_size < 60_000]
    assert _hunt([path.read_bytes() for path in models] or originals(), 1_000, seed=21) > 100


def _hunt(models: list[bytes], count: int, seed: int) -> int:
    """Judge ``count`` mutants and return how many were accepted."""
    rng = random.Random(seed)
    accepted = 0
    with bounded(200):
        for number in range(count):
            what, data = mutant(models, rng)
            begin = time.thread_time()
            try:
                accepted += judge(data)
            except (Exception, Hang) as error:
                raise AssertionError(f"mutant {number} of seed {seed} ({what})") from error
            assert time.thread_time() - begin < SECONDS_PER_FILE, f"mutant {number} of seed {seed} ({what})"
    return accepted


@pytest.mark.parametrize("build", zoo.MODELS.values(), ids=zoo.MODELS)
def test_every_prefix_of_a_model_is_refused(build):
    data = tflite.write(build())
    with bounded(60):
        for length in range(0, len(data), 7):
            assert not judge(data[:length])


@pytest.mark.parametrize(
    "data",
    [b"", b"TFL3", bytes(100), b"\xff" * 100, b"\x1c\0\0\0TFL3" + bytes(100), b"\xff\xff\xff\xffTFL3" + b"\xff" * 100],
    ids=["empty", "identifier", "zeros", "ones", "zeros behind the identifier", "root beyond the end"],
)
def test_what_is_no_model_is_refused(data):
    with pytest.raises(ModelFileError, match="cat"):
        tflite.read(data, "cat")


def test_a_path_that_cannot_be_read_is_refused_by_name(tmp_path):
    with pytest.raises(ModelFileError, match=r"cannot read .*absent\.tflite"):
        tflite.read(tmp_path / "absent.tflite")
    with pytest.raises(ModelFileError, match="cannot read"):
        tflite.read(tmp_path)
    (tmp_path / "empty.tflite").touch()
    with pytest.raises(ModelFileError, match=r"empty\.tflite is not a TFLite model"):
        tflite.read(tmp_path / "empty.tflite")


# Files written by hand, table by table


def make(table: str, **fields: Any) -> Any:
    """Return a schema object with some fields set."""
    result = getattr(schema, table + "T")()
    for name, value in fields.items():
        assert hasattr(result, name), f"{table} has no field {name}"
        setattr(result, name, value)
    return result


class Shared:
    """A table that is written once and pointed to from everywhere."""

    def __init__(self, content: Any) -> None:
        self.content, self.offset = content, None

    def Pack(self, builder: Any) -> int:
        if self.offset is None:
            self.offset = self.content.Pack(builder)
        return self.offset


def packed(**fields: Any) -> bytes:
    """Return a file whose model has ``fields``; a minimal sound one without them."""
    codes = [make("OperatorCode", builtinCode=98, deprecatedBuiltinCode=98, version=1)]  # LEAKY_RELU
    root = make(
        "Model", **{"version": 3, "buffers": [make("Buffer")], "operatorCodes": codes, "subgraphs": [graph()]} | fields
    )
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(root.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def tensor(**fields: Any) -> Any:
    return make("Tensor", **{"shape": [1], "buffer": 0, "name": "x"} | fields)


def op(**fields: Any) -> Any:
    return make("Operator", **{"opcodeIndex": 0, "inputs": [0], "outputs": [1]} | fields)


def graph(**fields: Any) -> Any:
    tensors = [tensor(), tensor(name="y")]
    return make("SubGraph", **{"tensors": tensors, "inputs": [0], "outputs": [1], "operators": [op()]} | fields)


def quantized(**fields: Any) -> Any:
    return make("QuantizationParameters", **{"scale": [1.0], "zeroPoint": [0]} | fields)


def test_the_minimal_hand_made_file_is_sound():
    assert judge(packed())


def weights(size: int) -> list[Any]:
    return [make("Buffer"), make("Buffer", data=np.zeros(size, np.uint8))]


def reshape(sizes: int) -> Any:
    options = make("ReshapeOptions", newShape=np.ones(sizes, np.int32))
    return op(builtinOptionsType=schema.BuiltinOptions.ReshapeOptions, builtinOptions=options)


def bucketize(bounds: int) -> Any:
    options = make("BucketizeOptions", boundaries=np.zeros(bounds, np.float32))
    return op(builtinOptionsType=schema.BuiltinOptions.BucketizeOptions, builtinOptions=options)


def details(size: int) -> Any:
    content = make("CustomQuantization", custom=np.zeros(size, np.uint8))
    return quantized(detailsType=schema.QuantizationDetails.CustomQuantization, details=content)


def sparsity(count: int) -> Any:
    levels = make(
        "DimensionMetadata",
        arraySegmentsType=schema.SparseIndexVector.Int32Vector,
        arraySegments=make("Int32Vector", values=np.zeros(count, np.int32)),
    )
    return make("SparsityParameters", dimMetadata=[Shared(levels)] * count)


def signature(**fields: Any) -> Any:
    ends = {"inputs": [make("TensorMap", name="x", tensorIndex=0)], "outputs": []}
    return make("SignatureDef", **{"signatureKey": "k", "subgraphIndex": 0} | ends | fields)


# Each takes n and returns a file of some n * 40 bytes that describes some n * n tables, numbers or bytes.
AMPLIFIERS: dict[str, Callable[[int], bytes]] = {
    "ops of subgraphs": lambda n: packed(subgraphs=[Shared(graph(operators=[Shared(op())] * n))] * n),
    "tensors of subgraphs": lambda n: packed(subgraphs=[Shared(graph(tensors=[Shared(tensor())] * n))] * n),
    "inputs of subgraphs": lambda n: packed(subgraphs=[Shared(graph(inputs=np.zeros(n, np.int32)))] * n),
    "name of subgraphs": lambda n: packed(subgraphs=[Shared(graph(name="n" * 16 * n))] * n),
    "name of tensors": lambda n: packed(subgraphs=[graph(tensors=[Shared(tensor(name="n" * 16 * n))] * n)]),
    "shape of tensors": lambda n: packed(subgraphs=[graph(tensors=[Shared(tensor(shape=np.ones(n, np.int32)))] * n)]),
    "constant of tensors": lambda n: packed(
        buffers=weights(16 * n), subgraphs=[graph(tensors=[Shared(tensor(shape=[4 * n], buffer=1))] * n)]
    ),
    "scales of tensors": lambda n: packed(
        subgraphs=[graph(tensors=[Shared(tensor(quantization=quantized(scale=np.ones(4 * n, np.float32))))] * n)]
    ),
    "details of tensors": lambda n: packed(
        subgraphs=[graph(tensors=[Shared(tensor(quantization=details(16 * n)))] * n)]
    ),
    "sparsity of tensors": lambda n: packed(subgraphs=[graph(tensors=[Shared(tensor(sparsity=sparsity(n)))] * n)]),
    "variants of tensors": lambda n: packed(
        subgraphs=[graph(tensors=[Shared(tensor(variantTensors=[Shared(make("VariantSubType", shape=[1]))] * n))] * n)]
    ),
    "inputs of ops": lambda n: packed(subgraphs=[graph(operators=[Shared(op(inputs=np.zeros(4 * n, np.int32)))] * n)]),
    "new shape of ops": lambda n: packed(subgraphs=[graph(operators=[Shared(reshape(4 * n))] * n)]),
    "unread options of ops": lambda n: packed(subgraphs=[graph(operators=[Shared(bucketize(4 * n))] * n)]),
    "custom options of ops": lambda n: packed(
        subgraphs=[graph(operators=[Shared(op(customOptions=np.zeros(16 * n, np.uint8)))] * n)]
    ),
    "name of custom ops": lambda n: packed(
        operatorCodes=[Shared(make("OperatorCode", builtinCode=32, customCode="c" * 16 * n, version=1))] * n
    ),
    "entries of signatures": lambda n: packed(
        signatureDefs=[Shared(signature(inputs=[Shared(make("TensorMap", name="x", tensorIndex=0))] * n))] * n
    ),
    "key of signatures": lambda n: packed(signatureDefs=[Shared(signature(signatureKey="k" * 16 * n))] * n),
    "buffer of metadata": lambda n: packed(
        buffers=weights(16 * n), metadata=[Shared(make("Metadata", name="m", buffer=1))] * n
    ),
    "name of metadata": lambda n: packed(metadata=[Shared(make("Metadata", name="m" * 16 * n, buffer=0))] * n),
    "bytes of buffers": lambda n: packed(buffers=[make("Buffer"), *[Shared(weights(16 * n)[1])] * n]),
    "bytes behind the file": lambda n: packed(
        buffers=[make("Buffer"), *[Shared(make("Buffer", offset=32, size=4 * n))] * n]
    ),
}


@pytest.mark.parametrize("build", AMPLIFIERS.values(), ids=AMPLIFIERS)
def test_shared_offsets_do_not_unfold_without_bound(build):
    """A megabyte that describes a gigabyte and more, by pointing to the same things over and over."""
    data = build(20_000)
    assert len(data) < 2 << 20
    with bounded(60), pytest.raises(ModelFileError, match="far more than the file can hold"):
        tflite.read(data, NAME)


def test_a_megabyte_of_pointers_to_one_table_is_bounded_too():
    data = packed(subgraphs=[graph(tensors=[Shared(tensor())] * 250_000)])
    with bounded(60), pytest.raises(ModelFileError, match="far more than the file can hold"):
        tflite.read(data, NAME)


def test_many_entry_points_into_one_network_are_not_mistaken_for_an_attack():
    model = zoo.float_classifier()
    for number in range(40):
        model.graphs.append(model.graphs[0].copy(f"entry {number}"))
    assert judge(tflite.write(model))


INCONSISTENT = {
    "an op reads its own output": (
        packed(subgraphs=[graph(operators=[op(inputs=[1])])]),
        r"op 0 LEAKY_RELU reads tensor 'y' before anything writes it",
    ),
    "two ops read each other": (
        packed(
            subgraphs=[
                graph(
                    tensors=[tensor(name=name) for name in "xyz"],
                    operators=[op(inputs=[2], outputs=[1]), op(inputs=[1], outputs=[2])],
                )
            ]
        ),
        r"op 0 LEAKY_RELU reads tensor 'z' before",
    ),
    "two ops write one tensor": (packed(subgraphs=[graph(operators=[op(), op()])]), "op 1 .* already has a value"),
    "an op writes the input": (
        packed(subgraphs=[graph(operators=[op(outputs=[0])])]),
        "'x', which already has a value",
    ),
    "an op writes a constant": (
        packed(buffers=weights(4), subgraphs=[graph(tensors=[tensor(), tensor(name="y", buffer=1)])]),
        "'y', which already has a value",
    ),
    "nothing writes the output": (packed(subgraphs=[graph(operators=[])]), "output 'y' is never written"),
    "an op reads a tensor that is not there": (
        packed(subgraphs=[graph(operators=[op(inputs=[7])])]),
        "tensor 7 does not",
    ),
    "a negative index": (packed(subgraphs=[graph(operators=[op(inputs=[-2])])]), "tensor -2 does not exist"),
    "an output that is not there": (packed(subgraphs=[graph(outputs=[5])]), "tensor 5 does not exist"),
    "an op without a code": (packed(operatorCodes=[]), "operator code 0 does not exist"),
    "a buffer that is not there": (
        packed(subgraphs=[graph(tensors=[tensor(buffer=3), tensor(name="y")])]),
        "'x': buffer 3 does not exist",
    ),
    "a buffer behind the end": (packed(buffers=[make("Buffer", offset=64, size=4000)]), "beyond the end"),
    "a signature of no subgraph": (packed(signatureDefs=[signature(subgraphIndex=4)]), "subgraph 4 does not exist"),
    "a signature of no tensor": (
        packed(signatureDefs=[signature(inputs=[make("TensorMap", name="x", tensorIndex=9)])]),
        "signature 'k': tensor 9 does not exist",
    ),
    "a signature of an inner tensor": (
        packed(signatureDefs=[signature(inputs=[make("TensorMap", name="x", tensorIndex=1)])]),
        "signature 'k' names tensors that are no inputs",
    ),
    "metadata of no buffer": (packed(metadata=[make("Metadata", name="m", buffer=8)]), "metadata buffer 8"),
    "no subgraph": (packed(subgraphs=[]), "no subgraph"),
    "another schema": (packed(version=2), "schema version 2"),
    "an unknown element type": (
        packed(subgraphs=[graph(tensors=[tensor(type=77), tensor(name="y")])]),
        "'x' has unknown element type 77",
    ),
    "a shape larger than its data": (
        packed(buffers=weights(4), subgraphs=[graph(tensors=[tensor(shape=[1000], buffer=1), tensor(name="y")])]),
        r"'x' of shape \[1000\] float32 has a buffer of 4 bytes",
    ),
    "a shape smaller than its data": (
        packed(buffers=weights(400), subgraphs=[graph(tensors=[tensor(buffer=1), tensor(name="y")])]),
        "has a buffer of 400 bytes",
    ),
    "data of half an element": (
        packed(buffers=weights(3), subgraphs=[graph(tensors=[tensor(buffer=1), tensor(name="y")])]),
        "not a readable TFLite model|has a buffer of 3 bytes",
    ),
    "a shape whose size overflows": (
        packed(
            buffers=weights(4),
            subgraphs=[graph(tensors=[tensor(shape=[65536] * 4, buffer=1), tensor(name="y")])],
        ),
        "has a buffer of 4 bytes",
    ),
    "an activation of petabytes": (
        packed(subgraphs=[graph(tensors=[tensor(shape=[2**31 - 1, 2**31 - 1]), tensor(name="y")])]),
        "impossible shape",
    ),
    "a negative size": (packed(subgraphs=[graph(tensors=[tensor(shape=[-5]), tensor(name="y")])]), "impossible shape"),
    "a signature of another rank": (
        packed(subgraphs=[graph(tensors=[tensor(shapeSignature=[-1, -1]), tensor(name="y")])]),
        "declares the signature",
    ),
    "a scale that is not a number": (
        packed(subgraphs=[graph(tensors=[tensor(quantization=quantized(scale=[float("nan")])), tensor(name="y")])]),
        "scale that is negative or not finite",
    ),
    "an infinite scale": (
        packed(subgraphs=[graph(tensors=[tensor(quantization=quantized(scale=[float("inf")])), tensor(name="y")])]),
        "scale that is negative or not finite",
    ),
    "a negative scale": (
        packed(subgraphs=[graph(tensors=[tensor(quantization=quantized(scale=[-1.0])), tensor(name="y")])]),
        "scale that is negative or not finite",
    ),
    "scales along no dimension": (
        packed(
            subgraphs=[
                graph(
                    tensors=[
                        tensor(quantization=quantized(scale=[1.0, 2.0], zeroPoint=[0, 0], quantizedDimension=3)),
                        tensor(name="y"),
                    ]
                )
            ]
        ),
        "2 scales along dimension 3",
    ),
    "zero points without scales": (
        packed(subgraphs=[graph(tensors=[tensor(quantization=quantized(zeroPoint=[1, 2, 3])), tensor(name="y")])]),
        "1 scales and 3 zero points",
    ),
    "a zero point out of range": (
        packed(
            subgraphs=[
                graph(
                    tensors=[
                        tensor(type=schema.TensorType.INT8, quantization=quantized(zeroPoint=[300])),
                        tensor(name="y"),
                    ]
                )
            ]
        ),
        "zero point outside int8",
    ),
}


@pytest.mark.parametrize(("data", "message"), INCONSISTENT.values(), ids=INCONSISTENT)
def test_what_contradicts_itself_is_refused_and_says_where(data, message):
    with bounded(10), pytest.raises(ModelFileError, match=message) as caught:
        tflite.read(data, NAME)
    assert NAME in str(caught.value)


def attached(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO(packed())
    with zipfile.ZipFile(buffer, "a", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def test_an_attached_bomb_is_not_unpacked():
    data = attached(("labels.txt", bytes(200 << 20)))
    assert len(data) < 1 << 20
    with (
        bounded(20, 256 << 20),
        pytest.raises(ModelFileError, match=r"victim\.tflite: its attached files unpack to more"),
    ):
        tflite.read(data, NAME)


def test_an_attached_file_that_is_damaged_is_refused():
    data = bytearray(attached(("labels.txt", b"cat\n" * 1000)))
    data[len(packed()) + 60] ^= 0xFF
    with pytest.raises(ModelFileError, match="its attached files cannot be read"):
        tflite.read(bytes(data), NAME)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_to_attached_files_is_an_error_whatever_packed_them(method):
    data = attached(("labels.txt", b"cat\ndog\n" * 100), ("vocabulary.txt", b"a b c" * 50), method=method)
    start, rng = len(packed()), random.Random(method)
    with bounded(60):
        for _ in range(300):
            damaged = bytearray(data)
            for _bit in range(rng.randint(1, 4)):
                damaged[rng.randrange(start, len(data))] ^= 1 << rng.randrange(8)
            judge(bytes(damaged[: rng.randrange(start, len(data))]) if rng.random() < 0.2 else bytes(damaged))
