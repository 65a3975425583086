"""What a manifest must say for a device to compute with it: whoever makes a bundle can seal any numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .micro import GOLDEN, MODEL, SOURCES
from .samples import preprocessing

if TYPE_CHECKING:
    from .manifest import ExplanationHead, Manifest, Port, Schedule
    from .micro import Micro, MicroExplanation, Stored

_MOST = 1 << 26  # numbers in an input or a map
_STEPS = 1 << 16
_TYPES = {np.dtype(kind).name for kind in "?bBhHiIlLefd"}
_ONE = 1 << 15  # in which nodes and weights of microcontrollers count
_SOURCE = re.compile(r"\w+\.[ch]", re.ASCII)
_LARGEST = float(np.finfo(np.float32).max)


def check(manifest: Manifest) -> None:
    """Raise ``ValueError`` naming the first field whose value nothing can be computed with."""
    for fault in _faults(manifest):
        raise ValueError(fault)


def _faults(manifest: Manifest) -> Iterator[str]:
    yield from _port_faults("input", manifest.input)
    yield from _port_faults("output", manifest.output)
    for index, port in enumerate(manifest.states):
        yield from _port_faults(f"states[{index}]", port)
    if bool(manifest.states) != (manifest.state is not None) or (manifest.states and manifest.scores is None):
        yield "states, state and scores are there only in part"
    scores = math.prod(manifest.output.shape)
    if manifest.yes_no and scores != 1:
        yield f"yes_no is of one score, and output.shape is {list(manifest.output.shape)}"
    if len(manifest.labels) != scores + manifest.yes_no:
        yield f"labels are {len(manifest.labels)}, and output.shape is {list(manifest.output.shape)}"
    if manifest.preprocessing is not None:
        for fault in preprocessing.faults(manifest.preprocessing, manifest.input.shape):
            yield f"preprocessing.{fault}"
    if not manifest.heads:
        yield "heads are none"
    methods = [head.method for head in manifest.heads]
    if "" in methods:
        yield f"heads[{methods.index('')}].method is empty"
    if len(set(methods)) < len(methods):
        yield "heads explain by the same method twice"
    for index, head in enumerate(manifest.heads):
        yield from _head_faults(f"heads[{index}]", head)
        if head.schedules and manifest.logits is None:
            yield f"logits is missing, and heads[{index}] integrates"
    if manifest.micro is not None:
        yield from _micro_faults(manifest.micro, manifest)


def _port_faults(where: str, port: Port) -> Iterator[str]:
    if not _is_shape(port.shape):
        yield f"{where}.shape is {list(port.shape)[:10]}"
    if port.dtype not in _TYPES:
        yield f"{where}.dtype is {port.dtype[:20]!r}"
        return
    dtype = np.dtype(port.dtype)
    if port.scale is not None:
        if dtype.kind not in "iu":
            yield f"{where}.scale is given for {port.dtype}"
        elif not (np.float32(min(port.scale, _LARGEST)) > 0 and port.scale <= _LARGEST):
            yield f"{where}.scale is {port.scale}"
        elif not np.iinfo(dtype).min <= port.zero_point <= np.iinfo(dtype).max:
            yield f"{where}.zero_point is {port.zero_point} for {port.dtype}"
    for name in ("minimum", "maximum"):
        if not math.isfinite(getattr(port, name) or 0.0):
            yield f"{where}.{name} is {getattr(port, name)}"
    if port.limits is not None and len(port.limits) != 2:
        yield f"{where}.limits are {len(port.limits)} numbers"


def _head_faults(where: str, head: ExplanationHead) -> Iterator[str]:
    if not _is_shape(head.map_shape):
        yield f"{where}.map_shape is {list(head.map_shape)[:10]}"
    for name in ("unit", "each_unit"):
        if not 0 < abs(getattr(head, name)) <= _LARGEST:
            yield f"{where}.{name} is {getattr(head, name)}"
    if head.each is not None and not head.schedules:
        yield f"{where}.each is given without schedules to start from"
    if not 0 <= head.steps_per_call <= _STEPS or (head.schedules and not head.steps_per_call):
        yield f"{where}.steps_per_call is {head.steps_per_call}"
    if head.noise is not None:
        if not 0 <= head.noise.level <= _LARGEST:
            yield f"{where}.noise.level is {head.noise.level}"
        if not 0 < head.noise.samples <= _STEPS or not head.steps_per_call:
            yield f"{where}.noise is of {head.noise.samples} samples, {head.steps_per_call} a call"
        if head.noise.seed < 0:
            yield f"{where}.noise.seed is {head.noise.seed}"
    for index, schedule in enumerate(head.schedules):
        yield from _schedule_faults(f"{where}.schedules[{index}]", schedule)


def _schedule_faults(where: str, schedule: Schedule) -> Iterator[str]:
    if not 0 < schedule.steps <= _STEPS or {len(schedule.nodes), len(schedule.weights)} != {schedule.steps}:
        yield (f"{where} is of {schedule.steps} steps, {len(schedule.nodes)} nodes and {len(schedule.weights)} weights")
    if not 0 <= schedule.intervals <= schedule.steps:
        yield f"{where} is of {schedule.steps} steps in {schedule.intervals} intervals"
    if not 0 <= schedule.place <= 1:
        yield f"{where}.place is {schedule.place}"
    if not all(abs(number) <= _LARGEST for number in (*schedule.nodes, *schedule.weights)):
        yield f"{where} has nodes or weights that are not finite"


def _micro_faults(micro: Micro, manifest: Manifest) -> Iterator[str]:
    if not micro.identifier.isascii() or not micro.identifier.isidentifier():
        yield f"micro.identifier is {micro.identifier[:40]!r}"  # it becomes a name in C, and of files
    for member in (MODEL, GOLDEN, f"{SOURCES}whylite_{micro.identifier}.c", f"{SOURCES}whylite_{micro.identifier}.h"):
        if member not in manifest.members:
            yield f"micro lacks its member {member}"
    for member in manifest.members:
        if member.startswith(SOURCES) and not _SOURCE.fullmatch(member.removeprefix(SOURCES)):
            yield f"micro has a source called {member[:60]!r}"  # which is to be written to a folder
    for name in ("arena", "constants", "explaining", "reference_arena"):
        if not 0 <= getattr(micro, name) <= _MOST:
            yield f"micro.{name} is {getattr(micro, name)}"
    yield from _stored_faults("micro.input", micro.input)
    yield from _stored_faults("micro.scores", micro.scores)
    parts = {"predict", *(explanation.method for explanation in micro.explanations)}
    if len(parts) <= len(micro.explanations):
        yield "micro.explanations explain by the same method twice"
    for index, explanation in enumerate(micro.explanations):
        yield from _micro_explanation_faults(f"micro.explanations[{index}]", explanation, manifest)
    for index, operation in enumerate(micro.operations):
        if operation.part not in parts:
            yield f"micro.operations[{index}].part is {operation.part[:40]!r}"
        if not 0 <= operation.macs < 1 << 48:
            yield f"micro.operations[{index}].macs is {operation.macs}"


def _stored_faults(where: str, stored: Stored) -> Iterator[str]:
    if not _is_shape(stored.shape):
        yield f"{where}.shape is {list(stored.shape)[:10]}"
    if not (np.float32(min(stored.scale, _LARGEST)) > 0 and stored.scale <= _LARGEST):
        yield f"{where}.scale is {stored.scale}"
    if not -128 <= stored.zero_point <= 127:
        yield f"{where}.zero_point is {stored.zero_point}"


def _micro_explanation_faults(where: str, explanation: MicroExplanation, manifest: Manifest) -> Iterator[str]:
    if explanation.method not in {head.method for head in manifest.heads}:
        yield f"{where}.method is {explanation.method[:40]!r}, which no head has"
    yield from _stored_faults(f"{where}.map", explanation.map)
    fidelity = (explanation.fidelity, explanation.fidelity_p05)
    decided = explanation.samples > 0 and all(value is not None and abs(value) <= 1 for value in fidelity)
    if not decided and (explanation.samples or fidelity != (None, None)):
        yield f"{where}.fidelity is {explanation.fidelity}, {explanation.fidelity_p05} of {explanation.samples} samples"
    left = (explanation.residual_p50, explanation.residual_p90)
    if not all(share is None or 0 <= share <= _LARGEST for share in left):
        yield f"{where}.residual is {left}"
    if not all(0 < unit <= _LARGEST for unit in explanation.units):
        yield f"{where}.units are not all above 0 and finite"
    if len(explanation.units) != math.prod(manifest.output.shape):
        yield f"{where}.units are {len(explanation.units)}, and output.shape is {list(manifest.output.shape)}"
    logits = explanation.baseline_logits
    if len(logits) not in {0, len(explanation.units)} or not all(abs(logit) <= _LARGEST for logit in logits):
        yield f"{where}.baseline_logits are {len(logits)} numbers, or not all finite"
    steps, nodes, weights = explanation.steps, explanation.nodes, explanation.weights
    if not 0 <= steps < 1 << 16 or {len(nodes), len(weights)} != {steps}:
        yield f"{where} is of {steps} steps, {len(nodes)} nodes and {len(weights)} weights"
    if not all(0 <= number <= _ONE for number in (*nodes, *weights)) or (steps and sum(weights) != _ONE):
        yield f"{where}.nodes or weights are beyond {_ONE}, or the weights do not sum to it"


def _is_shape(shape: tuple[int, ...]) -> bool:
    return len(shape) < 32 and all(size > 0 for size in shape) and math.prod(shape) <= _MOST
