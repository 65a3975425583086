"""Lies in a file whose flatbuffer is sound: the model is unpacked, bent at one to three places, and packed again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Mutation = Callable[[Any, random.Random], None]

_INTEGERS = (
    -(2**31),
    -65537,
    -1000,
    -128,
    -5,
    -2,
    -1,
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    127,
    128,
    255,
    256,
    65535,
    2**24,
    2**31 - 1,
)
_SIZES = (-(2**31), -2, -1, 0, 1, 2, 3, 5, 6, 7, 13, 64, 1000, 65535, 65536, 2**20, 2**30, 2**31 - 1)
_FLOATS = (
    0.0,
    -0.0,
    1e-45,
    1e-38,
    1e-20,
    -1.0,
    1.0,
    0.5,
    6.0,
    1e10,
    1e30,
    3.4e38,
    float("inf"),
    -float("inf"),
    float("nan"),
)
_NAMES = (
    b"",
    b"\xff\xfe",
    b"nul\0inside",
    b"image",
    b"scores",
    "ünï".encode(),
    b"\xed\xa0\x80",
    b"n" * 5000,
    b"../../x",
    b"\n\x1b[31m",
)
_OPTIONS = [name for name, code in vars(schema.BuiltinOptions).items() if isinstance(code, int) and code]
_OPTIONS_2 = [name for name, code in vars(schema.BuiltinOptions2).items() if isinstance(code, int) and code]
_CODES = [code for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)]
_TYPES = [code for name, code in vars(schema.TensorType).items() if isinstance(code, int)]


def _graph(model: Any, rng: random.Random) -> Any:
    return model.subgraphs[0] if rng.random() < 0.9 else rng.choice(model.subgraphs)


def _tensor(model: Any, rng: random.Random) -> Any:
    return rng.choice(_graph(model, rng).tensors)


def _op(model: Any, rng: random.Random) -> Any:
    return rng.choice(_graph(model, rng).operators)


def _listed(vector: Any) -> list[Any]:
    return [] if vector is None else list(vector)


def bend_shape(model: Any, rng: random.Random) -> None:
    """Change a size, add one, take one away, permute them, or turn them to a signature's."""
    tensor = _tensor(model, rng)
    shape = _listed(tensor.shape)
    kind = rng.randrange(5)
    if kind == 0 and shape:
        shape[rng.randrange(len(shape))] = rng.choice(_SIZES)
    elif kind == 1:
        shape.insert(rng.randint(0, len(shape)), rng.choice((1, 1, 2, -1, 0, 2**31 - 1)))
    elif kind == 2 and shape:
        del shape[rng.randrange(len(shape))]
    elif kind == 3:
        rng.shuffle(shape)
    else:
        shape = [1] * rng.choice((0, 1, 5, 9, 70))
    tensor.shape = np.asarray(shape, np.int32)
    if rng.random() < 0.3:
        tensor.shapeSignature = np.asarray([rng.choice((-1, size)) for size in shape], np.int32)


def bend_shape_of_weights(model: Any, rng: random.Random) -> None:
    """Give a constant another shape of as many numbers."""
    constants = [t for t in _graph(model, rng).tensors if model.buffers[t.buffer].data is not None and len(t.shape)]
    if constants:
        tensor = rng.choice(constants)
        size = int(np.prod(tensor.shape, dtype=object))
        ways = [[size], [1, size], [size, 1], [1, 1, 1, size], list(tensor.shape)[::-1], [1, *tensor.shape]]
        tensor.shape = np.asarray(rng.choice(ways), np.int32)


def open_dimensions(model: Any, rng: random.Random) -> None:
    """Declare sizes open, in the signature or in the shape itself."""
    tensor = rng.choice((_tensor(model, rng), model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]))
    shape = _listed(tensor.shape)
    tensor.shapeSignature = np.asarray([rng.choice((-1, size, size)) for size in shape], np.int32)
    if rng.random() < 0.3:
        tensor.shape = np.asarray([rng.choice((-1, 0, size)) for size in shape], np.int32)


