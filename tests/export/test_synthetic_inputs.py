"""Inputs made up where no calibration data is given."""

from export import calibration, heads
from export.tflite import Graph, Quantization
from export.tflite.ops import Builder


def test_they_cover_the_grid_that_a_float_input_is_put_on():
    builder = Builder(Graph("main"))
    x = builder.tensor("x", (1, 4, 4, 2))
    y = builder.quantize(x, Quantization((12.5,), (-28,)))
    builder.graph.inputs, builder.graph.outputs = [x], [y]
    made_up = calibration.synthetic(builder.graph, heads.Head(x, y, y), 50)
    assert made_up.min() == -100 * 12.5
    assert made_up.max() == 155 * 12.5
