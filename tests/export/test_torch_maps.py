"""Every method against torch's explanation libraries, whose maps of the same networks lie in fixtures."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from export import heads, tflite
from export.methods import METHODS, IntegratedGradients, LayerMap, Method, SmoothGrad
from export.schedule.rules import midpoint
from tests.references.compiled import CompiledEntry, compile_method, relative_error
from tests.references.runtime import Session
from tests.references.torch_maps import tflite as files
from tests.references.torch_maps.networks import EXPLAINED, FIXTURES, NETWORKS, Array, Network

Explain = Callable[[Array, np.ndarray], Array]

BOUND = 1e-5
"""Of the largest value of a map."""
BOUNDS = {"gradcam_plus_plus": 2e-2}
"""Where a library adds a number to what it divides by that is not small beside it."""
IN_NO_LIBRARY = {"layercam_signed"}
IGNORES_THE_INPUT = {"deconvnet"}
"""Behind whose rectifiers nothing is left of it but the switches of max poolings."""

METHODS_OF_LIBRARIES = sorted({path.stem for path in FIXTURES.glob("*.npz")} - {"logits"})

every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


@every_network
def test_the_model_is_the_network_that_the_libraries_explained(network):
    model = files.model(network)
    graph = model.graphs[0]
    exposed = graph.copy("exposed")
    exposed.outputs = [heads.find(graph).logits]
    session = Session(tflite.write(tflite.Model([exposed])))
    for x, expected in zip(network.x, fixture("logits", network), strict=True):
        (logits,) = session.run(x.reshape(graph.inputs[0].shape))
        assert relative_error(logits, expected[:1]) < BOUND


@every_network
@pytest.mark.parametrize("name", METHODS_OF_LIBRARIES)
def test_maps_are_those_of_the_library(name, network):
    explain = compiled(method_of(name, network), network)
    for x, of_classes in zip(network.x, fixture(name, network), strict=True):
        for index, expected in zip(EXPLAINED, of_classes, strict=True):
            measured = explain(x, np.asarray([index], np.int32))
            assert relative_error(measured, expected) < BOUNDS.get(name, BOUND)


@pytest.mark.parametrize("name", METHODS_OF_LIBRARIES)
def test_maps_of_a_fixture_tell_classes_and_inputs_apart(name):
    """Else a method that ignores either would pass."""
    for network in NETWORKS.values():
        maps = fixture(name, network)
        maps = maps[:1] if name in IGNORES_THE_INPUT else maps
        for one, other in itertools.combinations(maps.reshape(-1, *maps.shape[2:]), 2):
            assert relative_error(one, other) > 3 * BOUNDS.get(name, BOUND)


def test_every_method_is_held_against_a_library_that_has_it():
    assert set(METHODS) - IN_NO_LIBRARY == set(METHODS_OF_LIBRARIES)


def fixture(name: str, network: Network) -> Array:
    """Return a library's maps, ``[samples, classes explained, ...]``."""
    with np.load(FIXTURES / f"{name}.npz") as maps:
        return maps[network.name]


def method_of(name: str, network: Network) -> Method:
    """Return the method, at the network's target layer if it wants one."""
    method = METHODS[name]
    return method(network.target) if issubclass(method, LayerMap) else method()


def compiled(method: Method, network: Network) -> Explain:
    """Return a method on the model of a network as a function of input and class."""
    entries = compile_method(method, files.model(network))
    if isinstance(method, IntegratedGradients):
        return integrated(entries[method.name], network)
    if isinstance(method, SmoothGrad):
        return smoothed(entries[method.name])
    entry = entries.get(f"{method.name}_class") or entries[method.name]
    return lambda x, index: entry(x=x.reshape(entry.entry.inputs["x"].shape), class_index=index)["map"]


def integrated(entry: CompiledEntry, network: Network, steps: int = 16) -> Explain:
    """Return Integrated Gradients by the midpoint rule, from the network's baseline."""
    nodes, weights = (np.asarray(values, np.float32).reshape(2, -1) for values in midpoint(steps))

    def explain(x: Array, index: np.ndarray) -> Array:
        x, baseline = (values.reshape(entry.entry.inputs["x"].shape) for values in (x, network.baseline))
        given = {"x": x, "baseline": baseline, "class_index": index}
        parts = [entry(**given, alphas=a, weights=w)["map"] for a, w in zip(nodes, weights, strict=True)]
        return (x - baseline) * sum(parts)

    return explain


def smoothed(entry: CompiledEntry) -> Explain:
    """Return SmoothGrad with the noise of a device."""
    shape = entry.entry.inputs["noise"].shape

    def explain(x: Array, index: np.ndarray) -> Array:
        x = x.reshape(entry.entry.inputs["x"].shape)
        noise = np.random.default_rng(0).normal(size=(32, *x.shape)).astype(np.float32).reshape(-1, *shape)
        weights = np.full(shape[0], 1 / 32, np.float32)
        return sum(entry(x=x, noise=part, weights=weights, class_index=index)["map"] for part in noise)

    return explain
