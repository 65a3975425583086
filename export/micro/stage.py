"""Target micro as a stage of an export: what it adds to a bundle, and the checks that decide whether it may ship."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edge.bundle import npz_bytes
from edge.explanation import Flag
from edge.integrate import RESIDUAL_BOUND
from edge.manifest import Check, Schedule
from edge.micro import GOLDEN, MODEL, SOURCES, Micro, MicroExplanation, Stored

from .. import c
from ..errors import UNFORESEEN, UnsupportedModelError, unforeseen
from ..heads import Head
from ..methods import METHODS, IntegratedGradients
from ..selection import Selected
from ..tflite.graph import Graph, Model, Tensor
from . import reference, saturation
from .core import core_of
from .fidelity import Fidelity, fidelities, predictions
from .model import MicroModel, build, stored
from .residual import Residual, baseline_logits, residual
from .steps import choose_steps
from .vectors import vectors

Array = NDArray[np.float32]

_GOLDEN_SAMPLES = 16


@dataclass(frozen=True)
class Firmware:
    """What target micro adds to a bundle: what the manifest says of it, the members, the checks it was held to, notes.

    Other targets add nothing.
    """

    micro: Micro | None = None
    members: Mapping[str, bytes] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()


def admit(
    source: Model, original: bytes, graph: Graph, head: Head, layers: Mapping[str, Tensor], x: Array, baseline: Array
) -> MicroModel:
    """Return the model in int8, explanations and all, but for the steps of Integrated Gradients.

    Raises :class:`UnsupportedModelError` for what a microcontroller could not run, and
    :class:`MissingReferenceError` without TensorFlow Lite Micro, and :class:`CalibrationError` for too few inputs:
    before the long part of an export.
    """
    if len(source.graphs) > 1:
        raise UnsupportedModelError(
            f"target micro takes models of one subgraph, and this one has {len(source.graphs)}",
            "convert it without control flow and with one signature, or export it for --target pi",
        )
    core = core_of(graph, head)  # refuses before anything runs
    grids, _ = saturation.parted(x, core.input)
    reference.arena_of(original, "the model")
    try:
        built = build(graph, head, layers, grids, baseline)
        file = built.file()
    except (*UNFORESEEN, RuntimeError) as error:
        raise unforeseen("it cannot be compiled for microcontrollers", error) from error
    reference.arena_of(file, "what was compiled of the model")
    return built


def compiled(
    built: MicroModel,
    selected: Selected,
    schedules: Sequence[Schedule],
    name: str,
    labels: Sequence[str],
    x: Array,
    before: Sequence[Check],
    rule: str,
) -> Firmware:
    """Return the C of a model, what it takes, golden vectors, and how faithful its explanations are.

    ``before`` are the checks of the export until now: maps of a method that failed one are marked, as those of one that
    fails here. ``rule`` is that of the ``schedules``, where one was asked for.
    """
    shipped = selected.shipped
    grids, held_back = saturation.parted(x, built.input)
    notes: list[str] = []
    if schedules:
        built, notes = _with_steps(built, schedules, selected, grids, uniform=rule == "auto")
    digest = hashlib.sha256(shipped.original).digest()
    alike = fidelities(built, selected.exact, selected.baseline, held_back)
    checks = (
        predictions(built, shipped, x),
        *(fidelity.check for fidelity in alike if fidelity.check is not None),
        *saturation.checks(built, held_back, "inputs held back"),
    )
    failed = {check.method for check in (*before, *checks) if check.gating and not check.passed}
    sources = c.emit(_described(built, name, labels, digest, failed))
    left = [None if own.steps is None else residual(built, own, shipped, held_back) for own in built.explanations]
    original_arena = reference.arena_of(shipped.original, "the model")
    micro = Micro(
        identifier=sources.identifier,
        input=_stored(built.input),
        scores=_stored(built.scores),
        arena=sources.arena,
        constants=sources.constants,
        reference_arena=original_arena,
        reference=reference.version(),
        explanations=tuple(_explanation(*each) for each in zip(built.explanations, alike, left, strict=True)),
        operations=sources.operations,
        explaining=sources.explaining,
    )
    inputs = [stored(built.input, sample) for sample in x[:_GOLDEN_SAMPLES]]
    members = {MODEL: built.file(), GOLDEN: npz_bytes(**vectors(built, inputs))}
    members |= {f"{SOURCES}{file}": text.encode() for file, text in sources.files.items()}
    notes += [note for found in (*alike, *left) if found is not None for note in found.notes]
    notes += [*saturation.notes(built), *_incomplete(micro.explanations)]
    return Firmware(micro, members, checks, tuple(notes))


def _incomplete(explanations: Sequence[MicroExplanation]) -> list[str]:
    """Return what is to be said of attributions that a device will mark as not adding up."""
    return [
        f"{own.method} on a microcontroller leaves {own.residual_p50:.0%} of the logit's change unexplained in half of "
        "the inputs: its maps rank values, and do not add up"
        for own in explanations
        if own.residual_p50 is not None and own.residual_p50 > RESIDUAL_BOUND
    ]


def _with_steps(
    built: MicroModel, schedules: Sequence[Schedule], selected: Selected, x: Array, *, uniform: bool
) -> tuple[MicroModel, list[str]]:
    """Return the model with the steps that are taken unless others are asked for, and what to say of them."""
    start = stored(built.input, selected.baseline)
    logits = baseline_logits(built, selected.exact, start)

    def stepped(own: c.Explained) -> c.Explained:
        if own.method != IntegratedGradients.name:
            return own
        given = (schedules, start, logits.values, selected.exact, selected.baseline, x)
        return replace(own, steps=choose_steps(built, own, *given, uniform=uniform))

    return replace(built, explanations=tuple(map(stepped, built.explanations))), list(logits.notes)


def _described(
    built: MicroModel, name: str, labels: Sequence[str], digest: bytes, failed: Collection[str]
) -> c.Described:
    """Return what is to be compiled to C, the maps of methods that ``failed`` marked."""
    graph = built.graph.copy(built.graph.name)
    graph.outputs = built.outputs_of_classes
    explained = [replace(own, flags=_flags(own.method, failed)) for own in built.explanations]
    named = labels if len(labels) == built.scores.shape[-1] + built.yes_no else ()
    return c.Described(
        name, graph, built.scores, built.logits, digest, named, built.class_index, explained, built.yes_no
    )


def _flags(method: str, failed: Collection[str]) -> Flag:
    """Return what goes with every map of a method: where an input cannot be reached, there is none on a device."""
    flags = Flag.NONE if METHODS[method].signed else Flag.VISUAL_AID
    return flags | Flag.UNFAITHFUL if not {"", method}.isdisjoint(failed) else flags


def _explanation(own: c.Explained, fidelity: Fidelity, left: Residual | None) -> MicroExplanation:
    steps = own.steps
    return MicroExplanation(
        method=own.method,
        layer=own.layer.encode("utf-8", "replace").decode(),
        map=replace(_stored(own.map), shape=own.shape),
        fidelity=None if fidelity.check is None else fidelity.check.value,
        fidelity_p05=fidelity.tail,
        samples=0 if fidelity.check is None else fidelity.check.samples,
        steps=0 if steps is None else len(steps.nodes),
        nodes=() if steps is None else steps.nodes,
        weights=() if steps is None else steps.weights,
        units=own.units,
        baseline_logits=() if steps is None else steps.baseline_logits,
        residual_p50=None if left is None else left.p50,
        residual_p90=None if left is None else left.p90,
    )


def _stored(tensor: Tensor) -> Stored:
    assert tensor.quantization is not None
    return Stored(tuple(tensor.shape[1:]), tensor.quantization.scale[0], (tensor.quantization.zero_point or (0,))[0])
