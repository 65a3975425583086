"""What is about to ship, and the interpreter it is measured in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import interpreter
from edge.errors import InterpreterError

from .methods import Compiled, Entry, Source
from .tflite.graph import Graph, Signature, Tensor


class Runtime:
    """One interpreter of a file, its signatures called by name; ``recurrent`` ones each time from zero state."""

    def __init__(self, model: bytes, *, recurrent: bool = False) -> None:
        self._interpreter, self.info = interpreter.load(model)
        self._runners: dict[str, Any] = {}
        self._recurrent = recurrent
        self._reset: Callable[[], None] | None = None

    def call(self, key: str, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run one signature; :class:`InterpreterError` where the interpreter refuses it."""
        try:
            if self._recurrent:
                self._reset = self._reset or interpreter.resetter(self._interpreter)
                self._reset()
            if key not in self._runners:
                self._runners[key] = self._interpreter.get_signature_runner(key)
            outputs: dict[str, NDArray[Any]] = self._runners[key](**inputs)
        except (RuntimeError, ValueError) as error:
            raise InterpreterError(
                f"what was compiled as {key!r} does not run in {self.info.name} {self.info.version}: {error}",
                "choose another --method, and report the model",
            ) from error
        return outputs


@dataclass(frozen=True)
class Shipped:
    """The model as it came, what was made of it, and the runtime that holds the result.

    ``predict`` is the signature that only predicts, ``compiled`` what each method made, ``front`` the way from the
    input to where gradients are taken, where that is not the input.
    """

    original: bytes
    file: bytes
    source: Source
    compiled: dict[str, Compiled]
    predict: Signature
    runtime: Runtime
    front: Entry | None = None

    @property
    def input_name(self) -> str:
        """The model's input in the signature that predicts."""
        return name_in(self.predict.inputs, self.source.head.input)

    @property
    def score_name(self) -> str:
        """The explained output there."""
        return name_in(self.predict.outputs, self.source.head.scores)

    def stored(self, sample: NDArray[np.float32]) -> NDArray[Any]:
        """Return one float input as the model's input tensor stores it, with its batch dimension."""
        return store_input(self.source.head.input, sample)

    def entered(self, sample: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """Return what entries of gradients are given for one float input, ``x`` with its batch dimension."""
        if self.front is None:
            return {"x": sample[None]}
        return self.runtime.call(self.front.key, input=self.stored(sample))

    def scores(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return the scores as the model stores them."""
        return self.runtime.call(self.predict.key, **{self.input_name: stored})[self.score_name]


def is_recurrent(graph: Graph) -> bool:
    """Whether a graph keeps state in tensors from run to run, which is to be zero before each."""
    return any(tensor.is_variable for tensor in graph.tensors)


def store_input(tensor: Tensor, sample: NDArray[np.float32]) -> NDArray[Any]:
    """Return one float input as ``tensor`` stores it, with its batch dimension."""
    if tensor.is_quantized and tensor.quantization is not None:
        return tensor.quantization.quantize(sample[None], tensor.dtype)
    return sample[None].astype(tensor.dtype)


def name_in(tensors: dict[str, Tensor], wanted: Tensor) -> str:
    """Return what a signature calls a tensor, or its twin of a known shape."""
    return next(name for name, tensor in tensors.items() if tensor.name == wanted.name)
