"""Relevance held against difference quotients, of the network with its shares held fixed.

LRP is the gradient of no function of the model, but at each input it is that of another: the same ops, each activation
replaced by the factor f(x)/x that it has there, each gate by its value, each maximum by where it stood, and what no
operand takes (of epsilon, say) added as a constant. That network has the model's values at the input and is linear. It
is built here from the model's forward ops and factors worked out in numpy from their results, so that neither a
backward rule nor the walk has part in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..methods.base import Source, named
from ..numerics.emitter import Emitter
from ..numerics.twin import unfused
from ..numerics.windows import axes_of, gather_windows
from ..shipped import Runtime
from ..tflite import Model, write
from ..tflite.graph import Op, Signature, Tensor, between
from ..tflite.ops import FLOAT, Builder, prune
from ..tflite.options import AddOptions, MulOptions, Pool2DOptions
from ..vjp.lrp_alpha_beta import NOTHING, Signs
from ..vjp.lrp_epsilon import EPSILON
from ..vjp.relevance import WEIGHTED, signal_of

Array = NDArray[np.float32]
Real = NDArray[np.float64]

# Elementwise and of one operand: f(x)/x says all.
_ACTIVATIONS = {"ABS", "ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "PRELU", "RELU", "RELU6", "RELU_0_TO_1"}
_ACTIVATIONS |= {"RELU_N1_TO_1", "TANH", "L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION"}


@dataclass(frozen=True)
class _Held:
    """A value of the frozen network that the model's own decide: an input of the former."""

    tensor: Tensor
    read: tuple[Tensor, ...]
    value: Callable[..., NDArray[Any]]


class Frozen:
    """The networks of a model in which LRP's shares are held fixed, one for each input."""

    def __init__(self, source: Source, parts: tuple[float, float] | None) -> None:
        """Build them; ``parts`` are alpha and beta, where contributions of both signs are shared out apart."""
        twin = source.twin()
        self._graph, self._head, self._parts = unfused(twin.graph), twin.head, parts
        values, frozen = (self._graph.copy(name) for name in ("values", "frozen"))
        self._values = Emitter(Builder(values, "values/"), source.store)
        self._frozen = Emitter(Builder(frozen, "frozen/"), source.store)
        self._held: list[_Held] = []
        path = list(between(self._graph, {self._head.input}, self._head.logits))
        self._moving = {tensor for op in path for tensor in op.outputs}
        frozen.ops = []
        for op in self._graph.ops:
            frozen.ops += self._freeze(op) if op in set(path) else [op]
        inputs = {"x": self._head.input} | named(self._head.states)
        frozen.outputs = [self._head.logits]
        frozen.inputs = [*inputs.values(), *(held.tensor for held in self._held)]
        prune(frozen)
        read = dict.fromkeys(tensor for held in self._held for tensor in held.read)
        self._names = {tensor: f"value{number}" for number, tensor in enumerate(read)}
        values.outputs = [self._head.logits, *(t for t in self._names if t not in values.inputs)]
        outputs = {name: tensor for tensor, name in self._names.items() if tensor in values.outputs}
        signatures = [
            Signature("values", values, inputs, {"logits": self._head.logits} | outputs),
            Signature("frozen", frozen, inputs | named(h.tensor for h in self._held), {"logits": self._head.logits}),
        ]
        self._runtime = Runtime(write(Model([values, frozen], signatures)))

    def at(self, point: Mapping[str, Array]) -> Callable[[Array], Array]:
        """Return the frozen network of one input (``x``, and what stays fixed beside it) as a function of ``x``."""
        found = self._runtime.call("values", **point)
        values = {tensor: found[name] for tensor, name in self._names.items() if name in found}
        values |= {self._head.input: point["x"]} | {state: point[state.name] for state in self._head.states}
        fixed = {name: value for name, value in point.items() if name != "x"}
        for held in self._held:
            real = (values[t].astype(np.float64) if t.dtype == FLOAT else values[t] for t in held.read)
            fixed[held.tensor.name] = held.value(*real).astype(held.tensor.dtype)
        return lambda x: self._runtime.call("frozen", x=x, **fixed)["logits"].reshape(-1)

    def _freeze(self, op: Op) -> list[Op]:
        """Return what stands for an op that the input reaches; ops before it are in the graph already."""
        if op.code in WEIGHTED:
            return self._with_weights(op) if self._parts is None else self._with_signs(op, *self._parts)
        if op.code in _ACTIVATIONS:
            return [_sum_or_product("MUL", op.input(0), self._hold(_ratio, op.input(0), op.output), op)]
        if op.code in {"MUL", "DIV"}:
            signal = signal_of(op, self._graph)
            operands = [t if place == signal else self._fixed(t) for place, t in enumerate(op.inputs) if t is not None]
            return [Op(op.code, list(operands), op.outputs, op.options, op.version)]
        if op.code in {"MAXIMUM", "MINIMUM"}:
            larger = op.code == "MAXIMUM"
            share = self._hold(partial(_first_stands_out, larger=larger), *op.inputs, op.output)
            rest = self._hold(partial(_second_stands_out, larger=larger), *op.inputs, op.output)
            build = self._frozen.builder
            return [_sum_or_product("ADD", build.mul(op.input(0), share), build.mul(op.input(1), rest), op)]
        if op.code in {"REDUCE_MAX", "REDUCE_MIN"}:
            axes = tuple(int(axis) for axis in np.ravel(self._frozen.integers(op.input(1))))
            share = self._hold(partial(_extremes, axes=axes, largest=op.code == "REDUCE_MAX"), op.input(0))
            taken = self._frozen.builder.mul(op.input(0), share)
            return [Op("SUM", [taken, op.inputs[1]], op.outputs, op.options)]
        if op.code == "MAX_POOL_2D":
            return self._pooled(op)
        if op.code in {"SELECT", "SELECT_V2"}:
            return [Op(op.code, [self._fixed(op.input(0)), *op.inputs[1:]], op.outputs, op.options, op.version)]
        return [op]

    def _with_weights(self, op: Op) -> list[Op]:
        build = self._frozen.builder
        free = build.tensor(op.output.name, op.output.shape)
        build.graph.ops.append(Op(op.code, op.inputs, [free], op.options, op.version))
        kept = build.mul(free, self._hold(_share_kept, op.output))
        return [_sum_or_product("ADD", kept, self._hold(_absorbed, op.output), op)]

    def _with_signs(self, op: Op, alpha: float, beta: float) -> list[Op]:
        """Return a layer whose contributions of each sign are multiplied by what they hand on of the result."""
        ours, theirs = Signs.of(op, self._frozen), Signs.of(op, self._values)
        build, values, x = self._frozen.builder, self._values.builder, op.input(ours.place)
        above, below = (build.mul(x, self._hold(side, x)) for side in (_is_positive, _is_negative))
        sides = values.relu(x), values.minimum(x, values.number(0))
        bias = theirs.bias(self._values)
        signs = {True: (alpha, np.maximum(bias, 0)), False: (-beta, np.minimum(bias, 0))}
        sums = {sign: theirs.contributions(*sides, self._values, positive=sign) for sign in signs}
        constant = self._hold(partial(_rest, signs=tuple(signs.values())), *sums.values(), op.output)
        for sign, (part, own) in signs.items():
            factor = self._hold(partial(_handed_on, part=part, bias=own), sums[sign], op.output)
            term = build.mul(ours.contributions(above, below, self._frozen, positive=sign), factor)
            constant = build.add(constant, term) if sign else constant
        return [_sum_or_product("ADD", constant, term, op)]

    def _pooled(self, op: Op) -> list[Op]:
        """Return the sum over a pooling's windows of what stood there at the maximum; ties share it."""
        assert isinstance(op.options, Pool2DOptions)
        axes = axes_of(op, (op.options.filter_height, op.options.filter_width))
        ours, theirs = (gather_windows(emit, op.input(0), axes) for emit in (self._frozen, self._values))
        build = self._frozen.builder
        terms = [
            build.mul(window, self._hold(partial(_window, place=place), *theirs)) for place, window in enumerate(ours)
        ]
        total = terms[0]
        for term in terms[1:-1]:
            total = build.add(total, term)
        last = terms[-1] if len(terms) > 1 else build.number(0)
        return [_sum_or_product("ADD", total, last, op)]

    def _fixed(self, tensor: Tensor) -> Tensor:
        """Return what holds the value of a tensor, or the tensor where nothing moves it."""
        return self._hold(np.asarray, tensor) if tensor in self._moving else tensor

    def _hold(self, value: Callable[..., NDArray[Any]], *read: Tensor | None) -> Tensor:
        """Return an input for what ``value`` makes of the model's tensors ``read``, of the last one's shape."""
        known = tuple(tensor for tensor in read if tensor is not None)
        tensor = self._frozen.builder.tensor(f"held{len(self._held)}", known[-1].shape, known[-1].dtype)
        self._held.append(_Held(tensor, known, value))
        return tensor


