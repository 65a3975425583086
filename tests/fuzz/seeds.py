"""What fuzzing starts from: small sound models of every kind and nearly every op, all built here."""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Callable

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export.tflite import Graph, Model, Op, Quantization, Signature, Tensor, write
from export.tflite import options as tables
from export.tflite.graph import opaque_dtype
from export.tflite.ops import FLOAT, INT8, INT32, Builder
from export.tflite.options import Activation, Padding
from tests.references import small_models, zoo

UINT8 = np.dtype(np.uint8)
_BOOL = np.dtype(np.bool_)
Middle = Callable[[Builder, Tensor], Tensor]


def classifier(middle: Middle | None = None, shape: tuple[int, ...] = (1, 6, 6, 4)) -> Model:
    """Convolution, whatever ``middle`` puts behind it, flattening, a dense layer, softmax."""
    rng = np.random.default_rng(0)
    builder = Builder(Graph("main"))
    x = builder.tensor("image", shape)
    builder.graph.inputs = [x]
    relu = tables.Conv2DOptions(fused_activation_function=Activation.RELU)
    y = builder.conv2d(x, builder.constant(rng.normal(0, 0.3, (4, 3, 3, shape[3]))), builder.zeros(4), relu)
    if middle is not None:
        y = middle(builder, y)
    flat = builder.reshape(y, (1, int(np.prod(y.shape))))
    logits = builder.fully_connected(flat, builder.constant(rng.normal(0, 0.3, (3, flat.shape[1]))))
    builder.graph.outputs = [builder.op("SOFTMAX", [logits], (1, 3), tables.SoftmaxOptions(1.0), name="scores")]
    return zoo.signed(Model([builder.graph]))


def _of_one(code: str, options: tables.Options | None = None, offset: float = 0.0) -> Middle:
    def middle(builder: Builder, x: Tensor) -> Tensor:
        given = builder.shifted(x, offset) if offset else x
        return builder.op(code, [given], given.shape, options)

    return middle


def _of_two(code: str, options: tables.Options | None = None) -> Middle:
    def middle(builder: Builder, x: Tensor) -> Tensor:
        return builder.op(code, [x, builder.constant(np.linspace(0.5, 2, 4))], x.shape, options)

    return middle


def _with_numbers(code: str, options: tables.Options, shape: tuple[int, ...], *operands: object) -> Middle:
    def middle(builder: Builder, x: Tensor) -> Tensor:
        numbers = [builder.constant(np.asarray(values), INT32) for values in operands]
        return builder.op(code, [x, *numbers], shape, options)

    return middle


def _chosen(comparison: str, options: tables.Options) -> Middle:
    def middle(builder: Builder, x: Tensor) -> Tensor:
        mask = builder.op(comparison, [x, builder.number(0.3)], x.shape, options, dtype=_BOOL)
        return builder.op(
            "SELECT_V2", [mask, x, builder.scaled(x, 0.1)], x.shape, tables.SelectV2Options(), dtype=FLOAT
        )

    return middle


def _parts(code: str, options: tables.Options, shape: tuple[int, ...], *, axis_first: bool) -> Middle:
    """Split in two along the channels and add the parts up."""

    def middle(builder: Builder, x: Tensor) -> Tensor:
        axis = builder.constant(np.asarray(3), INT32)
        parts = [builder.tensor(f"part{index}", shape) for index in range(2)]
        sizes = builder.constant(np.asarray((2, 2)), INT32)
        builder.graph.ops.append(Op(code, [axis, x] if axis_first else [x, sizes, axis], parts, options))
        return builder.add(*parts)

    return middle


def _unpacked(builder: Builder, x: Tensor) -> Tensor:
    rows = [builder.tensor(f"row{index}", (1, 6, 4)) for index in range(6)]
    builder.graph.ops.append(Op("UNPACK", [x], rows, tables.UnpackOptions(6, 1)))
    return builder.op("PACK", rows[::-1], (1, 6, 6, 4), tables.PackOptions(6, 1))


def _joined(builder: Builder, x: Tensor) -> Tensor:
    return builder.op("CONCATENATION", [x, builder.relu(x)], (1, 6, 6, 8), tables.ConcatenationOptions(3))


