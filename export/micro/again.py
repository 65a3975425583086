"""What a microcontroller computes, checked once more from a bundle: its graph in TensorFlow Lite Micro, on any data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.errors import BundleError
from edge.manifest import Check
from edge.micro import GOLDEN, MODEL, Micro

from .. import tflite
from ..c import Explained, Steps
from ..shipped import Shipped
from ..tflite.graph import Tensor
from ..tflite.ops import INT8
from ..trust.findings import Findings
from . import saturation
from .fidelity import fidelities, predictions
from .model import CLASS_INDEX, METHODS, MicroModel, stored
from .reference import MissingReferenceError, version
from .vectors import vectors

Array = NDArray[np.float32]

_AGAIN = "export it again: what earlier versions recorded is less than is compared now"


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
    x = given.get("x")
    if x is None or x.dtype != INT8 or not len(x) or x.shape[1:] != built.input.shape[1:]:
        raise BundleError(f"{GOLDEN} of bundle {bundle.manifest.name!r} has other inputs", "export it again")
    right = vectors(built, [one[None] for one in x])
    for name, array in right.items():
        if name not in given or (given[name].dtype, given[name].shape) != (array.dtype, array.shape):
            raise BundleError(f"{GOLDEN} of bundle {bundle.manifest.name!r} has no {name} of these inputs", _AGAIN)
    wrong = {
        place
        for name, array in right.items()
        for place, row in enumerate(array)
        if row.tobytes() != given[name][place].tobytes()
    }
    different = len(wrong)
    detail = "golden inputs whose scores, maps or attributions differ in any bit in TensorFlow Lite Micro"
    return Findings((Check("microcontroller's golden vectors", different, 0, different == 0, len(x), detail),))


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
    maps = _maps([tensor for tensor in graph.outputs if tensor not in {scores, index}], micro, bundle.manifest.name)
    explanations = tuple(
        Explained(
            own.method,
            own.layer,
            tensor,
            own.map.shape,
            own.units,
            None if not own.steps or start is None else Steps(own.nodes, own.weights, start, own.baseline_logits),
        )
        for own, tensor in zip(micro.explanations, maps, strict=True)
    )
    return MicroModel(graph, x, scores, logits, index, graph.ops.index(producers[index]), explanations)


def _maps(outputs: Sequence[Tensor], micro: Micro, name: str) -> list[Tensor]:
    """Return each explanation's map; those of methods that give the same gradient may be one of the outputs."""
    named = [own.method for own in micro.explanations]
    ways: list[object] = [*named] if len(named) == len(outputs) else [METHODS.get(method) for method in named]
    different = list(dict.fromkeys(ways))
    if len(different) != len(outputs):
        raise BundleError(f"{MODEL} of {name!r} has {len(outputs)} maps for {', '.join(named)}", "export it again")
    found = [outputs[different.index(way)] for way in ways]
    for own, tensor in zip(micro.explanations, found, strict=True):
        if _grid(tensor) != (own.map.scale, own.map.zero_point, int(np.prod(own.map.shape))):
            raise BundleError(f"{MODEL} of bundle {name!r} has no map of {own.method!r}", "export it again")
    return found


def _grid(tensor: Tensor) -> tuple[float, int, int] | None:
    grid = tensor.quantization
    if grid is None or not grid.scale:
        return None
    return grid.scale[0], (grid.zero_point or (0,))[0], int(np.prod(tensor.shape))
