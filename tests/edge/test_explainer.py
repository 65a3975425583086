from dataclasses import replace

import numpy as np
import pytest

import edge
from edge.bundle import Bundle, npz_bytes
from edge.errors import InputError, InterpreterError
from edge.explanation import Flag
from edge.integrate import default_schedule
from edge.interpreter import load
from edge.manifest import Schedule
from export import tflite
from tests.link import chunks
from tests.references import small_models
from tests.references.tensorflow_twin import input_gradient


@pytest.fixture(scope="module")
def explainer(bundle_path):
    return edge.Explainer.load(bundle_path)


def logits_tensor(graph):
    return graph.producers()[graph.outputs[0]].input(0)


def test_the_contract_of_the_readme(explainer):
    x = small_models.inputs(1)[0]
    e = explainer.explain(x, method="integrated_gradients", deadline_ms=2000)
    assert e.scores.shape == (4,)
    assert e.class_index == e.scores.argmax()
    assert e.map.shape == x.shape
    assert e.map.dtype == np.float32
    assert abs(e.residual) < 0.1
    assert e.steps in (6, 8, 12, 16, 24, 32)
    assert set(e.latency) == {"quantize", "predict", "explain"}


def test_saliency_is_tensorflows_gradient(explainer):
    model = tflite.read(small_models.float_classifier())
    graph = model.graphs[0]
    for x in small_models.inputs(5, seed=7):
        for class_index in (0, 3):
            expected = input_gradient(graph, logits_tensor(graph), x[None], class_index)[0]
            got = explainer.explain(x, "saliency", class_index=class_index).map
            assert np.linalg.norm(got - expected) <= 1e-5 * np.linalg.norm(expected)


def test_integrated_gradients_are_tensorflows_at_the_same_nodes(explainer):
    graph = tflite.read(small_models.float_classifier()).graphs[0]
    x = small_models.inputs(1, seed=9)[0]
    schedules = explainer.manifest.head("integrated_gradients").schedules
    schedule = next(schedule for schedule in schedules if schedule.steps == 32)
    path = np.stack([(a * x).astype(np.float32) for a in schedule.nodes])
    gradients = input_gradient(graph, logits_tensor(graph), path, 2)
    expected = np.tensordot(np.float32(schedule.weights), gradients, 1) * x
    got = explainer.explain(x, "integrated_gradients", class_index=2, steps=32)
    assert np.linalg.norm(got.map - expected) <= 1e-4 * np.linalg.norm(expected)
    assert got.steps == 32


def test_the_residual_is_what_the_map_leaves_unexplained(explainer):
    x = small_models.inputs(1, seed=3)[0]
    e = explainer.explain(x, "integrated_gradients", steps=8)
    finer = explainer.explain(x, "integrated_gradients", steps=32)
    assert abs(finer.residual) < abs(e.residual)
    # The two sum to the same change of the logit.
    assert e.map.sum() + e.residual == pytest.approx(finer.map.sum() + finer.residual, abs=1e-3)


def test_gradcam_needs_no_second_pass_and_agrees_with_the_one_for_a_chosen_class(explainer):
    assert explainer.answers_too("gradcam")
    assert not explainer.answers_too("saliency")
    for x in small_models.inputs(5, seed=4):
        free = explainer.explain(x, "gradcam")
        asked = explainer.explain(x, "gradcam", class_index=free.class_index)
        np.testing.assert_array_equal(free.map, asked.map)
        np.testing.assert_array_equal(free.scores, explainer.predict(x).scores)
        assert free.map.shape == (6, 6)
        assert (free.map >= 0).all()


def test_a_quantised_model_explains_with_the_scores_it_predicts(quantized_bundle):
    explainer = edge.Explainer(quantized_bundle)
    assert quantized_bundle.manifest.kind == "int8"
    assert quantized_bundle.manifest.numerics in ("deq", "hybrid", "mixed")  # whichever was cheapest just now
    for x in small_models.inputs(10, seed=5):
        plain = explainer.predict(x)
        for method in explainer.methods:
            e = explainer.explain(x, method)
            np.testing.assert_array_equal(e.scores, plain.scores)
            assert e.class_index == plain.class_index


