"""Integer gradients: the walk back in int8 on calibrated grids, next to float gradients along the same forward pass."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge
import export
from export import heads, tflite
from export.methods import IntegratedGradients, Saliency, Source
from export.numerics import Calibration, integers, store_float, store_quantized
from export.numerics.emitter import Emitter
from export.numerics.integers import use_integers
from export.tflite import Graph, Model, Quantization
from export.tflite import options as tables
from export.tflite.graph import reachable_from
from export.tflite.ops import INT8, Builder
from export.tflite.options import Activation, Padding
from tests.references import small_models
from tests.references.compiled import CompiledEntry
from tests.references.runtime import Session

KERNELS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
RELU = Activation.RELU


@pytest.fixture(scope="module")
def model():
    return small_models.quantized_classifier()


@pytest.fixture(scope="module")
def bundles(model):
    x = small_models.inputs(16)
    methods = ["integrated_gradients", "saliency"]
    return {
        numerics: export.explain(model, calibration=x, methods=methods, numerics=numerics, allow_unfaithful=True)
        for numerics in ("mixed", "int8")
    }


@pytest.mark.parametrize("method", ["integrated_gradients", "saliency"])
def test_all_of_the_walk_but_its_last_kernel_is_int8(bundles, method):
    signature = next(s for s in tflite.read(bundles["int8"].model).signatures if s.key == method)
    walk = reachable_from(signature.graph, {signature.inputs["class_index"]})
    back = [op for op in signature.graph.ops if op.output in walk]
    kernels = [op for op in back if op.code in KERNELS]
    assert len(kernels) >= 3
    assert {str(op.input(0).dtype) for op in kernels[:-1]} == {"int8"}
    assert kernels[-1].input(0).dtype == np.float32
    # Elementwise products before it are masks, int8 too; what levels the seed, and the sum over steps, is not.
    before = [op for op in back[: back.index(kernels[-2])] if len(op.output.shape) == 4]
    assert {str(op.output.dtype) for op in before if op.code in {"MUL", "ADD"}} == {"int8"}


def test_integer_gradients_lose_next_to_nothing(bundles):
    mixed, int8 = (edge.Explainer(bundles[numerics]) for numerics in ("mixed", "int8"))
    for method in ("integrated_gradients", "saliency"):
        correlations = []
        for x in small_models.inputs(8, seed=11):
            np.testing.assert_array_equal(mixed.predict(x).scores, int8.predict(x).scores)
            for label in range(small_models.CLASSES):  # calibrated on some classes, good for all
                maps = [explainer.explain(x, method, label).map.ravel() for explainer in (mixed, int8)]
                correlations.append(np.corrcoef(*maps)[0, 1])
                assert np.abs(maps[1] - maps[0]).max() < 0.2 * np.abs(maps[0]).max()
        assert np.mean(correlations) > 0.995


def test_the_manifest_tells_what_the_forward_pass_costs_from_what_integer_gradients_do(bundles):
    manifest = bundles["int8"].manifest
    assert {row.numerics for row in manifest.candidates} == {"deq", "mixed", "int8"}
    notes = [note for note in manifest.notes if "integer forward pass" in note]
    assert {note.split(":")[0] for note in notes} == {"integrated_gradients", "saliency"}
    rows = {(row.numerics, row.method): row for row in manifest.candidates}
    for note in notes:
        method = note.split(":")[0]
        assert f"exact arithmetic {rows['mixed', method].fidelity:.3f}" in note
        assert f"with integer gradients {rows['int8', method].fidelity:.3f}" in note


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-4, 2.0), st.integers(-128, 100), st.one_of(st.none(), st.floats(0.01, 100.0)))
def test_an_int8_mask_is_exact_for_every_value(scale, zero_point, ceiling):
    scale = float(np.float32(scale))
    grid = Quantization((scale,), (zero_point,))
    builder = Builder(Graph("mask"))
    x = builder.tensor("x", (1, 1, 1, 256), INT8, grid)
    builder.graph.inputs = [x]
    mask = Emitter(builder, store_quantized).mask(x, 0.0, ceiling)
    builder.graph.outputs = [mask.tensor]
    stored = np.arange(-128, 128, dtype=np.int8).reshape(x.shape)
    top = 127 if ceiling is None else min(round(ceiling / scale) + zero_point, 127)
    clipped = np.minimum(stored, top).astype(np.int8)  # an activation never lies above its ceiling
    (found,) = Session(tflite.write(Model([builder.graph]))).run(clipped)
    expected = (clipped > zero_point) & ((ceiling is None) | (clipped < top))
    np.testing.assert_allclose(found / mask.factor, expected, atol=1e-6)


def uneven_classifier() -> Graph:
    """A float network whose channels differ by a factor of 300 in how loud their gradients are."""
    random = np.random.default_rng(0)
    builder = Builder(Graph("uneven"))
    gains = np.geomspace(1, 300, 8)
    x = builder.tensor("x", (1, 8, 8, 3))
    window = tables.Conv2DOptions(fused_activation_function=RELU)
    a = builder.conv2d(x, builder.constant(random.normal(size=(8, 3, 3, 3)) / gains[:, None, None, None]), None, window)
    b = builder.conv2d(a, builder.constant(random.normal(size=(8, 3, 3, 8)) * gains), None, window)
    c = builder.depthwise_conv2d(b, builder.constant(random.normal(size=(1, 3, 3, 8))))
    d = builder.conv2d(builder.relu(c), builder.constant(random.normal(size=(8, 3, 3, 8))), None, window)
    logits = builder.fully_connected(builder.reshape(d, (1, 512)), builder.constant(random.normal(size=(4, 512))))
    builder.graph.inputs, builder.graph.outputs = [x], [logits]
    return builder.graph


def saliency_of(graph: Graph, x, *, lowered: bool, classes: int = 4):
    source = Source(graph, heads.find(graph), store_float)
    (entry,) = Saliency().build(source).entries
    if lowered:
        seen = Calibration([{"x": sample[None]} for sample in x], np.zeros(x.shape[1:], np.float32), classes)
        use_integers(entry.graph, entry.inputs, entry.outputs, seen)
    return CompiledEntry(entry, Model([graph]))


def test_equalised_channels_keep_quiet_ones_alive(monkeypatch):
    x = np.random.default_rng(1).normal(size=(12, 8, 8, 3)).astype(np.float32)
    exact = saliency_of(uneven_classifier(), x, lowered=False)
    equalised = saliency_of(uneven_classifier(), x, lowered=True)
    monkeypatch.setattr(integers, "equalizing_scales", lambda graph, region, peaks, undone: {})
    plain = saliency_of(uneven_classifier(), x, lowered=True)
    errors = {"equalised": [], "plain": []}
    for sample in np.random.default_rng(2).normal(size=(10, 1, 8, 8, 3)).astype(np.float32):
        index = np.asarray([1], np.int32)
        right = exact(x=sample, class_index=index)["map"]
        for name, compiled in (("equalised", equalised), ("plain", plain)):
            wrong = compiled(x=sample, class_index=index)["map"] - right
            errors[name].append(np.linalg.norm(wrong) / np.linalg.norm(right))
    assert np.mean(errors["equalised"]) < 0.1
    assert np.mean(errors["equalised"]) < 0.3 * np.mean(errors["plain"])


def test_a_loud_class_that_calibration_never_drew_is_not_clipped(monkeypatch):
    """One class's weights are thirty times the others': all walks start at one size, and the map gets its own back."""
    monkeypatch.setattr("export.numerics.peaks._CLASSES_PER_INPUT", 1)
    random = np.random.default_rng(0)
    classes, inputs = 60, 4
    loud = int(np.random.default_rng(0).permutation(classes)[-1])  # the last in turn, and there are 4 turns
    builder = Builder(Graph("loud"))
    x = builder.tensor("x", (1, 8, 8, 3))
    window = tables.Conv2DOptions(fused_activation_function=RELU)
    a = builder.conv2d(x, builder.constant(random.normal(size=(8, 3, 3, 3))), None, window)
    b = builder.conv2d(a, builder.constant(random.normal(size=(8, 3, 3, 8))), None, window)
    weights = random.normal(size=(classes, 512))
    weights[loud] *= 30
    logits = builder.fully_connected(builder.reshape(b, (1, 512)), builder.constant(weights))
    builder.graph.inputs, builder.graph.outputs = [x], [logits]
    seen = random.normal(size=(inputs, 8, 8, 3)).astype(np.float32)
    exact, lowered = (saliency_of(builder.graph, seen, lowered=lowered, classes=classes) for lowered in (False, True))
    for index in (loud, 0):
        for sample in seen:
            maps = [
                c(x=sample[None], class_index=np.asarray([index], np.int32))["map"].ravel() for c in (exact, lowered)
            ]
            assert np.abs(maps[1]).sum() == pytest.approx(np.abs(maps[0]).sum(), rel=0.1)
            assert np.corrcoef(*maps)[0, 1] > 0.99


@pytest.mark.parametrize("bias", [-1e4, 0.0])
def test_gradients_that_calibration_never_saw_still_run(bias):
    """A network that is dead on all calibration inputs gets grids all the same, and an interpreter takes them."""
    random = np.random.default_rng(0)
    builder = Builder(Graph("dead"))
    x = builder.tensor("x", (1, 6, 6, 3))
    window = tables.Conv2DOptions(Padding.SAME, fused_activation_function=RELU)
    weights = [builder.constant(random.normal(size=(4, 3, 3, count))) for count in (3, 4, 4)]
    a = builder.conv2d(x, weights[0], builder.constant(np.full(4, bias)), window)
    b = builder.conv2d(a, weights[1], None, window)
    c = builder.conv2d(b, weights[2], None, window)
    logits = builder.fully_connected(builder.reshape(c, (1, 144)), builder.constant(random.normal(size=(4, 144))))
    builder.graph.inputs, builder.graph.outputs = [x], [logits]
    compiled = saliency_of(builder.graph, np.zeros((4, 6, 6, 3), np.float32), lowered=True)
    found = compiled(x=random.normal(size=(1, 6, 6, 3)).astype(np.float32), class_index=np.asarray([0], np.int32))
    assert np.isfinite(found["map"]).all()


def test_the_weights_of_a_schedule_do_not_eat_the_range_of_integers(model):
    """A schedule may weigh one step a thousand times another: each step's gradient has all of int8 to itself."""
    source_graph = tflite.read(model).graphs[0]
    head = heads.find(source_graph)
    x = small_models.inputs(8)
    maps = []
    for backward in (False, True):
        source = Source(source_graph, head, store_quantized, integer_forward=True, integer_backward=backward)
        entry = IntegratedGradients(2).build(source).entries[0]
        if backward:
            seen = Calibration([{"x": sample[None]} for sample in x], np.zeros(x.shape[1:], np.float32), 4)
            use_integers(entry.graph, entry.inputs, entry.outputs, seen)
        compiled = CompiledEntry(entry, Model([source_graph]))
        given = {"x": x[:1], "baseline": np.zeros_like(x[:1]), "class_index": np.asarray([1], np.int32)}
        quiet = compiled(**given, alphas=np.float32([0.9, 0.3]), weights=np.float32([0.0, 0.001]))["map"]
        maps.append(np.asarray(quiet).ravel())
    assert np.corrcoef(*maps)[0, 1] > 0.99


