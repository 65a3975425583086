"""A graph of one op or a few, and all that its gradient must agree with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from hypothesis import settings

from export.numerics.twin import batches, instantiate
from export.tflite import Graph, Tensor
from export.tflite.ops import INT32, Builder

from .compiled import VectorJacobianProduct, relative_error

BOUND = 1e-5
_STEP = 1e-2


def examples(count: int):
    return settings(max_examples=count, deadline=None, derandomize=True)


class Drawing:
    """A float graph with one input, being built from random numbers."""

    def __init__(self, seed: int, *shape: int, positive: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = Builder(Graph("main"))
        self.positive = positive
        self.x = self.builder.tensor("x", shape)
        self.builder.graph.inputs = [self.x]

    def constant(self, *shape: int, positive: bool = False) -> Tensor:
        values = self.rng.normal(0, 1, shape)
        return self.builder.constant(np.abs(values) + 0.5 if positive else values)

    def integers(self, *values: int) -> Tensor:
        return self.builder.constant(np.asarray(values), INT32)

    def inputs(self, batch: int = 1) -> np.ndarray:
        values = self.rng.normal(0, 1, (batch * self.x.shape[0], *self.x.shape[1:])).astype(np.float32)
        return np.abs(values) + np.float32(0.5) if self.positive else values


def check(
    drawing: Drawing,
    output: Tensor,
    function: Callable[[tf.Tensor], tf.Tensor],
    *,
    smooth: bool = True,
    batch: int | None = 3,
    x: np.ndarray | None = None,
    bound: float = BOUND,
) -> VectorJacobianProduct:
    """Hold the graph's forward pass against ``function`` and its gradient against ``function``'s, in float64.

    Where ``smooth``, against differences of LiteRT's forward pass too. The same again at a ``batch`` of several, as
    Integrated Gradients runs it; None for a graph that mixes the entries of a batch, which must be noticed.
    """
    graph = drawing.builder.graph
    graph.outputs = [output]
    x = drawing.inputs() if x is None else x
    upstream = drawing.rng.normal(0, 1, output.shape).astype(np.float32)
    compiled = VectorJacobianProduct(graph, output)
    gradient, y = compiled(x, upstream)
    expected_y, expected = tape(function, x, upstream)
    assert y.shape == expected_y.shape
    assert relative_error(y, expected_y) < bound
    assert gradient.shape == x.shape
    assert _error(gradient, expected, upstream) < bound
    if smooth:
        direction = drawing.rng.normal(0, _STEP, x.shape).astype(np.float32)
        above, below = (compiled(x + sign * direction, upstream)[1].astype(np.float64) for sign in (1, -1))
        scale = np.linalg.norm(gradient) * np.linalg.norm(direction) + 1e-3 * np.linalg.norm(upstream)
        assert abs(np.vdot(above - below, upstream) / 2 - np.vdot(gradient, direction)) < 1e-2 * scale
    assert batches(graph, output, 3) == (batch is not None)
    if batch is not None:
        check_batch(drawing, output, function, batch, bound)
    return compiled


def check_batch(drawing: Drawing, output: Tensor, function: Callable[[tf.Tensor], tf.Tensor], batch: int, bound: float):
    graph = drawing.builder.graph
    builder = Builder(Graph("batched"))
    x = drawing.inputs(batch)
    given = builder.tensor("x", x.shape)
    copies = instantiate(builder, graph.ops, {drawing.x: given}, batch)
    builder.graph.inputs = [given]
    upstream = drawing.rng.normal(0, 1, copies[output].shape).astype(np.float32)
    gradient, _ = VectorJacobianProduct(builder.graph, copies[output])(x, upstream)
    for one, x_, upstream_ in zip(*(np.split(values, batch) for values in (gradient, x, upstream)), strict=True):
        assert _error(one, tape(function, x_, upstream_)[1], upstream_) < bound


def _error(gradient: np.ndarray, expected: np.ndarray, upstream: np.ndarray) -> float:
    """Relative to the gradient, or to what comes in where it almost vanishes (as behind a saturated tanh)."""
    return float(np.abs(gradient - expected).max() / max(np.abs(expected).max(), 0.1 * np.abs(upstream).max()))


def tape(function: Callable[[tf.Tensor], tf.Tensor], x: np.ndarray, upstream: np.ndarray):
    """Return the function's value and its gradient along ``upstream``, by TensorFlow in float64."""
    variable = tf.constant(x, tf.float64)
    with tf.GradientTape() as tape_:
        tape_.watch(variable)
        result = function(variable)
    gradient = tape_.gradient(result, variable, tf.constant(upstream, tf.float64))
    return result.numpy(), tf.convert_to_tensor(gradient).numpy()


def exact(tensor: Tensor) -> tf.Tensor:
    """Return a constant's values as the reference takes them."""
    return tf.constant(tensor.real(), tf.float64)
