"""Copies of a forward graph: the float twin of a quantised model, and the same graph at another batch size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import InterpreterError
from edge.interpreter import load

from ..tflite.graph import Graph, Model, Op, Quantization, Signature, Tensor, reachable_from
from ..tflite.ops import FLOAT, INT32, Builder, fused_activation, with_options
from ..tflite.options import (
    Activation,
    DepthwiseConv2DOptions,
    FullyConnectedOptions,
    GatherOptions,
    Options,
    ReshapeOptions,
)
from ..tflite.writer import write
from .emitter import Emitter
from .recurrent import unrolled_lstm
from .weights import Store, Weights

_GRID_CHANGES = {"QUANTIZE", "DEQUANTIZE"}
# Where an op has its input, its weights and its bias.
_BIASED = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}
_BIAS_TYPES = (np.int32, np.int64)  # the latter beside 16-bit activations


def float_twin(source: Graph, target: Tensor, store: Store) -> tuple[Graph, dict[Tensor, Tensor]]:
    """Return a graph that computes ``target`` in float32 arithmetic on the same weights, and where each tensor went.

    Activations become float32 and changes of their quantisation vanish, but where saturation rectifies, the twin does;
    constants go through ``store``. A float model's twin is the model itself, without what ``target`` does not need.
    """
    graph = Graph("twin")
    builder = Builder(graph)
    twins: dict[Tensor, Tensor] = {}
    for tensor in source.inputs:
        twins[tensor] = builder.tensor(tensor.name, tensor.shape, FLOAT if tensor.is_quantized else tensor.dtype)
    graph.inputs = [twins[tensor] for tensor in source.inputs]

    def twin(tensor: Tensor | None) -> Tensor | None:
        if tensor is None or tensor in twins:
            return None if tensor is None else twins[tensor]
        if not tensor.is_constant:
            twins[tensor] = builder.adopt(tensor)  # state: a constant of the step
        elif tensor.is_quantized and tensor.dtype.itemsize == 1:
            grid = tensor.quantization
            twins[tensor] = store(builder, Weights.of(tensor), lambda values: values, grid.axis if grid else 0, 1.0)
        elif tensor.is_quantized:
            twins[tensor] = builder.constant(tensor.real(), FLOAT)
        else:
            twins[tensor] = builder.adopt(tensor)
        return twins[tensor]

    weights = Emitter(Builder(source), store).weights
    for op in _ancestors(source, target):
        if op.code == "UNIDIRECTIONAL_SEQUENCE_LSTM":
            sequence = twin(op.input(0))
            assert sequence is not None
            twins[op.output] = unrolled_lstm(builder, op, sequence, weights, store)
            continue
        if op.code in _GRID_CHANGES:
            first = op.input(0)
            if first.is_constant and not first.is_quantized:  # float16 weights
                twins[op.output] = store(builder, Weights.of(first), lambda values: values, 0, 1.0)
            else:
                moved = twin(first)
                assert moved is not None
                twins[op.output] = moved
            continue
        inputs = [twin(tensor) for tensor in _with_bias_grid(op)]
        for tensor in op.outputs:
            dtype = FLOAT if tensor.is_quantized else tensor.dtype
            twins[tensor] = builder.tensor(tensor.name, tensor.shape, dtype)
        version = _float_version(op) if _computes_on_integers(op) else op.version
        outputs = [twins[tensor] for tensor in op.outputs]
        options = op.options
        if op.output is not target and fused_activation(op) != Activation.NONE:
            options = with_options(op, fused_activation_function=fused_activation(op))
        graph.ops.append(Op(op.code, inputs, outputs, options, version, op.custom_code, extras=op.extras))
    result = twin(target)
    assert result is not None
    graph.outputs = [result]
    return graph, twins


def instantiate(
    builder: Builder, ops: Sequence[Op], given: Mapping[Tensor, Tensor], batch: int
) -> dict[Tensor, Tensor]:
    """Copy ``ops`` into the builder's graph at ``batch`` times their batch size; return where each tensor went.

    ``given`` holds the tensors that stand in for the ops' inputs. What does not depend on them, such as weights behind
    DEQUANTIZE, keeps its shape.
    """
    copies = dict(given)
    batched = set(given)
    for op in ops:
        grows = batch > 1 and any(tensor in batched for tensor in op.inputs if tensor is not None)
        for tensor in op.inputs:
            if tensor is not None and tensor.is_variable and grows:  # state, of each entry its own
                copies[tensor] = replace(tensor, shape=(tensor.shape[0] * batch, *tensor.shape[1:]))
                builder.graph.tensors.append(copies[tensor])
        inputs = [None if tensor is None else copies.get(tensor) or builder.adopt(tensor) for tensor in op.inputs]
        for tensor in op.outputs:
            shape = (tensor.shape[0] * batch, *tensor.shape[1:]) if grows and tensor.shape else tensor.shape
            copies[tensor] = builder.tensor(tensor.name, shape, tensor.dtype, tensor.quantization)
        options = op.options
        if grows:
            batched.update(op.outputs)
            inputs, options = _resized(builder, op, inputs, copies[op.output].shape)
        outputs = [copies[tensor] for tensor in op.outputs]
        intermediates = [builder.adopt(tensor) for tensor in op.intermediates]
        builder.graph.ops.append(
            Op(op.code, inputs, outputs, options, op.version, op.custom_code, intermediates, op.extras)
        )
    return copies


def unfused(graph: Graph) -> Graph:
    """Return a float graph with every fused activation as an op of its own; tensors keep what they were."""
    apart = graph.copy(graph.name)
    apart.ops = []
    for op in graph.ops:
        activation = fused_activation(op)
        if activation == Activation.NONE:
            apart.ops.append(op)
            continue
        before = replace(op.output, name=f"{op.output.name}/before_{activation.name}")
        apart.tensors.append(before)
        options = with_options(op, fused_activation_function=Activation.NONE)
        apart.ops.append(replace(op, outputs=[before], options=options))
        apart.ops.append(Op(activation.name, [before], op.outputs))
    return apart


def _resized(
    builder: Builder, op: Op, inputs: list[Tensor | None], shape: tuple[int, ...]
) -> tuple[list[Tensor | None], Options | None]:
    """Return an op's operands and options with the sizes that name the batch brought up to date."""

    def sizes(operand: int, batch: int) -> list[Tensor | None]:
        stored = op.input(operand).data
        if stored is None:
            return inputs
        values = np.array(stored, np.int64)
        values[0] = batch
        return [builder.constant(values, INT32) if index == operand else tensor for index, tensor in enumerate(inputs)]

    match op.code:
        case "RESHAPE":
            return [inputs[0], builder.constant(np.asarray(shape), INT32)], ReshapeOptions(shape)
        case "TRANSPOSE_CONV":
            return sizes(0, shape[0]), op.options
        case "SLICE":
            return sizes(2, shape[0]), op.options
        case "STRIDED_SLICE":
            return sizes(2, shape[0]), op.options
        case "BROADCAST_TO":
            return sizes(1, shape[0]), op.options
        case "CONCATENATION" | "PACK":  # a constant operand, such as a class token, joins every entry
            times = shape[0] // op.output.shape[0]
            return [_repeated(builder, tensor, times) for tensor in inputs], op.options
        case "GATHER" if isinstance(op.options, GatherOptions) and op.options.batch_dims:
            times = shape[0] // op.output.shape[0]  # constant indices, a row of them for each entry
            return [inputs[0], _repeated(builder, inputs[1], times)], op.options
    return inputs, op.options


