"""Real models as C on the host: byte for byte what TensorFlow Lite Micro gives, in no more memory than it takes."""

import zlib

import numpy as np
import pytest

from export.c import Described, emit
from export.errors import UnsupportedModelError
from export.micro import reference
from export.tflite import Graph, Tensor, read
from tests.references.models import every_shared_model

from .harness import SANITIZED, Case, host_output, sources, split

REFUSED = {
    # Of float32 within, or of the uint8 of TensorFlow 1, which TensorFlow Lite Micro has no kernels for either.
    "conv_fc_mnist": "CONV_2D .* is not int8",
    "bisonai_mobilenetv3_mnist_quant": "DEPTHWISE_CONV_2D .* is not int8",
    "mobilenet_v1_0.25_128_quant": "CONV_2D .* is not int8",
    "mobilenet_v2_1.0_224_quant": "CONV_2D .* is not int8",
    "pretrainedResnet": "CONV_2D .* is not int8",
    "vww_96_float": "CONV_2D .* is not int8",
    "mltk_rock_paper_scissors.float32": "CONV_2D .* is not int8",
}
LARGE = {"tf2_mobilenet_v2_1.0_224_ptq", "pretrainedResnet_large_int8"}
"""Too many multiply-accumulates for sanitizers, of which the others' kernels had enough."""

MODELS = every_shared_model()


def values(port: Tensor, rng: np.random.Generator, count: int) -> np.ndarray:
    """Random inputs, all lowest and all highest ones first."""
    shape = (count, *port.shape)
    if port.dtype == np.float32:
        drawn = rng.normal(0, 100, shape).astype(np.float32)
        drawn[0], drawn[1] = -1e6, 1e6
        return drawn
    limits = np.iinfo(port.dtype)
    drawn = rng.integers(limits.min, limits.max + 1, shape).astype(port.dtype)
    drawn[0], drawn[1] = limits.min, limits.max
    return drawn


def described(graph: Graph) -> Described:
    return Described("model", graph, graph.outputs[0], graph.outputs[0])


@pytest.mark.parametrize("path", [each for each in MODELS if each.id in REFUSED])
def test_others_are_refused_by_op_and_tensor(path):
    with pytest.raises(UnsupportedModelError, match=REFUSED[path.stem]):
        emit(described(read(path).graphs[0]))


@pytest.mark.slow
@pytest.mark.parametrize("path", [each for each in MODELS if each.id not in REFUSED])
def test_bytes_and_memory_are_held_to_the_reference(path, tmp_path, record_property):
    graph = read(path).graphs[0]
    data = path.read_bytes()
    arena, theirs = emit(described(graph)).arena, reference.arena_of(data, path.stem)
    record_property("arena", f"{arena} of {theirs}")
    assert arena <= theirs
    rng = np.random.default_rng(zlib.crc32(path.stem.encode()))
    large = path.stem in LARGE
    case = Case(graph, tuple(values(port, rng, 3 if large else 5) for port in graph.inputs))
    flags = ("-O2",) if large else SANITIZED
    (got,) = split([case], host_output(sources([case], tmp_path), tmp_path, flags=flags))
    model = reference.Reference(data)
    for run in range(case.runs):
        outputs = model.run([given[run] for given in case.inputs], len(graph.outputs))
        for place, expected in enumerate(outputs):
            np.testing.assert_array_equal(got[place][run], expected, f"input {run}")
