"""The networks as model files."""

from __future__ import annotations

import numpy as np

from export.tflite import Graph, Model, Tensor
from export.tflite import options as tables
from export.tflite.ops import FLOAT, Builder
from export.tflite.options import Activation, Padding
from tests.references import zoo

from .networks import Layer, Network

_ACTIVATIONS = {"": Activation.NONE, "relu": Activation.RELU, "relu6": Activation.RELU6}


def model(network: Network) -> Model:
    """Return a float32 model, softmax included, whose tensors are called as the network's layers are."""
    builder = Builder(Graph("main"))
    batched = (1, *network.shape)
    x = builder.tensor("x", (network.shape[1],) if network.bare else batched)
    values = {"x": builder.reshape(x, batched)}
    for layer in network.layers:
        operands = [values[name] for name in network.inputs_of(layer)]
        operands += [builder.constant(weights, FLOAT) for weights in network.weights.get(layer.name, ())]
        values[layer.name] = _op(builder, layer, operands, (1, *network.shapes[layer.name]))
    logits = values[network.layers[-1].name]
    builder.graph.inputs = [x]
    builder.graph.outputs = [builder.op("SOFTMAX", [logits], logits.shape, tables.SoftmaxOptions(1.0), name="scores")]
    return zoo.signed(Model([builder.graph]))


def _op(builder: Builder, layer: Layer, operands: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    activation, stride = _ACTIVATIONS[layer.activation], layer.stride
    options: tables.Options
    if layer.op in {"mean", "flatten"}:
        if layer.op == "mean":
            operands = [builder.mean(operands[0], (1, 2))]
        target = builder.constant(np.asarray(shape), np.dtype(np.int32))
        return builder.op("RESHAPE", [*operands, target], shape, tables.ReshapeOptions(shape), name=layer.name)
    if layer.op == "conv":
        code, options = "CONV_2D", tables.Conv2DOptions(Padding.SAME, stride, stride, activation)
    elif layer.op == "depthwise":
        code, options = "DEPTHWISE_CONV_2D", tables.DepthwiseConv2DOptions(Padding.SAME, stride, stride, 1, activation)
    elif layer.op in {"max", "average"}:
        height, width = (min(layer.taps, size) for size in operands[0].shape[1:3])
        code = "MAX_POOL_2D" if layer.op == "max" else "AVERAGE_POOL_2D"
        options = tables.Pool2DOptions(Padding.VALID, stride, stride, width, height, activation)
    elif layer.op == "add":
        code, options = "ADD", tables.AddOptions(activation)
    else:
        code, options = "FULLY_CONNECTED", tables.FullyConnectedOptions(activation)
    return builder.op(code, operands, shape, options, name=layer.name)