def _sum_or_product(code: str, left: Tensor, right: Tensor, op: Op) -> Op:
    """Return an op that gives ``op``'s result from two operands."""
    return Op(code, [left, right], op.outputs, AddOptions() if code == "ADD" else MulOptions())


def _share_kept(z: Real) -> Real:
    stabilised = z + np.where(z < 0, -1, 1) * EPSILON * np.sqrt((z**2).mean())
    return np.asarray(np.divide(z, stabilised, out=np.zeros_like(z), where=stabilised != 0))


def _absorbed(z: Real) -> Real:
    return z * (1 - _share_kept(z))


def _ratio(x: Real, y: Real) -> Real:
    return np.asarray(np.divide(y, x, out=np.zeros_like(x), where=x != 0))


def _is_positive(x: Real) -> Real:
    return np.asarray(x > 0, np.float64)


def _is_negative(x: Real) -> Real:
    return np.asarray(x < 0, np.float64)


def _handed_on(contributions: Real, z: Real, *, part: float, bias: Real) -> Real:
    """Return what contributions of one sign hand on of the result, for each unit of theirs."""
    total = contributions + bias
    return np.asarray(np.divide(part * z, total, out=np.zeros_like(z), where=np.abs(total) > NOTHING))


def _rest(positive: Real, negative: Real, z: Real, *, signs: tuple[tuple[float, Real], ...]) -> Real:
    """Return what neither sign's contributions give of the result."""
    for values, (part, bias) in zip((positive, negative), signs, strict=True):
        z = z - values * _handed_on(values, z, part=part, bias=bias)
    return z


def _first_stands_out(a: Real, b: Real, y: Real, *, larger: bool) -> Real:
    del y
    return np.asarray(a >= b if larger else a <= b, np.float64)


def _second_stands_out(a: Real, b: Real, y: Real, *, larger: bool) -> Real:
    return 1 - _first_stands_out(a, b, y, larger=larger)


def _extremes(x: Real, *, axes: tuple[int, ...], largest: bool) -> Real:
    extreme = x == (x.max(axes, keepdims=True) if largest else x.min(axes, keepdims=True))
    return np.asarray(extreme / extreme.sum(axes, keepdims=True))


def _window(*windows: Real, place: int) -> Real:
    stacked = np.stack(windows)
    largest = stacked == stacked.max(0)
    return np.asarray(largest[place] / largest.sum(0))
