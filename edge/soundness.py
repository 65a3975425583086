"""What a manifest must say for a device to compute with it: whoever makes a bundle can seal any numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .samples import preprocessing

if TYPE_CHECKING:
    from .manifest import ExplanationHead, Manifest, Port, Schedule

_MOST = 1 << 26  # numbers in an input or a map
_STEPS = 1 << 16
_TYPES = {np.dtype(kind).name for kind in "?bBhHiIlLefd"}
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


def _is_shape(shape: tuple[int, ...]) -> bool:
    return len(shape) < 32 and all(size > 0 for size in shape) and math.prod(shape) <= _MOST
