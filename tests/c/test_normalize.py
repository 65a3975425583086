"""SOFTMAX and L2_NORMALIZATION: byte for byte what TensorFlow Lite Micro gives."""

import numpy as np
import pytest

from export.c import Described, emit
from export.errors import UnsupportedModelError
from export.tflite import Quantization
from export.tflite import options as tables
from export.tflite.options import Activation

from .graphs import Sketch
from .harness import Case, on_host
from .reference import tflm

OUTPUT = {"SOFTMAX": Quantization((1 / 256,), (-128,)), "L2_NORMALIZATION": Quantization((1 / 128,), (0,))}


def normalized(code: str, seed: int) -> Case:
    sketch = Sketch(seed)
    rng = sketch.rng
    depth = int(rng.choice([1, 2, 10, 64, 511]))
    shape = (1, int(rng.integers(1, 12)), depth)
    x = sketch.input(*shape, grid=sketch.grid(-14, 4))
    beta = float(np.float32(rng.choice([1.0, 0.5, 3.3])))
    options = tables.SoftmaxOptions(beta) if code == "SOFTMAX" else tables.L2NormOptions()
    y = sketch.builder.op(code, [x], shape, options, quantization=OUTPUT[code])
    values = sketch.values(x, 6)
    values[2] = np.clip(rng.normal(0, 3, shape), -128, 127).astype(np.int8)
    assert x.quantization is not None
    values[3] = x.quantization.zero_point[0]
    values[4] = values[3]
    values[4].flat[0] ^= 1
    return Case(sketch.done(y), (values,))


def test_bytes_are_those_of_the_reference(tmp_path):
    cases = [normalized(code, seed) for code in OUTPUT for seed in range(10)]
    *known, (flat,) = on_host([*cases, equal(4095)], tmp_path)
    for case, (got,) in zip(cases, known, strict=True):
        np.testing.assert_array_equal(got, tflm(case)[0], f"{case.graph.ops} {case.graph.inputs}")
    assert (flat == -128).all()


def equal(depth: int) -> Case:
    """Equal values, so many that the reference ends the process: each is less than half a step."""
    sketch = Sketch(0)
    x = sketch.input(1, depth)
    y = sketch.builder.op("SOFTMAX", [x], x.shape, tables.SoftmaxOptions(), quantization=OUTPUT["SOFTMAX"])
    return Case(sketch.done(y), (np.zeros((1, 1, depth), np.int8),))


def refused(code: str, scale: float = 1 / 256, zero: int = -128, options: object = None, depth: int = 2) -> str:
    sketch = Sketch(1)
    x = sketch.input(1, depth, grid=Quantization((2.0**-30 if options == "fine" else 0.1,), (0,)))
    chosen = options if isinstance(options, tables.Options) else tables.SoftmaxOptions()
    y = sketch.builder.op(code, [x], x.shape, chosen, quantization=Quantization((scale,), (zero,)))
    with pytest.raises(UnsupportedModelError, match=f"{code} -> '0'") as raised:
        emit(Described("one", sketch.done(y), y, y))
    return str(raised.value)


def test_refusals_say_why():
    assert "'0' (int8 [1, 2]) is not on the grid 0.00390625, -128" in refused("SOFTMAX", zero=0)
    assert "'x0' (int8 [1, 5000]) has rows of 5000 values" in refused("SOFTMAX", depth=5000)
    assert "the grid of 'x0' (int8 [1, 2]) is too fine" in refused("SOFTMAX", options="fine")
    assert "is not on the grid 0.0078125, 0" in refused("L2_NORMALIZATION")
    activation = tables.L2NormOptions(Activation.RELU)
    assert "fused activation" in refused("L2_NORMALIZATION", 1 / 128, 0, activation)
    assert "rows of 40000 values" in refused("L2_NORMALIZATION", 1 / 128, 0, tables.L2NormOptions(), depth=40000)