def _transposed_convolution(builder: Builder, x: Tensor) -> Tensor:
    kernel = builder.constant(np.random.default_rng(1).normal(0, 0.3, (2, 3, 3, 4)))
    sizes = builder.constant(np.asarray((1, 12, 12, 2)), INT32)
    options = tables.TransposeConvOptions(Padding.SAME, 2, 2)
    return builder.op("TRANSPOSE_CONV", [sizes, kernel, x], (1, 12, 12, 2), options, dtype=FLOAT)


def _attention(builder: Builder, x: Tensor) -> Tensor:
    tokens = builder.reshape(x, (1, 36, 4))
    weights = builder.batch_matmul(tokens, tokens, transpose_b=True)
    return builder.batch_matmul(builder.op("SOFTMAX", [weights], weights.shape, tables.SoftmaxOptions(0.5)), tokens)


def _halves(builder: Builder, x: Tensor) -> Tensor:
    kernel = builder.constant(np.random.default_rng(2).normal(0, 0.3, (4, 1, 1, 4)), np.dtype(np.float16))
    return builder.op(
        "CONV_2D", [x, builder.dequantize(kernel), builder.zeros(4)], (1, 6, 6, 4), tables.Conv2DOptions()
    )


def _depthwise(builder: Builder, x: Tensor) -> Tensor:
    kernel = builder.constant(np.random.default_rng(3).normal(0, 0.3, (1, 3, 3, 4)))
    half = tables.DepthwiseConv2DOptions(Padding.SAME, 2, 2, 1, Activation.RELU6)
    return builder.depthwise_conv2d(x, kernel, half)


def _dilated(builder: Builder, x: Tensor) -> Tensor:
    kernel = builder.constant(np.random.default_rng(4).normal(0, 0.3, (4, 3, 3, 4)))
    return builder.conv2d(
        x, kernel, None, tables.Conv2DOptions(Padding.VALID, dilation_w_factor=2, dilation_h_factor=2)
    )


def _gathered(builder: Builder, x: Tensor) -> Tensor:
    return builder.gather(x, builder.constant(np.asarray((5, 0, 3, 3)), INT32), axis=2)


def _sliced(builder: Builder, x: Tensor) -> Tensor:
    return builder.strided_slice(x, (1, 0), (4, 6), (2, 3))


