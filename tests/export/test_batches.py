"""How many steps share a call of Integrated Gradients: chosen by time, or asked for; the maps are the same."""

import numpy as np
import pytest

import edge
import export
import whylite
from export import batches
from export.methods import IntegratedGradients
from export.tflite import Model, read, write
from export.tflite.ops import Builder
from tests.references import small_models

IG = "integrated_gradients"


def exported(batch=None, model=None):
    """Return an export whose schedules do not depend on how long probes take on a busy machine."""
    file = model or small_models.float_classifier()
    return export.explain(file, methods=[IG], batch=batch, numerics="f32", schedule="squared midpoint")


def steps_per_call(bundle):
    return bundle.manifest.head(IG).steps_per_call


@pytest.mark.parametrize("batch", [1, 5, 16, 64])
def test_the_map_is_the_same_whatever_the_batch(batch):
    """Also where schedules of 8, 16, 32 and 64 steps are no multiple of it."""
    bundle, reference = exported(batch), exported(8)
    assert steps_per_call(bundle) == batch
    assert all(check.passed for check in bundle.manifest.checks)
    (x,) = small_models.inputs(1)
    explainers = [edge.Explainer(one) for one in (bundle, reference)]
    for schedule in bundle.manifest.head(IG).schedules:
        got, expected = (e.explain(x, IG, class_index=1, steps=schedule.steps) for e in explainers)
        np.testing.assert_allclose(got.map, expected.map, rtol=1e-4, atol=1e-5 * np.abs(expected.map).max())
        assert got.residual == pytest.approx(expected.residual, abs=1e-4)


class Timed:
    """A compiled model, of which only the number of steps per call is looked at."""

    def __init__(self, steps):
        self.compiled = {IG: IntegratedGradients(steps)}


@pytest.mark.parametrize(
    ("microseconds_per_step", "best", "compiled"),
    [
        ({2: 30, 4: 20, 8: 10, 16: 12}, 8, [4, 16]),
        ({4: 20, 8: 10, 16: 9}, 16, [4, 16]),
        ({1: 9, 2: 8, 4: 9, 8: 10}, 2, [4, 2, 1]),
        ({1: 7, 2: 8, 4: 9, 8: 10}, 1, [4, 2, 1]),
        ({4: 9.9, 8: 10, 16: 9.9}, 8, [4, 16]),  # that is noise
    ],
)
def test_the_batch_is_found_by_climbing(monkeypatch, microseconds_per_step, best, compiled):
    def time_ratio(rival, holder, *_):
        return microseconds_per_step[steps_of(rival)] / microseconds_per_step[steps_of(holder)]

    def steps_of(shipped):
        return shipped.compiled[IG].steps_per_call

    def compile_at(steps):
        tried.append(steps)
        return Timed(steps)

    tried = []
    monkeypatch.setattr(batches, "_time_ratio", time_ratio)
    assert steps_of(batches.fastest(Timed(8), compile_at, None, None)) == best
    assert tried == compiled


def test_a_model_that_is_slow_to_try_keeps_its_batch(monkeypatch):
    monkeypatch.setattr(batches, "_SECONDS", 0)
    first = Timed(8)
    assert batches.fastest(first, lambda steps: pytest.fail(f"{steps} was tried"), None, None) is first


@pytest.mark.parametrize(("ratio", "shipped"), [(0.5, 16), (2.0, 8)])
def test_what_is_measured_is_what_ships(monkeypatch, ratio, shipped):
    """The checks hold for the file with the batch that was chosen, also in numerics that are not exact."""
    monkeypatch.setattr(batches, "_time_ratio", lambda rival, *_: ratio if steps(rival) == 16 else 2.0)

    def steps(shipped):
        return shipped.compiled[IG].steps_per_call

    bundle = export.explain(small_models.quantized_classifier(), methods=[IG], numerics="hybrid")
    assert steps_per_call(bundle) == shipped
    alphas = {s.key: s for s in read(bundle.model).signatures}[IG].inputs["alphas"]
    assert alphas.shape == (shipped,)
    assert all(check.passed for check in bundle.manifest.checks)
    assert bundle.manifest.numerics == "hybrid"


def mixing_model():
    """The batch goes to another dimension and back: two entries would meet there."""
    model = read(small_models.float_classifier())
    (graph,) = model.graphs
    builder = Builder(graph)
    first = graph.ops[0]
    x = first.inputs[0]
    moved = builder.transpose(builder.transpose(x, (1, 0, 2, 3)), (1, 0, 2, 3))
    first.inputs[0] = moved
    graph.ops = [*graph.ops[-2:], *graph.ops[:-2]]
    return write(Model([graph], model.signatures))


def test_a_model_that_mixes_a_batch_takes_its_steps_one_by_one():
    bundle = exported(model=mixing_model())
    assert steps_per_call(bundle) == 1
    (x,) = small_models.inputs(1)
    got, expected = (edge.Explainer(b).explain(x, IG, class_index=0) for b in (bundle, exported()))
    np.testing.assert_allclose(got.map, expected.map, rtol=1e-4, atol=1e-5 * np.abs(expected.map).max())
    with pytest.raises(export.UnsupportedModelError, match="mix the entries of a batch"):
        exported(4, mixing_model())


@pytest.mark.parametrize("batch", ["0", "65", "-3"])
def test_a_batch_beyond_reason_is_refused(batch, tmp_path, capsys):
    path = tmp_path / "shapes.tflite"
    path.write_bytes(small_models.float_classifier())
    assert whylite.main(["export", str(path), "--batch", batch]) == 2
    assert "choose 1 to 64" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]
