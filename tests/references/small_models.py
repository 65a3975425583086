"""Small trained-looking classifiers, made on the spot: nothing to download, any size wanted."""

from __future__ import annotations

import numpy as np

from export.tflite import Graph, Model, Op, Signature, Tensor, write
from export.tflite.ops import FLOAT, Builder
from export.tflite.options import (
    Activation,
    Conv2DOptions,
    DepthwiseConv2DOptions,
    Padding,
    Pool2DOptions,
    SoftmaxOptions,
)

CLASSES = 4


def float_classifier(size: int = 12, seed: int = 0, *, signature: bool = True) -> bytes:
    """Return a float32 CNN: conv, strided depthwise, 1x1 conv, pooling, dense, softmax; input [size, size, 3]."""
    random = np.random.default_rng(seed)
    graph = Graph("main")
    builder = Builder(graph)

    def weights(*shape: int) -> Tensor:
        return builder.constant(random.normal(size=shape) / np.sqrt(np.prod(shape[1:])), FLOAT)

    def bias(count: int) -> Tensor:
        return builder.constant(random.normal(size=count) * 0.1, FLOAT)

    x = builder.tensor("image", (1, size, size, 3))
    relu = Activation.RELU
    a = builder.conv2d(x, weights(8, 3, 3, 3), bias(8), Conv2DOptions(fused_activation_function=relu))
    half = DepthwiseConv2DOptions(stride_w=2, stride_h=2, depth_multiplier=1, fused_activation_function=relu)
    b = builder.depthwise_conv2d(a, weights(1, 3, 3, 8), half)
    c = builder.conv2d(b, weights(16, 1, 1, 8), bias(16), Conv2DOptions(fused_activation_function=relu))
    pool = Pool2DOptions(Padding.VALID, 1, 1, c.shape[2], c.shape[1])
    pooled = builder.op("AVERAGE_POOL_2D", [c], (1, 1, 1, 16), pool)
    logits = builder.fully_connected(builder.reshape(pooled, (1, 16)), weights(CLASSES, 16))
    scores = builder.tensor("scores", (1, CLASSES))
    graph.ops.append(Op("SOFTMAX", [logits], [scores], SoftmaxOptions(1.0)))
    graph.inputs, graph.outputs = [x], [scores]
    signatures = [Signature("serving_default", graph, {"image": x}, {"scores": scores})] if signature else []
    return write(Model([graph], signatures))


def linear_classifier(samples: int = 8, classes: int = 3) -> bytes:
    """Return a float32 classifier of some samples of one channel: dense, softmax; input [samples]."""
    graph = Graph("main")
    builder = Builder(graph)
    x = builder.tensor("samples", (1, samples))
    weights = builder.constant(np.random.default_rng(0).normal(size=(classes, samples)), FLOAT)
    scores = builder.tensor("scores", (1, classes))
    graph.ops.append(Op("SOFTMAX", [builder.fully_connected(x, weights)], [scores], SoftmaxOptions(1.0)))
    graph.inputs, graph.outputs = [x], [scores]
    return write(Model([graph], [Signature("serving_default", graph, {"samples": x}, {"scores": scores})]))


def inputs(count: int, size: int = 12, seed: int = 1) -> np.ndarray:
    """Return inputs for the classifier, float32 [count, size, size, 3]."""
    return np.random.default_rng(seed).normal(size=(count, size, size, 3)).astype(np.float32)


def quantized_classifier(size: int = 12, seed: int = 0) -> bytes:
    """Return an int8 CNN of the same kind, through Keras and TensorFlow's own converter."""
    import keras

    from export.frontends.keras import to_tflite

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((size, size, 3)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(16, 1, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    return to_tflite(model, inputs(32, size))