def test_golden_vectors_prove_the_device(quantized_bundle):
    golden = quantized_bundle.arrays()
    interpreter, _ = load(quantized_bundle.model)
    runner = interpreter.get_signature_runner(quantized_bundle.manifest.predict)
    port = quantized_bundle.manifest.input
    for x, stored, scores in zip(golden["x"], golden["stored"], golden["scores"], strict=True):
        np.testing.assert_array_equal(port.quantize(x)[0], stored)
        outputs = runner(**{port.name: stored[None]})
        np.testing.assert_array_equal(outputs[quantized_bundle.manifest.output.name][0], scores)


def test_golden_inputs_with_any_other_bit_are_counted(bundle, quantized_bundle):
    for whole in (bundle, quantized_bundle):
        assert edge.Explainer(whole).check_golden() == 0
        golden = whole.arrays()
        scores = golden["scores"].copy()
        scores[[0, 3], -1] = np.nextafter(scores[[0, 3], -1], np.inf) if scores.dtype == np.float32 else 7
        members = {**whole.members, "golden.npz": npz_bytes(**golden | {"scores": scores})}
        assert edge.Explainer(Bundle(whole.manifest, members)).check_golden() == 2


def test_golden_inputs_that_are_missing_or_of_another_model_are_refused(bundle):
    golden = bundle.arrays()
    without = {name: content for name, content in bundle.members.items() if name != "golden.npz"}
    wrong = [{"x": golden["x"][:, :5]}, {"x": golden["x"] > 0}, {"scores": np.zeros((0, 4))}, {"scores": np.zeros(())}]
    for arrays in (None, {"x": golden["x"]}, *(golden | change for change in wrong)):
        members = without if arrays is None else without | {"golden.npz": npz_bytes(**arrays)}
        with pytest.raises(edge.BundleError, match=r"no golden\.npz of its model"):
            edge.Explainer(Bundle(bundle.manifest, members)).check_golden()


def test_a_deadline_shortens_the_schedule_and_says_so(explainer):
    x = small_models.inputs(1)[0]
    explainer.explain(x, "integrated_gradients")
    hurried = explainer.explain(x, "integrated_gradients", deadline_ms=0.001, steps=32)
    assert hurried.steps <= 6
    assert hurried.flags & Flag.DEADLINE
    calm = explainer.explain(x, "integrated_gradients", deadline_ms=60_000, steps=32)
    assert calm.steps == 32
    assert not calm.flags & Flag.DEADLINE


def test_the_flag_says_cut_short_and_not_late(explainer):
    x = small_models.inputs(1)[0]
    for method in ("gradcam", "saliency"):
        e = explainer.explain(x, method, class_index=1, deadline_ms=0)
        assert e.latency["explain"] > 0
        assert Flag.DEADLINE not in e.flags
    assert Flag.DEADLINE in explainer.explain(x, "integrated_gradients", deadline_ms=0, steps=32).flags


def test_a_deadline_leaves_as_few_steps_as_it_is_said_to(explainer):
    x = small_models.inputs(1)[0]
    for method in explainer.methods:
        fewest = explainer.fewest_steps(method)
        steps = explainer.explain(x, method, class_index=1, deadline_ms=0).steps
        assert 0 < steps <= fewest  # a call may have room for more than the shortest schedule
    assert explainer.fewest_steps("saliency") == 1


def test_a_deadline_is_kept_by_an_explainer_that_has_not_run_yet(bundle):
    fresh = edge.Explainer(bundle)
    assert fresh.explain(small_models.inputs(1)[0], "integrated_gradients", deadline_ms=0.001).steps <= 6


