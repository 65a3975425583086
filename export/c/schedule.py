"""From a graph to a program: which ops belong to which part, in what order, on which buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..errors import UNFORESEEN, UnsupportedModelError, unforeseen
from ..tflite.graph import Graph, Op, Tensor
from .gates import GATES, gated
from .lowering import LOWERINGS
from .lowering.registry import Unit, refuse
from .program import ALIGNED, PREDICT, Argument, Buffer, Call, Constant, Part, Program, size_of

_BEFORE = -1
"""The step at which a part finds what was there before it began."""


def schedule(graph: Graph, kept: Sequence[Tensor], maps: Mapping[str, Tensor], class_index: Tensor | None) -> Program:
    """Return the program of a graph: first what ``kept`` needs, then what each map adds to it.

    ``kept`` are the tensors that are there after predicting, and stay. ``maps`` are explanations by their methods. Each
    runs by itself after predicting, so what two share and predicting does not need is done in both.
    Raises :class:`UnsupportedModelError` for an op that has no lowering, before anything else is done.
    """
    for op in graph.ops:
        if op.code not in LOWERINGS:
            raise UnsupportedModelError(
                f"op {op!r} cannot be compiled to C: {op.code} is not among the ops of microcontrollers",
                "docs/c-code.md lists them; leave it out of what runs there",
            )
    predicting = needed(graph, kept)
    if maps:
        graph, predicting = gated(graph, predicting)
    ops = {PREDICT: predicting}
    for method, tensor in maps.items():
        ops[method] = [op for op in needed(graph, [tensor]) if op not in set(predicting)]
    return _Scheduler(graph, ops, kept, maps, class_index).run()


def needed(graph: Graph, tensors: Sequence[Tensor]) -> list[Op]:
    """Return the ops that tensors are made by, in order."""
    wanted = set(tensors)
    found = []
    for op in reversed(graph.ops):
        if wanted.intersection(op.outputs):
            found.append(op)
            wanted.update(tensor for tensor in op.inputs if tensor is not None)
    return found[::-1]


class _Scheduler(Unit):
    """Takes the ops of one part after the other; what a lowering asks for concerns the op that it is at."""

    def __init__(
        self,
        graph: Graph,
        ops: Mapping[str, Sequence[Op]],
        kept: Sequence[Tensor],
        maps: Mapping[str, Tensor],
        class_index: Tensor | None,
    ) -> None:
        self.graph, self.ops, self.kept, self.maps, self.class_index = graph, ops, kept, maps, class_index
        self.part, self.step = PREDICT, _BEFORE
        self.buffers: list[Buffer] = []
        self.predicted: dict[Tensor, Buffer] = {}
        self.explaining: dict[Tensor, Buffer] = {}
        self.held: dict[Buffer, list[Tensor]] = {}
        self.constants: dict[tuple[object, ...], Constant] = {}
        self.calls: list[Call] = []

    def run(self) -> Program:
        for tensor in self.graph.inputs:
            self._touch(self._new(tensor))
        parts = tuple(self._take(name, ops) for name, ops in self.ops.items())
        ends = (*self.graph.inputs, *self.kept)
        return Program(parts, tuple(self.buffers), {tensor: self.predicted[tensor] for tensor in ends})

    def _take(self, name: str, ops: Sequence[Op]) -> Part:
        self.part, self.calls = name, []
        if name != PREDICT:  # as predicting left it, whatever other explanations do
            self.explaining = dict(self.predicted)
            self.held = {whole: [t for t in held if t in self.predicted] for whole, held in self.held.items()}
        decided, index = 0, None
        for self.step, op in enumerate(ops):
            self._lower(op)
            if self.class_index is not None and self.class_index in op.outputs:
                decided = len(self.calls)
        self.step = len(ops)
        found = self.maps.get(name)
        for tensor in (*self.kept, *([] if found is None else [found])):
            self._touch(self._places[tensor])
        if name != PREDICT and self.class_index is not None:
            # None where a map is the same whatever the class. One that predicting forgot lies where nothing is yet.
            index = self.explaining.get(self.class_index)
        return Part(name, tuple(self.calls), index, decided, None if found is None else self._places[found])

    def _lower(self, op: Op) -> None:
        for tensor in op.outputs:
            if size_of(tensor) <= 0:
                raise refuse(op, f"{tensor!r} is empty or of open size", "convert the model with fixed shapes")
        try:
            (LOWERINGS | GATES)[op.code](op, self)
        except UNFORESEEN as error:
            raise unforeseen(f"op {op!r} cannot be compiled to C", error) from error

    # What lowerings ask for

    def value(self, tensor: Tensor) -> Buffer | Constant:
        if tensor.data is not None:
            return self.constant(tensor.data, tensor.data.dtype, "values")
        buffer = self._places.get(tensor)
        return self._touch(self._new(tensor) if buffer is None else buffer)

    def constant(
        self, values: ArrayLike, dtype: DTypeLike, label: str, packed: Mapping[str, np.ndarray] | None = None
    ) -> Constant:
        data, packed = np.ascontiguousarray(values, dtype), packed or {}
        key = (data.dtype.str, data.tobytes(), *((macro, one.tobytes()) for macro, one in packed.items()))
        return self.constants.setdefault(key, Constant(f"{label}_{len(self.constants)}", data, packed))

    def scratch(self, size: int, cmsis_nn: int = 0) -> Buffer | None:
        if not size and not cmsis_nn:
            return None
        buffer = Buffer("scratch", size, cmsis_nn=cmsis_nn)
        self.buffers.append(buffer)
        return self._touch(buffer)

    def view(self, output: Tensor, source: Tensor, begin: int = 0) -> bool:
        if source.data is not None or begin % ALIGNED:
            return False
        buffer = self._places[source]
        if begin or size_of(output) < buffer.size:
            whole = buffer.whole or buffer
            buffer = Buffer(output.name, size_of(output), whole=whole, begin=buffer.begin + begin)
            self.buffers.append(buffer)
        self._place(output, buffer)
        return True

    def in_place(self, output: Tensor, source: Tensor) -> bool:
        buffer = self._places.get(source)
        if buffer is None or size_of(output) > buffer.size or self._read_elsewhere(output, source):
            return False
        if any(map(self._wanted_later, self.held[buffer.whole or buffer])):
            return False
        self._place(output, buffer)
        return True

    def call(self, family: str, kernel: str, *arguments: Argument, macs: int = 0) -> None:
        self.calls.append(Call(self.ops[self.part][self.step].code, family, kernel, arguments, macs))

    # Where tensors are

    @property
    def _places(self) -> dict[Tensor, Buffer]:
        return self.predicted if self.part == PREDICT else self.explaining

    def _new(self, tensor: Tensor) -> Buffer:
        buffer = Buffer(tensor.name, size_of(tensor))
        self.buffers.append(buffer)
        self._place(tensor, buffer)
        return buffer

    def _place(self, tensor: Tensor, buffer: Buffer) -> None:
        self._places[tensor] = buffer
        self.held.setdefault(buffer.whole or buffer, []).append(tensor)
        self._touch(buffer)

    def _touch(self, buffer: Buffer) -> Buffer:
        """Note that a buffer is used now; what predicting left was there since it ended."""
        whole = buffer.whole or buffer
        if self.part != PREDICT and PREDICT in whole.alive:
            whole.touch(PREDICT, len(self.ops[PREDICT]))
            whole.touch(self.part, _BEFORE)
        whole.touch(self.part, self.step)
        return buffer

    def _read_elsewhere(self, output: Tensor, source: Tensor) -> bool:
        """Whether the op reads bytes that ``output`` over ``source`` writes, and reads them as another operand's.

        One that has the very bytes of both is read where it is written, value by value: that is no harm.
        """
        buffer, size = self._places[source], size_of(output)
        for tensor in self.ops[self.part][self.step].inputs:
            other = None if tensor is None or tensor is source else self._places.get(tensor)
            if tensor is None or other is None or (other.whole or other) is not (buffer.whole or buffer):
                continue
            same = other.begin == buffer.begin and size_of(tensor) == size_of(source) == size
            if not same and other.begin < buffer.begin + size and buffer.begin < other.begin + size_of(tensor):
                return True
        return False

    def _wanted_later(self, tensor: Tensor) -> bool:
        later = list(self.ops[self.part][self.step + 1 :])
        if self.part == PREDICT:
            later += [op for part, ops in self.ops.items() if part != PREDICT for op in ops]
        return (
            tensor is self.class_index
            or tensor in self.kept
            or tensor in self.maps.values()
            or any(tensor in op.inputs for op in later)
        )
