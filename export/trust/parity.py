"""Prediction parity: the scores of every signature that returns them, against the original file's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import interpreter
from edge.manifest import Check

from ..clock import within
from ..methods.base import Role
from ..shipped import Runtime, Shipped, is_recurrent
from .subject import SECONDS, class_argument

Array = NDArray[np.float32]


def parity(shipped: Shipped, x: Array) -> Check:
    """Scores of the shipped file, by every signature that returns them, against the original file's, bit for bit.

    A streaming model takes all inputs one after the other, as the original does, with explanations in between.
    """
    scores_of = _original_scores(shipped)
    entries = [*(e for method in shipped.compiled.values() for e in method.entries), *shipped.aids.values()]
    answering = [entry for entry in entries if "scores" in entry.outputs]
    reader = shipped.aids.get(Role.STATE)
    recurrent = is_recurrent(shipped.source.graph)
    runtime = shipped.runtime if reader is None else Runtime(shipped.file, recurrent=recurrent)
    different = compared = 0
    for sample in within(SECONDS, x, at_least=16):
        compared += 1
        stored = shipped.stored(sample)
        state = {} if reader is None else runtime.call(reader.key)
        expected = scores_of(stored)
        answers = [runtime.call(shipped.predict.key, **{shipped.input_name: stored})[shipped.score_name]]
        for entry in answering:
            given = shipped.step(entry, stored, state)
            answers.append(runtime.call(entry.key, **given, **class_argument(entry, 0))["scores"])
        different += any(answer.tobytes() != expected.tobytes() for answer in answers)
    detail = "inputs whose scores differ in any bit"
    return Check("prediction parity", different, 0, different == 0, compared, detail)


def _original_scores(shipped: Shipped) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return the original file as a function, entered by its signature where it has one."""
    plain, _ = interpreter.load(shipped.original)
    if shipped.predict.key in plain.get_signature_list():
        runner = plain.get_signature_runner(shipped.predict.key)
        reset = interpreter.resetter(plain) if is_recurrent(shipped.source.graph) else lambda: None

        def answer(stored: NDArray[Any]) -> NDArray[Any]:
            reset()
            return np.array(runner(**{shipped.input_name: stored})[shipped.score_name])

        return answer
    plain.allocate_tensors()
    port = plain.get_input_details()[0]
    output = next(d for d in plain.get_output_details() if d["name"] == shipped.source.head.scores.name)

    def scores(stored: NDArray[Any]) -> NDArray[Any]:
        plain.set_tensor(port["index"], stored)
        if is_recurrent(shipped.source.graph):
            plain.reset_all_variables()
        plain.invoke()
        return np.array(plain.get_tensor(output["index"]))

    return scores