def test_inputs_beyond_calibration_and_undecided_scores_are_flagged(explainer):
    x = small_models.inputs(1)[0]
    assert not explainer.explain(x).flags & Flag.OUT_OF_RANGE
    assert explainer.explain(x * 100).flags & Flag.OUT_OF_RANGE
    undecided = explainer.explain(np.zeros_like(x))
    assert not undecided.scores.std() < 1e-9
    assert bool(undecided.flags & Flag.SMALL_MARGIN) == bool(
        np.diff(np.sort(undecided.scores))[-1] < 0.1 * np.ptp(undecided.scores)
    )


@pytest.mark.parametrize("method", ["gradcam", "saliency", "integrated_gradients"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_flagged(bundle, method, value):
    """Whatever made it so: a kernel, or a model whose gradient overflows at an input far away."""
    explainer = edge.Explainer(bundle)
    head = bundle.manifest.head(method)
    runner = explainer._runner(head.chosen)

    def broken(**inputs):
        outputs = dict(runner(**inputs))
        outputs["map"] = outputs["map"].copy()
        outputs["map"].flat[1] = value
        return outputs

    x = small_models.inputs(1)[0]
    good = explainer.explain(x, method, class_index=1)
    assert not good.flags & Flag.NOT_FINITE
    explainer._runners[head.chosen] = broken
    explainer._integrators.clear()
    bad = explainer.explain(x, method, class_index=1)
    assert bad.flags & Flag.NOT_FINITE
    assert method != "integrated_gradients" or bad.flags & Flag.RESIDUAL_OVER_BOUND
    (piece, *_) = chunks(0, bad, 0, "int8")
    assert Flag.NOT_FINITE in Flag(piece.flags)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_input_that_is_no_measurement_is_refused_before_anything_overflows(explainer, sign):
    x = small_models.inputs(1)[0]
    for value in (3e38, 2e30):
        x.flat[0] = sign * value
        with pytest.raises(InputError, match=r"beyond what .* can be given"):
            explainer.predict(x)
    x.flat[0] = sign * 1e30 * min(1.0, explainer.manifest.input.scale or 1.0) * 0.999
    with np.errstate(all="raise"):
        explainer.predict(x)


@pytest.mark.parametrize("bad", [np.zeros((12, 12)), np.zeros((1, 12, 12, 3)), np.full((12, 12, 3), np.nan)])
def test_bad_inputs_are_refused_with_the_shape_wanted(explainer, bad):
    with pytest.raises(InputError) as caught:
        explainer.explain(bad)
    assert caught.value.hint


def test_classes_methods_and_steps_that_are_not_there(explainer):
    x = small_models.inputs(1)[0]
    with pytest.raises(InputError, match="no class 4"):
        explainer.explain(x, class_index=4)
    with pytest.raises(InputError, match="no schedule of 7"):
        explainer.explain(x, "integrated_gradients", steps=7)
    with pytest.raises(InputError, match="takes no interpolation steps"):
        explainer.explain(x, "gradcam", steps=8)
    with pytest.raises(edge.BundleError, match="no method"):
        explainer.explain(x, "tea leaves")


@pytest.mark.parametrize("index", ["a", 1.5, 1.0, True, -1, 4, np.nan, np.int64(4), np.float32(1), [1]])
def test_what_is_no_class_is_refused(index, explainer):
    with pytest.raises(InputError, match="no class") as caught:
        explainer.explain(small_models.inputs(1)[0], "saliency", class_index=index)
    assert "0 to 3" in caught.value.hint


@pytest.mark.parametrize("deadline", ["5", np.nan, -1.0, -np.inf, True, [5]])
@pytest.mark.parametrize("method", ["gradcam", "integrated_gradients"])
def test_what_is_no_deadline_is_refused(deadline, method, explainer):
    with pytest.raises(InputError, match="is no time") as caught:
        explainer.explain(small_models.inputs(1)[0], method, deadline_ms=deadline)
    assert caught.value.hint


@pytest.mark.parametrize("deadline", [0, 0.0, 600_000, np.float32(6e5), np.int64(600_000), np.inf])
def test_any_number_of_milliseconds_is_a_deadline(deadline, explainer):
    x = small_models.inputs(1)[0]
    e = explainer.explain(x, "integrated_gradients", class_index=np.int64(2), deadline_ms=deadline)
    assert bool(e.flags & Flag.DEADLINE) == (not deadline)
    assert type(e.class_index) is int


def test_the_interpreter_is_reported_and_can_be_chosen(bundle):
    explainer = edge.Explainer(bundle, threads=2, interpreter="litert")
    assert explainer.runtime.name == "litert"
    assert explainer.runtime.version[0].isdigit()
    assert explainer.runtime.threads == 2
    with pytest.raises(InterpreterError, match="no interpreter 'abacus'"):
        edge.Explainer(bundle, interpreter="abacus")


def test_tensorflows_interpreter_agrees(bundle):
    x = small_models.inputs(1)[0]
    here, there = (edge.Explainer(bundle, interpreter=name) for name in ("litert", "tensorflow"))
    assert there.runtime.name == "tensorflow"
    for method in here.methods:
        np.testing.assert_allclose(here.explain(x, method).map, there.explain(x, method).map, rtol=1e-4, atol=1e-6)


def test_a_model_the_interpreter_refuses_is_a_typed_error():
    with pytest.raises(InterpreterError, match="refuses the model"):
        load(b"not a model at all, but long enough to be looked at")


def test_a_bundle_whose_model_lacks_what_its_manifest_names(bundle):
    head = replace(bundle.manifest.head("saliency"), chosen="nowhere")
    broken = Bundle(replace(bundle.manifest, heads=(head,)), bundle.members)
    with pytest.raises(edge.BundleError, match="no signature 'nowhere'"):
        edge.Explainer(broken).explain(small_models.inputs(1)[0])


def test_a_baseline_that_does_not_fit_is_refused(bundle):
    members = {**bundle.members, "baseline.npz": npz_bytes(baseline=np.zeros((2, 2), np.float32))}
    with pytest.raises(edge.BundleError, match="does not fit"):
        edge.Explainer(Bundle(bundle.manifest, members)).explain(small_models.inputs(1)[0], "integrated_gradients")


def test_a_failure_in_the_interpreter_is_a_typed_error(bundle):
    explainer = edge.Explainer(bundle)
    with pytest.raises(InterpreterError, match="failed in 'saliency'"):
        # A class beyond the last makes the gather fail; explain() refuses it before, so ask the runner itself.
        explainer._runner("saliency")(x=small_models.inputs(1), class_index=np.asarray([99], np.int32))


def test_the_default_schedule_is_the_one_that_proved_best():
    def schedule(steps, p90):
        return Schedule(steps, (0.5,) * steps, (1 / steps,) * steps, p90 / 2 if p90 else None, p90)

    measured = [schedule(8, 0.08), schedule(16, 0.03), schedule(32, 0.03), schedule(64, 0.15)]
    assert default_schedule(measured).steps == 16
    assert default_schedule([schedule(8, None), schedule(64, None)]).steps == 64


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "x", [np.full((12, 12, 3), 1e300), np.full((12, 12, 3), 1j), np.full((12, 12, 3), "a"), [[1], [1, 2]], None, {}]
)
def test_what_is_no_input_is_refused_and_nothing_is_warned_of(explainer, x):
    with pytest.raises(InputError) as caught:
        explainer.predict(x)
    assert caught.value.hint


def test_the_logit_along_the_path_ends_where_the_map_adds_up(explainer):
    x = small_models.inputs(1)
    e = explainer.explain(x[0], "integrated_gradients")
    values = explainer.logit_along(x[0], np.linspace(0, 1, 5), "integrated_gradients", e)
    assert values.shape == (5,)
    assert values[-1] - values[0] == pytest.approx(float(e.map.sum(dtype=np.float64)) + e.residual, abs=1e-4)
    with pytest.raises(InputError, match="integrates nothing"):
        explainer.logit_along(x[0], [0, 1], "saliency", e)