def _repeated(builder: Builder, tensor: Tensor | None, times: int) -> Tensor | None:
    if tensor is None or tensor.data is None:
        return tensor
    return builder.constant(np.concatenate([tensor.data] * times), tensor.dtype, tensor.quantization)


def batches(graph: Graph, target: Tensor, batch: int) -> bool:
    """Return whether a graph at ``batch`` times its batch size computes the same, entry by entry.

    Found out by running it: there are too many ways for an op to mix the entries of a batch, or to have its size
    written down somewhere, to judge by reading. What only reading shows is a batch that is moved to another dimension
    and back, for interpreters do not tell the shapes in between.
    """
    dependent = reachable_from(graph, set(graph.inputs))
    if any(_moves_batch(op) for op in graph.ops if op.code == "TRANSPOSE" and op.input(0) in dependent):
        return False
    random = np.random.default_rng(0)
    source, *held = graph.inputs
    if any(state.shape[:1] != (1,) for state in held):
        return False  # without a dimension to repeat it along
    x = random.normal(size=(batch * source.shape[0], *source.shape[1:])).astype(np.float32)
    states = [random.normal(size=state.shape).astype(state.dtype) for state in held]
    try:
        together = _runner(graph, target, batch, states)(x)
        run = _runner(graph, target, 1, states)
        alone = [run(part) for part in np.split(x, batch)]
    except (RuntimeError, ValueError, InterpreterError):
        return False
    return together.size == sum(part.size for part in alone) and np.allclose(
        together.ravel(), np.concatenate(alone).ravel(), rtol=1e-4, atol=1e-5, equal_nan=True
    )


