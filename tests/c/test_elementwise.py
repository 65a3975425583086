"""Two operands, value by value: byte for byte what TensorFlow Lite Micro gives."""

import numpy as np
import pytest

from export.c import Described, emit
from export.errors import UnsupportedModelError
from export.tflite import Graph, Quantization, Tensor
from export.tflite import options as tables
from export.tflite.options import Activation

from .graphs import Sketch
from .harness import Case, on_board, on_host
from .reference import tflm

COUNTS = {"ADD": 10, "SUB": 6, "MUL": 10, "PRELU": 8, "MAXIMUM": 3, "MINIMUM": 3}
OPTIONS = {"ADD": tables.AddOptions, "SUB": tables.SubOptions, "MUL": tables.MulOptions}


def shapes(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that can be broadcast: alike, one a vector of channels, a number, or anything."""
    whole = tuple(int(n) for n in rng.integers(1, 6, int(rng.integers(1, 5))))
    kind = rng.integers(4)
    if kind == 0:
        return whole, whole
    if kind == 1:
        return whole, whole[-1:]
    if kind == 2:
        return whole, (1,) * int(rng.integers(0, len(whole) + 1))
    left, right = (tuple(n if rng.random() < 0.6 else 1 for n in whole) for _ in range(2))
    return left, right[int(rng.integers(len(right))) :]


def binary(code: str, seed: int) -> Case:
    sketch = Sketch(seed)
    rng = sketch.rng
    left, right = shapes(rng)
    if rng.random() < 0.3 and code != "PRELU":
        left, right = right, left
    if code == "PRELU":
        left = tuple(np.broadcast_shapes(left, right))
    grids = [sketch.grid(-12, 4), sketch.grid(-12, 4), sketch.grid(-8, 4)]
    if code in ("MAXIMUM", "MINIMUM"):
        grids = grids[:1] * 3
    tensors = [operand(sketch, left, grids[0], seed % 3 == 1), operand(sketch, right, grids[1], seed % 3 == 2)]
    options = OPTIONS[code](Activation(int(rng.integers(4)))) if code in OPTIONS else None
    shape = np.broadcast_shapes(left, right)
    y = sketch.builder.op(code, tensors, shape, options, quantization=grids[2])
    return Case(sketch.done(y), tuple(sketch.values(x, 4) for x in sketch.graph.inputs))


def operand(sketch: Sketch, shape: tuple[int, ...], grid: Quantization, constant: bool) -> Tensor:
    if not constant:
        return sketch.input(*shape, grid=grid)
    return sketch.builder.constant(sketch.rng.integers(-128, 128, shape), np.dtype(np.int8), grid)


def every_pair(code: str, seed: int, halves: bool = False) -> Case:
    """All bytes with all bytes; with ``halves`` every other result is half way between two bytes."""
    sketch = Sketch(seed)
    grids = [sketch.grid(-6, -4), sketch.grid(-6, -4), sketch.grid(-6, -2)]
    if halves:
        grids = [Quantization((scale,), (3,)) for scale in (1.0, 1.0, 2.0)]
    left, right = sketch.input(1, 256, 1, grid=grids[0]), sketch.input(256, grid=grids[1])
    options = OPTIONS[code]() if code in OPTIONS else None
    y = sketch.builder.op(code, [left, right], (1, 256, 256), options, quantization=grids[2])
    values = np.arange(-128, 128, dtype=np.int8)
    return Case(sketch.done(y), (values.reshape(1, 1, 256, 1), values.reshape(1, 256)))


def with_itself(reshaped: bool) -> Case:
    """A sum that may be written over its operand, or not: the other one reads the same bytes, later."""
    sketch = Sketch(5)
    x = sketch.input(1, 6)
    middle = sketch.builder.op("RELU", [x], x.shape, quantization=sketch.grid())
    rest = sketch.builder.op("RESHAPE", [middle], (6, 1), quantization=middle.quantization) if reshaped else middle
    shape = (6, 6) if reshaped else x.shape
    y = sketch.builder.op("ADD", [middle, rest], shape, tables.AddOptions(), quantization=sketch.grid())
    one = sketch.builder.op("SUB", [y, middle], shape, tables.SubOptions(), quantization=sketch.grid())
    return Case(sketch.done(one), (sketch.values(x, 4),))


def test_bytes_are_those_of_the_reference(tmp_path):
    cases = [binary(code, seed) for code, count in COUNTS.items() for seed in range(count)]
    cases += [every_pair(code, seed) for code in ("ADD", "SUB", "MUL", "PRELU") for seed in (0, 3)]
    cases += [every_pair(code, 0, halves=True) for code in ("ADD", "SUB", "MUL")]
    cases += [with_itself(reshaped) for reshaped in (False, True)]
    for case, (got,) in zip(cases, on_host(cases, tmp_path), strict=True):
        np.testing.assert_array_equal(got, tflm(case)[0], f"{case.graph.ops} {case.graph.inputs}")


@pytest.mark.parametrize("core", ["m4", "m55"])
def test_boards_compute_the_same(core, tmp_path):
    cases = [binary(code, seed) for code, count in COUNTS.items() for seed in range(count)]
    cases += [every_pair(code, 0, halves) for code in ("ADD", "SUB", "MUL") for halves in (False, True)]
    for case, (got,) in zip(cases, on_board(cases, tmp_path, core), strict=True):
        np.testing.assert_array_equal(got, tflm(case)[0], f"{case.graph.ops} {case.graph.inputs}")


def compiled(graph: Graph) -> str:
    return emit(Described("one", graph, graph.outputs[0], graph.outputs[0])).files["whylite_one.c"]


@pytest.mark.parametrize("code", COUNTS)
def test_a_constant_number_makes_a_table(code):
    sketch = Sketch(3)
    grid = sketch.grid()
    x, number = sketch.input(1, 3, 4, grid=grid), operand(sketch, (1, 1), grid, constant=True)
    options = OPTIONS[code]() if code in OPTIONS else None
    text = compiled(sketch.done(sketch.builder.op(code, [x, number], x.shape, options, quantization=grid)))
    assert "whylite_lookup(table_0" in text or "(void)arena" in text


def test_what_is_read_later_is_not_overwritten():
    assert "whylite_elementwise" in compiled(with_itself(reshaped=True).graph)


def of(left: tuple[int, ...], right: tuple[int, ...], shape: tuple[int, ...], scales: tuple[float, ...]) -> Graph:
    sketch = Sketch(3)
    a, b, c = (Quantization((float(np.float32(s)),), (0,)) for s in scales)
    operands = [sketch.input(*left, grid=a), sketch.input(*right, grid=b)]
    return sketch.done(sketch.builder.op("ADD", operands, shape, tables.AddOptions(), quantization=c))


REFUSED = {
    "operands that do not fit": (("ADD", (2, 3), (2, 2), (2, 3), (1, 1, 1)), "do not fit"),
    "another shape": (("ADD", (2, 3), (1, 3), (2, 4), (1, 1, 1)), r"do not make \[2, 4\]"),
    "more axes than the result": (("ADD", (1, 2, 3), (2, 3), (2, 3), (1, 1, 1)), r"do not make \[2, 3\]"),
    "too many axes": (("ADD", (2, 1, 2, 1, 2), (1, 2, 1, 2, 1), (2,) * 5, (1, 1, 1)), "more than 4 groups of axes"),
    "a sum too fine": (("ADD", (2,), (2,), (2,), (1, 1, 1e-7)), "'0' .* is too fine for those of its operands"),
    "a product too fine": (("MUL", (2,), (2,), (2,), (1, 1, 1e-5)), "'0' .* is too fine for those of its operands"),
    "grids to compare": (("MAXIMUM", (2,), (2,), (2,), (1, 1, 0.5)), "are on different grids"),
}


@pytest.mark.parametrize(("what", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals_name_the_op(what, message):
    code, *rest = what
    graph = of(*rest)
    graph.ops[0].code = code
    graph.ops[0].options = OPTIONS[code]() if code in OPTIONS else None
    with pytest.raises(UnsupportedModelError, match=f"{code} -> '0'.*{message}"):
        compiled(graph)
