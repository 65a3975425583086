"""Where a model's classes are decided: the tensor whose entry is explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .errors import UnsupportedModelError
from .layout import channels_moved
from .tflite.graph import Graph, Model, Op, Tensor, reachable_from
from .tflite.ops import elements

_PASS_THROUGH = {"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE"}
# Ops that may read one position of many, and ops that read all of them for each.
_PICKS = {"GATHER", "SLICE", "STRIDED_SLICE"}
_MIX = {"BATCH_MATMUL", "CONV_2D", "MEAN", "UNIDIRECTIONAL_SEQUENCE_LSTM"}
_NO_NAMES: Mapping[str, int] = MappingProxyType({})
_ENDINGS = {"LOGISTIC", "LOG_SOFTMAX", "SOFTMAX"}


@dataclass(frozen=True)
class Head:
    """``scores`` is the model's output, ``logits`` what its softmax or sigmoid is taken of (the same without one).

    A regression's one value is the score of class 0. ``states`` are further inputs that the scores depend on: what the
    variables of a streaming model hold before the step. ``squashed`` says whether a softmax or sigmoid was found;
    without one, what is explained is the output itself. ``yes_no`` says that it was the sigmoid of one number: the
    score of class 1, and what is left of 1 that of class 0, which has no output.
    """

    input: Tensor
    scores: Tensor
    logits: Tensor
    states: tuple[Tensor, ...] = ()
    squashed: bool = False
    yes_no: bool = False

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one input: without the batch, where the model has one."""
        return self.input.shape[1:] if self.batched else self.input.shape

    @property
    def batched(self) -> bool:
        """Whether the first dimension of the input is a batch of one; a bare waveform has none."""
        return self.input.shape[:1] == (1,)

    @property
    def classes(self) -> int:
        """How many classes have a score of their own."""
        return self.logits.shape[-1]

    @property
    def answers(self) -> int:
        """How many classes the model tells apart: one more than it scores where it says yes or no."""
        return self.classes + self.yes_no


def graph_of(model: Model, signature: str | None = None) -> Graph:
    """Return the graph that ``signature`` enters, the primary one where none is asked for."""
    if signature is None:
        return model.graphs[0]
    for entrance in model.signatures:
        if entrance.key == signature:
            return entrance.graph
    listed = ", ".join(repr(entrance.key) for entrance in model.signatures)
    raise UnsupportedModelError(
        f"the model has no signature {signature!r}", f"choose from: {listed}" if listed else "it has none: leave it out"
    )


def output_names(model: Model, entered: Graph) -> dict[str, int]:
    """Return the places of a graph's outputs by what its signatures call them."""
    entering = (entrance for entrance in model.signatures if entrance.graph is entered)
    named = [(name, tensor) for entrance in entering for name, tensor in entrance.outputs.items()]
    return {name: entered.outputs.index(tensor) for name, tensor in named if tensor in entered.outputs}


def find(graph: Graph, output: str | None = None, states: int = 0, names: Mapping[str, int] = _NO_NAMES) -> Head:
    """Return the head of ``graph``, the last so many inputs of which are states.

    ``output`` names the output to explain where there are several: its tensor, or what a signature calls it, for which
    ``names`` has its place (see :func:`output_names`). Raises :class:`UnsupportedModelError` where the
    model has several inputs, an input of open size, or an output that is no vector of class scores.
    """
    given, held = graph.inputs[: len(graph.inputs) - states], graph.inputs[len(graph.inputs) - states :]
    if len(given) != 1:
        listed = ", ".join(repr(tensor.name) for tensor in given)
        raise UnsupportedModelError(f"the model has {len(given)} inputs ({listed})", "only one can be explained yet")
    (source,) = given
    if -1 in (source.shape_signature or ())[len(source.shape) > 1 :]:
        raise UnsupportedModelError(
            f"input {source!r} has open dimensions: {list(source.shape_signature or ())}",
            "convert the model with a fixed input shape; the batch alone may stay open",
        )
    scores = _choose_output(graph, output, names)
    if not scores.shape or scores.shape[0] != 1 or elements(scores.shape) != scores.shape[-1]:
        raise UnsupportedModelError(
            f"output {scores!r} is no vector of class scores", "an output of shape [1, classes] can be explained"
        )
    producers = graph.producers()
    tensor = scores
    while tensor in producers and _keeps_order(producers[tensor]):
        tensor = producers[tensor].input(0)
    # A softmax or sigmoid over several axes, flattened behind it, has no vector of logits.
    ends = tensor in producers and producers[tensor].code in _ENDINGS and tensor.shape[-1:] == scores.shape[-1:]
    logits = producers[tensor].input(0) if ends else scores
    while logits in producers and producers[logits].code in {"QUANTIZE", "DEQUANTIZE"}:
        logits = producers[logits].input(0)
    yes_no = ends and producers[tensor].code == "LOGISTIC" and scores.shape[-1] == 1
    moving = [state for state in held if scores in reachable_from(graph, {state})]
    return Head(source, scores, logits, tuple(moving), squashed=ends, yes_no=yes_no)