_POOL = tables.Pool2DOptions(Padding.VALID, 2, 2, 3, 3)
MIDDLES: dict[str, Middle | None] = {
    "nothing": None,
    "depthwise": _depthwise,
    "dilated": _dilated,
    "halves": _halves,
    "attention": _attention,
    "transpose_conv": _transposed_convolution,
    "concatenation": _joined,
    "pack": _unpacked,
    "gather": _gathered,
    "strided_slice": _sliced,
    "split": _parts("SPLIT", tables.SplitOptions(2), (1, 6, 6, 2), axis_first=True),
    "split_v": _parts("SPLIT_V", tables.SplitVOptions(2), (1, 6, 6, 2), axis_first=False),
    "average_pool": lambda b, x: b.op("AVERAGE_POOL_2D", [x], (1, 2, 2, 4), _POOL),
    "max_pool": lambda b, x: b.op("MAX_POOL_2D", [x], (1, 2, 2, 4), _POOL),
    "mean": lambda b, x: b.mean(x, (1, 2)),
    "sum": lambda b, x: b.sum(x, (1, 2)),
    "reduce_max": _with_numbers("REDUCE_MAX", tables.ReducerOptions(True), (1, 1, 1, 4), (1, 2)),
    "pad": lambda b, x: b.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))),
    "mirror_pad": _with_numbers(
        "MIRROR_PAD", tables.MirrorPadOptions(0), (1, 8, 8, 4), ((0, 0), (1, 1), (2, 0), (0, 0))
    ),
    "transpose": lambda b, x: b.transpose(x, (0, 2, 1, 3)),
    "tile": _with_numbers("TILE", tables.TileOptions(), (1, 12, 6, 4), (1, 2, 1, 1)),
    "reverse": _with_numbers("REVERSE_V2", tables.ReverseV2Options(), (1, 6, 6, 4), (1, 2)),
    "slice": lambda b, x: b.slice(x, (0, 1, 2, 0), (1, 3, 3, 4)),
    "resize_bilinear": _with_numbers(
        "RESIZE_BILINEAR", tables.ResizeBilinearOptions(half_pixel_centers=True), (1, 9, 4, 4), (9, 4)
    ),
    "resize_nearest": _with_numbers(
        "RESIZE_NEAREST_NEIGHBOR", tables.ResizeNearestNeighborOptions(), (1, 9, 4, 4), (9, 4)
    ),
    "space_to_batch": _with_numbers(
        "SPACE_TO_BATCH_ND", tables.SpaceToBatchNDOptions(), (4, 3, 3, 4), (2, 2), ((0, 0), (0, 0))
    ),
    "space_to_depth": lambda b, x: b.op("SPACE_TO_DEPTH", [x], (1, 3, 3, 16), tables.SpaceToDepthOptions(2)),
    "depth_to_space": lambda b, x: b.depth_to_space(x, 2),
    "add": _of_two("ADD", tables.AddOptions()),
    "mul": _of_two("MUL", tables.MulOptions()),
    "div": _of_two("DIV", tables.DivOptions()),
    "prelu": lambda b, x: b.op("PRELU", [x, b.constant(np.full((1, 1, 4), 0.1))], x.shape),
    "squared_difference": _of_two("SQUARED_DIFFERENCE", tables.SquaredDifferenceOptions()),
    "maximum": _of_two("MAXIMUM", tables.MaximumMinimumOptions()),
    "pow": lambda b, x: b.pow(b.shifted(x, 1.0), 1.5),
    "select": _chosen("GREATER", tables.GreaterOptions()),
    "abs": _of_one("ABS", tables.AbsOptions()),
    "exp": _of_one("EXP", tables.ExpOptions()),
    "log": _of_one("LOG", offset=1.0),
    "sqrt": _of_one("SQRT", offset=1.0),
    "rsqrt": _of_one("RSQRT", offset=1.0),
    "logistic": _of_one("LOGISTIC"),
    "tanh": _of_one("TANH"),
    "elu": _of_one("ELU"),
    "gelu": _of_one("GELU", tables.GeluOptions(True)),
    "hard_swish": _of_one("HARD_SWISH", tables.HardSwishOptions()),
    "leaky_relu": _of_one("LEAKY_RELU", tables.LeakyReluOptions(0.2)),
    "l2_normalization": _of_one("L2_NORMALIZATION", tables.L2NormOptions()),
    "local_response": _of_one(
        "LOCAL_RESPONSE_NORMALIZATION", tables.LocalResponseNormalizationOptions(2, 1.0, 0.1, 0.5)
    ),
}


def quantised(dtype: np.dtype, activation: Activation = Activation.RELU) -> Model:
    """Two convolutions and their sum, a mean and a dense layer, in 8 bits."""
    rng = np.random.default_rng(5)
    builder = Builder(Graph("main"))
    lowest = int(np.iinfo(dtype).min)
    middle = lowest + 128
    grid = Quantization((0.05,), (lowest,))
    x = builder.tensor("x", (1, 6, 6, 3), dtype, Quantization((0.02,), (middle,)))
    builder.graph.inputs = [x]

    def conv(given: Tensor, seed: int) -> Tensor:
        stored = np.random.default_rng(seed).integers(-100, 100, (6, 3, 3, given.shape[3])) + middle
        kernel = builder.constant(stored, dtype, Quantization((0.02,), (middle,)))
        bias = builder.constant(rng.integers(-900, 900, 6), INT32, Quantization((given.quantization.scale[0] * 0.02,)))
        options = tables.Conv2DOptions(fused_activation_function=activation)
        return builder.op("CONV_2D", [given, kernel, bias], (1, 6, 6, 6), options, quantization=grid, version=3)

    first = conv(x, 0)
    wide = Quantization((0.1,), (lowest,))
    added = builder.op("ADD", [first, conv(first, 1)], first.shape, tables.AddOptions(), quantization=wide, version=2)
    axes = builder.constant(np.asarray((1, 2)), INT32)
    mean = builder.op("MEAN", [added, axes], (1, 6), tables.ReducerOptions(False), quantization=wide, version=2)
    dense = builder.constant(rng.integers(-100, 100, (4, 6)) + middle, dtype, Quantization((0.02,), (middle,)))
    operands, options = [mean, dense, None], tables.FullyConnectedOptions()
    logits = builder.op(
        "FULLY_CONNECTED", operands, (1, 4), options, quantization=Quantization((0.2,), (middle,)), version=4
    )
    builder.graph.outputs = [logits]
    return zoo.signed(Model([builder.graph]))


