"""What is about to ship, and the interpreter it is measured in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import interpreter
from edge.errors import InterpreterError

from .methods import Compiled, Entry, Role, Source
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

    ``predict`` is the signature that only predicts, ``compiled`` what each method made, ``aids`` what they need beside
    it, by role. ``state`` is what the variables of a streaming model hold where it is explained (see :meth:`after`).
    """

    original: bytes = field(repr=False)
    file: bytes = field(repr=False)
    source: Source
    compiled: dict[str, Compiled]
    predict: Signature
    runtime: Runtime
    aids: Mapping[Role, Entry] = field(default_factory=dict)
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def after(self, samples: NDArray[np.float32]) -> Shipped:
        """Return the same in the state that predicting ``samples`` one after the other leaves behind.

        What is measured and checked does not move it: an empty memory would show little of what explanations are of.
        """
        if Role.STATE not in self.aids:
            return self
        runtime = Runtime(self.file, recurrent=is_recurrent(self.source.graph))
        for sample in samples:
            runtime.call(self.predict.key, **{self.input_name: self.stored(sample)})
        return replace(self, state=runtime.call(self.aids[Role.STATE].key))

    @property
    def logits(self) -> str | None:
        """The signature that gives the logits, where a method needs one."""
        entries = (method.entry(Role.LOGITS) for method in self.compiled.values())
        return next((entry.key for entry in entries if entry is not None), None)

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
        given = {state.name: real(state, self.state[state.name]) for state in self.source.held}
        if (front := self.aids.get(Role.FRONT)) is None:
            return {"x": sample[None], **given}
        return self.runtime.call(front.key, **self.step(front, self.stored(sample))) | given

    def step(
        self, entry: Entry, stored: NDArray[Any], state: Mapping[str, NDArray[Any]] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return what an entry on the model's own input is given, in a certain state or in ``self.state``."""
        state = self.state if state is None else state
        name = name_in(entry.inputs, self.source.head.input)
        return {name: stored, **{key: value for key, value in state.items() if key in entry.inputs}}

    def scores(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return the scores as the model stores them; a state stays what it is."""
        if (scores := self.aids.get(Role.SCORES)) is not None:
            return self.runtime.call(scores.key, **self.step(scores, stored))["scores"]
        return self.runtime.call(self.predict.key, **{self.input_name: stored})[self.score_name]


def is_recurrent(graph: Graph) -> bool:
    """Whether a graph keeps state in tensors from run to run, which is to be zero before each."""
    return any(tensor.is_variable for tensor in graph.tensors)


def store_input(tensor: Tensor, sample: NDArray[np.float32]) -> NDArray[Any]:
    """Return one float input as ``tensor`` stores it, with its batch dimension if it has one."""
    if tensor.is_quantized and tensor.quantization is not None:
        return tensor.quantization.quantize(sample.reshape(tensor.shape), tensor.dtype)
    return sample.reshape(tensor.shape).astype(tensor.dtype)


def real(tensor: Tensor, values: NDArray[Any]) -> NDArray[Any]:
    """Return what ``tensor`` holds in float32; ids and decisions as they are."""
    if tensor.is_quantized and tensor.quantization is not None:
        return tensor.quantization.dequantize(values).astype(np.float32)
    return values.astype(np.float32) if tensor.dtype.kind == "f" else values


def name_in(tensors: dict[str, Tensor], wanted: Tensor) -> str:
    """Return what a signature calls a tensor, or its twin of a known shape."""
    return next(name for name, tensor in tensors.items() if tensor.name == wanted.name)
