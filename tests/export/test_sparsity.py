"""Sparse weights: read into dense ones for gradients, left as they are for predictions."""

from __future__ import annotations

import itertools
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

import export
from edge.explainer import Explainer
from export import tflite
from export.errors import ModelFileError
from export.tflite import Quantization, Tensor
from export.tflite.sparsity import densified
from tests.references.compiled import relative_error
from tests.references.runtime import Session
from tests.references.single_op import examples

layers = tf.keras.layers


def encoded(array: np.ndarray, order: list[int], blocks: dict[int, int], sparse: list[bool]) -> Tensor:
    """Return an array as a sparse constant, node by node, as the schema describes the format.

    ``blocks`` are the sizes of blocks by dimension, ``order`` the levels (blocks count as dimensions behind the last),
    ``sparse`` says which levels list their indices.
    """
    rank, zero = array.ndim, 0
    blocked = list(blocks)
    sizes = [size // blocks.get(dimension, 1) for dimension, size in enumerate(array.shape)]
    sizes += [blocks[dimension] for dimension in blocked]

    def entries(fixed: dict[int, int]):
        """The values below a node."""
        free = [range(sizes[level]) if level not in fixed else [fixed[level]] for level in range(len(sizes))]
        for place in itertools.product(*free):
            whole = list(place[:rank])
            for block, dimension in enumerate(blocked):
                whole[dimension] = whole[dimension] * blocks[dimension] + place[rank + block]
            yield array[tuple(whole)]

    nodes: list[dict[int, int]] = [{}]
    levels = []
    for dimension, lists in zip(order, sparse, strict=True):
        level = schema.DimensionMetadataT()
        level.format = schema.DimensionType.SPARSE_CSR if lists else schema.DimensionType.DENSE
        below = [[node | {dimension: index} for index in range(sizes[dimension])] for node in nodes]
        if lists:
            below = [[node for node in group if any(value != zero for value in entries(node))] for group in below]
            level.arraySegments, level.arrayIndices = schema.Int32VectorT(), schema.Uint8VectorT()
            level.arraySegments.values = np.cumsum([0, *map(len, below)])
            level.arrayIndices.values = np.asarray([node[dimension] for group in below for node in group], np.uint8)
        else:
            level.denseSize = sizes[dimension]
        nodes = [node for group in below for node in group]
        levels.append(level)
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.blockMap = np.asarray(order), np.asarray(blocked) if blocked else None
    sparsity.dimMetadata = levels
    values = np.asarray([next(entries(node)) for node in nodes], array.dtype)
    return Tensor("w", array.shape, array.dtype, None, values.view(np.uint8), extras={"sparsity": sparsity})


@examples(60)
@given(st.integers(0, 1 << 16), st.lists(st.integers(1, 3), min_size=1, max_size=3), st.data())
def test_any_order_of_levels_and_any_blocks(seed, sizes, data):
    rng = np.random.default_rng(seed)
    blocked = data.draw(st.lists(st.sampled_from(range(len(sizes))), max_size=2, unique=True))
    blocks = {dimension: data.draw(st.integers(1, 3)) for dimension in blocked}
    shape = [size * blocks.get(dimension, 1) for dimension, size in enumerate(sizes)]
    dtype = data.draw(st.sampled_from([np.float32, np.float16, np.int8]))
    array = (rng.normal(0, 3, shape) * (rng.random(shape) < 0.4)).astype(dtype)
    levels = len(sizes) + len(blocks)
    # Blocks stand behind the dimensions they are blocks of.
    order = [*data.draw(st.permutations(range(len(sizes)))), *range(len(sizes), levels)]
    sparse = [data.draw(st.booleans()) for _ in sizes] + [False] * len(blocks)
    tensor = encoded(array, order, blocks, sparse)
    dense = densified(tensor)
    np.testing.assert_array_equal(dense.data, array)
    assert dense.data.dtype == dtype
    assert "sparsity" not in dense.extras


def test_what_is_not_listed_is_the_zero_of_a_quantised_tensor():
    tensor = encoded(np.asarray([[0, 5, 0]], np.int8), [0, 1], {}, [False, True])
    tensor.quantization = Quantization((0.5,), (-3,))
    np.testing.assert_array_equal(densified(tensor).data, [[-3, 5, -3]])


def damage(tensor: Tensor, what: str) -> None:
    sparsity = tensor.extras["sparsity"]
    level = sparsity.dimMetadata[1]
    match what:
        case "an index too large":
            level.arrayIndices.values = np.asarray([0, 200, 1], np.uint8)
        case "an index below zero":
            level.arrayIndices.values = np.asarray([0, -1, 1], np.int32)
        case "segments that go back":
            level.arraySegments.values = np.asarray([0, 4, 3])
        case "segments of another length":
            level.arraySegments.values = np.asarray([0, 3])
        case "no segments":
            level.arraySegments = None
        case "values missing":
            tensor.data = tensor.data[:4]
        case "a level missing":
            sparsity.dimMetadata = sparsity.dimMetadata[:1]
        case "an order of nothing":
            sparsity.traversalOrder = None
        case "a dense level without end":
            sparsity.dimMetadata[0].denseSize = 1 << 30


@pytest.mark.parametrize(
    "what",
    [
        "an index too large",
        "an index below zero",
        "segments that go back",
        "segments of another length",
        "no segments",
        "values missing",
        "a level missing",
        "an order of nothing",
        "a dense level without end",
    ],
)
def test_indices_that_make_no_sense_are_refused(what):
    tensor = encoded(np.asarray([[1, 0, 2], [0, 3, 0]], np.float32), [0, 1], {}, [False, True])
    damage(tensor, what)
    with pytest.raises(ModelFileError, match=r"'w'.*sparsity"):
        densified(tensor)


def pruned() -> tf.keras.Model:
    """A model four fifths of whose weights are zero, those of a dense layer in blocks of four."""
    tf.keras.utils.set_random_seed(1)
    x = tf.keras.Input((6, 6, 16))
    y = layers.Conv2D(16, 3, activation="relu")(layers.Conv2D(16, 1, activation="relu")(x))
    y = layers.Dense(16, activation="relu")(layers.Flatten()(y))
    model = tf.keras.Model(x, layers.Dense(4)(y))
    rng = np.random.default_rng(0)
    for kernel in (variable for variable in model.trainable_variables if len(variable.shape) > 1):
        rows = kernel.shape[0] // 4 if len(kernel.shape) == 2 else kernel.shape[0]
        kept = rng.random((rows, *kernel.shape[1:])) < 0.2
        kernel.assign(kernel * np.repeat(kept, kernel.shape[0] // rows, 0))
    return model


def test_a_pruned_model_from_end_to_end():
    """LiteRT runs such models of float32 only: of other kinds it refuses some and gives NaN for others."""
    model = pruned()
    with tempfile.TemporaryDirectory() as folder:
        model.export(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        file = converter.convert()
    graph = tflite.read(file).graphs[0]
    assert sum(op.code == "DENSIFY" for op in graph.ops) == 2
    assert sum("sparsity" in tensor.extras for tensor in graph.tensors) == 4
    data = np.random.default_rng(0).normal(0, 1, (8, 6, 6, 16)).astype(np.float32)
    bundle = export.explain(file, calibration=data, methods=["gradcam", "saliency"])
    shipped = tflite.read(bundle.model).graphs[0]
    assert [op.code for op in shipped.ops] == [op.code for op in graph.ops]
    for ours, theirs in zip(shipped.tensors, graph.tensors, strict=True):
        assert (ours.data is None) == (theirs.data is None)
        assert ours.data is None or ours.data.tobytes() == theirs.data.tobytes()
    explainer = Explainer(bundle)
    for sample in data[:3]:
        explanation = explainer.explain(sample, "saliency", class_index=1)
        np.testing.assert_array_equal(explanation.scores, Session(file).run(sample[None])[0][0])
        variable = tf.constant(sample[None])
        with tf.GradientTape() as tape:
            tape.watch(variable)
            score = model(variable)[0, 1]
        assert relative_error(explanation.map[None], tape.gradient(score, variable).numpy()) < 1e-5
