"""Functions of one value: every byte of every table, over many grids, as TensorFlow Lite Micro has it."""

import numpy as np
import pytest

from export.c import Described, emit
from export.errors import UnsupportedModelError
from export.tflite import Quantization
from export.tflite import options as tables
from export.tflite.ops import INT8

from .graphs import Sketch
from .harness import Case, on_host
from .reference import tflm

BYTES = np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 256)
UINT8 = np.dtype(np.uint8)


def scale(low: float, high: float, sketch: Sketch) -> float:
    return float(np.float32(2.0 ** sketch.rng.uniform(low, high)))


def unary(code: str, seed: int) -> Case:
    """One op over all bytes, on grids from fine to coarse."""
    sketch = Sketch(seed)
    rng = sketch.rng
    x = sketch.input(1, 256, grid=sketch.grid(-12, 4))
    y, options = sketch.grid(-12, 4), None
    assert x.quantization is not None
    if code == "LEAKY_RELU":
        options = tables.LeakyReluOptions(float(np.float32(rng.choice([0.3, 0.01, 1.7, -0.5, rng.random()]))))
    if code == "HARD_SWISH":
        y = Quantization((scale(-5, 2, sketch) * x.quantization.scale[0],), y.zero_point)
    if code == "RELU6" or (code == "QUANTIZE" and seed == 0):
        y = x.quantization
    if code in ("LOGISTIC", "TANH"):
        y = Quantization((1 / 256,), (-128,)) if code == "LOGISTIC" else Quantization((1 / 128,), (0,))
    return Case(sketch.done(sketch.builder.op(code, [x], x.shape, options, quantization=y)), (BYTES,))


def between_types(code: str, seed: int) -> Case:
    """QUANTIZE from and to uint8."""
    sketch = Sketch(seed)
    source, target = (UINT8, INT8) if code == "from uint8" else (INT8, UINT8)
    x = sketch.input(1, 256)
    x.dtype = source
    assert x.quantization is not None
    y = sketch.grid()
    if seed % 2 == 0:
        y = Quantization(x.quantization.scale, (x.quantization.zero_point[0] - (128 if target == INT8 else -128),))
    return Case(sketch.done(sketch.builder.quantize(x, y, target)), (BYTES.view(source),))


CODES = ["RELU", "RELU6", "LEAKY_RELU", "LOGISTIC", "TANH", "HARD_SWISH", "ABS", "QUANTIZE"]
EVERY = [(unary, code) for code in CODES] + [(between_types, code) for code in ("from uint8", "to uint8")]


def table(case: Case) -> np.ndarray:
    """The values that an op's table has for all bytes, in the order of ``BYTES``; they themselves if it needs none."""
    graph = case.graph
    compiled = emit(Described("one", graph, graph.outputs[0], graph.outputs[0])).files["whylite_one.c"]
    _, called, rest = compiled.partition("table_0[256] WHYLITE_ALIGNED = {")
    if not called:
        return case.inputs[0]
    values = np.array(rest.partition("}")[0].replace("\n", "").rstrip(", ").split(","), int).astype(np.int8)
    return values.view(graph.outputs[0].dtype)[case.inputs[0].view(np.uint8)]


def hard_swish(scale: float, zero: int, out: float, out_zero: int) -> Case:
    sketch = Sketch(0)
    x = sketch.input(1, 256, grid=Quantization((scale,), (zero,)))
    y = sketch.builder.op("HARD_SWISH", [x], x.shape, quantization=Quantization((out,), (out_zero,)))
    return Case(sketch.done(y), (BYTES,))


@pytest.mark.parametrize(("make", "code"), EVERY, ids=[code for _, code in EVERY])
def test_tables_are_those_of_the_reference(make, code):
    for seed in range(1, 60):
        case = make(code, seed)
        np.testing.assert_array_equal(table(case), tflm(case)[0], f"seed {seed}: {case.graph.ops}")


