"""SmoothGrad: the mean gradient of noisy copies, against TensorFlow's tape and on the device."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import edge
import export
from edge.errors import InputError
from edge.explanation import Flag
from export import heads
from export.errors import CheckFailedError
from export.methods import SmoothGrad, smoothgrad
from export.numerics import store_float, store_quantized
from tests.export import test_methods as classifiers
from tests.export import test_reach as barred
from tests.export import test_state as streaming
from tests.export.test_methods import BOUND, class_of, every_quantisation, samples
from tests.references import small_models, tensorflow_twin
from tests.references.compiled import compile_method, relative_error

LEVEL, SAMPLES = 0.15, 32


def noisy(x: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return x + LEVEL * (x.max() - x.min()) * noise


def drawn(count: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)


@classifiers.every_head
@pytest.mark.parametrize("copies", [1, 4])
def test_a_call_gives_the_weighted_sum_of_the_tapes_gradients_at_noisy_copies(build, copies):
    model = build()
    graph = model.graphs[0]
    head = heads.find(graph)
    entry = compile_method(SmoothGrad(copies), model)["smoothgrad"]
    rng = np.random.default_rng(3)
    (x,) = samples(model, 1)
    noise = rng.normal(size=(copies, *x.shape[1:])).astype(np.float32)
    weights = rng.uniform(0.1, 1, copies).astype(np.float32)
    gradients = [tensorflow_twin.input_gradient(graph, head.logits, at[None], 2) for at in noisy(x, noise)]
    measured = entry(x=x, noise=noise, weights=weights, class_index=class_of(2))["map"]
    assert relative_error(measured, np.tensordot(weights, gradients, 1)) < 2 * BOUND


@every_quantisation
@pytest.mark.parametrize("store", [store_float, store_quantized], ids=["f32", "deq"])
def test_copies_of_a_quantised_models_input_go_through_its_float_twin(kind, store):
    model = classifiers.quantised_network(kind)
    graph = model.graphs[0]
    head = heads.find(graph)
    entry = compile_method(SmoothGrad(3), model, store)["smoothgrad"]
    (x,) = samples(model, 1)
    noise = drawn(3, x.shape[1:])
    gradients = [tensorflow_twin.input_gradient(graph, head.logits, at[None], 1) for at in noisy(x, noise)]
    measured = entry(x=x, noise=noise, weights=np.full(3, 1 / 3, np.float32), class_index=class_of(1))["map"]
    assert relative_error(measured, np.mean(gradients, 0)) < 2 * BOUND


# On the device


@pytest.fixture(scope="module")
def bundle() -> edge.Bundle:
    x = small_models.inputs(8)
    return export.explain(small_models.float_classifier(), calibration=x, methods=["smoothgrad", "saliency"], batch=8)


@pytest.fixture
def x() -> np.ndarray:
    return small_models.inputs(1, seed=5)[0]


@pytest.mark.parametrize("steps", [None, 1, 5, 8, 20])
def test_the_map_is_the_mean_over_the_first_copies_and_the_same_each_time(bundle, x, steps):
    explainer = edge.Explainer(bundle)
    copies = noisy(x, drawn(steps or SAMPLES, x.shape))
    expected = np.mean([explainer.explain(at, "saliency", class_index=1).map for at in copies], 0)
    one, other = (explainer.explain(x, "smoothgrad", class_index=1, steps=steps) for _ in range(2))
    assert relative_error(one.map, expected) < BOUND
    assert one.map.tobytes() == other.map.tobytes()
    assert one.steps == (steps or SAMPLES)
    assert Flag.DEADLINE not in one.flags


def test_an_input_without_a_range_has_the_plain_gradient(bundle, x):
    explainer = edge.Explainer(bundle)
    level = np.full_like(x, 0.3)
    smooth, plain = (explainer.explain(level, name, class_index=0).map for name in ("smoothgrad", "saliency"))
    assert relative_error(smooth, plain) < BOUND


def test_a_deadline_ends_it_after_one_call_at_the_least(bundle, x):
    explainer = edge.Explainer(bundle)
    hurried = explainer.explain(x, "smoothgrad", class_index=1, deadline_ms=0)
    assert hurried.steps == 8
    assert Flag.DEADLINE in hurried.flags
    assert relative_error(hurried.map, explainer.explain(x, "smoothgrad", class_index=1, steps=8).map) < BOUND
    unhurried = explainer.explain(x, "smoothgrad", class_index=1, deadline_ms=60_000)
    assert unhurried.steps == SAMPLES
    assert Flag.DEADLINE not in unhurried.flags


@pytest.mark.parametrize("steps", [0, -1, True, 2.5, "8", 1 << 20])
def test_what_is_no_number_of_copies_is_refused(bundle, x, steps):
    with pytest.raises(InputError, match="noisy copies"):
        edge.Explainer(bundle).explain(x, "smoothgrad", steps=steps)


def test_the_manifest_says_what_noise_and_survives_its_file(bundle, tmp_path):
    bundle.save(tmp_path / "a.why")
    for manifest in (bundle.manifest, edge.Bundle.open(tmp_path / "a.why").manifest):
        head = manifest.head("smoothgrad")
        assert (head.noise.level, head.noise.samples, head.noise.seed) == (LEVEL, SAMPLES, 0)
        assert head.steps_per_call == 8
        assert manifest.head("saliency").noise is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"level": float("nan")}, "noise.level"),
        ({"level": -1.0}, "noise.level"),
        ({"samples": 0}, "noise is of 0 samples"),
        ({"samples": 1 << 40}, "noise is of"),
        ({"seed": -1}, "noise.seed"),
    ],
)
def test_a_manifest_with_noise_that_nothing_can_be_computed_with_is_refused(bundle, change, said):
    head = bundle.manifest.head("smoothgrad")
    broken = dataclasses.replace(head, noise=dataclasses.replace(head.noise, **change))
    with pytest.raises(ValueError, match=said):
        edge.soundness.check(dataclasses.replace(bundle.manifest, heads=(broken,)))


# Exports


def test_noise_of_another_size_stops_the_export(monkeypatch):
    right = smoothgrad._range
    monkeypatch.setattr(smoothgrad, "_range", lambda builder, x: builder.scaled(right(builder, x), 3.0))
    with pytest.raises(CheckFailedError, match="smoothgrad against its formula"):
        export.explain(small_models.float_classifier(), calibration=small_models.inputs(4), methods=["smoothgrad"])


@pytest.mark.parametrize("numerics", ["deq", "hybrid", "mixed", "int8"])
def test_every_numerics_is_faithful_or_exact(numerics):
    x = small_models.inputs(8)
    made = export.explain(
        small_models.quantized_classifier(), calibration=x, methods=["smoothgrad"], numerics=numerics, batch=4
    )
    assert all(check.passed for check in made.manifest.checks)
    assert ("smoothgrad fidelity to float32 arithmetic" in {c.name for c in made.manifest.checks}) == (
        numerics != "deq"
    )
    assert edge.Explainer(made).explain(x[0]).map.any()


def test_where_the_input_cannot_be_reached_noise_is_added_to_the_first_tensor_that_can():
    case = barred.text()
    made = export.explain(case.model, calibration=case.x, methods=["smoothgrad"])
    explanation = edge.Explainer(made).explain(case.x[0], class_index=1)
    assert Flag.NOT_AT_INPUT in explanation.flags
    at = case.front(case.x[0]).numpy()
    copies = noisy(at, drawn(SAMPLES, at.shape))
    expected = np.mean([barred.gradient(case, tf.constant(copy), 1) for copy in copies], 0)
    assert relative_error(explanation.map, expected.reshape(explanation.map.shape)) < 1e-4


def test_a_streaming_models_state_is_held_for_all_copies():
    model = streaming.gain_and_recurrence()
    x = model.inputs(6)
    made = export.explain(model.file, calibration=x, methods=["smoothgrad", "saliency"])
    explainer = edge.Explainer(made)
    predictions = [explainer.predict(sample) for sample in x]
    copies = noisy(x[-1], drawn(SAMPLES, x[-1].shape))
    there = {"class_index": 1, "prediction": predictions[-1]}
    expected = np.mean([explainer.explain(copy, "saliency", **there).map for copy in copies], 0)
    assert relative_error(explainer.explain(x[-1], "smoothgrad", **there).map, expected) < 1e-4
