"""Masks of gradients as bits: the same bytes as TensorFlow Lite Micro's QUANTIZE and MUL, and less to keep."""

import numpy as np
import pytest

from export.c import Described, Explained, Sources, emit
from export.tflite import Quantization
from export.tflite import options as tables
from export.tflite.graph import Tensor
from export.tflite.options import Activation

from . import harness
from .graphs import Sketch
from .harness import Case
from .reference import tflm

WIDE = 0.05
RECTIFIED = Quantization((WIDE,), (-128,))


def explained(
    seed: int,
    shape: tuple[int, ...],
    gradient: tuple[int, ...],
    *,
    activation_grid: Quantization = RECTIFIED,
    finer: float = 128,
    zero: int = 0,
    exact: bool = True,
) -> tuple[Case, Tensor]:
    """Return a graph of a rectified activation and of a gradient that is masked by it, and the masked gradient.

    The activation is the first op, and the score is made of it; the gradient is an input.
    """
    sketch = Sketch(seed)
    build = sketch.builder
    x = sketch.input(*shape, grid=Quantization((WIDE,), (3,)))
    upstream = sketch.input(*gradient, grid=Quantization((0.01,), (0,)))
    activation = build.op("RELU", [x], shape, quantization=activation_grid)
    step = float(np.float32(WIDE / finer))
    mask = build.quantize(activation, Quantization((step,), (0,)))
    moved = build.op("ABS", [upstream], gradient, quantization=upstream.quantization)
    unit = 0.01 * step * 127 if exact else 0.017 * step * 127
    grid = Quantization((float(np.float32(unit)),), (zero,))
    operands = [mask, moved] if seed % 2 else [moved, mask]
    masked = build.op("MUL", operands, shape, tables.MulOptions(Activation.NONE), quantization=grid)
    score = build.op("RELU", [activation], shape, quantization=Quantization((WIDE * 2,), (-128,)))
    return Case(sketch.done(score, masked), (sketch.values(x, 4), sketch.values(upstream, 4))), masked


def compiled(case: Case, masked: Tensor, name: str = "case0") -> Sources:
    """Return the C of a graph whose second output explains its first."""
    graph, score = case.graph, case.graph.outputs[0]
    size = masked.shape[1:]
    return emit(Described(name, graph, score, score, explanations=[Explained("gradient", "activation", masked, size)]))


CASES = {
    "as large": {"shape": (1, 5, 6, 4), "gradient": (1, 5, 6, 4)},
    "of no whole bytes": {"shape": (1, 3, 3, 7), "gradient": (1, 3, 3, 7)},
    "repeated": {"shape": (1, 3, 2, 16), "gradient": (1, 1, 1, 16)},
    "rescaled": {"shape": (1, 5, 7, 3), "gradient": (1, 5, 7, 3), "exact": False},
    "rescaled and repeated": {"shape": (1, 4, 2, 8), "gradient": (1, 1, 2, 8), "exact": False},
}
PLAIN = {
    "repeated in parts of bytes": {"shape": (1, 4, 4, 6), "gradient": (1, 1, 1, 6)},
    "repeated along channels": {"shape": (1, 4, 2, 8), "gradient": (1, 4, 2, 1)},
    "of an activation that may be negative": {
        "shape": (1, 4, 4, 8),
        "gradient": (1, 4, 4, 8),
        "activation_grid": Quantization((WIDE,), (-100,)),
    },
    "by a mask that does not saturate": {"shape": (1, 4, 4, 8), "gradient": (1, 4, 4, 8), "finer": 64},
    "onto a grid without 0 in its middle": {"shape": (1, 4, 4, 8), "gradient": (1, 4, 4, 8), "zero": 5},
}


@pytest.fixture
def explaining(monkeypatch):
    """Let the programs of the harness predict and explain."""
    plain = harness._main

    def main(cases: list[Case], sources: list[Sources]) -> str:
        text = plain(cases, sources)
        for one in sources:
            call = f"whylite_{one.identifier}.predict(arena);"
            more = f"{call} whylite_{one.identifier}.explanations[0].run(arena, WHYLITE_PREDICTED);"
            text = text.replace(call, more).replace(
                f"WHYLITE_{one.identifier.upper()}_OUTPUT_1_OFFSET", f"WHYLITE_{one.identifier.upper()}_MAP_0_OFFSET"
            )
        return text

    def emitted(cases: list[Case]) -> list[Sources]:
        return [compiled(case, case.graph.outputs[1], f"case{i}") for i, case in enumerate(cases)]

    monkeypatch.setattr(harness, "_main", main)
    monkeypatch.setattr(harness, "emitted", emitted)


def check(cases: list[Case], outputs: list[list[np.ndarray]]) -> None:
    for case, got in zip(cases, outputs, strict=True):
        for ours, theirs in zip(got, tflm(case), strict=True):
            np.testing.assert_array_equal(ours, theirs)
            assert len(np.unique(theirs)) > 2


def every_case() -> list[Case]:
    return [explained(seed, **own)[0] for own in (CASES | PLAIN).values() for seed in (0, 1)]


def test_bytes_are_those_of_the_mask_and_the_product(explaining, tmp_path):
    cases = every_case()
    check(cases, harness.on_host(cases, tmp_path))


@pytest.mark.parametrize("core", ["m0", "m4", "m55"])
def test_boards_compute_the_same(explaining, core, tmp_path):
    cases = every_case()
    check(cases, harness.on_board(cases, tmp_path, core))


@pytest.mark.parametrize("name", CASES)
def test_a_mask_is_packed_while_predicting_and_passes_while_explaining(name):
    operations = [(own.part, own.code) for own in compiled(*explained(1, **CASES[name])).operations]
    assert ("predict", "PACK_BITS") in operations
    assert operations[-1] == ("gradient", "GATE")
    assert {code for _, code in operations}.isdisjoint({"MUL", "QUANTIZE"})


@pytest.mark.parametrize("name", PLAIN)
def test_what_is_no_mask_of_whole_bits_stays_a_product(name):
    codes = {own.code for own in compiled(*explained(1, **PLAIN[name])).operations}
    assert codes.isdisjoint({"PACK_BITS", "GATE"})
    assert {"MUL", "QUANTIZE"} <= codes


def test_a_bit_of_an_activation_is_kept_and_not_its_bytes():
    """Eight activations in a row, each of which masks a gradient on the way back."""
    sketch = Sketch(2)
    build, grid = sketch.builder, RECTIFIED
    shape = (1, 8, 8, 8)
    first = sketch.input(*shape, grid=grid)
    activations = [first]
    for _ in range(8):
        activations.append(build.op("MUL", [activations[-1]] * 2, shape, tables.MulOptions(), quantization=grid))
    step = float(np.float32(WIDE / 128))
    gradient = build.op("RELU", [activations[-1]], shape, quantization=Quantization((0.01,), (0,)))
    for activation in activations[:0:-1]:
        mask = build.quantize(activation, Quantization((step,), (0,)))
        scale = gradient.quantization.scale[0] * step * 127
        product = Quantization((float(np.float32(scale)),), (0,))
        gradient = build.op("MUL", [gradient, mask], shape, tables.MulOptions(), quantization=product)
    case = Case(sketch.done(activations[-1], gradient), (sketch.values(first, 1),))
    plain = harness.emit(Described("plain", case.graph, activations[-1], activations[-1]))  # both are predicted
    size = 8 * 8 * 8
    assert plain.arena >= 8 * size
    assert compiled(case, gradient).arena <= 2 * size + 8 * size // 8 + size
