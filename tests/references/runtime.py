"""Running model files in LiteRT, one thread, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from export import tflite
from export.tflite.graph import Graph, Tensor

Array = NDArray[Any]


class Session:
    """An interpreter of one file, entered through its primary subgraph."""

    def __init__(self, model: bytes) -> None:
        self.interpreter = Interpreter(model_content=model, num_threads=1)
        self.interpreter.allocate_tensors()

    def run(self, *inputs: Array) -> list[Array]:
        """Return the outputs for inputs in the order of the subgraph."""
        for detail, value in zip(self.interpreter.get_input_details(), inputs, strict=True):
            self.interpreter.set_tensor(detail["index"], value)
        self.interpreter.reset_all_variables()  # recurrent layers keep state from run to run
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(detail["index"]) for detail in self.interpreter.get_output_details()]

    def random_inputs(self, rng: np.random.Generator) -> list[Array]:
        """Return one random value for every input: all of an integer's range, a float's normal distribution."""
        return [random_values(rng, detail["shape"], detail["dtype"]) for detail in self.interpreter.get_input_details()]


def random_values(rng: np.random.Generator, shape: Any, dtype: Any) -> Array:
    """Return values all over the range of ``dtype``."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(0, 1, shape).astype(kind)
    if kind.kind == "b":
        return rng.integers(0, 2, shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, kind, endpoint=True)


def evaluate(graph: Graph, given: dict[Tensor, Array]) -> dict[Tensor, Array]:
    """Return what ``graph``, run as the only one of a file, makes of its inputs, by output tensor."""
    session = Session(tflite.write(tflite.Model([graph])))
    results = session.run(*(given[tensor] for tensor in graph.inputs))
    return dict(zip(graph.outputs, results, strict=True))
