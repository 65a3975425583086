"""Activations and arithmetic, op by op, against TensorFlow's gradient of the same function."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from export.tflite import Tensor
from export.tflite import options as tables
from export.tflite.ops import FLOAT
from export.tflite.options import Activation
from tests.references.compiled import VectorJacobianProduct
from tests.references.single_op import Drawing, check, exact, examples, tape

seeds = st.integers(0, 1 << 16)
shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(lambda trailing: (1, *trailing))

UNARY = {
    "RELU_N1_TO_1": (None, lambda x: tf.clip_by_value(x, -1.0, 1.0)),
    "RELU_0_TO_1": (None, lambda x: tf.clip_by_value(x, 0.0, 1.0)),
    "ELU": (None, tf.nn.elu),
    "LOGISTIC": (None, tf.nn.sigmoid),
    "TANH": (None, tf.nn.tanh),
    "HARD_SWISH": (tables.HardSwishOptions(), lambda x: x * tf.nn.relu6(x + 3) / 6),
    "NEG": (tables.NegOptions(), tf.negative),
    "ABS": (tables.AbsOptions(), tf.abs),
    "EXP": (tables.ExpOptions(), tf.exp),
    "SQUARE": (tables.SquareOptions(), tf.square),
    "SIN": (None, tf.sin),
    "COS": (tables.CosOptions(), tf.cos),
}
ON_POSITIVE = {"LOG": tf.math.log, "SQRT": tf.sqrt, "RSQRT": tf.math.rsqrt}
KINKED = {"RELU_N1_TO_1", "RELU_0_TO_1", "HARD_SWISH", "ABS", "ELU"}


@pytest.mark.parametrize("code", UNARY)
@examples(12)
@given(seeds, shapes, st.sampled_from([0.3, 1.0, 4.0]))
def test_functions_of_one_number(code, seed, shape, spread):
    options, function = UNARY[code]
    drawing = Drawing(seed, *shape)
    wide = drawing.builder.scaled(drawing.x, spread)
    y = drawing.builder.op(code, [wide], shape, options)
    check(drawing, y, lambda x: function(x * np.float64(np.float32(spread))), smooth=code not in KINKED)


@pytest.mark.parametrize("code", ON_POSITIVE)
@examples(12)
@given(seeds, shapes)
def test_functions_of_one_positive_number(code, seed, shape):
    drawing = Drawing(seed, *shape, positive=True)
    check(drawing, drawing.builder.op(code, [drawing.x], shape), ON_POSITIVE[code])


@examples(10)
@given(seeds, shapes, st.floats(0, 2, width=32))
def test_leaky_relu(seed, shape, alpha):
    drawing = Drawing(seed, *shape)
    y = drawing.builder.op("LEAKY_RELU", [drawing.x], shape, tables.LeakyReluOptions(alpha))
    check(drawing, y, lambda x: tf.where(x > 0, x, x * np.float64(alpha)), smooth=False)


@examples(20)
@given(seeds, shapes, st.data())
def test_prelu(seed, shape, data):
    """A slope per channel, per position, or one for all; negative slopes as well."""
    slopes = tuple(data.draw(st.sampled_from((1, size))) for size in shape[1:])
    drawing = Drawing(seed, *shape)
    alpha = drawing.constant(*slopes)
    y = drawing.builder.op("PRELU", [drawing.x, alpha], shape)
    check(drawing, y, lambda x: tf.where(x > 0, x, x * exact(alpha)), smooth=False)


@pytest.mark.parametrize("approximate", [False, True])
@examples(10)
@given(seeds, shapes, st.sampled_from([1e-3, 1.0, 3.0]))
def test_gelu(approximate, seed, shape, spread):
    drawing = Drawing(seed, *shape)
    wide = drawing.builder.scaled(drawing.x, spread)
    y = drawing.builder.op("GELU", [wide], shape, tables.GeluOptions(approximate))
    check(drawing, y, lambda x: tf.nn.gelu(x * np.float64(np.float32(spread)), approximate))


BINARY = {
    "ADD": (tables.AddOptions(), tf.add),
    "SUB": (tables.SubOptions(), tf.subtract),
    "MUL": (tables.MulOptions(), tf.multiply),
    "DIV": (tables.DivOptions(), tf.divide),
    "SQUARED_DIFFERENCE": (tables.SquaredDifferenceOptions(), tf.math.squared_difference),
    "MAXIMUM": (tables.MaximumMinimumOptions(), tf.maximum),
    "MINIMUM": (tables.MaximumMinimumOptions(), tf.minimum),
    "FLOOR_MOD": (tables.FloorModOptions(), tf.math.floormod),
}
SELECTS = {"MAXIMUM", "MINIMUM", "FLOOR_MOD"}
POSITIVE = {"DIV", "FLOOR_MOD"}


def narrowed(data, shape: tuple[int, ...], *, drop: bool = True) -> tuple[int, ...]:
    """Some of the dimensions as 1, perhaps without the leading ones."""
    small = (1, *(data.draw(st.sampled_from((1, size))) for size in shape[1:]))
    return small[data.draw(st.integers(0, len(small) - 1)) :] if drop and data.draw(st.booleans()) else small


@pytest.mark.parametrize("code", BINARY)
@examples(25)
@given(seeds, shapes, st.booleans(), st.booleans(), st.data())
def test_arithmetic_with_a_constant_broadcast_either_way(code, seed, full, first, grows, data):
    options, function = BINARY[code]
    small = narrowed(data, full, drop=not grows)
    drawing = Drawing(seed, *(small if grows else full), positive=code in POSITIVE)
    other = drawing.constant(*(full if grows else small), positive=code in POSITIVE)
    operands = [drawing.x, other] if first else [other, drawing.x]

    def reference(x):
        return function(x, exact(other)) if first else function(exact(other), x)

    y = drawing.builder.op(code, operands, full, options)
    check(drawing, y, reference, smooth=code not in SELECTS)


@pytest.mark.parametrize("code", BINARY)
@examples(15)
@given(seeds, shapes, st.booleans(), st.data())
def test_arithmetic_of_two_values_that_both_depend_on_the_input(code, seed, shape, first, data):
    """x and its own mean over some dimensions: both get a gradient, one of them summed over what was broadcast."""
    options, function = BINARY[code]
    axes = data.draw(st.lists(st.integers(1, len(shape) - 1), max_size=len(shape) - 1, unique=True))
    drawing = Drawing(seed, *shape, positive=code in POSITIVE)
    builder = drawing.builder
    weights = drawing.constant(*shape, positive=True)
    scaled = builder.mul(drawing.x, weights)
    mean = builder.mean(scaled, axes) if axes else scaled
    operands = [drawing.x, mean] if first else [mean, drawing.x]

    def reference(x):
        other = x * exact(weights)
        other = tf.reduce_mean(other, axes, True) if axes else other
        return function(x, other) if first else function(other, x)

    y = builder.op(code, operands, shape, options)
    check(drawing, y, reference, smooth=code not in SELECTS)


@pytest.mark.parametrize("code", ["ADD", "SUB", "MUL", "DIV"])
@pytest.mark.parametrize("activation", [Activation.RELU, Activation.RELU6, Activation.RELU_N1_TO_1])
def test_arithmetic_with_a_fused_activation(code, activation):
    options, function = BINARY[code]
    drawing = Drawing(1, 1, 4, 5, 3)
    other = drawing.constant(1, 1, 1, 3, positive=True)
    y = drawing.builder.op(code, [drawing.x, other], drawing.x.shape, type(options)(activation))
    limits = {Activation.RELU: (0, np.inf), Activation.RELU6: (0, 6), Activation.RELU_N1_TO_1: (-1, 1)}[activation]
    check(drawing, y, lambda x: tf.clip_by_value(function(x, exact(other)), *map(float, limits)), smooth=False)


@pytest.mark.parametrize("code", ["ADD", "MUL", "SUB", "MAXIMUM"])
def test_a_constant_that_multiplies_the_first_dimension(code):
    """One row against many: the gradient is summed over the rows."""
    options, function = BINARY[code]
    drawing = Drawing(0, 1, 3)
    other = drawing.constant(5, 3)
    y = drawing.builder.op(code, [drawing.x, other], (5, 3), options)
    check(drawing, y, lambda x: function(x, exact(other)), smooth=False, batch=None)


def test_an_operand_of_lower_rank_that_depends_on_the_input():
    drawing = Drawing(0, 1, 3)
    vector = drawing.builder.reshape(drawing.x, (3,))
    for full in ((1, 3), (1, 2, 3)):
        weights = drawing.constant(*full)
        y = drawing.builder.mul(vector, weights)
        check(drawing, y, lambda x, weights=weights: tf.reshape(x, (3,)) * exact(weights), batch=None)


def test_a_value_times_itself():
    drawing = Drawing(0, 1, 3, 4)
    check(drawing, drawing.builder.mul(drawing.x, drawing.x), tf.square)


@examples(25)
@given(seeds, shapes, st.sampled_from([2.0, 3.0, -1.0, 0.5, 1.0, 0.25, -2.0, 4.0]))
def test_pow_with_one_exponent(seed, shape, exponent):
    drawing = Drawing(seed, *shape, positive=True)
    y = drawing.builder.pow(drawing.x, exponent)
    check(drawing, y, lambda x: x ** tf.constant(exponent, tf.float64))


@examples(15)
@given(seeds, shapes, st.data())
def test_pow_with_an_exponent_per_channel(seed, shape, data):
    drawing = Drawing(seed, *shape, positive=True)
    exponents = drawing.constant(*narrowed(data, shape))
    y = drawing.builder.op("POW", [drawing.x, exponents], shape, tables.PowOptions())
    check(drawing, y, lambda x: x ** exact(exponents))


def test_pow_of_negative_numbers_by_a_whole_exponent():
    drawing = Drawing(0, 1, 9)
    check(drawing, drawing.builder.pow(drawing.x, 2.0), tf.square)


@examples(10)
@given(seeds, shapes, st.booleans())
def test_pow_with_the_input_as_exponent(seed, shape, constant_base):
    drawing = Drawing(seed, *shape, positive=True)
    base = drawing.constant(*shape, positive=True) if constant_base else drawing.x
    y = drawing.builder.op("POW", [base, drawing.x], shape, tables.PowOptions())
    check(drawing, y, lambda x: (exact(base) if constant_base else x) ** x)


@examples(15)
@given(seeds, shapes, st.data())
def test_select(seed, shape, data):
    """SELU as converters write it: a comparison, whose own gradient is 0, chooses."""
    drawing = Drawing(seed, *shape)
    builder = drawing.builder
    other = drawing.constant(*narrowed(data, shape))
    zero = builder.number(0.0)
    positive = builder.op("GREATER", [drawing.x, zero], shape, dtype=np.dtype(np.bool_))
    squared = builder.mul(drawing.x, drawing.x)
    y = builder.op("SELECT_V2", [positive, squared, builder.mul(drawing.x, other)], shape, dtype=np.dtype(np.float32))
    check(drawing, y, lambda x: tf.where(x > 0, x * x, x * exact(other)), smooth=False)


def test_select_with_branches_of_one_number_for_many():
    drawing = Drawing(1, 1, 3, 4)
    builder = drawing.builder
    mean = builder.mean(drawing.x, (2,))
    positive = builder.op("GREATER", [drawing.x, builder.number(0.0)], (1, 3, 4), dtype=np.dtype(np.bool_))
    y = builder.op("SELECT_V2", [positive, mean, drawing.x], (1, 3, 4), dtype=np.dtype(np.float32))
    check(drawing, y, lambda x: tf.where(x > 0, tf.reduce_mean(x, 2, True), x), smooth=False)


MASKED = {
    "EXP": (tables.ExpOptions(), "LESS", 0.0, tf.exp, 200.0),
    "LOG": (None, "GREATER", 0.0, tf.math.log, 0.0),
    "SQRT": (None, "GREATER", 0.0, tf.sqrt, 0.0),
    "SQRT of less than nothing": (None, "GREATER", 0.0, tf.sqrt, -3.0),
    "RSQRT": (None, "GREATER", 0.0, tf.math.rsqrt, 0.0),
}


@pytest.mark.parametrize("case", MASKED)
def test_a_branch_that_is_not_taken_adds_nothing_where_it_is_infinite(case):
    """SELU and softplus as converters write them: exp(x) overflows where x itself is taken."""
    options, comparison, border, function, beyond = MASKED[case]
    drawing = Drawing(5, 1, 6)
    builder = drawing.builder
    chosen = builder.op(comparison, [drawing.x, builder.number(border)], (1, 6), dtype=np.dtype(np.bool_))
    branch = builder.op(case.split()[0], [drawing.x], (1, 6), options)
    y = builder.op("SELECT_V2", [chosen, branch, builder.scaled(drawing.x, 2)], (1, 6), dtype=FLOAT)
    x = np.asarray([[-1.5, 0.5, 1.5, -0.25, beyond, beyond]], np.float32)
    upstream = np.arange(1, 7, dtype=np.float32)[None]
    builder.graph.outputs = [y]
    gradient, _ = VectorJacobianProduct(builder.graph, y)(x, upstream)

    def reference(x):
        taken = x < border if comparison == "LESS" else x > border
        inside = tf.where(taken, x, tf.constant(-1.0 if comparison == "LESS" else 1.0, tf.float64))
        return tf.where(taken, function(inside), 2 * x)

    np.testing.assert_allclose(gradient, tape(reference, x, upstream)[1], rtol=1e-5)


def test_pow_of_nothing_has_a_finite_gradient_in_the_exponent():
    """0 times the logarithm of 0, which TensorFlow takes for 0 as well."""
    drawing = Drawing(5, 1, 4, positive=True)
    builder = drawing.builder
    base = builder.constant([[0.0, 0.5, 2.0, 0.0]])
    y = builder.op("POW", [base, drawing.x], (1, 4), tables.PowOptions())
    check(drawing, y, lambda x: exact(base) ** x)


STEPS = {
    "FLOOR": tf.floor,
    "CEIL": tf.math.ceil,
    "ROUND": tf.round,
    "SIGN": tf.sign,
    "ZEROS_LIKE": tf.zeros_like,
}


@pytest.mark.parametrize("code", STEPS)
@examples(8)
@given(seeds, shapes)
def test_a_step_has_no_gradient(code, seed, shape):
    """What jumps adds nothing to the gradient of what does not."""
    drawing = Drawing(seed, *shape)
    builder = drawing.builder
    options = {"SIGN": tables.SignOptions(), "ZEROS_LIKE": tables.ZerosLikeOptions()}.get(code)
    y = builder.mul(builder.shifted(builder.op(code, [drawing.x], shape, options), 2), drawing.x)
    check(drawing, y, lambda x: (STEPS[code](x) + 2) * x, smooth=False)


def test_a_quotient_rounded_down_has_no_gradient():
    drawing = Drawing(1, 1, 3, 4, positive=True)
    builder = drawing.builder
    other = drawing.constant(1, 1, 4, positive=True)
    steps = builder.op("FLOOR_DIV", [drawing.x, other], (1, 3, 4), tables.FloorDivOptions())
    check(drawing, builder.mul(steps, drawing.x), lambda x: (x // exact(other)) * x, smooth=False)


COMPARISONS = {
    "GREATER": tf.greater,
    "GREATER_EQUAL": tf.greater_equal,
    "LESS": tf.less,
    "LESS_EQUAL": tf.less_equal,
    "EQUAL": tf.equal,
    "NOT_EQUAL": tf.not_equal,
}


@pytest.mark.parametrize("code", COMPARISONS)
@pytest.mark.parametrize("combined", [None, "LOGICAL_AND", "LOGICAL_OR"])
def test_masks_made_of_comparisons(code, combined):
    """x where a comparison (or two of them, one negated) says so, twice x elsewhere."""
    drawing = Drawing(3, 1, 5, 4)
    builder, truth = drawing.builder, np.dtype(np.bool_)
    near = builder.op("ROUND", [drawing.x], (1, 5, 4))  # whole numbers, so that some are equal
    chosen = builder.op(code, [near, builder.number(1.0)], (1, 5, 4), dtype=truth)
    if combined:
        other = builder.op("LESS", [drawing.x, builder.number(0.3)], (1, 5, 4), dtype=truth)
        negated = builder.op("LOGICAL_NOT", [other], (1, 5, 4), dtype=truth)
        chosen = builder.op(combined, [chosen, negated], (1, 5, 4), dtype=truth)
    y = builder.op("SELECT_V2", [chosen, drawing.x, builder.scaled(drawing.x, 2.0)], (1, 5, 4), dtype=FLOAT)

    def reference(x):
        mask = COMPARISONS[code](tf.round(x), 1.0)
        if combined:
            function = {"LOGICAL_AND": tf.logical_and, "LOGICAL_OR": tf.logical_or}[combined]
            mask = function(mask, x >= 0.3)
        return tf.where(mask, x, 2 * x)

    check(drawing, y, reference, smooth=False)


@pytest.mark.parametrize("code", ["REDUCE_ANY", "REDUCE_ALL"])
def test_masks_reduced_to_one_decision(code):
    drawing = Drawing(3, 1, 5, 4)
    builder, truth = drawing.builder, np.dtype(np.bool_)
    above = builder.op("GREATER", [drawing.x, builder.number(0.7)], (1, 5, 4), dtype=truth)
    one = builder.op(code, [above, drawing.integers(2)], (1, 5, 1), tables.ReducerOptions(True), dtype=truth)
    y = builder.op("SELECT_V2", [one, drawing.x, builder.mul(drawing.x, drawing.x)], (1, 5, 4), dtype=FLOAT)
    reduce = tf.reduce_any if code == "REDUCE_ANY" else tf.reduce_all
    check(drawing, y, lambda x: tf.where(reduce(x > 0.7, 2, True), x, x * x), smooth=False)


def test_select_of_the_first_version_decides_per_entry_of_the_batch():
    drawing = Drawing(3, 1, 5, 4)
    builder = drawing.builder
    sums = builder.op("SUM", [drawing.x, drawing.integers(1, 2)], (1,), tables.ReducerOptions(False))
    chosen = builder.op("GREATER", [sums, builder.constant(0.0)], (1,), dtype=np.dtype(np.bool_))
    y = builder.op("SELECT", [chosen, drawing.x, builder.scaled(drawing.x, 2.0)], (1, 5, 4), dtype=FLOAT)
    reference = lambda x: tf.where(tf.reduce_sum(x, (1, 2), True) > 0, x, 2 * x)  # noqa: E731
    check(drawing, y, reference, smooth=False)


def test_a_sum_of_many():
    drawing = Drawing(1, 1, 3, 4)
    builder = drawing.builder
    terms = [drawing.x, builder.mul(drawing.x, drawing.x), drawing.x, builder.exp(drawing.x)]
    y = builder.op("ADD_N", terms, (1, 3, 4), tables.AddNOptions())
    check(drawing, y, lambda x: tf.add_n([x, x * x, x, tf.exp(x)]))


# What converters write out instead of one op


def test_hard_swish_written_out():
    drawing = Drawing(2, 1, 6, 5, 3)
    builder = drawing.builder
    wide = builder.scaled(drawing.x, 4.0)
    ramp = builder.op("RELU6", [builder.shifted(wide, 3.0)], wide.shape)
    y = builder.mul(wide, builder.scaled(ramp, 1 / 6))
    check(drawing, y, lambda x: 4 * x * tf.nn.relu6(4 * x + 3) * np.float64(np.float32(1 / 6)), smooth=False)


def test_swish_written_out():
    drawing = Drawing(2, 1, 6, 5, 3)
    builder = drawing.builder
    check(drawing, builder.mul(drawing.x, builder.op("LOGISTIC", [drawing.x], drawing.x.shape)), tf.nn.silu)


def test_layer_normalisation_written_out():
    drawing = Drawing(3, 1, 7, 6)
    builder = drawing.builder
    mean = builder.mean(drawing.x, (2,))
    apart = builder.op("SQUARED_DIFFERENCE", [drawing.x, mean], (1, 7, 6), tables.SquaredDifferenceOptions())
    variance = builder.shifted(builder.mean(apart, (2,)), 1e-3)
    y = builder.mul(builder.sub(drawing.x, mean), builder.rsqrt(variance))

    def reference(x):
        m, v = tf.nn.moments(x, [2], keepdims=True)
        return (x - m) / tf.sqrt(v + np.float64(np.float32(1e-3)))

    check(drawing, y, reference)


def squeeze_excite(drawing: Drawing, x: Tensor) -> Tensor:
    builder = drawing.builder
    pooled = builder.mean(x, (1, 2))
    squeezed = builder.conv2d(pooled, drawing.constant(2, 1, 1, x.shape[3]))
    excited = builder.conv2d(builder.relu(squeezed), drawing.constant(x.shape[3], 1, 1, 2))
    return builder.mul(x, builder.op("LOGISTIC", [excited], excited.shape))


def test_squeeze_and_excite():
    drawing = Drawing(4, 1, 4, 5, 6)
    y = squeeze_excite(drawing, drawing.x)
    down, up = (op.input(1) for op in drawing.builder.graph.ops if op.code == "CONV_2D")

    def reference(x):
        squeezed = tf.nn.relu(tf.reduce_mean(x, (1, 2)) @ tf.transpose(exact(down)[:, 0, 0]))
        return x * tf.nn.sigmoid(squeezed @ tf.transpose(exact(up)[:, 0, 0]))[:, None, None]

    check(drawing, y, reference, smooth=False)


@pytest.mark.parametrize("rounds", [3, 12])
def test_masks_and_saturated_gates_in_a_row_do_not_underflow(rounds):
    """Gates written out one after the other, with nothing between them that could absorb a scale."""
    drawing = Drawing(rounds, 1, 30)
    builder = drawing.builder
    shifts = [drawing.rng.normal(0.3, 0.5) for _ in range(rounds)]
    y = drawing.x
    for shift in shifts:
        ramp = builder.op("RELU6", [builder.shifted(y, 3 + shift)], y.shape)
        y = builder.mul(y, builder.scaled(ramp, 0.25))

    def reference(x):
        for shift in shifts:
            x = x * tf.nn.relu6(x + np.float64(np.float32(3 + shift))) * 0.25
        return x

    check(drawing, y, reference, smooth=False, bound=3e-5)


def test_no_rule_is_forgotten():
    """Every activation and arithmetic rule appears above."""
    from export.vjp import GRADIENT, activation, arithmetic

    modules = {activation.__name__, arithmetic.__name__}
    rules = {code for code, rule in GRADIENT.items() if rule.__module__ in modules}
    elsewhere = {"RELU", "RELU6"} | {code for code, rule in GRADIENT.items() if rule is arithmetic.steps}
    elsewhere |= {"SELECT", "SELECT_V2"}
    alone = {"LEAKY_RELU", "PRELU", "GELU", "POW", "ADD_N"}
    assert rules == set(UNARY) | set(ON_POSITIVE) | set(BINARY) | alone | elsewhere
