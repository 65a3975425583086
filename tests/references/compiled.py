"""Compiled gradients as a test wants them: run in LiteRT, in true units, next to nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from export import heads, tflite
from export.methods import Entry, Method, Source
from export.numerics import Store, store_float
from export.numerics.emitter import Emitter
from export.numerics.gradient import Gradient
from export.tflite import Graph, Model, Tensor
from export.tflite.ops import Builder, prune
from export.vjp import backward

from .runtime import Session

Array = NDArray[Any]


class VectorJacobianProduct:
    """The gradient of ``upstream . output`` at the only input of a float graph."""

    def __init__(self, graph: Graph, output: Tensor, store: Store = store_float) -> None:
        graph = graph.copy("gradient")
        builder = Builder(graph, "g/")
        (x,) = graph.inputs
        upstream = builder.tensor("upstream", output.shape)
        graph.inputs.append(upstream)
        emit = Emitter(builder, store)
        (value,) = backward(graph, {output: Gradient(upstream)}, [x], emit)
        gradient = emit.expand(emit.dense(value), x.shape)
        graph.outputs = [gradient.tensor, output]
        prune(graph)
        self.unit = 1 / gradient.factor
        self.codes = [op.code for op in graph.ops]
        self._session = Session(tflite.write(Model([graph])))

    def __call__(self, x: Array, upstream: Array) -> tuple[Array, Array]:
        """Return the gradient and the graph's own output."""
        gradient, output = self._session.run(x, upstream)
        return gradient.astype(np.float64) * self.unit, output


class CompiledEntry:
    """One entry of a method, called by the names of its inputs; its map comes in true units."""

    def __init__(self, entry: Entry, model: Model) -> None:
        self.entry = entry
        self._session = Session(tflite.write(Model([entry.graph], origin=model.origin)))

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Return the outputs by name."""
        given = {self.entry.inputs[name]: value for name, value in inputs.items()}
        results = self._session.run(*(given[tensor] for tensor in self.entry.graph.inputs))
        named = dict(zip(self.entry.graph.outputs, results, strict=True))
        outputs = {name: named[tensor] for name, tensor in self.entry.outputs.items()}
        if "map" in outputs:
            outputs["map"] = outputs["map"] * np.float32(self.entry.unit)
        return outputs


def compile_method(method: Method, model: Model, store: Store = store_float) -> dict[str, CompiledEntry]:
    """Return the method's entries for the primary graph of ``model``, by key."""
    graph = model.graphs[0]
    source = Source(graph, heads.find(graph), store)
    return {entry.key: CompiledEntry(entry, model) for entry in method.build(source).entries}


def relative_error(measured: Array, expected: Array) -> float:
    """Return the largest difference over the largest expected value."""
    scale = max(float(np.abs(expected).max()), 1e-30)
    return float(np.abs(np.asarray(measured, np.float64).reshape(expected.shape) - expected).max()) / scale
