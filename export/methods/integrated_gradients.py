"""Integrated Gradients, a batch of interpolation steps at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..numerics.emitter import Emitter
from ..numerics.gradient import Gradient, OneHot
from ..numerics.twin import batches, instantiate, repeated
from ..tflite.graph import Graph, Op, Tensor, between
from ..tflite.ops import Builder, fused_activation, prune, skip_flattening, with_options
from ..tflite.options import Activation
from ..vjp import backward
from ..vjp.backward import AFFINE
from .base import Compiled, Entry, Method, Role, Source, class_input, copy_of, forward, held_inputs, named

PROBE = 3
"""A batch that tells whether a model computes its entries apart: none that a shape is likely to have by itself."""


@dataclass(frozen=True)
class IntegratedGradients(Method):
    """Sundararajan et al. 2017 (arXiv 1703.01365), eq. 1: (x - x') * integral of the gradient from x' to x.

    One call evaluates ``steps_per_call`` interpolation steps at the nodes ``alphas`` and returns their gradients
    summed with ``weights``; the schedule is data. Ops that are affine in the input are taken out of the steps: their
    results are interpolated instead of the input, and their transposes run once, on the summed gradient. ``refine``
    adds an entry that returns the gradient of one step, and the logits there, for steps that are chosen on the way.
    """

    name: ClassVar[str] = "integrated_gradients"
    signed: ClassVar[bool] = True
    steps_per_call: int = 8
    refine: bool = False

    def fitted(self, source: Source) -> IntegratedGradients:
        """Return the method with one step a call where the model mixes the entries of a batch."""
        twin = source.twin()
        apart = self.steps_per_call == 1 or batches(twin.graph, twin.head.logits, PROBE)
        return self if apart else replace(self, steps_per_call=1)

    def build(self, source: Source) -> Compiled:
        """Return the entry for a batch of steps, the one for a single step if asked for, and one for the logits."""
        entries = [self._steps(source, self.steps_per_call), self._logits(source)]
        entries += [self._each(source)] if self.refine else []
        return Compiled(entries, source.start, source.start.shape[1:], self.steps_per_call)

    def _logits(self, source: Source) -> Entry:
        """Return the twin's forward pass: what the completeness residual is measured against."""
        twin = source.twin()
        builder, copies = copy_of(twin.graph)
        x, logits = copies[twin.head.input], copies[twin.head.logits]
        builder.graph.name, builder.graph.outputs = "logits", [logits]
        inputs = {"x": x} | named(copies[state] for state in twin.head.states)
        return Entry("logits", Role.LOGITS, builder.graph, inputs, {"logits": logits})

    def _steps(self, source: Source, steps: int) -> Entry:
        twin = source.twin()
        head = twin.head
        # An integer forward pass starts at tensors of the model, which not all of its twin's are. The batch along which
        # interpolation runs is not the first dimension of all: tokens of a dense layer may be one below the other.
        known = twin.tensors.values() if source.integer_forward else twin.graph.tensors
        hoist = {tensor for tensor in known if tensor.shape[:1] == (1,)} if steps > 1 else set()
        split = _Split(twin.graph, head.input, head.logits, hoist=hoist)
        builder = Builder(Graph(self.name))
        x = builder.tensor("x", head.input.shape)
        baseline = builder.tensor("baseline", head.input.shape)
        alphas, weights = (builder.tensor(name, (steps,)) for name in ("alphas", "weights"))
        index = class_input(builder)
        emit = Emitter(builder, source.store)

        # Both ends of the path through the affine part, as a batch of two.
        ends = builder.concatenate([x, baseline], 0)
        held = held_inputs(builder, twin)
        prefix = instantiate(builder, split.prefix, {head.input: ends, **repeated(builder, held, 2)}, 2)
        # Interpolation of what comes out of it, then the rest of the network at every step.
        points: dict[Tensor, Tensor] = {}
        given = repeated(builder, held, steps)
        for tensor, activation in split.frontier.items():
            points[tensor], given[tensor] = _interpolate(builder, prefix[tensor], alphas, activation)
        logits = forward(source, builder, twin, split.rest, given, steps)
        # Back to the frontier for every step, then once through the affine part with the sum over steps.
        # Integers keep their range for the gradients: there the weights come last.
        last = weights if source.integer_backward else None
        seed = OneHot(index, logits.shape, None if last else weights)
        gradients = backward(builder.graph, {logits: seed}, list(points.values()), emit)
        sums = {
            prefix[tensor]: sum_of_steps(emit, emit.dense(gradient), steps, last)
            for tensor, gradient in zip(points, gradients, strict=True)
        }
        (value,) = backward(builder.graph, sums, [ends], emit)
        total = emit.expand(_one_of_equals(emit, emit.dense(value)), x.shape)
        inputs = {"x": x, "baseline": baseline, "alphas": alphas, "weights": weights, "class_index": index}
        inputs |= named(held.values())
        outputs = {"map": total.tensor}
        graph = builder.graph
        graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
        skip_flattening(graph)
        prune(graph)
        return Entry(self.name, Role.STEPS, graph, inputs, outputs, 1 / total.factor)

    def _each(self, source: Source) -> Entry:
        """Return the gradient at one step, with the logits there, which come free.

        Exact in any numerics: what integers round away never adds up to the logit's change, however many steps there
        are. One step a call: as fast as several where nothing is summed, on the processors measured, and the next one
        can be chosen in the light of all before.
        """
        source = replace(source, integer_forward=False, integer_backward=False)
        twin = source.twin()
        builder = Builder(Graph(f"{self.name}_each"))
        x, baseline = (builder.tensor(name, twin.head.input.shape) for name in ("x", "baseline"))
        alphas, index = builder.tensor("alphas", (1,)), class_input(builder)
        emit = Emitter(builder, source.store)
        held = held_inputs(builder, twin)
        along = builder.reshape(alphas, (1,) * len(x.shape))
        point = builder.add(builder.mul(builder.sub(x, baseline), along), baseline)
        logits = forward(source, builder, twin, twin.graph.ops, {twin.head.input: point, **held})
        (value,) = backward(builder.graph, {logits: OneHot(index, logits.shape)}, [point], emit)
        gradient = emit.expand(emit.dense(value), x.shape)
        inputs = {"x": x, "baseline": baseline, "alphas": alphas, "class_index": index} | named(held.values())
        outputs = {"map": gradient.tensor, "logits": emit.real(logits)}
        graph = builder.graph
        graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())
        skip_flattening(graph)
        prune(graph)
        return Entry(graph.name, Role.EACH, graph, inputs, outputs, 1 / gradient.factor)


