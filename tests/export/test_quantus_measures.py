"""Measures against Quantus's of the same network, maps, sets and noise (``.ci/references`` makes these anew)."""

import numpy as np
import pytest

from export.compiling import compile_methods
from export.methods import Saliency
from export.numerics import NUMERICS
from export.tflite import Graph, Model, Op, Signature, write
from export.tflite.ops import FLOAT, Builder
from export.tflite.options import SoftmaxOptions
from export.trust import measures
from export.trust.answers import Answers
from export.trust.maps import OfInputs
from export.trust.perturbation import Positions, area, gini, mu_fidelity, order, removals
from tests.references.quantus_measures import problem

QUANTUS = dict(np.load(problem.FIGURES))
POSITIONS = Positions.of(problem.X.shape[1:])
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def shipped():
    graph = Graph("main")
    build = Builder(graph)
    x = build.tensor("x", (1, problem.SIDE, problem.SIDE))
    flat = build.reshape(x, (1, problem.SIDE**2))
    hidden = build.relu(build.fully_connected(flat, build.constant(problem.FIRST, FLOAT)))
    logits = build.fully_connected(hidden, build.constant(problem.SECOND, FLOAT))
    scores = build.tensor("scores", (1, problem.CLASSES))
    graph.ops.append(Op("SOFTMAX", [logits], [scores], SoftmaxOptions(1.0)))
    graph.inputs, graph.outputs = [x], [scores]
    model = write(Model([graph], [Signature("serving_default", graph, {"x": x}, {"scores": scores})]))
    return compile_methods(model, [Saliency()], NUMERICS["f32"])


def score_of(shipped, inputs, place):
    return Answers(shipped)(inputs)[0][:, problem.CLASS[place]]


@pytest.mark.parametrize("name", problem.MAPS)
def test_curves_are_quantuss_pixel_flipping(name, shipped):
    for place, (x, values) in enumerate(zip(problem.X, problem.MAPS[name], strict=True)):
        removed = removals(order(values, RANDOM))
        deleted = score_of(shipped, [POSITIONS.without(x, problem.BASELINE, each) for each in removed], place)
        inserted = score_of(shipped, [POSITIONS.without(x, problem.BASELINE, ~each) for each in removed], place)
        np.testing.assert_allclose(deleted, QUANTUS[f"deletion {name}"][place][:-1], atol=1e-5)
        np.testing.assert_allclose(inserted, QUANTUS[f"insertion {name}"][place][:-1], atol=1e-5)


def test_measures_differ_by_the_areas_of_quantuss_curves(shipped):
    """Random orders are the same for every method and cancel."""
    copies = [[] for _ in problem.X]
    maps = {
        name: OfInputs(list(problem.X), [[each] for each in values], copies) for name, values in problem.MAPS.items()
    }
    found = {(row.name, row.method): row.value for row in measures(shipped, maps, problem.BASELINE).rows}
    rows = np.arange(problem.SAMPLES)
    whole = problem.scores(problem.X)[rows, problem.CLASS]
    nothing = problem.scores(np.broadcast_to(problem.BASELINE, problem.X.shape))[rows, problem.CLASS]

    def areas(curve, name, start):
        rest = QUANTUS[f"{curve} {name}"]
        return np.mean([area([first, *after]) for first, after in zip(start, rest, strict=True)])

    one, other = "gradient x difference", "random"
    expected = areas("deletion", other, whole) - areas("deletion", one, whole)
    assert found["deletion", one] - found["deletion", other] == pytest.approx(expected, abs=1e-5)
    expected = areas("insertion", one, nothing) - areas("insertion", other, nothing)
    assert found["insertion", one] - found["insertion", other] == pytest.approx(expected, abs=1e-5)
    assert found["deletion", one] > 0.05
    for name in problem.MAPS:
        assert found["sparseness", name] == pytest.approx(QUANTUS[f"sparseness {name}"].mean(), abs=1e-5)


@pytest.mark.parametrize("name", problem.MAPS)
def test_fidelity_is_quantuss_faithfulness_correlation(name, shipped):
    chosen = np.zeros((problem.SETS, POSITIONS.count), bool)
    chosen[np.arange(problem.SETS)[:, None], problem.SUBSETS] = True
    for place, (x, values) in enumerate(zip(problem.X, problem.MAPS[name], strict=True)):
        inputs = [x, *(POSITIONS.without(x, problem.BASELINE, each) for each in chosen)]
        logits = Answers(shipped)(inputs)[1][:, problem.CLASS[place]].astype(np.float64)
        found = mu_fidelity(values, np.arange(POSITIONS.count), chosen, logits[0] - logits[1:])
        assert found == pytest.approx(QUANTUS[f"MuFidelity {name}"][place], abs=1e-4)


def test_sensitivity_is_quantuss_average_and_its_largest(shipped):
    noisy = [
        [problem.gradients((x + each)[None], problem.CLASS[place : place + 1])[0] for each in problem.NOISE[:, place]]
        for place, x in enumerate(problem.X)
    ]
    own = OfInputs(list(problem.X), [[values] for values in problem.MAPS["gradient"]], noisy)
    (row,) = (each for each in measures(shipped, {"saliency": own}, problem.BASELINE).rows if "noise" in each.name)
    assert row.value == pytest.approx(QUANTUS["average sensitivity"].mean(), abs=1e-5)
    assert f"largest {QUANTUS['largest sensitivity'].max():.3g}" in row.detail
    assert row.value > 0.01


@pytest.mark.parametrize("name", problem.MAPS)
def test_sparseness_is_quantuss(name):
    found = [gini(values) for values in problem.MAPS[name]]
    np.testing.assert_allclose(found, QUANTUS[f"sparseness {name}"], atol=1e-5)  # which adds 1e-7 to each value
