"""Golden vectors over the link: which bytes a board must answer with, and how its answer is held against them.

Scores travel as float32, ``scale * (stored - zero_point)``, which is another number for each of the 256 stored values:
equal floats are equal bytes. Maps travel as they are stored, those that the board sums over steps (Integrated
Gradients) on a grid of their own, which is held against the bundle's, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.micro import GOLDEN, Micro, MicroExplanation, Stored, attribution_of
from edge.wire.records import Map
from firmware_bridge.build import micro_of
from firmware_bridge.errors import BoardError, WrongAnswerError
from firmware_bridge.flash.talk import Answer

_INT8 = 0  # of edge.wire.codecs
_AXES = 4  # that C tells apart
_WRONG = "the firmware there is not the bundle's, or computes wrongly: build and flash it again, and please report it"


@dataclass(frozen=True)
class Vector:
    """An input as it is stored, the ``scores`` (float32) and class a board must answer, and maps by method.

    Maps are of class ``explained``: the answer, or the one that a yes/no model has a score of. Of methods with steps
    only the first vectors have them, with their ``scales``.
    """

    number: int
    x: bytes
    scores: NDArray[np.float32]
    class_index: int
    explained: int
    maps: dict[str, NDArray[np.int8]]
    scales: dict[str, np.float32]


def vectors(bundle: Bundle) -> list[Vector]:
    """Return a bundle's golden vectors; BoardError where they are none of its model."""
    micro = micro_of(bundle)
    arrays = bundle.arrays(GOLDEN)
    for name in _lacking(micro, arrays):
        raise BoardError(
            f"{GOLDEN} of bundle {bundle.manifest.name!r} has no {name} to compare",
            "export it again: what earlier versions recorded is less than is compared now",
        )
    names = {own.method: attribution_of(own.method) if own.steps else (own.method, "") for own in micro.explanations}
    found = []
    for number in range(len(arrays["x"])):
        scores = real(micro.scores, arrays["scores"][number])
        if bundle.manifest.yes_no:
            scores = np.append(np.float32(1) - scores, scores).astype(np.float32)
        there = {method: each for method, each in names.items() if number < len(arrays[each[0]])}
        maps = {method: arrays[values][number] for method, (values, _) in there.items()}
        scales = {method: np.float32(arrays[scale][number]) for method, (_, scale) in there.items() if scale}
        x = arrays["x"][number].tobytes()
        answer = int(scores.argmax())
        found.append(Vector(number, x, scores, answer, 1 if bundle.manifest.yes_no else answer, maps, scales))
    return found


def _lacking(micro: Micro, arrays: Mapping[str, NDArray[Any]]) -> Iterator[str]:
    """Yield the names of arrays that are not there, or not of so many inputs of this model."""
    count = _rows(arrays, "x")
    wanted = {"x": ("int8", count, micro.input.shape), "scores": ("int8", count, micro.scores.shape)}
    for own in micro.explanations:
        if own.steps:
            values, scale = attribution_of(own.method)
            rows = _rows(arrays, values)
            wanted |= {values: ("int8", rows, own.map.shape), scale: ("float32", rows, ())}
        else:
            wanted[own.method] = ("int8", count, own.map.shape)
    for name, (dtype, rows, shape) in wanted.items():
        array = arrays.get(name)
        if array is None or not rows or array.dtype.name != dtype or array.shape != (rows, *shape):
            yield name


def _rows(arrays: Mapping[str, NDArray[Any]], name: str) -> int:
    return arrays[name].shape[0] if name in arrays and arrays[name].ndim else 0


def real(stored: Stored, values: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return what stored values stand for as the link has it: flat, and rounded as in C."""
    levels = values.ravel().astype(np.int32) - stored.zero_point
    return np.float32(stored.scale) * levels.astype(np.float32)


def hold(answer: Answer, vector: Vector, explanations: dict[int, MicroExplanation]) -> None:
    """Raise WrongAnswerError for the first thing in an answer that is not as it must be.

    ``explanations`` are those expected, by their numbers in the session.
    """
    result = answer.result
    assert result is not None  # the answer is whole
    faults = _faults(answer, vector, explanations)
    if fault := next(faults, None):
        raise WrongAnswerError(f"golden vector {vector.number}: {fault}", _WRONG)


def _faults(answer: Answer, vector: Vector, explanations: dict[int, MicroExplanation]) -> Iterator[str]:
    assert answer.result is not None
    scores = np.array(answer.result.scores, np.float32)
    if scores.shape != vector.scores.shape:
        yield f"{scores.size} scores come, of {vector.scores.size} classes"
        return
    if scores.tobytes() != vector.scores.tobytes():
        place = int(np.flatnonzero(scores != vector.scores)[0])
        yield f"score {place} is {scores[place]:.8g}, and {vector.scores[place]:.8g} is right"
    if answer.result.class_index != vector.class_index:
        yield f"the answer is class {answer.result.class_index}, and {vector.class_index} is right"
    for number, explanation in explanations.items():
        for fault in _map_faults(answer.maps[number], vector, explanation):
            yield f"{explanation.method}: {fault}"


def _map_faults(pieces: list[Map], vector: Vector, explanation: MicroExplanation) -> Iterator[str]:
    head, stored = pieces[0], explanation.map
    if head.class_index != vector.explained:
        yield f"the map is of class {head.class_index}, and {vector.explained} is right"
    if (len(stored.shape) <= _AXES and head.shape != stored.shape) or head.full_shape:
        yield f"the map's shape is {list(head.shape)}, and {list(stored.shape)} is right"
        return
    if head.encoding != _INT8 or head.deflated:
        yield "the map does not come as it is stored"
        return
    scale, zero_point = np.float32(stored.scale), stored.zero_point
    if explanation.steps:
        if head.steps != explanation.steps:
            yield f"{head.steps} steps were summed, and {explanation.steps} were asked for"
        scale, zero_point = vector.scales[explanation.method], 0
    elif explanation.units:
        scale *= np.float32(explanation.units[0 if len(explanation.units) == 1 else vector.explained])
    if np.float32(head.scale) != scale or head.zero_point != zero_point:
        found, wanted = f"{head.scale:.8g}, {head.zero_point}", f"{scale:.8g}, {zero_point}"
        yield f"the map's scale and zero point are {found}, and {wanted} are right"
    data = np.frombuffer(b"".join(piece.data for piece in pieces), np.int8)
    right = vector.maps[explanation.method].ravel()
    if data.shape != right.shape:
        yield f"{data.size} bytes of map come, of {right.size}"
    elif (wrong := np.flatnonzero(data != right)).size:
        place = int(wrong[0])
        yield f"{wrong.size} of {right.size} bytes differ; byte {place} is {data[place]}, and {right[place]} is right"
