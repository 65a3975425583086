"""What a caller asks for by name or number, as what the compiler works with; refused where there is no such thing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.codec import DecodeError, from_json
from edge.samples import preprocessing as stated
from edge.samples.preprocessing import Preprocessing

from . import heads
from .errors import CalibrationError, MemoryLimitError, UnsupportedModelError
from .heads import Head
from .methods import METHODS, IntegratedGradients, LayerMap, Method, SmoothGrad, Source
from .schedule import CHOICES
from .tflite.graph import Graph, Tensor

MOST_STEPS = 64
"""The most steps of Integrated Gradients that a call may have: the longest schedule's."""
_LISTED = 4  # layers that a note names


def methods(names: Sequence[str], layer: str | None, batch: int | None, *, refine: bool = False) -> list[Method]:
    """Return the methods of these names, with ``layer``, ``batch`` steps a call and ``refine`` where they take them."""
    if isinstance(names, str):
        names = (names,)
    if not names:
        raise UnsupportedModelError("no explanation method is asked for", f"choose from: {', '.join(METHODS)}")
    for name in names:
        if name not in METHODS:
            raise UnsupportedModelError(f"there is no method {name!r}", f"choose from: {', '.join(METHODS)}")
    chosen = [METHODS[name] for name in dict.fromkeys(names)]
    found = [method(layer) if issubclass(method, LayerMap) else method() for method in chosen]
    found = [replace(each, refine=True) if refine and isinstance(each, IntegratedGradients) else each for each in found]
    if batch is None:
        return found
    if not _is_whole(batch) or not 1 <= batch <= MOST_STEPS:
        raise UnsupportedModelError(f"{batch!r} steps cannot share a call", f"choose 1 to {MOST_STEPS}")
    return at(found, batch)


def check_options(schedule: str, memory: int | None) -> None:
    """Refuse a schedule that there is none of, and a limit that is no number of bytes."""
    if schedule not in CHOICES:
        raise UnsupportedModelError(f"there is no schedule {schedule!r}", f"choose one of: {', '.join(CHOICES)}")
    if memory is not None and not (_is_whole(memory) and memory > 0):
        raise MemoryLimitError(f"a limit of {memory!r} is no number of bytes", "pass a whole number above 0")


def _is_whole(number: object) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def with_layers(
    methods: Sequence[Method], graph: Graph, head: Head, otherwise: Sequence[str], *, must: bool
) -> tuple[list[Method], list[str]]:
    """Return the methods without those that find no layer to look at, unless they ``must``, and what to say of them.

    Where none is left, methods of the names ``otherwise`` stand in for them. Of those that look at one layer of several
    branches it is said which, and what the others are.
    """
    kept, said = [], []
    for method in methods:
        try:
            method.target(graph, head)
        except UnsupportedModelError as error:
            if must or not isinstance(method, LayerMap):
                raise
            said.append(f"{method.name} left out: {error.cause}")
        else:
            kept.append(method)
    unasked = [method for method in kept if isinstance(method, LayerMap) and method.layer is None]
    if unasked:
        layer = unasked[0].target(graph, head)
        if beside := heads.layers_beside(graph, head, layer):
            names = ", ".join(method.name for method in unasked)
            alone = f"{names}: of layer {_called(graph, layer)} alone, one of several branches"
            said.append(f"{alone}: {_others(graph, beside)}")
    return kept or [METHODS[name]() for name in otherwise], said


def _others(graph: Graph, layers: Sequence[Tensor]) -> str:
    """Return what to say of layers that might have been asked for."""
    more = f" and {len(layers) - _LISTED} more" if len(layers) > _LISTED else ""
    listed = "; ".join(_called(graph, layer) for layer in layers[:_LISTED])
    return f"what passes by it is explained at {listed}{more}, with --layer"


def _called(graph: Graph, layer: Tensor) -> str:
    place = next(place for place, op in enumerate(graph.ops) if layer in op.outputs)
    return f"{layer.name.split(';')[0]!r} {list(layer.shape[1:])} (op:{place})"


