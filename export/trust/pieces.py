"""Modified rules of rectifiers, worked out in numpy on a model that is cut behind each of them.

What such rules make is the gradient of no function of the model. Between two rectifiers there is nothing but the
gradient's own rules, though: cut behind each rectifier, the network falls into pieces, which are functions of the input
and of what the rectifiers before gave. The signal at a rectifier's output is the gradient there of the logit and of all
that was selected further on, and what is selected of it, a formula in numpy says. So the walk is gone through once more
with nothing but gradients of pieces, which difference quotients can be held against, and that formula.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..methods.base import Formula, Source, class_input, named
from ..methods.rectified import RECTIFIERS
from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient, OneHot, Value
from ..numerics.twin import unfused
from ..shipped import Runtime
from ..tflite import Model, write
from ..tflite.graph import Graph, Signature, Tensor, between
from ..tflite.ops import Builder
from ..vjp import backward

Array = NDArray[np.float32]


class Pieces:
    """The float twin of a model, cut behind its rectifiers.

    What is selected enters at the rectifiers' results, or, where it is not ``sloped``, before them.
    """

    def __init__(self, source: Source, *, sloped: bool) -> None:
        twin = source.twin()
        whole, head = unfused(twin.graph), twin.head
        sites = [op for op in between(whole, {head.input}, head.logits) if op.code in RECTIFIERS]
        results = {f"result{number}": op.output for number, op in enumerate(sites)}
        cut = whole.copy("cut")
        builder = Builder(cut, "cut/")
        free = {tensor: builder.tensor(name, tensor.shape) for name, tensor in results.items()}
        cut.ops = [replace(op, inputs=[free.get(t, t) if t is not None else None for t in op.inputs]) for op in cut.ops]
        logits = builder.scaled(free[head.logits], 1.0) if head.logits in free else head.logits
        given = {"x": head.input} | named(head.states)
        cut_inputs = given | {name: free[tensor] for name, tensor in results.items()}
        entries = [op.output if sloped else free.get(op.input(0), op.input(0)) for op in sites]
        whole.outputs = list(dict.fromkeys(results.values()))
        cut.inputs = list(cut_inputs.values())
        cut.outputs = list(dict.fromkeys([*entries, logits]))
        outputs = {f"entry{number}": tensor for number, tensor in enumerate(entries)} | {"logits": logits}
        self.names = ["x", *results]
        self._runtime = Runtime(
            write(
                Model(
                    [whole, cut, slopes := cut.copy("slopes")],
                    [
                        Signature("values", whole, given, results),
                        Signature("cut", cut, cut_inputs, outputs),
                        _slopes(slopes, source, cut_inputs, entries, logits, self.names),
                    ],
                )
            )
        )

    def at(self, point: Mapping[str, Array], class_index: int, formula: Formula) -> Walk:
        """Return the walk of a class for one input (``x``, and what stays fixed beside it)."""
        given = {**point, **self._runtime.call("values", **point)}
        signals = {name: np.zeros_like(given[name]) for name in self.names[1:]}
        walk = Walk(self._runtime, given, signals, np.asarray([class_index], np.int32), self.names)
        for name in reversed(self.names[1:]):
            signals[name] = np.asarray(formula(given[name], walk.slopes(given)[name]), np.float32)
        return walk


@dataclass(frozen=True)
class Walk:
    """The pieces of a model with what was selected at one input, for one class.

    A point is the input and all rectifiers' results, one after the other in a vector.
    """

    runtime: Runtime
    given: Mapping[str, Array]
    signals: Mapping[str, Array]
    chosen: NDArray[np.int32]
    names: list[str]

    def slopes(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Return the gradients of :meth:`value` at the input, called "x", and at each rectifier's result."""
        taken = {f"signal{number}": self.signals[name] for number, name in enumerate(self.names[1:])}
        return self.runtime.call("slopes", **given, **taken, class_index=self.chosen)

    @property
    def map(self) -> Array:
        """What comes out at the input."""
        return self.slopes(self.given)["x"]

    @property
    def point(self) -> Array:
        """Where the walk was taken."""
        return self._joined(self.given)

    def value(self, point: Array) -> float:
        """Return the logit and, for every rectifier, what was selected times what it enters at."""
        found = self.runtime.call("cut", **self._apart(point))
        parts = (
            np.vdot(self.signals[name], found[f"entry{number}"].astype(np.float64))
            for number, name in enumerate(self.names[1:])
        )
        return float(found["logits"].reshape(-1)[self.chosen[0]] + sum(parts))

    def gradient(self, point: Array) -> Array:
        """Return its gradient."""
        return self._joined(self.slopes(self._apart(point)))

    def _joined(self, values: Mapping[str, Array]) -> Array:
        return np.concatenate([values[name].ravel() for name in self.names])

    def _apart(self, point: Array) -> dict[str, Array]:
        ends = np.cumsum([self.given[name].size for name in self.names])[:-1]
        parts = zip(self.names, np.split(point, ends), strict=True)
        return {**self.given, **{name: part.reshape(self.given[name].shape) for name, part in parts}}


def _slopes(
    graph: Graph,
    source: Source,
    inputs: Mapping[str, Tensor],
    entries: list[Tensor],
    logits: Tensor,
    names: list[str],
) -> Signature:
    """Emit the gradients of the pieces at ``names``; return their signature."""
    builder = Builder(graph, "slopes/")
    emit = Emitter(builder, source.store)
    index = class_input(builder)
    signals = {f"signal{number}": builder.tensor(f"signal{number}", t.shape) for number, t in enumerate(entries)}
    seeds: dict[Tensor, Value] = {logits: OneHot(index, logits.shape)}
    for entry, signal in zip(entries, signals.values(), strict=True):
        seeds[entry] = emit.sum([Gradient(signal), *([seeds[entry]] if entry in seeds else [])])
    targets = [inputs[name] for name in names]
    found = {
        name: emit.expand(emit.rescale(emit.dense(value), 1.0), target.shape).tensor
        for name, target, value in zip(names, targets, backward(graph, seeds, targets, emit), strict=True)
    }
    given = {**inputs, **signals, "class_index": index}
    graph.inputs, graph.outputs = list(given.values()), list(found.values())
    return Signature("slopes", graph, given, found)