class _Split:
    """A graph cut where it stops being affine in its input.

    ``prefix`` are the affine ops, without activations; ``frontier`` the results that the rest reads, with the
    activation to apply after interpolating; ``rest`` everything else on the way to the logits.
    Only tensors among ``hoist`` may be results of the prefix: none of a graph that cannot take both ends of the path as
    a batch.
    """

    def __init__(self, graph: Graph, source: Tensor, logits: Tensor, *, hoist: set[Tensor]) -> None:
        affine = {source}
        path = between(graph, {source}, logits)
        on_path = set(path)
        dependent = {source} | {tensor for op in path for tensor in op.outputs}
        self.prefix: list[Op] = []
        self.rest: list[Op] = []
        self.frontier: dict[Tensor, Activation] = {}
        for op in graph.ops:
            if op not in on_path:
                # Weights on their way to an op: wherever that is, pruning drops them from the other part.
                self.prefix.append(op)
                self.rest.append(op)
                continue
            operands = [tensor for tensor in op.inputs if tensor in dependent]  # x times itself is two of them
            linear = affine.issuperset(operands) and len(operands) <= AFFINE.get(op.code, 0)
            if linear and hoist.issuperset(op.outputs):
                activation = fused_activation(op)
                self.prefix.append(_without_activation(op))
                if activation == Activation.NONE:
                    affine.update(op.outputs)
                else:
                    self.frontier[op.output] = activation
                continue
            self.rest.append(op)
            self.frontier |= dict.fromkeys(affine.intersection(operands), Activation.NONE)
        if logits in affine:
            self.frontier[logits] = Activation.NONE
        self.prefix = _needed(self.prefix, set(self.frontier))


def _needed(ops: list[Op], targets: set[Tensor]) -> list[Op]:
    needed = set(targets)
    kept = []
    for op in reversed(ops):
        if any(tensor in needed for tensor in op.outputs):
            kept.append(op)
            needed.update(tensor for tensor in op.inputs if tensor is not None)
    return kept[::-1]


def _without_activation(op: Op) -> Op:
    if fused_activation(op) == Activation.NONE:
        return op
    options = with_options(op, fused_activation_function=Activation.NONE)
    return Op(op.code, op.inputs, op.outputs, options, op.version)


def _interpolate(builder: Builder, ends: Tensor, alphas: Tensor, activation: Activation) -> tuple[Tensor, Tensor]:
    """Return ``alpha * (end - start)`` per step, and the interpolated values with their activation.

    The gradient is asked for at the former, which makes the walk pass the activation on its way.
    """
    one = (1, *ends.shape[1:])
    rank = len(ends.shape)
    end, start = (builder.slice(ends, (row, *(0,) * (rank - 1)), one) for row in (0, 1))
    along = builder.reshape(alphas, (alphas.shape[0], *(1,) * (rank - 1)))
    offset = builder.mul(builder.sub(end, start), along)
    return offset, builder.add(offset, start, activation)


def _one_of_equals(emit: Emitter, gradient: Gradient) -> Gradient:
    """Return one entry of a batch of two: a factor that depends on the state made it two, equal ones."""
    shape = gradient.tensor.shape
    return Gradient(emit.builder.slice(gradient.tensor, (0,) * len(shape), (1, *shape[1:])), gradient.factor)


def sum_of_steps(emit: Emitter, gradient: Gradient, steps: int, weights: Tensor | None) -> Gradient:
    """Return the sum over the batch, weighted where the weights have not gone into it already."""
    tensor, rank = gradient.tensor, len(gradient.tensor.shape)
    if weights is not None:
        tensor = emit.builder.mul(tensor, emit.builder.reshape(weights, (steps, *(1,) * (rank - 1))))
    return Gradient(emit.builder.sum(tensor, [0]), gradient.factor)
