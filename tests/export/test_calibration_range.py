"""Calibration inputs of another scale than the model was quantised for."""

import numpy as np
import pytest

import edge
import export
from edge.explanation import Flag
from export import calibration, heads
from export.errors import CalibrationError
from export.tflite import Graph, Quantization
from export.tflite.ops import FLOAT, Builder
from tests.references import small_models
from tests.references.models import shared_model

INT8 = np.dtype(np.int8)
SYMMETRIC = Quantization((1 / 128,), (0,))  # -1 to 127/128


def entrance(quantization, *, stored=False, also_float=False):
    """Return the graph and head of a model with an input on a grid, or of floats that are put on one at once."""
    builder = Builder(Graph("main"))
    if stored:
        x = builder.tensor("x", (1, 10), INT8, quantization)
        y = builder.dequantize(x)
    else:
        x = builder.tensor("x", (1, 10), FLOAT)
        y = builder.quantize(x, quantization)
    if also_float:
        builder.add(x, x)
    builder.graph.inputs, builder.graph.outputs = [x], [y]
    return builder.graph, heads.Head(x, y, y)


def verdict(x, graph, head):
    """Return "refused", "noted" or "taken"."""
    try:
        calibration.check_scale(x, graph, head)
    except CalibrationError:
        return "refused"
    return "noted" if calibration.notes(x, graph, head) else "taken"


def values(*parts):
    """Return 10 inputs of 10 values: so many (of 100) of each value."""
    flat = np.concatenate([np.full(count, value, np.float32) for value, count in parts])
    assert flat.size == 100
    return np.random.default_rng(0).permutation(flat).reshape(10, 10)


@pytest.mark.parametrize("stored", [True, False], ids=["int8 input", "float input"])
@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (values((0.5, 100)), "taken"),
        (values((1.0, 50), (-1.0, 50)), "taken"),  # 1.0 is a step beyond 127/128
        (values((0, 90), (1, 10)), "taken"),  # one-hot
        (values((0.5, 74), (2.0, 26)), "refused"),
        (values((0.5, 75), (2.0, 25)), "noted"),
        (values((0.5, 99), (-2.0, 1)), "noted"),
        (values((0.5, 60), (-2.0, 20), (2.0, 20)), "refused"),
        (values((0, 90), (255, 10)), "noted"),  # sparse: most of it is stored as it is
        (values((255, 100)), "refused"),
    ],
)
def test_much_that_saturates_is_refused_and_little_is_noted(x, expected, stored):
    assert verdict(x, *entrance(SYMMETRIC, stored=stored)) == expected


def test_nothing_is_said_where_the_input_is_on_no_grid():
    x = values((1e6, 100))
    assert verdict(x, *entrance(SYMMETRIC, also_float=True)) == "taken"
    builder = Builder(Graph("main"))
    floats = builder.tensor("x", (1, 10), FLOAT)
    y = builder.add(floats, floats)
    builder.graph.inputs, builder.graph.outputs = [floats], [y]
    assert verdict(x, builder.graph, heads.Head(floats, y, y)) == "taken"


def test_zeros_fill_what_is_not_there_even_beside_a_grid_without_0():
    graph, head = entrance(Quantization((1.0,), (-200,)))  # 72 to 327
    assert verdict(values((0, 90), (100, 10)), graph, head) == "taken"
    assert verdict(values((-5, 90), (100, 10)), graph, head) == "refused"
    assert calibration.extent(values((0, 90), (100, 10)), graph, head) == (0, 100)


@pytest.mark.parametrize("stored", [True, False], ids=["int8 input", "float input"])
@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_made_up_inputs_always_pass(stored, zero_point):
    graph, head = entrance(Quantization((0.37,), (zero_point,)), stored=stored)
    assert verdict(calibration.synthetic(graph, head, 50), graph, head) == "taken"


@pytest.fixture(scope="module")
def quantized():
    return small_models.quantized_classifier()


def test_inputs_of_another_scale_are_refused_with_both_ranges(quantized):
    x = np.random.default_rng(0).uniform(0, 255, (12, 12, 12, 3))
    with pytest.raises(CalibrationError) as caught:
        export.explain(quantized, calibration=x, methods="saliency")
    assert "of the calibration values are beyond what input" in caught.value.cause
    assert f"from {x.min():.4g} to {x.max():.4g}" in caught.value.cause
    assert "as for training" in caught.value.hint


def test_what_the_model_cannot_store_is_out_of_range_on_the_device_whatever_calibration_held(quantized):
    x = small_models.inputs(12)
    x[0, 0, 0, 0] = 1000.0
    bundle = export.explain(quantized, calibration=x, methods="saliency")
    assert any("saturate" in note and "1000" in note for note in bundle.manifest.notes)
    assert bundle.manifest.input.minimum == x.min()
    explainer = edge.Explainer(bundle)
    assert explainer.explain(x[0]).flags & Flag.OUT_OF_RANGE
    assert not explainer.explain(x[1]).flags & Flag.OUT_OF_RANGE


@pytest.mark.parametrize("largest", [1e18, 1e20, 1e37])
def test_inputs_at_which_numbers_overflow_are_the_datas_fault(largest):
    x = small_models.inputs(8)
    x *= np.float32(largest / np.abs(x).max())
    with pytest.raises(
        export.CalibrationError, match=rf"values reach {largest:.0e}.* overflow float32".replace("+", r"\+")
    ) as caught:
        export.explain(small_models.float_classifier(), calibration=x, methods=["saliency"])
    assert "scale the inputs" in caught.value.hint


def test_large_inputs_are_explained_up_to_there():
    x = small_models.inputs(8)
    x *= np.float32(0.99e16 / np.abs(x).max())
    methods = ["gradcam", "saliency", "lrp_epsilon", "integrated_gradients"]
    options = {"numerics": "f32", "batch": 8, "schedule": "uniform midpoint"}
    bundle = export.explain(small_models.float_classifier(), calibration=x, methods=methods, **options)
    assert all(check.passed for check in bundle.manifest.checks)


def test_bytes_for_a_model_of_fractions_are_refused():
    path = shared_model("coral/mobilenet_v1_0.25_128_quant.tflite")
    x = np.random.default_rng(0).integers(0, 256, (4, 128, 128, 3))
    with pytest.raises(CalibrationError, match="from 0 to 255"):
        export.explain(path, calibration=x, methods="saliency")
