"""Gradients at the input: against difference quotients of the logits, and maps made of them against their formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..clock import within
from ..methods.base import Entry, Formula, Role, named
from ..shipped import Runtime, Shipped
from ..tflite import Model, write
from ..tflite.graph import Signature
from .agreement import GradientErrors, agreement, distance, entry_of, gradient_checks, points, scale_of
from .findings import Findings
from .subject import SECONDS, Subject, class_argument, predicted

Array = NDArray[np.float32]


def input_gradient(subject: Subject) -> Findings:
    """Hold a gradient at the input against differences, and the map that a formula makes of it against that."""
    entry = subject.exact_entry(Role.GRADIENT)
    found = against_differences(subject, partial(_mean_of_gradients, subject.exact.runtime, entry))
    formula = subject.own.formula
    return found if formula is None else found + _against_formula(subject, entry, formula)


def _against_formula(subject: Subject, entry: Entry, formula: Formula) -> Findings:
    """Hold a map at the input against its formula, from the input and the gradient that differences have checked."""
    errors, exact = [], subject.exact
    for sample in within(SECONDS, subject.samples, at_least=1):
        given = exact.entered(sample)
        outputs = exact.runtime.call(entry.key, **given, **class_argument(entry, predicted(exact, sample)))
        errors.append(distance(outputs["map"], formula(given["x"], outputs["gradient"])))
    return agreement(f"{subject.name} against its formula", errors, subject.name)


class MeanGradient(Protocol):
    """The mean of an entry's gradient between two inputs, for one class."""

    def __call__(self, low: Array, high: Array, class_index: int) -> Array:
        """Return it, in logits per input unit."""
        ...


def _mean_of_gradients(runtime: Runtime, entry: Entry, held: Mapping[str, Array]) -> MeanGradient:
    output = "gradient" if "gradient" in entry.outputs else "map"

    def mean(low: Array, high: Array, class_index: int) -> Array:
        places = (low + fraction * (high - low) for fraction in points(low, high))
        chosen = class_argument(entry, class_index)
        gradients = [runtime.call(entry.key, x=x, **held, **chosen)[output] for x in places]
        return np.asarray(np.mean(gradients, 0) * entry.unit, np.float32)

    return mean


def against_differences(subject: Subject, gradient_with: Callable[[Mapping[str, Array]], MeanGradient]) -> Findings:
    """Hold an entry (``gradient_with`` what stays fixed) against the float twin's logits, where gradients are taken."""
    forward = logits_of(subject.exact)

    def logits(x: Array, held: Mapping[str, Array]) -> Array:
        return forward(x=x, **held)

    errors = []
    entered = [subject.exact.entered(sample) for sample in subject.samples]
    random, scale = np.random.default_rng(0), scale_of(np.concatenate([point["x"] for point in entered]))
    for point in within(SECONDS, entered, at_least=1):
        held = {key: value for key, value in point.items() if key != "x"}
        chosen = int(logits(point["x"], held).argmax())
        function, mean = entry_of(partial(logits, held=held), chosen), gradient_with(held)
        errors.append(GradientErrors.of(function, partial(mean, class_index=chosen), point["x"], scale, random))
    return gradient_checks(subject.name, errors, subject.name)


def logits_of(exact: Shipped) -> Callable[..., Array]:
    """Return the float twin's logits as a function of what entries of gradients are given."""
    twin = exact.source.twin()
    graph, head = twin.graph, twin.head
    inputs = {"x": head.input} | named(head.states)
    forward = Runtime(write(Model([graph], [Signature("logits", graph, inputs, {"logits": head.logits})])))
    return lambda **given: forward.call("logits", **given)["logits"].reshape(-1)