def _moves_batch(transpose: Op) -> bool:
    order = transpose.input(1).data
    return order is None or order[0] != 0


def repeated(builder: Builder, tensors: Mapping[Tensor, Tensor], times: int) -> dict[Tensor, Tensor]:
    """Return tensors that have one batch entry with so many equal ones, under the same keys."""
    shapes = {key: (times * tensor.shape[0], *tensor.shape[1:]) for key, tensor in tensors.items() if tensor.shape}
    return {key: builder.broadcast_to(tensor, shapes.get(key, ())) for key, tensor in tensors.items()}


def _runner(
    graph: Graph, target: Tensor, batch: int, states: Sequence[NDArray[Any]]
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Return a function from ``batch`` inputs to the target, the states being the same for all of them."""
    builder = Builder(Graph("batched"))
    source, *held = graph.inputs
    given = builder.tensor("x", (batch * source.shape[0], *source.shape[1:]))
    constants = {state: builder.constant(value, state.dtype) for state, value in zip(held, states, strict=True)}
    copies = instantiate(builder, graph.ops, {source: given, **repeated(builder, constants, batch)}, batch)
    builder.graph.inputs, builder.graph.outputs = [given], [copies[target]]
    signature = Signature("batched", builder.graph, {"x": given}, {"y": copies[target]})
    interpreter, _ = load(write(Model([builder.graph], [signature])))
    run = interpreter.get_signature_runner("batched")
    return lambda x: np.asarray(run(x=x)["y"], np.float32)


def _ancestors(graph: Graph, target: Tensor) -> list[Op]:
    """Return the ops that ``target`` needs, in execution order."""
    needed = {target}
    ops = []
    for op in reversed(graph.ops):
        if any(tensor in needed for tensor in op.outputs):
            ops.append(op)
            needed.update(tensor for tensor in op.inputs if tensor is not None)
    return ops[::-1]


def _with_bias_grid(op: Op) -> list[Tensor | None]:
    """Return an op's operands; a bias without a grid of its own lies on that of the products it is added to."""
    places = _BIASED.get(op.code, ())
    if not places or len(op.inputs) <= places[-1]:
        return op.inputs
    x, weights, bias = (op.inputs[place] for place in places)
    if bias is None or x is None or weights is None or bias.dtype not in _BIAS_TYPES or bias.is_quantized:
        return op.inputs
    if x.quantization is None or weights.quantization is None:
        return op.inputs
    scales = tuple(x.quantization.scale[0] * scale for scale in weights.quantization.scale)
    placed = replace(bias, quantization=Quantization(scales, (0,) * len(scales)))
    return [placed if index == places[-1] else tensor for index, tensor in enumerate(op.inputs)]


def _computes_on_integers(op: Op) -> bool:
    """Whether an op of the source reads quantised activations or weights, which its twin reads as floats."""
    return any(tensor is not None and tensor.is_quantized for tensor in op.inputs)


def _float_version(op: Op) -> int:
    """Return the version of a builtin for float32 operands."""
    options = op.options
    if isinstance(options, FullyConnectedOptions) and options.keep_num_dims:
        return 5
    if isinstance(options, DepthwiseConv2DOptions) and (options.dilation_h_factor, options.dilation_w_factor) != (1, 1):
        return 2
    return 1
