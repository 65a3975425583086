"""What a microcontroller computes, checked once more from a bundle: its graph in TensorFlow Lite Micro, on any data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.errors import BundleError
from edge.manifest import Check
from edge.micro import GOLDEN, MODEL, Micro, MicroExplanation

from .. import tflite
from ..c import Explained, Steps
from ..shipped import Shipped
from ..tflite.graph import Graph, Tensor
from ..tflite.ops import INT8
from ..trust.findings import Findings
from . import saturation
from .fidelity import fidelities, predictions
from .model import CLASS_INDEX, MicroModel, stored
from .reference import MissingReferenceError, Reference, version

Array = NDArray[np.float32]


def golden(bundle: Bundle) -> Findings:
    """Return whether the graph gives its golden bytes; a note without TensorFlow Lite Micro, nothing for others."""
    if bundle.manifest.micro is None:
        return Findings()
    try:
        version()
    except MissingReferenceError as error:
        note = f"what the microcontroller computes was not checked: {error.cause} ({error.hint})"
        return Findings(notes=(note,))
    built, given = _of_bundle(bundle, bundle.manifest.micro), bundle.arrays(GOLDEN)
    run, outputs = Reference(built.file()), built.graph.outputs
    places = {"scores": built.scores} | {own.method: own.map for own in built.explanations}
    if not {"x", *places} <= set(given):
        raise BundleError(f"{GOLDEN} of bundle {bundle.manifest.name!r} lacks an array", "export it again")
    different = 0
    for place, x in enumerate(given["x"]):
        if x.dtype != INT8 or x.size != np.prod(built.input.shape):
            raise BundleError(f"{GOLDEN} of bundle {bundle.manifest.name!r} has other inputs", "export it again")
        found = run.run([x.reshape(built.input.shape)], len(outputs))
        same = (
            found[outputs.index(tensor)].tobytes() == given[name][place].tobytes() for name, tensor in places.items()
        )
        different += not all(same)
    detail = "golden inputs whose scores or maps differ in any bit in TensorFlow Lite Micro"
    return Findings((Check("microcontroller's golden vectors", different, 0, different == 0, len(given["x"]), detail),))


def on_data(bundle: Bundle, made: Shipped, exact: Shipped, x: Array) -> Findings:
    """Return predictions, fidelity and saturation on inputs ``[N, ...]``, as an export has them; none without TFLM.

    ``made`` is the bundle's own model, ``exact`` the same in exact arithmetic.
    """
    micro = bundle.manifest.micro
    if micro is None:
        return Findings()
    try:
        version()
    except MissingReferenceError:  # which `golden` has said
        return Findings()
    built = _of_bundle(bundle, micro)
    alike = fidelities(built, exact, bundle.baseline, x)
    checks = (
        predictions(built, made, x),
        *(fidelity.check for fidelity in alike if fidelity.check is not None),
        *saturation.checks(built, x, "data given"),
    )
    return Findings(checks, tuple(note for fidelity in alike for note in fidelity.notes))


def _of_bundle(bundle: Bundle, micro: Micro) -> MicroModel:
    """Return the graph in a bundle with what the manifest says of it; :class:`BundleError` where these do not fit."""
    graph = tflite.read(bundle.members[MODEL], MODEL).graphs[0]
    producers = graph.producers()
    index = next((tensor for tensor in graph.outputs if tensor.name == CLASS_INDEX), None)
    if len(graph.inputs) != 1 or index is None or index not in producers:
        raise BundleError(f"{MODEL} of bundle {bundle.manifest.name!r} is no such graph", "export it again")
    x, scores = graph.inputs[0], graph.outputs[0]
    last = producers.get(scores)
    logits = last.input(0) if last is not None and last.code in {"LOGISTIC", "SOFTMAX"} else scores
    start = stored(x, bundle.baseline) if any(own.steps for own in micro.explanations) else None
    explanations = tuple(_explained(graph, own, start, bundle.manifest.name) for own in micro.explanations)
    return MicroModel(graph, x, scores, logits, index, graph.ops.index(producers[index]), explanations)


def _explained(graph: Graph, own: MicroExplanation, start: NDArray[np.int8] | None, name: str) -> Explained:
    """Return one explanation of the graph; maps of the same bytes, as of the same gradient, may be one tensor."""
    wanted = (own.map.scale, own.map.zero_point, int(np.prod(own.map.shape)))
    found = next((tensor for tensor in graph.outputs[1:] if _grid(tensor) == wanted), None)
    if found is None:
        raise BundleError(f"{MODEL} of bundle {name!r} has no map of {own.method!r}", "export it again")
    steps = None if not own.steps or start is None else Steps(own.nodes, own.weights, start, own.baseline_logits)
    return Explained(own.method, own.layer, found, own.map.shape, own.units, steps)


def _grid(tensor: Tensor) -> tuple[float, int, int] | None:
    grid = tensor.quantization
    if grid is None or not grid.scale:
        return None
    return grid.scale[0], (grid.zero_point or (0,))[0], int(np.prod(tensor.shape))