def test_halves_are_rounded_as_the_reference_does():
    """Products that are a half but for the precision in which the factor was worked out: one grid, a decimal slope."""
    for seed in range(500):
        sketch = Sketch(seed)
        alpha = float(np.float32(sketch.rng.integers(1, 100) / 100))
        x = sketch.input(1, 256)
        y = sketch.builder.op("LEAKY_RELU", [x], x.shape, tables.LeakyReluOptions(alpha), quantization=x.quantization)
        case = Case(sketch.done(y), (BYTES,))
        np.testing.assert_array_equal(table(case), tflm(case)[0], f"seed {seed}: {alpha}")
    # Where single precision would give another table.
    for grids in [
        (0.2715720534324646, 4, 0.4393528997898102, 4),
        (0.005762786138802767, 9, 0.0013157031498849392, -45),
    ]:
        case = hard_swish(*grids)
        np.testing.assert_array_equal(table(case), tflm(case)[0], f"{grids}")


def on_edges(seed: int) -> Case:
    """From float32 to a grid and back, over halves, what is next to them, and far beyond the grid."""
    sketch = Sketch(seed)
    middle, target = sketch.grid(-12, 4), sketch.grid(-12, 4)
    steps = np.arange(-300, 300, 0.5, np.float32)
    values = np.concatenate([steps, np.nextafter(steps, np.float32(np.inf)), np.nextafter(steps, np.float32(-np.inf))])
    values = np.concatenate([values * np.float32(middle.scale[0]), [0.0, -0.0, 1e6, -1e6]]).astype(np.float32)
    x = sketch.builder.tensor("x", (1, len(values)))
    sketch.graph.inputs.append(x)
    moved = sketch.builder.quantize(sketch.builder.quantize(x, middle), target)
    return Case(sketch.done(sketch.builder.dequantize(moved)), (values[None, None],))


def test_bytes_are_those_of_the_reference(tmp_path):
    cases = [make(code, seed) for make, code in EVERY for seed in (0, 1)] + [on_edges(seed) for seed in range(6)]
    for case, (got,) in zip(cases, on_host(cases, tmp_path), strict=True):
        np.testing.assert_array_equal(got, tflm(case)[0], f"{case.graph.ops}")


def test_the_same_grid_costs_nothing():
    case = unary("QUANTIZE", 0)
    case.graph.ops[0].output.quantization = case.graph.inputs[0].quantization
    compiled = emit(Described("one", case.graph, case.graph.outputs[0], case.graph.outputs[0]))
    assert compiled.operations == ()


REFUSED = [
    ("LOGISTIC", Quantization((1 / 128,), (-128,)), "is not on the grid 0.00390625, -128"),
    ("TANH", Quantization((1 / 128,), (5,)), "is not on the grid 0.0078125, 0"),
    ("RELU6", Quantization((1 / 128,), (5,)), "is on another grid than its input"),
    ("HARD_SWISH", Quantization((1e-5,), (5,)), "is too fine for that of"),
    ("RELU_N1_TO_1", Quantization((1 / 128,), (5,)), "is not among the ops of microcontrollers"),
    ("EXP", Quantization((1 / 128,), (5,)), "is not among the ops of microcontrollers"),
]


@pytest.mark.parametrize(("code", "quantization", "message"), REFUSED, ids=[code for code, *_ in REFUSED])
def test_what_would_not_be_the_same_is_refused(code, quantization, message):
    case = unary("QUANTIZE", 0)
    op = case.graph.ops[0]
    op.code, op.output.quantization = code, quantization
    with pytest.raises(UnsupportedModelError, match=f"{code} -> '0'.*{message}"):
        emit(Described("one", case.graph, op.output, op.output))


@pytest.mark.parametrize("code", ["RELU", "ABS", "DEQUANTIZE", "QUANTIZE"])
def test_other_types_are_refused(code):
    case = unary("QUANTIZE", 0)
    op = case.graph.ops[0]
    op.code, op.input(0).dtype, op.output.dtype = code, UINT8, UINT8
    with pytest.raises(UnsupportedModelError, match=f"{code} -> '0'.*'x0' \\(uint8"):
        emit(Described("one", case.graph, op.output, op.output))
