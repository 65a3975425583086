""":class:`Model` -> bytes of a ``.tflite`` file.

Order is kept: buffers, operator codes, tensors and ops of a model that was read stand where they stood, and what was
added follows. Tables, vectors and strings that are equal are written once and pointed to from wherever they stand, so
a second entry point into the same network costs four bytes an op, not a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge.bundle import write_whole

from ..errors import ExportError
from .attachments import append_attachments
from .graph import Graph, Model, Op, Quantization, Signature, Tensor
from .options import UnreadOptions
from .reader import IDENTIFIER, Origin
from .schema import BUILTIN_CODE, TYPE_OF, options_to_schema

_ALIGNMENT = 16  # the schema's force_align of buffer data: kernels may load whole vectors
_MAX_BYTES = (1 << 31) - 1  # flatbuffer offsets are signed 32-bit
_RUNTIME_KEY = "min_runtime_version"


def write(model: Model) -> bytes:
    """Return the model as a ``.tflite`` file."""
    return append_attachments(_Writer(model).file(), model.associated_files)


def save(model: Model, path: str | Path) -> None:
    """Write the model to ``path``, whole or not at all."""
    write_whole(Path(path), write(model))


class _Once:
    """A schema object that packs itself once per file; equal tables share one."""

    def __init__(self, content: Any) -> None:
        self.content = content
        self.offset: int | None = None

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the schema's object API calls it
        """Return the offset of the packed table, packing it on the first call."""
        if self.offset is None:
            self.offset = self.content.Pack(builder)
        return self.offset


class _SharingBuilder(flatbuffers.Builder):  # type: ignore[misc]
    """Writes equal vectors and strings once."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802 - the schema's object API calls it
        """Return the offset of a vector with these numbers."""
        return self._once((x.dtype.str, x.tobytes()), lambda: super(_SharingBuilder, self).CreateNumpyVector(x))

    def CreateString(self, s: bytes, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        """Return the offset of this string."""
        written = s if isinstance(s, bytes) else s.encode(encoding, errors)
        return self._once(("string", written), lambda: super(_SharingBuilder, self).CreateString(written))

    def _once(self, key: tuple[str, bytes], create: Callable[[], int]) -> int:
        if key not in self._written:
            self._written[key] = create()
        return self._written[key]


class _AlignedBuffer:
    """A ``BufferT`` whose bytes are aligned as the schema asks for, which the object API does not do."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data = data

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the schema's object API calls it
        """Return the offset of the packed table."""
        vector = None
        if self.data.size:
            builder.StartVector(1, self.data.size, _ALIGNMENT)
            builder.head -= self.data.size
            builder.Bytes[builder.head : builder.head + self.data.size] = self.data.tobytes()
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


class _Writer:
    """Builds the schema's object tree of one model."""

    def __init__(self, model: Model) -> None:
        self.model = model
        origin = model.origin if isinstance(model.origin, Origin) else Origin(buffers=[np.zeros(0, np.uint8)])
        self.buffers = list(origin.buffers)
        self.codes = list(origin.operator_codes)
        self.extras = origin.extras
        self.by_content: dict[bytes, int] = {}
        for index, buffer in enumerate(self.buffers):
            self.by_content.setdefault(buffer.tobytes(), index)
        self.code_index = {code: index for index, code in reversed(list(enumerate(self.codes)))}
        self.interned: dict[Hashable, _Once] = {}

    def file(self) -> bytes:
        """Return the packed file."""
        root = schema.ModelT()
        root.version = 3
        root.description = self.model.description.encode("utf-8", "surrogateescape")
        root.subgraphs = [self._graph(graph) for graph in self.model.graphs]
        root.signatureDefs = [self._signature(signature) for signature in self.model.signatures] or None
        root.metadata = [self._metadata(name, data) for name, data in self.model.metadata] or None
        root.operatorCodes = [_operator_code(*code) for code in self.codes]
        root.buffers = [_AlignedBuffer(buffer) for buffer in self.buffers]
        for name, value in self.extras.items():
            setattr(root, name, value)
        size = sum(buffer.size for buffer in self.buffers)
        if size > _MAX_BYTES:
            raise ExportError(f"the model holds {size} bytes of weights, more than one flatbuffer can", "quantise it")
        builder = _SharingBuilder(size + (1 << 16))
        builder.Finish(root.Pack(builder), file_identifier=IDENTIFIER)
        return bytes(builder.Output())

    def _intern(self, key: Hashable, build: Callable[[], Any]) -> _Once:
        if key not in self.interned:
            self.interned[key] = _Once(build())
        return self.interned[key]

    def _graph(self, graph: Graph) -> Any:
        index = {tensor: position for position, tensor in enumerate(graph.tensors)}
        result = schema.SubGraphT()
        result.name = graph.name.encode("utf-8", "surrogateescape")
        result.tensors = [self._tensor(tensor) for tensor in graph.tensors]
        result.inputs = _vector([index[tensor] for tensor in graph.inputs])
        result.outputs = _vector([index[tensor] for tensor in graph.outputs])
        result.operators = [self._op(op, index) for op in graph.ops]
        for name, value in graph.extras.items():
            setattr(result, name, value)
        return result

    def _buffer(self, tensor: Tensor) -> int:
        hint = tensor.buffer
        if tensor.data is None:
            return hint if hint is not None and hint < len(self.buffers) and not self.buffers[hint].size else 0
        raw = np.ascontiguousarray(tensor.data).reshape(-1).view(np.uint8)
        if hint is not None and hint < len(self.buffers) and np.array_equal(self.buffers[hint], raw):
            return hint
        return self._shared_buffer(raw)

    def _shared_buffer(self, raw: NDArray[np.uint8]) -> int:
        """Return the buffer with these bytes, wherever it comes from: weights are stored once per file."""
        content = raw.tobytes()
        if content not in self.by_content:
            self.by_content[content] = len(self.buffers)
            self.buffers.append(raw)
        return self.by_content[content]

    def _tensor(self, tensor: Tensor) -> _Once:
        buffer = self._buffer(tensor)
        key = (
            "tensor",
            tensor.name,
            tensor.shape,
            tensor.dtype,
            buffer,
            _quantization_key(tensor.quantization),
            tensor.shape_signature,
            tensor.is_variable,
            _identity(tensor.extras.items()),
        )
        return self._intern(key, lambda: self._build_tensor(tensor, buffer))

    def _build_tensor(self, tensor: Tensor, buffer: int) -> Any:
        result = schema.TensorT()
        result.shape = _vector(tensor.shape)
        result.type = TYPE_OF[tensor.dtype]
        result.buffer = buffer
        result.name = tensor.name.encode("utf-8", "surrogateescape")
        result.isVariable = tensor.is_variable
        if tensor.shape_signature is not None:
            result.shapeSignature = _vector(tensor.shape_signature)
        if tensor.quantization is not None:
            quantization = tensor.quantization
            result.quantization = self._intern(
                ("quantization", _quantization_key(quantization)), lambda: _build_quantization(quantization)
            )
        for name, value in tensor.extras.items():
            setattr(result, name, value)
        return result

    def _op(self, op: Op, index: dict[Tensor, int]) -> _Once:
        code = (op.code, op.custom_code, op.version)
        if code not in self.code_index:
            self.code_index[code] = len(self.codes)
            self.codes.append(code)
        inputs = tuple(-1 if tensor is None else index[tensor] for tensor in op.inputs)
        outputs = tuple(index[tensor] for tensor in op.outputs)
        intermediates = tuple(index[tensor] for tensor in op.intermediates)
        options = id(op.options.content) if isinstance(op.options, UnreadOptions) else op.options
        key = ("op", self.code_index[code], inputs, outputs, intermediates, options, _identity(op.extras.items()))
        return self._intern(key, lambda: self._build_op(op, self.code_index[code], inputs, outputs, intermediates))

    def _build_op(
        self, op: Op, code: int, inputs: Iterable[int], outputs: Iterable[int], intermediates: Iterable[int]
    ) -> Any:
        result = schema.OperatorT()
        result.opcodeIndex = code
        result.inputs, result.outputs = _vector(inputs), _vector(outputs)
        if op.intermediates:
            result.intermediates = _vector(intermediates)
        if op.options is not None:
            field, kind, content = options_to_schema(op.options)
            known = not isinstance(op.options, UnreadOptions)
            setattr(result, field, self._intern(("options", op.options), lambda: content) if known else content)
            setattr(result, field + "Type", kind)
        for name, value in op.extras.items():
            setattr(result, name, value)
        return result

    def _signature(self, signature: Signature) -> Any:
        index = {tensor: position for position, tensor in enumerate(signature.graph.tensors)}

        def maps(tensors: dict[str, Tensor]) -> list[Any]:
            entries = []
            for name, tensor in tensors.items():
                entry = schema.TensorMapT()
                entry.name, entry.tensorIndex = name.encode("utf-8", "surrogateescape"), index[tensor]
                entries.append(entry)
            return entries

        result = schema.SignatureDefT()
        result.signatureKey = signature.key.encode("utf-8", "surrogateescape")
        result.subgraphIndex = self.model.graphs.index(signature.graph)
        result.inputs, result.outputs = maps(signature.inputs), maps(signature.outputs)
        return result

    def _metadata(self, name: str, data: bytes) -> Any:
        result = schema.MetadataT()
        result.name = name.encode("utf-8", "surrogateescape")
        result.buffer = self._shared_buffer(np.frombuffer(data, np.uint8))
        return result


def require_runtime(model: Model, version: str) -> None:
    """Raise the ``min_runtime_version`` note that converters leave, where it is there and lower than ``version``.

    Interpreters do not read it, tools do; added ops may need a newer runtime than the model did.
    """

    def number(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(".") if part.isdigit())

    for position, (name, data) in enumerate(model.metadata):
        stated = data.rstrip(b"\0").decode("ascii", "replace")
        if name == _RUNTIME_KEY and number(stated) < number(version):
            model.metadata[position] = (name, version.encode().ljust(16, b"\0"))


def _vector(values: Iterable[int]) -> NDArray[np.int32]:
    return np.asarray(list(values), np.int32)


def _identity(fields: Iterable[tuple[str, Any]]) -> Hashable:
    """Return a key for fields carried along unread: equal scalars, or the very same object."""
    return tuple((name, value if np.isscalar(value) else id(value)) for name, value in fields)


def _quantization_key(quantization: Quantization | None) -> Hashable:
    if quantization is None:
        return None
    q = quantization
    return (q.scale, q.zero_point, q.axis, q.minimum, q.maximum, id(q.details) if q.details is not None else None)


def _build_quantization(quantization: Quantization) -> Any:
    result = schema.QuantizationParametersT()
    if quantization.scale:
        result.scale = np.asarray(quantization.scale, np.float32)
    if quantization.zero_point:
        result.zeroPoint = np.asarray(quantization.zero_point, np.int64)
    if quantization.minimum is not None:
        result.min = np.asarray(quantization.minimum, np.float32)
    if quantization.maximum is not None:
        result.max = np.asarray(quantization.maximum, np.float32)
    result.quantizedDimension = quantization.axis
    if quantization.details is not None:
        result.detailsType, result.details = quantization.details
    return result


def _operator_code(code: str, custom: str | None, version: int) -> Any:
    number = BUILTIN_CODE[code] if code in BUILTIN_CODE else int(code.removeprefix("BUILTIN_"))
    result = schema.OperatorCodeT()
    result.builtinCode = number
    result.deprecatedBuiltinCode = min(number, 127)  # what readers of the 8-bit field are told instead
    result.version = version
    result.customCode = None if custom is None else custom.encode("utf-8", "surrogateescape")
    return result
