"""An independent differentiable model: TensorFlow ops rebuilt from a file's ops and dequantised weights.

Written from the TFLite op definitions, without any of WhyLite's gradient code, so that ``GradientTape`` can say what
the gradient should be. Works on the float twin of quantised models: real weights, float activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import numpy as np
import tensorflow as tf

from export.tflite.graph import Graph, Op, Tensor
from export.tflite.options import Activation, Padding

_ACTIVATIONS = {
    Activation.NONE: lambda x: x,
    Activation.RELU: tf.nn.relu,
    Activation.RELU6: tf.nn.relu6,
}

Value = Callable[[Tensor], tf.Tensor]


def forward(
    graph: Graph,
    x: tf.Tensor,
    dtype: tf.DType = tf.float32,
    given: dict[Tensor, tf.Tensor] | None = None,
    shift: float = 0.0,
    activations: Mapping[Activation, Callable[[tf.Tensor], tf.Tensor]] = MappingProxyType(_ACTIVATIONS),
) -> dict[Tensor, tf.Tensor]:
    """Return the value of every activation for a batch of inputs.

    ``given`` holds the values of tensors to be taken as they are instead of computed: what hangs on them is
    differentiable with respect to them. ``shift`` moves the kinks of rectifiers, for their gradients only, by that part
    of the largest value of the tensor. ``activations`` may have other gradients than their own.
    """
    given = given or {}
    values = {graph.inputs[0]: x, **given}

    def value(tensor: Tensor) -> tf.Tensor:
        return values[tensor] if tensor in values else tf.constant(tensor.real(), dtype)

    for op in graph.ops:
        if op.output not in given:
            result = _OPS[op.code](op, value)
            inside = op.code == "UNIDIRECTIONAL_SEQUENCE_LSTM"
            activation = (
                Activation.NONE if inside else getattr(op.options, "fused_activation_function", Activation.NONE)
            )
            values[op.output] = _activate(activation, activations[activation](result), result, shift)
    return values


def _activate(activation: Activation, y: tf.Tensor, x: tf.Tensor, shift: float) -> tf.Tensor:
    if activation == Activation.NONE or not shift:
        return y
    edge = shift * tf.reduce_max(tf.abs(x), range(1, x.shape.rank), keepdims=True)
    passes = x > edge
    if activation == Activation.RELU6:
        passes &= x < 6 + edge
    return tf.stop_gradient(y) + tf.where(passes, x - tf.stop_gradient(x), tf.zeros_like(x))


def input_gradient(
    graph: Graph,
    logits: Tensor,
    x: np.ndarray,
    class_index: int,
    dtype: tf.DType = tf.float32,
    shift: float = 0.0,
) -> np.ndarray:
    """Return the gradient of one logit at each of a batch of inputs, by TensorFlow's GradientTape."""
    variable = tf.constant(x, dtype)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        score = tf.reduce_sum(forward(graph, variable, dtype, shift=shift)[logits][..., class_index])
    return tape.gradient(score, variable).numpy()


def decided(graph: Graph, logits: Tensor, x: np.ndarray, class_index: int, shift: float = 1e-6) -> np.ndarray:
    """Return for which of a batch of inputs the gradient is the same however float32 rounds.

    Elsewhere some activation lies so close to a kink, measured by the largest of its tensor, that two correct float32
    programs may find it on different sides.
    """
    one, other = (input_gradient(graph, logits, x, class_index, tf.float64, way * shift) for way in (1, -1))
    flat = np.abs(one - other).reshape(len(x), -1).max(1)
    return flat <= 1e-9 * np.abs(one).max()


