"""What a model says of many inputs: the scores it gives and the logits before them, in its own arithmetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..methods import Entry, Role
from ..shipped import Runtime, Shipped, is_recurrent, real
from ..tflite import Model, write
from ..tflite.graph import Signature

Array = NDArray[np.float32]


class Answers:
    """The user's own ops up to scores and logits, in an interpreter of their own; a state stays what it is."""

    def __init__(self, shipped: Shipped) -> None:
        self._shipped, source = shipped, shipped.source
        graph = source.graph.copy("answers")
        self._outputs = {"scores": source.head.scores, "logits": source.head.logits}
        graph.outputs = list(dict.fromkeys(self._outputs.values()))
        self._entry = Entry("answers", Role.SCORES, graph, source.step_inputs(graph, "input"), self._outputs)
        signature = Signature("answers", graph, self._entry.inputs, self._outputs)
        file = write(Model([graph, *source.called], [signature]))
        self._runtime = Runtime(file, recurrent=is_recurrent(source.graph))

    def __call__(self, samples: Sequence[Array] | Array) -> tuple[Array, Array]:
        """Return scores and logits of float inputs ``[N, ...]``, ``[N, classes]`` each."""
        rows = [self._runtime.call("answers", **self._given(sample)) for sample in samples]
        scores, logits = (
            np.stack([real(tensor, row[name]).ravel() for row in rows]) for name, tensor in self._outputs.items()
        )
        return scores, logits

    def _given(self, sample: Array) -> dict[str, NDArray[np.generic]]:
        return self._shipped.step(self._entry, self._shipped.stored(sample))