def dangle_index(model: Any, rng: random.Random) -> None:
    """Point an operand, a result, an input or an output of a graph at something else, or at nothing."""
    graph = _graph(model, rng)
    holder, name = rng.choice(
        (
            *[(_op(model, rng), name) for name in ("inputs", "inputs", "outputs", "intermediates")],
            (graph, "inputs"),
            (graph, "outputs"),
        )
    )
    indices = _listed(getattr(holder, name))
    count = len(graph.tensors)
    new = rng.choice((-2, -1, 0, count - 1, count, 2**31 - 1, -(2**31), *[rng.randrange(count) for _ in range(8)]))
    kind = rng.randrange(4)
    if kind <= 1 and indices:
        indices[rng.randrange(len(indices))] = new
    elif kind == 2:
        indices.insert(rng.randint(0, len(indices)), new)
    elif indices:
        del indices[rng.randrange(len(indices))]
    setattr(holder, name, np.asarray(indices, np.int32))


def make_cycle(model: Any, rng: random.Random) -> None:
    """Let an op read its own result, or that of a later one; or reorder ops."""
    graph = _graph(model, rng)
    if rng.random() < 0.3:
        rng.shuffle(graph.operators)
        return
    first, later = _op(model, rng), rng.choice(graph.operators)
    if len(_listed(first.inputs)) and len(_listed(later.outputs)):
        first.inputs = np.asarray(first.inputs).copy()
        first.inputs[0] = rng.choice(_listed(later.outputs))


def short_circuit(model: Any, rng: random.Random) -> None:
    """Read the operand of an op instead of its result, as if the op were not there."""
    graph = _graph(model, rng)
    op = rng.choice(graph.operators)
    before, after = _listed(op.inputs), _listed(op.outputs)
    if before and after:
        for other in graph.operators:
            other.inputs = np.asarray([before[0] if i in after else i for i in _listed(other.inputs)], np.int32)
        if rng.random() < 0.5:
            graph.operators.remove(op)


def swap_code(model: Any, rng: random.Random) -> None:
    """Say that an op is another, known or unknown, of some version."""
    code = rng.choice(model.operatorCodes)
    number = rng.choice((*_CODES, *_CODES, 127, 200, 255, 9999, -1, 2**31 - 1))
    code.builtinCode, code.deprecatedBuiltinCode = number, min(max(number, -128), 127)
    if rng.random() < 0.3:
        code.version = rng.choice((0, -1, 1, 2, 3, 5, 99, 2**31 - 1))
    if rng.random() < 0.2:
        code.customCode = rng.choice((*_NAMES, b"FlexAdd", b"TFLite_Detection_PostProcess"))


def use_other_code(model: Any, rng: random.Random) -> None:
    """Let one op use the operator code of another, or one that is not there."""
    _op(model, rng).opcodeIndex = rng.choice((*range(len(model.operatorCodes)), len(model.operatorCodes), 2**31))


def swap_options(model: Any, rng: random.Random) -> None:
    """Give an op the options of another kind of op, filled with nothing or with extremes."""
    op = _op(model, rng)
    if rng.random() < 0.15:
        op.builtinOptions, op.builtinOptionsType = None, rng.choice((0, op.builtinOptionsType))
        return
    second = rng.random() < 0.15
    name = rng.choice(_OPTIONS_2 if second else _OPTIONS)
    content = getattr(schema, name + "T")()
    field = "builtinOptions2" if second else "builtinOptions"
    setattr(op, field, content)
    setattr(op, field + "Type", getattr(schema.BuiltinOptions2 if second else schema.BuiltinOptions, name))


def bend_options(model: Any, rng: random.Random) -> None:
    """Set one field of an op's options to an extreme."""
    ops = [op for op in _graph(model, rng).operators if op.builtinOptions is not None and vars(op.builtinOptions)]
    if ops:
        _bend_field(rng.choice(ops).builtinOptions, rng)


