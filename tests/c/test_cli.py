"""``whylite emit``: what it writes, says and refuses; and that kernels go together."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import export
import whylite
from edge.bundle import seal
from edge.micro import INTERFACE, Micro, Operation, Stored
from export.c import Described, Explained, emit, ops, source
from export.c.emit import kernels
from export.c.lowering import LOWERINGS
from export.errors import UnsupportedModelError
from export.tflite import Op, Quantization
from export.tflite import options as tables
from export.tflite.ops import FLOAT, INT32
from export.tflite.options import Padding
from tests.references import small_models
from tests.tools import needs

from .graphs import Sketch, file_of
from .harness import STRICT

ROOT = Path(__file__).parents[2]


def model(**changes) -> bytes:
    sketch = Sketch(0)
    x = sketch.input(1, 4, 4, 2)
    halved = tables.Pool2DOptions(tables.Padding.VALID, 2, 2, 2, 2)
    y = sketch.builder.op("MAX_POOL_2D", [x], (1, 2, 2, 2), halved, quantization=x.quantization)
    flat = sketch.builder.op(
        "RESHAPE", [y, sketch.builder.constant([1, 8], INT32)], (1, 8), quantization=x.quantization
    )
    graph = sketch.done(flat)
    for name, change in changes.items():
        change(getattr(graph, name))
    return file_of(graph)


@needs("gcc")
def test_a_model_is_written_with_the_kernels_it_needs_and_compiles(tmp_path, capsys):
    (tmp_path / "wake word.tflite").write_bytes(model())
    out = tmp_path / "c"
    assert whylite.main(["emit", str(tmp_path / "wake word.tflite"), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "whylite_wake_word.h" in said
    assert "32 bytes of arena" in said  # 4 x 4 x 2, and the result over it
    assert sorted(path.name for path in out.iterdir()) == [
        "whylite.h",
        "whylite_arithmetic.h",
        "whylite_pool.c",
        "whylite_pool.h",
        "whylite_wake_word.c",
        "whylite_wake_word.h",
    ]
    command = ["gcc", *STRICT, "-fsyntax-only", *map(str, out.glob("*.c"))]
    assert subprocess.run(command, check=False).returncode == 0


def test_the_document_has_every_kernel_call(tmp_path, capsys):
    (tmp_path / "m.tflite").write_bytes(model())
    assert whylite.main(["emit", str(tmp_path / "m.tflite"), "-o", str(tmp_path), "--name", "mine", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["identifier"] == "mine"
    assert document["operations"] == [
        {"code": "MAX_POOL_2D", "kernel": "whylite_max_pool", "part": "predict", "macs": 0}
    ]
    assert set(document["files"]) == {path.name for path in tmp_path.glob("whylite*")}


def refused(arguments, says, capsys):
    assert whylite.main(["emit", *map(str, arguments)]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert says in shown.err
    assert "hint: " in shown.err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"inputs": lambda inputs: inputs.append(inputs[0])}, "2 inputs"),
        ({"inputs": lambda inputs: inputs[0].__setattr__("shape_signature", (1, -1, 4, 2))}, "open dimensions"),
        ({"outputs": lambda outputs: outputs.clear()}, "0 outputs"),
        ({"ops": lambda ops: ops[0].__setattr__("code", "L2_POOL_2D")}, "L2_POOL_2D"),
    ],
)
def test_what_cannot_be_compiled_is_refused_and_nothing_written(changes, says, tmp_path, capsys):
    (tmp_path / "m.tflite").write_bytes(model(**changes))
    refused([tmp_path / "m.tflite", "-o", tmp_path / "c"], says, capsys)
    assert not (tmp_path / "c").exists()


def test_float_models_damaged_files_and_places_that_cannot_be_written_are_refused(tmp_path, capsys):
    sketch = Sketch(0)
    x = sketch.builder.tensor("x", (1, 4, 4, 2), FLOAT)
    sketch.graph.inputs.append(x)
    y = sketch.builder.op("MAX_POOL_2D", [x], (1, 4, 4, 2), tables.Pool2DOptions())
    (tmp_path / "float.tflite").write_bytes(file_of(sketch.done(y)))
    refused([tmp_path / "float.tflite", "-o", tmp_path / "c"], "is not int8", capsys)
    (tmp_path / "cut.tflite").write_bytes(model()[:200])
    refused([tmp_path / "cut.tflite", "-o", tmp_path / "c"], "cut.tflite", capsys)
    refused([tmp_path / "none.tflite", "-o", tmp_path / "c"], "cannot read", capsys)
    (tmp_path / "m.tflite").write_bytes(model())
    refused([tmp_path / "m.tflite", "-o", tmp_path / "no" / "folder"], "cannot write to", capsys)
    (tmp_path / "c" / "whylite_pool.c").mkdir(parents=True)
    refused([tmp_path / "m.tflite", "-o", tmp_path / "c"], "whylite_pool.c", capsys)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["whylite_pool.c"]


def test_the_sources_in_a_bundle_are_written_as_they_are(tmp_path, capsys):
    bundle = export.explain(small_models.float_classifier(), calibration=small_models.inputs(4), methods=["gradcam"])
    stored = Stored((4,), 0.5, 0)
    micro = Micro("beats", stored, stored, 640, 1000, 2000, "1", (), (Operation("RELU", "whylite_map", "predict", 7),))
    header = b"/*\n *   flash  1000 bytes of constants, 0 of them to explain\n */\n"
    header += b"#define WHYLITE_BEATS_ARENA_SIZE 640\n"
    files = {"whylite_beats.c": b"/* c */", "whylite_beats.h": header}
    files["whylite.h"] = f"#define WHYLITE_INTERFACE {INTERFACE}\n".encode()
    members = {**bundle.members, "micro.tflite": b"", "micro.npz": b""}
    members |= {f"c/{name}": text for name, text in files.items()}
    path, out = tmp_path / "beats.why", tmp_path / "c"
    seal(replace(bundle.manifest, micro=micro), members).save(path)
    assert whylite.main(["emit", str(path), "-o", str(out)]) == 0
    assert "640 bytes of arena" in capsys.readouterr().out
    assert {file.name: file.read_bytes() for file in out.iterdir()} == files
    refused([path, "-o", out, "--name", "other"], "called 'beats' already", capsys)
    seal(replace(bundle.manifest, micro=micro), {**members, "c/../escaped.c": b""}).save(path)
    refused([path, "-o", out], "a source called 'c/../escaped.c'", capsys)
    older = {**members, "c/whylite.h": f"#define WHYLITE_INTERFACE {INTERFACE - 1}\n".encode()}
    seal(replace(bundle.manifest, micro=micro), older).save(path)
    refused([path, "-o", tmp_path / "older"], f"has C of interface {INTERFACE - 1}, and this WhyLite is for", capsys)
    assert not (tmp_path / "older").exists()
    seal(bundle.manifest, bundle.members).save(path)
    refused([path, "-o", out], "holds no C", capsys)


@pytest.mark.parametrize("code", sorted(LOWERINGS))
def test_an_op_that_is_not_as_converters_write_it_is_refused_by_name(code):
    """Without operands, without options, and of shapes that do not belong together."""
    for inputs, options in (([], None), ([0], None), ([0, 0, 0], tables.Conv2DOptions()), ([0, 1, 1], None)):
        sketch = Sketch(0)
        x = sketch.input(1, 3, 5)
        operands = [x, sketch.builder.constant([7], INT32)]
        y = sketch.builder.tensor("y", (2, 9), x.dtype, Quantization((0.5,), (3,)))
        sketch.graph.ops.append(Op(code, [operands[place] for place in inputs], [y], options))
        with pytest.raises(UnsupportedModelError, match=code):
            emit(Described("hostile", sketch.done(y), y, y))


def test_a_convolution_of_several_images_is_refused():
    sketch = Sketch(0)
    x, weights = sketch.input(2, 3, 3, 1), sketch.weights(1, 1, 1, 1)
    inputs = [x, weights, sketch.bias(x, weights, 1)]
    y = sketch.builder.op("CONV_2D", inputs, x.shape, tables.Conv2DOptions(), quantization=sketch.grid())
    with pytest.raises(UnsupportedModelError, match="is not one image"):
        emit(Described("images", sketch.done(y), y, y))


@pytest.mark.parametrize(
    ("shape", "message", "hint"),
    [
        ((0, 4), "a size is 0 or open", "fixed shapes"),
        ((-1, 4), "a size is 0 or open", "fixed shapes"),
        ((1, 1 << 16), "a size is larger than 65,535", "that axis as two"),
    ],
)
def test_sizes_that_c_is_not_told_are_refused(shape, message, hint):
    sketch = Sketch(0)
    x = sketch.input(*shape)
    y = sketch.builder.op("RESHAPE", [x], shape, quantization=x.quantization)
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        emit(Described("sizes", sketch.done(y), y, y))
    assert hint in caught.value.hint


def test_an_axis_that_c_is_not_told_of_can_be_two_which_a_reshape_joins_for_nothing():
    sketch = Sketch(0)
    x = sketch.input(1, 1 << 9, 1 << 8)
    joined = sketch.builder.reshape(x, (1, 1, 1 << 17, 1))
    options = tables.Pool2DOptions(Padding.VALID, 16, 1, 16, 1)
    y = sketch.builder.op("MAX_POOL_2D", [joined], (1, 1, 1 << 13, 1), options, quantization=x.quantization)
    sources = emit(Described("long", sketch.done(y), y, y))
    assert [operation.code for operation in sources.operations] == ["MAX_POOL_2D"]


HOSTILE = ["a*/b", "a/*b", "evil*/ int injected = 1; /*", "*/*/*", "/", "*", "//", "\\", "a\n#error", "??/", "\udcff"]


@needs("gcc", "clang")
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_name_in_a_model_becomes_code(compiler, tmp_path):
    sketch = Sketch(0)
    x = sketch.input(1, 4)
    y, z = (sketch.builder.op("RELU", [x], (1, 4), quantization=x.quantization) for _ in range(2))
    graph = sketch.done(y)
    for place, name in enumerate(HOSTILE):
        explained = Explained("way", name, z, (4,))
        found = emit(Described(name, graph, y, y, labels=[name], explanations=[explained]))
        header = found.files[f"whylite_{found.identifier}.h"]
        assert "int injected" not in re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
        (tmp_path / str(place)).mkdir()
        for file, text in found.files.items():
            (tmp_path / str(place) / file).write_text(text)
    command = [compiler, *STRICT, "-Wcomment", "-fsyntax-only", *map(str, tmp_path.glob("*/whylite_*.c"))]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]


@given(st.text() | st.text("*/\\\n? ;\udcff"))
def test_a_comment_goes_on_whatever_is_put_in_it(name):
    found = source.comment(name)
    assert not re.search(r"\*/|/\*|\?\?", found)
    assert all(" " <= c <= "~" for c in found)


@needs("gcc", "clang")
def test_all_kernels_go_together_in_one_program(tmp_path):
    files = kernels(sorted({path.stem.removeprefix("whylite_") for path in (ROOT / "export/c/kernels").glob("*_*.h")}))
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    headers = [name for name in files if name.endswith(".h")]
    (tmp_path / "all.c").write_text("".join(f'#include "{name}"\n' for name in headers))
    for compiler in ("gcc", "clang"):
        command = [compiler, *STRICT, "-fsyntax-only", str(tmp_path / "all.c")]
        assert subprocess.run(command, check=False).returncode == 0


def test_the_page_has_the_table_of_ops():
    """Write it with `python -m export.c.ops`, under its heading in docs/c-code.md."""
    assert ops.table() in (ROOT / "docs" / "c-code.md").read_text()