def vector_jacobian_product(graph: Graph, output: Tensor, x: np.ndarray, upstream: np.ndarray) -> np.ndarray:
    """Return the gradient at the input of ``upstream . output``, in float64."""
    variable = tf.constant(x, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        result = forward(graph, variable, tf.float64)[output]
    return tape.gradient(result, variable, tf.constant(upstream, tf.float64)).numpy()


def gradcam(graph: Graph, layer: Tensor, logits: Tensor, x: np.ndarray, class_index: int) -> np.ndarray:
    """Return sum over channels of the spatial mean of the logit's gradient times the activation, ``[positions]``.

    GradCAM is what is positive of it; the rest says how large an error would be where little is.
    """
    activation, gradient = at_layer(graph, layer, logits, x, class_index)
    return activation @ gradient.mean(0)


def at_layer(
    graph: Graph, layer: Tensor, logits: Tensor, x: np.ndarray, class_index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the activations of a layer and the logit's gradient there, both ``[positions, channels]``."""
    activation = forward(graph, tf.constant(x))[layer]
    with tf.GradientTape() as tape:
        tape.watch(activation)
        values = forward(graph, tf.constant(x), given={layer: activation})
        score = tf.reduce_sum(values[logits][..., class_index])
    gradient = tape.gradient(score, activation).numpy()
    channels = gradient.shape[-1]
    return activation.numpy().reshape(-1, channels), gradient.reshape(-1, channels)


def integrated_gradients(
    graph: Graph,
    logits: Tensor,
    x: np.ndarray,
    baseline: np.ndarray,
    class_index: int,
    alphas: np.ndarray,
    dtype: tf.DType = tf.float32,
) -> np.ndarray:
    """Return (x - baseline) times the mean of the gradient at ``baseline + alpha * (x - baseline)``."""
    gradients = input_gradient(graph, logits, path(x, baseline, alphas), class_index, dtype)
    return (x - baseline) * gradients.mean(0, keepdims=True)


def path(x: np.ndarray, baseline: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Return the interpolation steps between two inputs as a batch."""
    return np.concatenate([baseline + alpha * (x - baseline) for alpha in alphas])


# The ops


def _taps(op: Op, x: tf.Tensor, taps: tuple[int, int]) -> Iterator[tuple[int, int, tf.Tensor]]:
    """Yield for each tap of a window what it sees, at every output position, of zero-padded ``x``."""
    o = op.options
    strides = (o.stride_h, o.stride_w)
    dilations = (getattr(o, "dilation_h_factor", 1), getattr(o, "dilation_w_factor", 1))
    extents = [(count - 1) * dilation + 1 for count, dilation in zip(taps, dilations, strict=True)]
    sizes, pads = [], []
    for size, extent, stride in zip(x.shape[1:3], extents, strides, strict=True):
        if o.padding == Padding.SAME:
            outputs = -(-size // stride)
            missing = max((outputs - 1) * stride + extent - size, 0)
            pads.append((missing // 2, missing - missing // 2))
        else:
            outputs = (size - extent) // stride + 1
            pads.append((0, 0))
        sizes.append(outputs)
    x = tf.pad(x, [(0, 0), *pads, (0, 0)])
    for row in range(taps[0]):
        for column in range(taps[1]):
            top, left = row * dilations[0], column * dilations[1]
            bottom, right = top + (sizes[0] - 1) * strides[0] + 1, left + (sizes[1] - 1) * strides[1] + 1
            yield row, column, x[:, top : bottom : strides[0], left : right : strides[1]]


def _bias(op: Op, value: Value) -> tf.Tensor | float:
    return value(op.inputs[2]) if len(op.inputs) > 2 and op.inputs[2] is not None else 0.0


def _conv(op: Op, value: Value) -> tf.Tensor:
    o, x, kernel = op.options, value(op.inputs[0]), tf.transpose(value(op.inputs[1]), (1, 2, 3, 0))
    groups = x.shape[3] // kernel.shape[2]
    if groups == 1 and (o.dilation_h_factor, o.dilation_w_factor) == (1, 1):
        return tf.nn.conv2d(x, kernel, (1, o.stride_h, o.stride_w, 1), o.padding.name) + _bias(op, value)
    # TensorFlow has no gradient of dilated or grouped convolutions on a CPU: write the sum out.
    total = 0.0
    for row, column, seen in _taps(op, x, tuple(kernel.shape[:2])):
        parts = zip(tf.split(seen, groups, 3), tf.split(kernel[row, column], groups, 1), strict=True)
        total += tf.concat([part @ weights for part, weights in parts], 3)
    return total + _bias(op, value)


def _depthwise(op: Op, value: Value) -> tf.Tensor:
    o, x, kernel = op.options, value(op.inputs[0]), value(op.inputs[1])[0]
    multiplier = kernel.shape[2] // x.shape[3]
    if (o.dilation_h_factor, o.dilation_w_factor) == (1, 1) and o.stride_h == o.stride_w:
        filters = tf.reshape(kernel, (*kernel.shape[:2], -1, multiplier))
        return tf.nn.depthwise_conv2d(x, filters, (1, o.stride_h, o.stride_w, 1), o.padding.name) + _bias(op, value)
    total = 0.0
    for row, column, seen in _taps(op, x, tuple(kernel.shape[:2])):
        total += tf.repeat(seen, multiplier, 3) * kernel[row, column]
    return total + _bias(op, value)


def _dense(op: Op, value: Value) -> tf.Tensor:
    weights = value(op.inputs[1])
    x = value(op.inputs[0])
    result = tf.reshape(x, (-1, weights.shape[1])) @ tf.transpose(weights) + _bias(op, value)
    return tf.reshape(result, (*x.shape[:-1], -1)) if op.options.keep_num_dims else result


def _average_pool(op: Op, value: Value) -> tf.Tensor:
    o, x = op.options, value(op.inputs[0])
    window = (o.filter_height, o.filter_width)
    return tf.nn.avg_pool2d(x, window, (o.stride_h, o.stride_w), o.padding.name)


def _mean(op: Op, value: Value) -> tf.Tensor:
    axes = [int(axis) for axis in np.atleast_1d(op.inputs[1].data)]
    return tf.reduce_mean(value(op.inputs[0]), axes, op.options.keep_dims)


def _batched(op: Op, value: Value) -> tf.Tensor:
    return tf.reshape(value(op.inputs[0]), (-1, *op.output.shape[1:]))


_OPS: dict[str, Callable[[Op, Value], tf.Tensor]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _dense,
    "AVERAGE_POOL_2D": _average_pool,
    "ADD": lambda op, value: value(op.inputs[0]) + value(op.inputs[1]),
    "MEAN": _mean,
    "RESHAPE": _batched,
    "EXPAND_DIMS": _batched,
    "SQUEEZE": _batched,
    "RELU": lambda op, value: tf.nn.relu(value(op.inputs[0])),
    "RELU6": lambda op, value: tf.nn.relu6(value(op.inputs[0])),
    "QUANTIZE": lambda op, value: value(op.inputs[0]),
    "DEQUANTIZE": lambda op, value: value(op.inputs[0]),
    "NEG": lambda op, value: -value(op.inputs[0]),
    "SOFTMAX": lambda op, value: tf.nn.softmax(value(op.inputs[0]) * op.options.beta),
}