def bend_grid(model: Any, rng: random.Random) -> None:
    """Break a quantisation: its scales, zero points, lengths, or the dimension they run along."""
    tensors = [t for t in _graph(model, rng).tensors if t.quantization is not None] or _graph(model, rng).tensors
    tensor = rng.choice(tensors)
    grid = tensor.quantization = tensor.quantization or schema.QuantizationParametersT()
    kind = rng.randrange(7)
    scales, zeros = _listed(grid.scale), _listed(grid.zeroPoint)
    if kind == 0:
        grid.scale = np.asarray([rng.choice(_FLOATS) for _ in scales or (0,)], np.float32)
    elif kind == 1:
        grid.zeroPoint = np.asarray(
            [rng.choice((-(2**63), -129, -128, -1, 0, 1, 127, 128, 255, 256, 2**31, 2**63 - 1)) for _ in zeros or (0,)],
            np.int64,
        )
    elif kind == 2:
        grid.scale = np.asarray(scales[:-1] if rng.random() < 0.5 else [*scales, 0.5], np.float32)
    elif kind == 3:
        grid.zeroPoint = np.asarray(zeros[:-1] if rng.random() < 0.5 else [*zeros, 1], np.int64)
    elif kind == 4:
        grid.quantizedDimension = rng.choice((-2, -1, 0, 1, 2, 3, 4, 7, 2**31 - 1))
    elif kind == 5:
        size = rng.choice(_listed(tensor.shape) or [1])
        grid.scale = np.full(max(0, min(size, 4096)), 0.02, np.float32)
        grid.zeroPoint = np.full(max(0, min(size, 4096)), rng.choice((0, 3)), np.int64)
        grid.quantizedDimension = rng.randrange(4)
    else:
        tensor.quantization = None


def bend_type(model: Any, rng: random.Random) -> None:
    """Say that a tensor holds other elements, of the same width or not."""
    _tensor(model, rng).type = rng.choice((*_TYPES, 77, 127))


def bend_weights(model: Any, rng: random.Random) -> None:
    """Put values into a constant that numbers of its kind should not have."""
    graph = _graph(model, rng)
    constants = [
        t for t in graph.tensors if 0 <= t.buffer < len(model.buffers) and model.buffers[t.buffer].data is not None
    ]
    if not constants:
        return
    tensor = rng.choice(constants)
    buffer = model.buffers[tensor.buffer]
    raw = np.array(buffer.data, np.uint8)
    if tensor.type == schema.TensorType.FLOAT32 and raw.size % 4 == 0:
        values = raw.view(np.float32)
        values[rng.randrange(len(values)) :: rng.choice((1, 1, 3, 1000))] = rng.choice(_FLOATS)
    elif tensor.type == schema.TensorType.INT32 and raw.size % 4 == 0:
        values = raw.view(np.int32)
        values[rng.randrange(len(values)) :: rng.choice((1, 1000))] = rng.choice(_INTEGERS)
    else:
        raw[:: rng.choice((1, 2, 7))] = rng.choice((0, 1, 127, 128, 255))
    buffer.data = raw


