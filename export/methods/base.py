"""What an explanation method is given, and what it makes."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from edge.manifest import LOGITS, Noise

from ..heads import Head
from ..numerics.twin import float_twin, instantiate
from ..numerics.weights import Store
from ..reach import first_reachable, held_fixed
from ..tflite.graph import Graph, Op, Tensor, between, reachable_from
from ..tflite.ops import INT32, Builder, prune

Array = NDArray[np.floating[Any]]
Formula = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class Source:
    """The model to explain: its graph, its head, and how constants of the gradient are stored.

    ``called`` are the file's subgraphs behind the primary one, where control flow finds them by their place.
    ``integer_forward`` says that gradients are taken along the model's own integer forward pass, not its float twin's,
    ``integer_backward`` that they will be stored as integers too.
    """

    graph: Graph
    head: Head
    store: Store
    integer_forward: bool = False
    integer_backward: bool = False
    called: tuple[Graph, ...] = ()

    @cached_property
    def start(self) -> Tensor:
        """The tensor that input gradients are taken at: the input, or the first one that can be reached."""
        return first_reachable(self.graph, self.head)

    @property
    def streams(self) -> bool:
        """Whether a step of the model leaves a state to the next."""
        return len(self.graph.inputs) > 1

    @cached_property
    def held(self) -> tuple[Tensor, ...]:
        """The states that the logits depend on beside ``start``: constants of the step."""
        return tuple(state for state in self.head.states if self.head.logits in reachable_from(self._behind, {state}))

    @cached_property
    def decisions(self) -> tuple[Tensor, ...]:
        """What else the logits depend on beside ``start``, such as the padding mask of an embedding look-up."""
        return held_fixed(self.graph, self.head, self.start)

    @cached_property
    def _behind(self) -> Graph:
        """The graph without what comes before ``start`` and what is held fixed."""
        behind = self.graph.copy(self.graph.name)
        known = {self.start, *self.decisions}
        behind.ops = [op for op in behind.ops if not known.intersection(op.outputs)]
        return behind

    def twin(self) -> Twin:
        """Return the float twin from where gradients are taken up to the logits."""
        behind = self._behind.copy(self.graph.name)
        behind.inputs = [self.start, *self.held, *self.decisions]
        graph, twins = float_twin(behind, self.head.logits, self.store)
        for name, tensor in self._named_decisions().items():
            twins[tensor].name = name
        logits = graph.outputs[0]
        held = tuple(twins[tensor] for tensor in (*self.held, *self.decisions))
        return Twin(graph, Head(twins[self.start], logits, logits, held), twins)

    def _named_decisions(self) -> dict[str, Tensor]:
        return {f"held/{number}": tensor for number, tensor in enumerate(self.decisions)}

    def front(self, key: str) -> Entry:
        """Return the model's own way from its input to where gradients are taken, whose real values it gives."""
        graph = self.graph.copy(key)
        builder = Builder(graph, "why/")
        found = {"x": self.start, **self._named_decisions()}
        outputs = {name: builder.dequantize(t) if t.is_quantized else t for name, t in found.items()}
        graph.outputs = list(outputs.values())
        return Entry(key, Role.FRONT, graph, self.step_inputs(graph, "input"), outputs)

    def scores(self, key: str) -> Entry:
        """Return the prediction as a function of the input and the state: the step without what it leaves behind."""
        graph = self.graph.copy(key)
        graph.outputs = [self.head.scores]
        return Entry(key, Role.SCORES, graph, self.step_inputs(graph, "input"), {"scores": self.head.scores})

    def step_inputs(self, graph: Graph, name: str) -> dict[str, Tensor]:
        """Make the input, called ``name``, and the states that its outputs need the inputs of a copy of the graph."""
        needed = [state for state in self.head.states if reachable_from(graph, {state}).intersection(graph.outputs)]
        graph.inputs = [self.head.input, *needed]
        prune(graph)
        return {name: self.head.input} | {state.name: state for state in needed}


@dataclass(frozen=True)
class Twin:
    """A model in float32 arithmetic on the same weights; ``tensors`` says where each tensor of the model went."""

    graph: Graph
    head: Head
    tensors: dict[Tensor, Tensor]

    def original(self, tensor: Tensor) -> Tensor:
        """Return the model's tensor that a twin's tensor stands for: the first, where the grid changes on the way."""
        return next(own for own, twin in self.tensors.items() if twin is tensor)


class Role(enum.Enum):
    """What a caller gets from an entry."""

    PREDICTED = "the map of the class predicted in the graph, and the scores"
    CHOSEN = "the map of a class asked for, and the scores"
    GRADIENT = "the map of a class asked for, from a float input"
    MODIFIED = "the map of a class asked for, from a float input, by modified backward rules"
    STEPS = "gradients at several interpolation steps, summed with weights"
    SAMPLES = "gradients at several noisy copies of the input, summed with weights"
    EACH = "the gradient and the logits at one interpolation step"
    LOGITS = "the logits, from a float input"
    FRONT = "where gradients are taken, from the model's input"
    SCORES = "the scores, from the model's input and its state"
    STATE = "the state"