def fitted(methods: Sequence[Method], source: Source, batch: int | None) -> list[Method]:
    """Return the methods as they suit the model; refuses a ``batch`` that does not."""
    found = [method.fitted(source) for method in methods]
    if batch is not None and found != at(found, batch):
        raise UnsupportedModelError("its ops mix the entries of a batch", f"leave out batch {batch}: one step a call")
    return found


def at(methods: Sequence[Method], steps: int) -> list[Method]:
    """Return the methods with ``steps`` steps or noisy copies a call."""
    return [
        replace(m, steps_per_call=int(steps)) if isinstance(m, IntegratedGradients | SmoothGrad) else m for m in methods
    ]


def baseline(wanted: str | ArrayLike, tensor: Tensor) -> NDArray[np.float32] | None:
    """Return where integration starts, float32 of the shape of ``tensor``; None for a mean yet to be taken."""
    shape = tensor.shape[1:]
    if isinstance(wanted, str):
        if wanted == "zero":
            return np.zeros(shape, np.float32)
        if wanted == "mean":
            return None
        raise CalibrationError(
            f"there is no baseline {wanted!r}", "choose zero, mean or FILE.npy; from Python, an array will do"
        )
    try:
        given = np.asarray(wanted)
    except ValueError as error:
        raise CalibrationError(
            "the baseline's rows are not all of one length", f"its shape is {list(shape)}"
        ) from error
    if given.shape != shape or given.dtype.kind not in "fiu":
        raise CalibrationError(
            f"a baseline of shape {list(given.shape)} and type {given.dtype} does not fit {tensor!r}, where "
            "Integrated Gradients starts",
            f"pass numbers of shape {list(shape)}",
        )
    stored = given.astype(np.float32)
    if not np.isfinite(stored).all():
        raise CalibrationError(
            f"{np.sum(~np.isfinite(stored))} of the baseline's {stored.size} values are not finite in float32",
            "look for NaN, infinity and numbers beyond 3.4e38",
        )
    return stored


def labels(given: Sequence[str] | None, head: Head, attached: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the names of the classes: those given, else those in the one list attached to the model that fits.

    Where the model says yes or no, the name of what it says so of is enough: the other class is "not" that.
    """
    enough = {head.answers, head.classes}
    if given is None:
        texts = [data.decode("utf-8", "replace") for name, data in attached.items() if name.endswith(".txt")]
        fitting = [text.splitlines() for text in texts if len(text.splitlines()) in enough]
        given = fitting[0] if len(fitting) == 1 else [f"class {index}" for index in range(head.answers)]
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise CalibrationError(f"labels are {given!r:.80}, no list of names", "pass one name per class")
    names = [str(label) for label in given]
    if len(names) not in enough:
        raise CalibrationError(f"{len(names)} labels for a model of {head.answers} classes", "give one label per class")
    return (f"not {names[0]}", *names) if len(names) < head.answers else tuple(names)


def preprocessing(given: Preprocessing | Mapping[str, object] | None, shape: Sequence[int]) -> Preprocessing | None:
    """Return what is said of how raw values become inputs of ``shape``; refused where a device could not do it."""
    if given is None:
        return None
    known = [field.name for field in fields(Preprocessing)]
    hint = f"it says {', '.join(known)}: see docs/sources.md"
    if not isinstance(given, Preprocessing):
        unknown = [str(key) for key in given if key not in known] if isinstance(given, Mapping) else []
        if unknown:
            raise CalibrationError(f"preprocessing has no {unknown[0]!r}", hint)
        try:
            lists = {key: list(value) if isinstance(value, tuple) else value for key, value in dict(given).items()}
            given = from_json(Preprocessing, lists)
        except (DecodeError, TypeError, ValueError) as error:
            raise CalibrationError(f"preprocessing cannot be read: {error}", hint) from error
    for fault in stated.faults(given, tuple(shape)):
        raise CalibrationError(f"preprocessing.{fault}", hint)
    return given