def bend_buffer(model: Any, rng: random.Random) -> None:
    """Lie about where a buffer lies or how long it is."""
    buffer = rng.choice(model.buffers)
    kind = rng.randrange(4)
    if kind == 0:
        buffer.offset, buffer.size = (
            rng.choice((0, 1, 2, 8, 100, 2**31, 2**63, 2**64 - 1)),
            rng.choice((0, 1, 4, 64, 2**31, 2**64 - 1)),
        )
    elif kind == 1 and buffer.data is not None:
        buffer.data = np.asarray(buffer.data, np.uint8)[
            : rng.choice((0, 1, len(buffer.data) // 2, len(buffer.data) - 1))
        ]
    elif kind == 2 and buffer.data is not None:
        buffer.data = np.tile(np.asarray(buffer.data, np.uint8), rng.choice((2, 3)))
    else:
        tensor = _tensor(model, rng)
        tensor.buffer = rng.choice((*range(len(model.buffers)), len(model.buffers), 2**31, 2**32 - 1))
    if rng.random() < 0.1:
        external = schema.ExternalBufferT()
        external.offset, external.length, external.id = rng.choice((0, 8, 2**63)), rng.choice((4, 2**40)), 1
        model.externalBuffers = [external]
        _tensor(model, rng).externalBuffer = rng.choice((1, 2, 77))


def bend_graph(model: Any, rng: random.Random) -> None:
    """Empty a graph, repeat it, repeat its outputs, or make inputs of constants and outputs."""
    graph = _graph(model, rng)
    kind = rng.randrange(7)
    if kind == 0:
        graph.operators = []
    elif kind == 1:
        model.subgraphs.append(rng.choice((graph, schema.SubGraphT())))
    elif kind == 2:
        graph.outputs = np.asarray([*_listed(graph.outputs), *_listed(graph.outputs)], np.int32)
    elif kind == 3:
        graph.inputs = np.asarray(
            [rng.randrange(len(graph.tensors)) for _ in range(rng.choice((0, 1, 1, 2)))], np.int32
        )
    elif kind == 4:
        graph.outputs = np.asarray(
            [rng.randrange(len(graph.tensors)) for _ in range(rng.choice((0, 1, 1, 2)))], np.int32
        )
    elif kind == 5:
        rng.shuffle(model.subgraphs)
    else:
        graph.tensors = []


def bend_op(model: Any, rng: random.Random) -> None:
    """Repeat an op, drop it, clear its operands, or give it fields that builtins do not use."""
    graph = _graph(model, rng)
    op = rng.choice(graph.operators)
    kind = rng.randrange(6)
    if kind == 0:
        graph.operators.insert(rng.randrange(len(graph.operators) + 1), op)
    elif kind == 1:
        graph.operators.remove(op)
    elif kind == 2:
        op.inputs = np.asarray([], np.int32)
    elif kind == 3:
        op.outputs = np.asarray([], np.int32)
    elif kind == 4:
        op.customOptions = np.frombuffer(rng.randbytes(rng.choice((1, 16, 300))), np.uint8)
    else:
        op.largeCustomOptionsOffset, op.largeCustomOptionsSize = rng.choice((0, 1, 2, 2**63)), rng.choice((0, 8, 2**63))


def bend_signature(model: Any, rng: random.Random) -> None:
    """Let an entry point name tensors or graphs that are not there, or the same one twice."""
    if not model.signatureDefs:
        model.signatureDefs = [schema.SignatureDefT()]
    entry = rng.choice(model.signatureDefs)
    kind = rng.randrange(6)
    if kind == 0:
        entry.subgraphIndex = rng.choice((1, 2, 77, 2**32 - 1))
    elif kind == 1:
        entry.signatureKey = rng.choice(_NAMES)
    elif kind == 2:
        model.signatureDefs.append(entry)
    elif kind == 3:
        entry.inputs = rng.choice((None, [], _listed(entry.inputs) * 2, _listed(entry.outputs)))
    elif kind == 4:
        entry.outputs = rng.choice((None, [], _listed(entry.outputs) * 2, _listed(entry.inputs)))
    else:
        maps = [*_listed(entry.inputs), *_listed(entry.outputs)]
        if maps:
            one = rng.choice(maps)
            one.tensorIndex, one.name = rng.choice(((77, one.name), (one.tensorIndex, rng.choice(_NAMES)), (0, b"x")))


def bend_name(model: Any, rng: random.Random) -> None:
    """Name something by what is no text, by nothing, or like something else."""
    holder = rng.choice((_tensor(model, rng), _tensor(model, rng), _graph(model, rng)))
    holder.name = rng.choice((*_NAMES, _tensor(model, rng).name))
    if rng.random() < 0.1:
        model.description = rng.choice(_NAMES)


def bend_metadata(model: Any, rng: random.Random) -> None:
    """Lie in what travels beside the model."""
    note = schema.MetadataT()
    note.name = rng.choice((*_NAMES, b"min_runtime_version", b"TFLITE_METADATA", b"whylite", b"CONVERSION_METADATA"))
    note.buffer = rng.choice((*range(len(model.buffers)), 77, 2**32 - 1))
    model.metadata = [*_listed(model.metadata), note]
    if rng.random() < 0.3:
        model.metadataBuffer = np.asarray([rng.choice((-1, 0, 77))], np.int32)


def bend_sparsity(model: Any, rng: random.Random) -> None:
    """Declare a tensor sparse, with levels that do not fit it."""
    tensor = _tensor(model, rng)
    levels = []
    for size in _listed(tensor.shape) or [1]:
        level = schema.DimensionMetadataT()
        level.format, level.denseSize = rng.choice((0, 1, 7)), rng.choice((size, *_SIZES))
        if rng.random() < 0.5:
            vector = schema.Int32VectorT()
            vector.values = np.asarray([rng.choice(_SIZES) for _ in range(3)], np.int32)
            level.arraySegmentsType = level.arrayIndicesType = schema.SparseIndexVector.Int32Vector
            level.arraySegments = level.arrayIndices = vector
        levels.append(level)
    tensor.sparsity = schema.SparsityParametersT()
    tensor.sparsity.traversalOrder = np.asarray([rng.choice((0, 1, 2, 3, -1, 77)) for _ in levels], np.int32)
    tensor.sparsity.blockMap = np.asarray([rng.choice((0, 77))] * rng.choice((0, 1)), np.int32)
    tensor.sparsity.dimMetadata = levels


def make_variable(model: Any, rng: random.Random) -> None:
    """Declare a tensor state, or of no rank."""
    tensor = _tensor(model, rng)
    tensor.isVariable = not tensor.isVariable
    tensor.hasRank = rng.random() < 0.5


def bend_anything(model: Any, rng: random.Random) -> None:
    """Set any field of any table of the file to an extreme of its kind."""
    tables = list(_tables(model, 0))
    _bend_field(rng.choice(tables), rng)


def _tables(table: Any, depth: int) -> Iterator[Any]:
    yield table
    if depth > 6:
        return
    for value in vars(table).values():
        for item in value if isinstance(value, list) else (value,):
            if hasattr(item, "Pack"):
                yield from _tables(item, depth + 1)


def _bend_field(table: Any, rng: random.Random) -> None:
    name = rng.choice(sorted(vars(table)))
    value = getattr(table, name)
    if isinstance(value, bool):
        new: Any = not value
    elif isinstance(value, int):
        new = rng.choice((*_INTEGERS, value + 1, value - 1, value * 2))
    elif isinstance(value, float):
        new = rng.choice(_FLOATS)
    elif isinstance(value, bytes):
        new = rng.choice(_NAMES)
    elif isinstance(value, np.ndarray) and value.size:
        new = value.copy()
        new.flat[rng.randrange(value.size)] = _number_of(value.dtype, rng)
        new = rng.choice((new, new, new[:-1], np.tile(new, 2), new[:0], None))
    elif isinstance(value, list) and value:
        new = list(value)
        rng.choice((lambda: new.pop(rng.randrange(len(new))), lambda: new.append(rng.choice(new)), new.clear))()
    elif hasattr(value, "Pack"):
        new = rng.choice((None, type(value)()))
    else:
        return
    setattr(table, name, new)


def _number_of(dtype: np.dtype[Any], rng: random.Random) -> Any:
    if dtype.kind == "f":
        return rng.choice(_FLOATS)
    limits = np.iinfo(dtype)
    return rng.choice([number for number in (*_INTEGERS, limits.min, limits.max) if limits.min <= number <= limits.max])


MUTATIONS: tuple[Mutation, ...] = (
    bend_shape,
    bend_shape,
    bend_shape_of_weights,
    open_dimensions,
    dangle_index,
    dangle_index,
    make_cycle,
    short_circuit,
    swap_code,
    swap_code,
    use_other_code,
    swap_options,
    bend_options,
    bend_options,
    bend_options,
    bend_grid,
    bend_grid,
    bend_type,
    bend_type,
    bend_weights,
    bend_weights,
    bend_buffer,
    bend_graph,
    bend_op,
    bend_signature,
    bend_name,
    bend_metadata,
    bend_sparsity,
    make_variable,
    bend_anything,
    bend_anything,
)


def liar(originals: Sequence[bytes], rng: random.Random) -> tuple[str, bytes]:
    """Return a file that lies one to three times, and the names of the lies; its flatbuffer is sound."""
    while True:
        model = schema.ModelT.InitFromPackedBuf(rng.choice(originals))
        done = []
        try:
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                mutation = rng.choice(MUTATIONS)
                mutation(model, rng)
                done.append(mutation.__name__)
            return "+".join(done), pack(model)
        # A lie that the schema's own types cannot tell, or that left nothing to lie about.
        except (
            TypeError,
            ValueError,
            OverflowError,
            IndexError,
            AttributeError,
            flatbuffers.builder.BuilderNotFinishedError,
        ):
            continue


def pack(model: Any) -> bytes:
    """Return an unpacked model as a file."""
    builder = flatbuffers.Builder(1 << 14)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
