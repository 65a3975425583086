"""Whole models on a virtual Cortex-M55: byte for byte what TensorFlow Lite Micro gives, in so many instructions."""

import numpy as np
import pytest

from export.tflite import read
from tests.references.models import KWS_INT8, RESNET_INT8, VWW_INT8, needs_shared, shared_model

from .harness import Case, instructions, on_board
from .reference import tflm

GOALS = {RESNET_INT8: 12e6, KWS_INT8: 6e6, VWW_INT8: 20e6}
"""Instructions of a prediction with Helium, compiled by GCC with -O2."""


@pytest.mark.slow
@pytest.mark.parametrize("name", GOALS)
@needs_shared
def test_real_models_are_exact_and_fast_on_helium(name, tmp_path):
    graph = read(shared_model(name)).graphs[0]
    rng = np.random.default_rng(3)
    case = Case(graph, tuple(rng.integers(-128, 128, (2, *x.shape)).astype(np.int8) for x in graph.inputs))
    for ours, theirs in zip(on_board([case], tmp_path, "m55")[0], tflm(case), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    one = Case(graph, tuple(values[:1] for values in case.inputs))
    assert sum(count for _, count in instructions(one, tmp_path, "m55")) <= GOALS[name]
