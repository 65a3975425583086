"""Relevance held against difference quotients, of the network with its shares held fixed.

LRP is the gradient of no function of the model, but at each input it is that of another: the same ops, each activation
replaced by the factor f(x)/x that it has there, each gate by its value, and what epsilon absorbs taken for a bias. That
network has the values of the model at the input and is linear but for its poolings. It is built here from the model's
forward ops and factors worked out in numpy from their results, so that neither a backward rule nor the walk has part
in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..methods.base import Source, named
from ..numerics.twin import unfused
from ..shipped import Runtime
from ..tflite import Model, write
from ..tflite.graph import Op, Signature, Tensor, between
from ..tflite.ops import Builder, prune
from ..tflite.options import AddOptions, MulOptions
from ..vjp.lrp_epsilon import EPSILON
from ..vjp.relevance import WEIGHTED, signal_of

Array = NDArray[np.float32]

# Elementwise and of one operand: f(x)/x says all.
_ACTIVATIONS = {"ABS", "ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "PRELU", "RELU", "RELU6", "RELU_0_TO_1"}
_ACTIVATIONS |= {"RELU_N1_TO_1", "TANH", "L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION"}


@dataclass(frozen=True)
class _Held:
    """A value of the frozen network that the model's own decide: an input of the former."""

    tensor: Tensor
    read: tuple[Tensor, ...]
    value: Callable[..., NDArray[np.float64]]


class Frozen:
    """The networks of a model in which LRP's shares are held fixed, one for each input."""

    def __init__(self, source: Source) -> None:
        twin = source.twin()
        self._graph, self._head = unfused(twin.graph), twin.head
        frozen = self._graph.copy("frozen")
        self._builder = Builder(frozen, "frozen/")
        self._held: list[_Held] = []
        path = list(between(self._graph, {self._head.input}, self._head.logits))
        self._moving = {tensor for op in path for tensor in op.outputs}
        frozen.ops = []
        for op in self._graph.ops:
            if op in set(path):
                self._freeze(op)
            else:
                frozen.ops.append(op)
        inputs = {"x": self._head.input} | named(self._head.states)
        frozen.outputs = [self._head.logits]
        frozen.inputs = [*inputs.values(), *(held.tensor for held in self._held)]
        prune(frozen)
        read = dict.fromkeys(tensor for held in self._held for tensor in held.read)
        self._names = {tensor: f"value{number}" for number, tensor in enumerate(read)}
        values = self._graph.copy("values")
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
            real = (np.asarray(values[tensor], np.float64) for tensor in held.read)
            fixed[held.tensor.name] = held.value(*real).astype(np.float32)
        return lambda x: self._runtime.call("frozen", x=x, **fixed)["logits"].reshape(-1)

    def _freeze(self, op: Op) -> None:
        ops = self._builder.graph.ops
        if op.code in WEIGHTED:
            free = self._builder.tensor(op.output.name, op.output.shape)
            ops.append(Op(op.code, op.inputs, [free], op.options, op.version))
            kept = self._builder.mul(free, self._hold(_share_kept, op.output))
            absorbed = self._hold(_absorbed, op.output)
            ops.append(Op("ADD", [kept, absorbed], op.outputs, AddOptions()))
        elif op.code in _ACTIVATIONS:
            ops.append(Op("MUL", [op.input(0), self._hold(_ratio, op.input(0), op.output)], op.outputs, MulOptions()))
        elif op.code in {"MUL", "DIV"}:
            signal = signal_of(op, self._graph)
            factor = op.input(1 - signal)
            other = self._hold(np.asarray, factor) if factor in self._moving else factor
            operands = [op.input(0), other] if signal == 0 else [other, op.input(1)]
            ops.append(Op(op.code, list(operands), op.outputs, op.options, op.version))
        else:
            ops.append(op)

    def _hold(self, value: Callable[..., NDArray[np.float64]], *read: Tensor) -> Tensor:
        """Return an input for what ``value`` makes of the model's tensors ``read``."""
        tensor = self._builder.tensor(f"held{len(self._held)}", read[-1].shape)
        self._held.append(_Held(tensor, read, value))
        return tensor


def _share_kept(z: NDArray[np.float64]) -> NDArray[np.float64]:
    stabilised = z + np.where(z < 0, -1, 1) * EPSILON * np.sqrt((z**2).mean())
    return np.asarray(np.divide(z, stabilised, out=np.zeros_like(z), where=stabilised != 0))


def _absorbed(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return z * (1 - _share_kept(z))


def _ratio(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.divide(y, x, out=np.zeros_like(x), where=x != 0))