def open_batch() -> Model:
    """A batch that is open, and the shape arithmetic that converters write for it."""
    model = classifier()
    graph = model.graphs[0]
    builder = Builder(graph, "s/")
    flatten = next(op for op in graph.ops if op.code == "RESHAPE")
    given, result = flatten.input(0), flatten.output
    before = list(graph.ops)
    sizes = builder.op("SHAPE", [given], (4,), tables.ShapeOptions(2), dtype=INT32)
    numbers = [builder.constant(np.asarray((value,)), INT32) for value in (0, 1, 1)]
    options = tables.StridedSliceOptions(shrink_axis_mask=1)
    batch = builder.op("STRIDED_SLICE", [sizes, *numbers], (), options)
    rest = builder.constant(np.asarray(result.shape[1]), INT32)
    target = builder.op("PACK", [batch, rest], (2,), tables.PackOptions(2, 0))
    added = graph.ops[len(before) :]
    position = before.index(flatten)
    graph.ops = [*before[:position], *added, *before[position:]]
    flatten.inputs, flatten.options = [given, target], tables.ReshapeOptions()
    for tensor in (graph.inputs[0], given, result, graph.outputs[0]):
        tensor.shape_signature = (-1, *tensor.shape[1:])
    return model


def branching() -> Model:
    """An IF over two further subgraphs, behind the logits' way."""
    model = classifier()
    graph = model.graphs[0]
    branches = []
    for name, factor in (("then", 2.0), ("else", 0.5)):
        branch = Builder(Graph(name))
        given = branch.tensor("given", (1, 3))
        branch.graph.inputs, branch.graph.outputs = [given], [branch.scaled(given, factor)]
        branches.append(branch.graph)
    builder = Builder(graph, "if/")
    softmax = graph.ops.pop()
    mean = builder.reshape(builder.sum(softmax.input(0), (1,)), (1,))
    condition = builder.op("GREATER", [mean, builder.number(0.0)], (1,), tables.GreaterOptions(), dtype=_BOOL)
    result = builder.tensor("result", (1, 3))
    choice = schema.IfOptionsT()
    choice.thenSubgraphIndex, choice.elseSubgraphIndex = 1, 2
    graph.ops.append(Op("IF", [condition, softmax.input(0)], [result], tables.UnreadOptions("IfOptions", choice)))
    softmax.inputs = [result]
    graph.ops.append(softmax)
    model.graphs += branches
    return model


def labelled() -> bytes:
    """A model with a list of labels attached, as metadata tools do it."""
    file = io.BytesIO(write(classifier()))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", "cat\ndog\nowl\n")
    return file.getvalue()


def two_outputs() -> Model:
    """A model that says two things, so that one must be chosen."""
    model = classifier()
    graph = model.graphs[0]
    graph.outputs.append(graph.ops[-1].input(0))
    return model


def two_entrances() -> Model:
    """Two graphs over one set of weights, either of which can be asked for by its signature."""
    model = classifier()
    second = classifier(_depthwise).graphs[0]
    second.name = "second"
    model.graphs.append(second)
    model.signatures.append(Signature("second", second, {"in": second.inputs[0]}, {"out": second.outputs[0]}))
    return model


