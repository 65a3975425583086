"""Maps made of the terms of a logit: the terms against the logit that they sum to, the map against the terms."""

from __future__ import annotations

import numpy as np

from edge.manifest import Check

from ..clock import within
from ..methods import METHODS, FullGrad
from ..methods.base import Role
from ..methods.bias_gradients import terms
from ..shipped import Runtime
from ..tflite import Model, write
from ..tflite.graph import Signature
from ..tflite.ops import prune
from .agreement import GRADIENT_BOUND, agreement, distance
from .findings import Findings
from .input_gradients import logits_of
from .subject import SECONDS, Subject, class_argument, predicted

_OF_ALL = 1e-2  # of the size of all terms: a logit that is next to nothing says little of what is missing


def sum_of_terms(subject: Subject) -> Findings:
    """Hold the terms of a logit against it, which they must sum to, and the map against its formula of them."""
    name, exact, entry, kind = subject.name, subject.exact, subject.exact_entry(Role.GRADIENT), METHODS[subject.name]
    assert issubclass(kind, FullGrad)
    parts = terms(exact.source, "terms")
    graph = parts.emit.builder.graph
    every = [*parts.explicit, *parts.implicit]
    outputs = {f"term{number}": part.tensor for number, part in enumerate(every)}
    graph.inputs, graph.outputs = list(parts.inputs.values()), list(outputs.values())
    prune(graph)
    runtime, logits = (
        Runtime(write(Model([graph], [Signature("terms", graph, parts.inputs, outputs)]))),
        logits_of(exact),
    )
    errors, gaps = [], []
    for sample in within(SECONDS, subject.samples, at_least=1):
        given = exact.entered(sample)
        chosen = predicted(exact, sample)
        found = runtime.call("terms", **given, **class_argument(entry, chosen))
        values = [found[key].astype(np.float64) / part.factor for key, part in zip(outputs, every, strict=True)]
        owed = float(logits(**given)[chosen])
        size = max(abs(owed), _OF_ALL * sum(float(np.abs(value).sum()) for value in values), 1e-30)
        gaps.append(abs(sum(float(value.sum()) for value in values) - owed) / size)
        expected = kind.formula_of(values if kind.whole else values[: len(parts.explicit)], subject.own.map_shape)
        measured = exact.runtime.call(entry.key, **given, **class_argument(entry, chosen))["map"] * entry.unit
        errors.append(distance(measured.reshape(expected.shape), expected))
    gap = float(np.median(gaps))
    detail = f"median of what the terms' sum is off the logit; largest {max(gaps):.1e}"
    adds_up = Check(f"{name} adds up", gap, GRADIENT_BOUND, gap <= GRADIENT_BOUND, len(gaps), detail, name)
    return Findings((adds_up,)) + agreement(f"{name} against its formula", errors, name)