def test_numerics_that_do_not_run_here_are_left_out_and_said_so(model, monkeypatch):
    def broken(graph, region, peaks, undone):
        raise ZeroDivisionError("no grid")

    monkeypatch.setattr(integers, "equalizing_scales", broken)
    manifest = export.explain(model, methods=["saliency"], calibration=small_models.inputs(8)).manifest
    assert {row.numerics for row in manifest.candidates} == {"deq", "hybrid", "mixed"}
    assert any(note.startswith("numerics int8 left out: numerics int8 cannot be applied") for note in manifest.notes)
    with pytest.raises(export.UnsupportedModelError, match="numerics int8 cannot be applied to saliency"):
        export.explain(model, methods=["saliency"], numerics="int8")


def test_what_the_interpreter_will_not_run_is_left_out_too(model, monkeypatch):
    """Weights on grids a billion times as coarse as they should be: XNNPACK refuses the whole graph."""
    rounded = integers._rounded

    def coarse(*arguments):
        stored, dtype, grid = rounded(*arguments)
        return stored, dtype, dataclasses.replace(grid, scale=tuple(scale * 1e9 for scale in grid.scale))

    monkeypatch.setattr(integers, "_rounded", coarse)
    manifest = export.explain(model, methods=["saliency"], calibration=small_models.inputs(8)).manifest
    assert "int8" not in {row.numerics for row in manifest.candidates}
    assert any(
        "numerics int8 left out: what was compiled as 'saliency' does not run in litert" in note
        for note in manifest.notes
    )