def words() -> Model:
    """Ids that are looked up in a table, so that the way to the input is barred."""
    rng = np.random.default_rng(6)
    builder = Builder(Graph("main"))
    ids = builder.tensor("ids", (1, 8), INT32)
    builder.graph.inputs = [ids]
    table = builder.constant(rng.normal(0, 1, (20, 4)))
    rows = builder.op("GATHER", [table, ids], (1, 8, 4), tables.GatherOptions(0), dtype=FLOAT)
    wide = builder.reshape(rows, (1, 1, 8, 4))
    kernel = builder.constant(rng.normal(0, 0.5, (6, 1, 3, 4)))
    y = builder.conv2d(wide, kernel, None, tables.Conv2DOptions(fused_activation_function=Activation.RELU))
    logits = builder.fully_connected(builder.mean(y, (1, 2)), builder.constant(rng.normal(0, 1, (3, 6))))
    builder.graph.outputs = [builder.op("SOFTMAX", [logits], (1, 3), tables.SoftmaxOptions(1.0), name="scores")]
    return zoo.signed(Model([builder.graph]))


def streaming() -> Model:
    """A model that keeps its last three windows in a variable, zero at first."""
    rng = np.random.default_rng(7)
    resource = opaque_dtype("RESOURCE")

    def handle(builder: Builder) -> Tensor:
        result = Tensor("handle", (1,), resource)
        builder.graph.tensors.append(result)
        options = schema.VarHandleOptionsT()
        options.container, options.sharedName = b"", b"ring"
        builder.graph.ops.append(Op("VAR_HANDLE", [], [result], tables.UnreadOptions("VarHandleOptions", options)))
        return result

    def assign(builder: Builder, variable: Tensor, value: Tensor) -> None:
        options = tables.UnreadOptions("AssignVariableOptions", schema.AssignVariableOptionsT())
        builder.graph.ops.append(Op("ASSIGN_VARIABLE", [variable, value], [], options))

    once = Builder(Graph("once"))
    assign(once, handle(once), once.constant(np.zeros((1, 3, 6, 4))))
    builder = Builder(Graph("main"))
    x = builder.tensor("image", (1, 1, 6, 4))
    builder.graph.inputs = [x]
    call = schema.CallOnceOptionsT()
    call.initSubgraphIndex = 1
    builder.graph.ops.append(Op("CALL_ONCE", [], [], tables.UnreadOptions("CallOnceOptions", call)))
    ring = handle(builder)
    options = tables.UnreadOptions("ReadVariableOptions", schema.ReadVariableOptionsT())
    old = builder.op("READ_VARIABLE", [ring], (1, 3, 6, 4), options, dtype=FLOAT)
    joined = builder.op("CONCATENATION", [old, x], (1, 4, 6, 4), tables.ConcatenationOptions(1))
    assign(builder, ring, builder.slice(joined, (0, 1, 0, 0), (1, 3, 6, 4)))
    kernel = builder.constant(rng.normal(0, 0.5, (5, 3, 3, 4)))
    y = builder.conv2d(joined, kernel, None, tables.Conv2DOptions(fused_activation_function=Activation.RELU))
    logits = builder.fully_connected(builder.mean(y, (1, 2)), builder.constant(rng.normal(0, 1, (3, 5))))
    builder.graph.outputs = [builder.op("SOFTMAX", [logits], (1, 3), tables.SoftmaxOptions(1.0), name="scores")]
    return zoo.signed(Model([builder.graph, once.graph]))


@functools.cache
def models() -> dict[str, bytes]:
    """Return every seed by name."""
    built = {f"op {name}": write(classifier(middle)) for name, middle in MIDDLES.items()}
    built |= {f"zoo {name}": write(build()) for name, build in zoo.MODELS.items()}
    built |= {
        "int8": write(quantised(INT8)),
        "int8 without rectifiers": write(quantised(INT8, Activation.NONE)),
        "uint8": write(quantised(UINT8)),
        "small float": small_models.float_classifier(),
        "open batch": write(open_batch()),
        "branching": write(branching()),
        "labelled": labelled(),
        "two outputs": write(two_outputs()),
        "two entrances": write(two_entrances()),
        "words": write(words()),
        "streaming": write(streaming()),
    }
    return built
