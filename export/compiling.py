"""From a model's bytes and a choice of methods and numerics to a file that carries explanations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata

from . import heads, state, tflite
from .errors import UNFORESEEN, UnsupportedModelError, unforeseen
from .heads import Head
from .methods import WALKS, Compiled, Entry, Method, Role, Source
from .numerics import Calibration, Numerics
from .shipped import Runtime, Shipped, is_recurrent
from .tflite.fold import fold, unfold
from .tflite.graph import Graph, Model, Signature
from .tflite.order import pick_class_first
from .tflite.writer import require_runtime

MARK = "whylite"
"""Metadata key of models that carry explanations, and prefix of signature keys that were taken."""

# What the emitted op versions ask for; the oldest runtime they are tested on.
_OLDEST_RUNTIME = "2.14.0"

_OF_THE_MODEL = (Role.PREDICTED, Role.CHOSEN, Role.FRONT, Role.SCORES)


def compile_methods(
    original: bytes,
    methods: Sequence[Method],
    numerics: Numerics,
    calibration: Calibration | None = None,
    output: str | None = None,
    signature: str | None = None,
) -> Shipped:
    """Return the model with an explanation per method attached, in an interpreter.

    ``calibration`` decides the grids that integer gradients are stored on; other numerics need none.
    """
    model = tflite.read(original)
    entered = heads.graph_of(model, signature)
    step, graph, head = enter(model, entered, output)
    called = tuple(model.graphs[1:])
    source = Source(graph, head, numerics.store, numerics.integer_forward, numerics.integer_backward, called)
    taken = {signature.key for signature in model.signatures}

    def settled(entry: Entry) -> Entry:
        """Under a key that the model does not use itself, and on its own ops where it does what the model does."""
        entry = replace(entry, key=f"{MARK}_{entry.key}") if entry.key in taken else entry
        return _on_original(entry, step, graph) if graph is not step and entry.role in _OF_THE_MODEL else entry

    compiled = {}
    for method in methods:
        built = _built(method, source)
        compiled[method.name] = replace(built, entries=[settled(entry) for entry in built.entries])
    entries = [entry for method in compiled.values() for entry in method.entries]
    aids: dict[Role, Entry] = {}
    if any(entry.role in WALKS for entry in entries) and source.start is not head.input:
        aids[Role.FRONT] = settled(source.front("front"))
    if source.streams:
        aids[Role.SCORES] = settled(source.scores("scores"))
    if head.states:
        reader, states = state.reader(entered, "state")
        aids[Role.STATE] = settled(Entry("state", Role.STATE, reader, {}, states))
    entries += aids.values()
    for entry in entries:
        if entry.role in WALKS:
            _finish(entry, numerics, calibration)
        if entry.role in (*WALKS, Role.EACH):
            pick_class_first(entry.graph)
    predict = _attach(model, entered, signature, head, entries)
    file = tflite.write(model)
    runtime = Runtime(file, recurrent=is_recurrent(graph))
    return Shipped(original, file, source, compiled, predict, runtime, aids)


def enter(model: Model, entered: Graph, output: str | None = None, *, runs: bool = True) -> tuple[Graph, Graph, Head]:
    """Return a graph of the model as a function of its input and state, the same with sizes folded, and its head.

    ``runs`` says whether an interpreter here runs it, without which nothing can be folded.
    """
    state.check_calls(entered, model)
    step = state.detach(entered)
    if step is not entered and is_recurrent(step):
        raise UnsupportedModelError(
            "it keeps state both in variables and in recurrent layers",
            "unroll the recurrent layers (unroll=True) and convert it again",
        )
    graph = fold(step, model.graphs[1:]) if runs else step
    names = heads.output_names(model, entered)
    return step, graph, heads.find(graph, output, len(graph.inputs) - len(entered.inputs), names)


def _built(method: Method, source: Source) -> Compiled:
    """Return what a method makes of a model, which it trusts to be as converters write it."""
    try:
        return method.build(source)
    except UNFORESEEN as error:
        raise unforeseen(f"{method.name} cannot be compiled for it", error) from error


def _finish(entry: Entry, numerics: Numerics, calibration: Calibration | None) -> None:
    """Apply numerics to a graph of gradients, which they trust as methods do the model."""
    try:
        numerics.finish(entry.graph, entry.inputs, entry.outputs, calibration)
    except (*UNFORESEEN, RuntimeError) as error:
        raise unforeseen(f"numerics {numerics.name} cannot be applied to {entry.key}", error) from error


def _on_original(entry: Entry, entered: Graph, folded: Graph) -> Entry:
    """Return an entry with the original's own ops below it."""
    back = unfold(entry.graph, entered, folded)
    inputs, outputs = (
        {name: back.get(tensor, tensor) for name, tensor in side.items()} for side in (entry.inputs, entry.outputs)
    )
    return replace(entry, inputs=inputs, outputs=outputs)


def _attach(model: Model, graph: Graph, signature: str | None, head: Head, entries: Sequence[Entry]) -> Signature:
    """Add the entries to the model as subgraphs with signatures; return the signature that only predicts."""
    entering = [s for s in model.signatures if s.graph is graph and signature in (None, s.key)]
    predict = next((s for s in entering if _connects(s, head)), None)
    if predict is None:
        key = f"{MARK}_predict" if any(s.key == "serving_default" for s in model.signatures) else "serving_default"
        inputs, outputs = ({t.name: t for t in tensors} for tensors in (graph.inputs, graph.outputs))
        predict = Signature(key, graph, inputs, outputs)
        model.signatures.append(predict)
    for entry in entries:
        model.graphs.append(entry.graph)
        model.signatures.append(Signature(entry.key, entry.graph, entry.inputs, entry.outputs))
    model.metadata.append((MARK, metadata.version("whylite").encode()))
    require_runtime(model, _OLDEST_RUNTIME)
    return predict


def _connects(signature: Signature, head: Head) -> bool:
    """Whether a signature leads from the model's input to the explained output, by names one can call."""
    given, returned = ({tensor.name for tensor in side.values()} for side in (signature.inputs, signature.outputs))
    named = all((signature.key, *signature.inputs, *signature.outputs))
    return named and given == {head.input.name} and head.scores.name in returned