WALKS = (Role.GRADIENT, Role.MODIFIED, Role.STEPS, Role.SAMPLES)
"""Roles of entries that walk back over the float twin, from where gradients are taken."""


@dataclass(frozen=True)
class Entry:
    """A graph to be added to the model under signature ``key``.

    A caller multiplies output ``map`` by ``unit`` to have it in the method's ``map_unit``.
    """

    key: str
    role: Role
    graph: Graph
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    unit: float = 1.0


@dataclass(frozen=True)
class Compiled:
    """What a method made of a model: its entries, the tensor its map is about, and the map's shape.

    ``formula`` is the method in numpy, from the values there and their gradients: of a class activation map what each
    channel adds, ``[positions, channels]``, of which the sum is the map, cut off at 0 if ``rectified``. ``noise`` is
    what is added to copies of the input, where that is the method.
    """

    entries: list[Entry]
    layer: Tensor
    map_shape: tuple[int, ...]
    steps_per_call: int = 0
    formula: Formula | None = None
    rectified: bool = False
    noise: Noise | None = None

    def entry(self, *roles: Role) -> Entry | None:
        """Return the entry that has one of these roles."""
        return next((entry for entry in self.entries if entry.role in roles), None)


@dataclass(frozen=True)
class Method(ABC):
    """A way to explain a class score."""

    name: ClassVar[str]
    signed: ClassVar[bool]
    """Whether gradients keep their signs on the way; methods that do not are visual aids (Khakzar et al. 2020)."""
    signed_twin: ClassVar[str | None] = None
    """Of a visual aid, the method that keeps the signs and is nearest to it."""
    keeps: ClassVar[str] = "only positive gradients"
    """What a visual aid does keep."""
    map_unit: ClassVar[str] = LOGITS
    """What the map's values are in, as :mod:`edge.bundle` calls it."""

    def target(self, graph: Graph, head: Head) -> Tensor:
        """Return the tensor that the method attributes the class to.

        That is the input, or the first tensor that can be reached, unless a method says otherwise.
        """
        return first_reachable(graph, head)

    def fitted(self, source: Source) -> Method:
        """Return the method with what has to be found out about a model once, in whatever numerics it is built."""
        del source
        return self

    @abstractmethod
    def build(self, source: Source) -> Compiled:
        """Return the graphs of the method for a model; raises ``UnsupportedModelError`` where it has no answer."""


def forward(
    source: Source, builder: Builder, twin: Twin, ops: Sequence[Op], given: Mapping[Tensor, Tensor], batch: int = 1
) -> Tensor:
    """Emit the forward pass from float32 values of some twin tensors (``given``) to the logits, and return these.

    ``ops`` are the twin's ops on the way; an integer forward pass takes the model's own instead, from the given values
    rounded to the grids of the tensors they stand for.
    """
    if not source.integer_forward:
        return instantiate(builder, ops, given, batch)[twin.head.logits]
    stored = {}
    for tensor, value in given.items():
        original = twin.original(tensor)
        grid = original.quantization if original.is_quantized else None
        stored[original] = value if grid is None else builder.quantize(value, grid, original.dtype)
    path = set(between(source.graph, set(stored), source.head.logits))
    dependent = reachable_from(source.graph, set(stored))
    # With weights on their way to an op; pruning drops what nothing needs.
    own = [op for op in source.graph.ops if op in path or not dependent.intersection(op.outputs)]
    return instantiate(builder, own, stored, batch)[source.head.logits]


def held_inputs(builder: Builder, twin: Twin) -> dict[Tensor, Tensor]:
    """Add inputs for what is held fixed; return them by the tensors of the twin they stand for."""
    return {state: builder.tensor(state.name, state.shape, state.dtype) for state in twin.head.states}


def named(tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return tensors by their names."""
    return {tensor.name: tensor for tensor in tensors}


def class_input(builder: Builder) -> Tensor:
    """Add the input that says which class to explain."""
    return builder.tensor("class_index", (1,), INT32)


def copy_of(graph: Graph, batch: int = 1) -> tuple[Builder, dict[Tensor, Tensor]]:
    """Return a builder on a fresh copy of a float graph, fed by new inputs, and where each tensor went."""
    builder = Builder(Graph(graph.name))
    given = {
        tensor: builder.tensor(tensor.name, (tensor.shape[0] * batch, *tensor.shape[1:]), tensor.dtype)
        for tensor in graph.inputs
    }
    copies = instantiate(builder, graph.ops, given, batch)
    builder.graph.inputs = list(given.values())
    return builder, copies
