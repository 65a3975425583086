"""What a model does along the paths of inputs, in exact arithmetic, on a grid that stands for the truth.

The target is the logit of the predicted class, which is what ships, or its probability, which most papers integrate:
the same walk, begun one op later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge import interpreter
from edge.manifest import ExplanationHead, Schedule
from edge.refine import Goal, Refiner, weights
from export import heads, tflite
from export.compiling import enter
from export.methods import IntegratedGradients, Role, Source
from export.numerics import store_float, store_quantized
from export.schedule import GRIDS, PLACES, Path
from export.tflite.graph import Model, Signature

Array = NDArray[np.float64]

FINER = 4  # times as fine as the grid that schedules are fitted on, whose places are among these
GRID = np.linspace(0, 1, FINER * (len(GRIDS[0]) - 1) + 1) ** 1.5
_START = 12


@dataclass(frozen=True)
class Dense:
    """One input's path: ``gram`` ``[n, n]`` of the maps on the grid, their sums ``slopes``, and the target there."""

    gram: Array
    slopes: Array
    values: Array

    @property
    def change(self) -> float:
        """What the maps are to add up to."""
        return float(self.values[-1] - self.values[0])

    def path(self) -> Path:
        """Return what an exporter sees of it."""
        every = slice(None, None, FINER)
        values = np.interp(PLACES, GRID, self.values)
        return Path(self.gram[every, every], self.slopes[every], values, GRID[every])

    def residuals(self, spreads: Array) -> Array:
        """Return the raw absolute residual of rules, each a row of weights of the grid."""
        return np.abs(self.change - spreads @ self.slopes)

    def cosines(self, spreads: Array) -> Array:
        """Return the cosine of the rules' maps with the dense one."""
        truth = _trapezoid(GRID)
        sizes = np.einsum("ij,jk,ik->i", spreads, self.gram, spreads) * (truth @ self.gram @ truth)
        return np.asarray((spreads @ (self.gram @ truth)) / np.sqrt(np.maximum(sizes, 1e-30)))

    def errors(self, spreads: Array) -> Array:
        """Return the distance of the rules' maps to the dense one, relative to the size of that."""
        truth = _trapezoid(GRID)
        wrong = spreads - truth
        squares = np.einsum("ij,jk,ik->i", wrong, self.gram, wrong)
        return np.asarray(np.sqrt(np.maximum(squares, 0) / (truth @ self.gram @ truth)))

    def refined(self, schedule: Schedule, goal: Goal) -> list[float]:
        """Return the nodes that the device's own refinement takes, in the order in which it takes them.

        It is shown weights of the grid in place of gradients, and one entry that makes them sum to the slope.
        """
        taken: list[float] = []

        def each(x: Any, baseline: Any, alphas: NDArray[np.float32], class_index: Any) -> dict[str, NDArray[Any]]:
            del x, baseline, class_index
            taken.append(float(alphas[0]))
            slope = float(np.interp(taken[-1], GRID, self.slopes))
            gradient = np.zeros((1, 2), np.float32)
            gradient[0] = slope, 0
            return {"map": gradient, "logits": np.asarray([[np.interp(taken[-1], GRID, self.values)]])}

        head = ExplanationHead("", "", (2,), "", schedules=(schedule,))
        ends = (float(self.values[0]), float(self.values[-1]))
        refiner = Refiner(head, np.zeros(2, np.float32), each, lambda given, index: ends)
        refiner.refine(np.ones(2, np.float32), 0, goal)
        return taken


def spread(nodes: Array, shares: Array) -> Array:
    """Return a rule as weights of the grid, each node shared by the two places it lies between."""
    place: NDArray[np.intp] = np.clip(np.searchsorted(GRID, nodes), 1, len(GRID) - 1)
    part = (nodes - GRID[place - 1]) / (GRID[place] - GRID[place - 1])
    found = np.zeros(len(GRID))
    np.add.at(found, place - 1, shares * (1 - part))
    np.add.at(found, place, shares * part)
    return found


def trapezoidal(nodes: Sequence[float]) -> Array:
    """Return the rule that a refinement ends with on these nodes, as weights of the grid."""
    ordered = np.sort(nodes)
    return spread(ordered, weights(ordered.tolist()))


def _trapezoid(grid: Array) -> Array:
    found = np.zeros(len(grid))
    found[1:] += np.diff(grid) / 2
    found[:-1] += np.diff(grid) / 2
    return found


def dense(file: bytes, x: NDArray[np.float32], *, probability: bool) -> list[Dense]:
    """Return the paths of inputs from zero, for the class predicted at each."""
    step = _stepper(file, probability=probability)
    found = []
    for sample in x:
        class_index = int(step(sample, 1.0, 0)[1].argmax())
        maps = np.empty((len(GRID), sample.size), np.float32)
        values = np.empty(len(GRID))
        for place, alpha in enumerate(GRID):
            gradient, outputs = step(sample, float(alpha), class_index)
            maps[place] = gradient.ravel() * sample.ravel()
            values[place] = outputs[class_index]
        found.append(Dense((maps @ maps.T).astype(np.float64), maps.sum(1, dtype=np.float64), values))
    return found


def _stepper(
    file: bytes, *, probability: bool
) -> Callable[[NDArray[np.float32], float, int], tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Return the exact gradient at one step, and the targets of all classes there, as a function."""
    model = tflite.read(file)
    _, graph, head = enter(model, heads.graph_of(model))
    quantised = any(tensor.is_quantized for tensor in graph.tensors)
    head = replace(head, logits=head.scores) if probability else head
    source = Source(graph, head, store_quantized if quantised else store_float)
    entry = IntegratedGradients(1, refine=True).build(source).entry(Role.EACH)
    assert entry is not None
    signature = Signature("each", entry.graph, entry.inputs, entry.outputs)
    runtime, _ = interpreter.load(tflite.write(Model([entry.graph], [signature], origin=model.origin)))
    run = runtime.get_signature_runner("each")

    def step(
        sample: NDArray[np.float32], alpha: float, class_index: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        outputs = run(
            x=sample[None],
            baseline=np.zeros_like(sample)[None],
            alphas=np.asarray([alpha], np.float32),
            class_index=np.asarray([class_index], np.int32),
        )
        return outputs["map"] * np.float32(entry.unit), outputs["logits"].reshape(-1)

    return step
