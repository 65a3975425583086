"""The bundle of a compiled model: its manifest, and the arrays a device needs or proves itself with."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from importlib import metadata

import numpy as np
from numpy.typing import NDArray

from edge.bundle import BASELINE, GOLDEN, MODEL, Bundle, npz_bytes, seal
from edge.integrate import RESIDUAL_BOUND, default_schedule
from edge.manifest import Check, ExplanationHead, Manifest, Measure, Port, Schedule
from edge.samples.preprocessing import Preprocessing

from . import measure, reach
from .methods import METHODS, WALKS, Role
from .micro import Firmware
from .selection import Selected
from .shipped import Shipped, is_recurrent
from .tflite.graph import Graph, Tensor

Array = NDArray[np.float32]

_GOLDEN_SAMPLES, _GOLDEN_BYTES = 4, 1 << 16


@dataclasses.dataclass(frozen=True)
class Label:
    """What the caller says of the model: its name, classes, target, and where integration starts.

    ``real_data`` says whether the inputs it was checked on came from the caller, ``extent`` is their range as far as
    the input can store it, ``limits`` what an input of ids may hold, ``notes`` what else there is to say of how it was
    compiled, ``preprocessing`` how raw values become inputs.
    """

    name: str
    classes: tuple[str, ...]
    target: str
    numerics: str
    baseline: str
    real_data: bool
    extent: tuple[float, float]
    limits: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None


def pack(
    selected: Selected,
    label: Label,
    checks: Sequence[Check],
    measures: Sequence[Measure],
    schedules: Sequence[Schedule],
    x: Array,
    firmware: Firmware,
) -> Bundle:
    """Return the bundle, with ``firmware`` in it; measures what its explanations cost."""
    shipped = selected.shipped
    graph, head = shipped.source.graph, shipped.source.head
    heads = tuple(_head(name, selected, schedules) for name in shipped.compiled)
    manifest = Manifest(
        name=_text(label.name),
        model_digest=hashlib.sha256(shipped.original).hexdigest(),
        kind=kind_of(graph),
        input=dataclasses.replace(
            _port(shipped.input_name, head.input, label.extent if label.real_data else None, label.limits),
            shape=head.sample_shape,
            batched=head.batched,
        ),
        output=_port(shipped.score_name, head.scores),
        labels=tuple(map(_text, label.classes)),
        predict=shipped.predict.key,
        logits=shipped.logits,
        heads=heads,
        numerics=label.numerics,
        target=label.target,
        baseline=label.baseline,
        runtime=f"{shipped.runtime.info.name} {shipped.runtime.info.version}",
        checks=tuple(checks),
        measures=tuple(measures),
        candidates=selected.rows,
        notes=(*_notes(shipped, label.real_data, heads, checks, x), *label.notes),
        states=tuple(_state(state) for state in head.states),
        state=shipped.aids[Role.STATE].key if Role.STATE in shipped.aids else None,
        scores=shipped.aids[Role.SCORES].key if Role.SCORES in shipped.aids else None,
        created_by=f"whylite {metadata.version('whylite')}",
        recurrent=is_recurrent(graph),
        yes_no=head.yes_no,
        preprocessing=label.preprocessing,
        micro=firmware.micro,
    )
    members = {MODEL: shipped.file, GOLDEN: _golden(shipped, x), **firmware.members}
    if label.baseline != "zero":
        members[BASELINE] = npz_bytes(baseline=selected.baseline)
    return measure.with_costs(seal(manifest, members), x)


def _text(name: str) -> str:
    """Return a name as every reader of the manifest can take it: files and tensors may be named by any bytes."""
    return name.encode("utf-8", "replace").decode()


def _head(name: str, selected: Selected, schedules: Sequence[Schedule]) -> ExplanationHead:
    shipped = selected.shipped
    compiled = shipped.compiled[name]
    chosen = compiled.entry(Role.CHOSEN, *WALKS)
    assert chosen is not None
    predicted = compiled.entry(Role.PREDICTED)
    stored_input = chosen.role is Role.CHOSEN
    head = ExplanationHead(
        method=name,
        layer=_text(compiled.layer.name),
        map_shape=compiled.map_shape,
        chosen=chosen.key,
        predicted=predicted.key if predicted else None,
        unit=chosen.unit,
        signed=METHODS[name].signed,
        stored_input=stored_input,
        steps_per_call=compiled.steps_per_call,
        front=None if stored_input or Role.FRONT not in shipped.aids else shipped.aids[Role.FRONT].key,
        peak_memory=selected.peaks.get(name),
        noise=compiled.noise,
        map_unit=METHODS[name].map_unit,
    )
    if chosen.role is not Role.STEPS:
        return head
    if (each := compiled.entry(Role.EACH)) is not None:
        head = dataclasses.replace(head, each=each.key, each_unit=each.unit)
    return dataclasses.replace(head, schedules=tuple(schedules))


def _port(
    name: str, tensor: Tensor, seen: tuple[float, float] | None = None, limits: tuple[int, ...] | None = None
) -> Port:
    grid = tensor.quantization if tensor.is_quantized else None
    return Port(
        name=name,
        shape=tuple(tensor.shape[1:]),
        dtype=str(tensor.dtype),
        scale=grid.scale[0] if grid else None,
        zero_point=grid.zero_point[0] if grid and grid.zero_point else 0,
        minimum=None if seen is None else seen[0],
        maximum=None if seen is None else seen[1],
        limits=limits,
    )


def _state(tensor: Tensor) -> Port:
    port = _port(tensor.name, tensor)
    return dataclasses.replace(port, shape=tensor.shape)


def kind_of(graph: Graph) -> str:
    """Return how a model computes: "float32", "int8", "uint8", "int16x8", "dynamic-range", "float16 weights", ..."""
    written = {tensor for op in graph.ops for tensor in op.outputs} | set(graph.inputs)
    activations = {str(tensor.dtype) for tensor in graph.tensors if tensor in written and tensor.is_quantized}
    weights = {str(t.dtype) for t in graph.tensors if t.is_constant and (t.is_quantized or t.dtype == np.float16)}
    if activations == {"int16"}:
        return "int16x8"  # 16-bit activations, 8-bit weights: the only weights there are kernels for
    if activations:
        return "/".join(sorted(activations))
    if "int8" in weights or "uint8" in weights:
        return "dynamic-range"
    return "float16 weights" if "float16" in weights else "float32"


def _notes(
    shipped: Shipped, real_data: bool, heads: Sequence[ExplanationHead], checks: Sequence[Check], x: Array
) -> tuple[str, ...]:
    graph, model = shipped.source.graph, shipped.source.head
    notes = []
    moved = [head.method for head in heads if head.front is not None]
    if moved:
        notes.append(
            f"{', '.join(moved)}: not at the input {model.input!r}, but at {shipped.source.start!r}, the first tensor "
            f"that can be reached ({reach.obstacle(graph, model)})"
        )
        decisions = ", ".join(tensor.name for tensor in shipped.source.decisions)
        notes += [f"{', '.join(moved)}: with what the input decides held fixed ({decisions})"] if decisions else []
    notes += [
        f"{head.method}: visual aid: keeps {METHODS[head.method].keeps} (Khakzar et al. 2020); its signed twin is "
        f"{METHODS[head.method].signed_twin}"
        for head in heads
        if not head.signed
    ]
    if shipped.source.streams:
        names = ", ".join(state.name for state in model.states) or "none that the answer depends on"
        notes.append(f"a streaming model: explained with its state ({names}) as a constant of the step")
    if not model.squashed and 1 < model.classes == math.prod(model.sample_shape):
        notes.append(
            f"output {_text(model.scores.name)!r} has as many values as the input ({model.classes}) and goes through "
            "neither softmax nor sigmoid: if it is a reconstruction, what is explained is no class score but one value "
            "of it, the largest unless another is asked for"
        )
    if not model.squashed and _may_be_probabilities(shipped, x):
        notes.append(
            f"explains output {_text(model.scores.name)!r} itself, which may be a probability: maps are in its unit"
        )
    if not real_data:
        notes.append("no calibration data was given: checks ran on random inputs")
    if is_recurrent(graph):
        notes.append("its recurrent layers start from zero state at every input: nothing is carried over")
    if kind_of(graph) == "dynamic-range":
        notes.append("weights are stored as int8 and computed with in float (dynamic-range quantisation)")
    for head in heads:
        usual = default_schedule(head.schedules) if head.schedules else None
        if usual is not None and usual.residual_p90 is not None and usual.residual_p90 > RESIDUAL_BOUND:
            notes.append(
                f"{head.method}: the schedule of {usual.steps} steps, used unless another is asked for, leaves "
                f"{usual.residual_p90:.0%} of the logit's change or more unexplained in 1 of 10 inputs"
            )
    if any(check.gating and not check.passed for check in checks):
        notes.append("shipped with failed checks (--allow-unfaithful)")
    return tuple(notes)


def _may_be_probabilities(shipped: Shipped, x: Array) -> bool:
    """Whether every score of a few inputs lies between 0 and 1."""
    port = _port(shipped.score_name, shipped.source.head.scores)
    scores = [port.dequantize(shipped.scores(shipped.stored(sample))) for sample in x[:_GOLDEN_SAMPLES]]
    return all(bool(((value >= 0) & (value <= 1)).all()) for value in scores)


def _golden(shipped: Shipped, x: Array) -> bytes:
    """Return inputs and the exact scores they gave here, for a device to prove itself against."""
    samples = x[: max(1, min(_GOLDEN_SAMPLES, _GOLDEN_BYTES // x[0].nbytes))]
    stored = [shipped.stored(sample) for sample in samples]
    scores = [shipped.scores(value) for value in stored]
    states = {name: np.stack([value] * len(samples)) for name, value in shipped.state.items()}
    return npz_bytes(x=samples, stored=np.stack(stored).reshape(samples.shape), scores=np.concatenate(scores), **states)