def _keeps_order(op: Op) -> bool:
    """Whether an op hands on a vector's entries as they are, one after the other."""
    return op.code in _PASS_THROUGH or (
        op.code == "TRANSPOSE" and max(op.output.shape, default=1) == elements(op.output.shape)
    )


def _choose_output(graph: Graph, output: str | None, names: Mapping[str, int]) -> Tensor:
    called = {graph.outputs[place]: name for name, place in names.items()}
    listed = ", ".join(
        f"{tensor!r}" + (f", called {called[tensor]!r}" if called.get(tensor, tensor.name) != tensor.name else "")
        for tensor in graph.outputs
    )
    if output is not None:
        for tensor in graph.outputs:
            if tensor.name == output:
                return tensor
        if output in names:
            return graph.outputs[names[output]]
        raise UnsupportedModelError(f"the model has no output {output!r}", f"its outputs are {listed}")
    if len(graph.outputs) != 1:
        raise UnsupportedModelError(
            f"the model has {len(graph.outputs)} outputs", f"choose the one to explain with --output: {listed}"
        )
    return graph.outputs[0]


def default_layer(graph: Graph, head: Head) -> Tensor:
    """Return the layer GradCAM looks at unless told otherwise: the last one that still knows *where*.

    That is the last rank-4 (or rank-3) tensor with more than one position on the way to the logits, activation
    included, as Selvaraju et al. 2017 choose it. Where only one of its positions is read on, as the last step of a
    recurrent layer, one before positions mix is preferred: the others have no gradient. One whose last axis is not its
    channels, as channels-first models have them before they are flattened, is passed by.
    """
    producers = graph.producers()
    tensor = head.logits
    reached, layers = reachable_from(graph, {head.input}), _layers(graph)
    one_read, last = False, None
    while tensor in producers:
        op = producers[tensor]
        one_read = (one_read or op.code in _PICKS) and op.code not in _MIX
        tensor = next((t for t in op.inputs if t is not None and t in reached and t.dtype.kind != "b"), head.input)
        if tensor not in layers:
            continue
        if not one_read:
            return tensor
        last = last or tensor
    if last is not None:
        return last
    raise UnsupportedModelError(
        "no layer of the model has spatial positions left",
        "class activation maps need a convolutional layer: ask for another method, as --method integrated_gradients",
    )


def layers_beside(graph: Graph, head: Head, layer: Tensor) -> list[Tensor]:
    """Return the last layers that know *where* on the ways to the logits that do not pass through ``layer``.

    There are some where branches meet behind their pooling: a map of one layer then explains its own branch alone.
    """
    producers, layers = graph.producers(), _layers(graph)
    reached = reachable_from(graph, {head.input})
    found: dict[Tensor, None] = {}
    ahead, seen = [head.logits], {layer}
    while ahead:
        tensor = ahead.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        if tensor in layers:
            found[tensor] = None
        elif tensor in producers and producers[tensor].code != "SHAPE":
            ahead += [operand for operand in reversed(producers[tensor].inputs) if operand in reached]
    return list(found)


def _layers(graph: Graph) -> dict[Tensor, Op]:
    """Return the tensors that class activation maps may be of, by default, and the ops that compute them."""
    moved, producers = channels_moved(graph), graph.producers()
    maps = {tensor: op for tensor, op in producers.items() if has_positions(tensor) and tensor not in moved}
    return {tensor: op for tensor, op in maps.items() if op.code not in _passed_by(tensor)}


def _passed_by(tensor: Tensor) -> set[str]:
    """Return the ops that only store or arrange a map otherwise, which one that computes it is preferred to."""
    return _PASS_THROUGH | {"EXPAND_DIMS"} if len(tensor.shape) == 3 else {"QUANTIZE", "DEQUANTIZE"}


def has_positions(tensor: Tensor) -> bool:
    """Whether a tensor is a map over positions, of an image or a sequence.

    Where they are in the batch, as in SPACE_TO_BATCH_ND, it is none.
    """
    shape = tensor.shape
    return len(shape) in (3, 4) and shape[0] == 1 and elements(shape[1:-1]) > 1
