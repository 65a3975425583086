"""Bytes of a ``.tflite`` file -> :class:`Model`. Refuses what is damaged or inconsistent, in bounded time."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge.files import read_bytes

from ..errors import ModelFileError
from .attachments import read_attachments
from .graph import Graph, Model, Op, Quantization, Signature, Tensor
from .schema import BUILTIN_NAME, DTYPE_OF, options_from_schema
from .unfolding import check_unfolding
from .validate import check_model

IDENTIFIER = b"TFL3"
MAX_BYTES = (2 << 30) + (64 << 20)
"""Of a file: what a flatbuffer can address, and attachments."""
_HINT = "the file is damaged, truncated or not a TFLite model; convert or download it again"


@dataclass
class Origin:
    """What a file looked like, so that writing it back keeps the order of buffers and operator codes."""

    buffers: list[NDArray[np.uint8]] = field(default_factory=list)
    operator_codes: list[tuple[str, str | None, int]] = field(default_factory=list)
    extras: dict[str, Any] = field(default_factory=dict)


def read(source: str | Path | bytes, name: str = "") -> Model:
    """Read a ``.tflite`` file or its bytes.

    ``name`` is what error messages call the model; a path speaks for itself. Raises :class:`ModelFileError` for
    anything that is not a sound TFLite flatbuffer.
    """
    if isinstance(source, (str, Path)):
        name = name or Path(source).name
        try:
            data = read_bytes(source, MAX_BYTES)
        except OSError as error:
            raise ModelFileError(
                f"cannot read {source}: {error.strerror}", "give the path of a .tflite file"
            ) from error
    else:
        data, name = bytes(source), name or "model"
    if len(data) < 32 or data[4:8] != IDENTIFIER:
        raise ModelFileError(f"{name} is not a TFLite model: no {IDENTIFIER.decode()} identifier", _HINT)
    try:
        root = schema.Model.GetRootAs(data, 0)
        check_unfolding(root, len(data))
        model = _Reader(schema.ModelT.InitFromObj(root), data).model()
        model.associated_files = read_attachments(data)
    except ModelFileError as error:
        raise ModelFileError(f"{name}: {error.cause}", error.hint) from error
    except (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, KeyError) as error:
        # The generated accessors trust the file: a wild offset surfaces as any of these.
        raise ModelFileError(f"{name} is not a readable TFLite model: {error}", _HINT) from error
    check_model(model, name)
    return model


def _text(value: bytes | str | None) -> str:
    return (value or b"").decode("utf-8", "surrogateescape") if isinstance(value, (bytes, type(None))) else value


def _ints(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(int(value) for value in values)


def _floats(values: Any) -> tuple[float, ...] | None:
    return None if values is None else tuple(float(value) for value in values)


class _Reader:
    """Translates one unpacked ``ModelT``."""

    def __init__(self, unpacked: Any, data: bytes) -> None:
        self.unpacked = unpacked
        self.data = data
        self.origin = Origin()

    def model(self) -> Model:
        source = self.unpacked
        if source.version != 3:
            raise ModelFileError(f"schema version {source.version} instead of 3", _HINT)
        if not source.subgraphs:
            raise ModelFileError("it has no subgraph", _HINT)
        self.origin.buffers = [self._buffer(index, buffer) for index, buffer in enumerate(source.buffers or [])]
        self.origin.operator_codes = [self._operator_code(code) for code in source.operatorCodes or []]
        self.origin.extras = {
            name: getattr(source, name)
            for name in ("metadataBuffer", "externalBufferGroups", "externalBuffers")
            if getattr(source, name, None) is not None
        }
        graphs = [self._graph(index, graph) for index, graph in enumerate(source.subgraphs)]
        signatures = [self._signature(entry, graphs) for entry in source.signatureDefs or []]
        metadata = [
            (_text(entry.name), self._pick(self.origin.buffers, entry.buffer, "metadata buffer").tobytes())
            for entry in source.metadata or []
        ]
        return Model(graphs, signatures, metadata, _text(source.description), origin=self.origin)

    def _pick(self, items: list[Any], index: int, what: str) -> Any:
        if not 0 <= index < len(items):
            raise ModelFileError(f"{what} {index} does not exist (there are {len(items)})", _HINT)
        return items[index]

    def _buffer(self, index: int, buffer: Any) -> NDArray[np.uint8]:
        """Return a buffer's bytes, which stand in the flatbuffer or, in large files, behind it."""
        if buffer.offset > 1:  # the converter marks an absent external buffer with 1
            if buffer.offset + buffer.size > len(self.data):
                raise ModelFileError(f"buffer {index} reaches beyond the end of the file", _HINT)
            return np.frombuffer(self.data, np.uint8, buffer.size, buffer.offset)
        if buffer.data is None or (isinstance(buffer.data, int)):
            return np.zeros(0, np.uint8)
        return np.asarray(buffer.data, np.uint8)

    def _operator_code(self, code: Any) -> tuple[str, str | None, int]:
        # Old files have only the deprecated 8-bit field, new ones both; the larger is the true one.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        custom = None if code.customCode is None else _text(code.customCode)
        return BUILTIN_NAME.get(number, f"BUILTIN_{number}"), custom, code.version

    def _graph(self, index: int, source: Any) -> Graph:
        label = f"subgraph {index}"
        tensors = [self._tensor(label, position, tensor) for position, tensor in enumerate(source.tensors or [])]

        def pick(position: int) -> Tensor:
            tensor: Tensor = self._pick(tensors, position, f"{label}: tensor")
            return tensor

        return Graph(
            name=_text(source.name),
            tensors=tensors,
            inputs=[pick(position) for position in _ints(source.inputs)],
            outputs=[pick(position) for position in _ints(source.outputs)],
            ops=[self._op(f"{label}: op {position}", op, pick) for position, op in enumerate(source.operators or [])],
            extras=_named(source, "debugMetadataIndex"),
        )

    def _tensor(self, label: str, position: int, source: Any) -> Tensor:
        name = _text(source.name)
        shape = _ints(source.shape)
        if source.type not in DTYPE_OF:
            raise ModelFileError(f"{label}: tensor {position} {name!r} has unknown element type {source.type}", _HINT)
        dtype = DTYPE_OF[source.type]
        stored = self._pick(self.origin.buffers, source.buffer, f"{label}: tensor {position} {name!r}: buffer")
        data = None
        if stored.size:
            data = stored if dtype.names or source.sparsity is not None else stored.view(np.uint8).view(dtype)
            if not dtype.names and source.sparsity is None:
                if min(shape, default=0) < 0 or data.size != np.prod(shape, dtype=object):
                    raise ModelFileError(
                        f"{label}: tensor {position} {name!r} of shape {list(shape)} {dtype} "
                        f"has a buffer of {stored.size} bytes",
                        _HINT,
                    )
                data = data.reshape(shape)
        return Tensor(
            name=name,
            shape=shape,
            dtype=dtype,
            quantization=self._quantization(source.quantization),
            data=data,
            shape_signature=None if source.shapeSignature is None else _ints(source.shapeSignature),
            is_variable=bool(source.isVariable),
            buffer=source.buffer,
            extras=_named(source, "sparsity", "hasRank", "variantTensors", "externalBuffer"),
        )

    def _quantization(self, source: Any) -> Quantization | None:
        if source is None:
            return None
        return Quantization(
            scale=_floats(source.scale) or (),
            zero_point=_ints(source.zeroPoint),
            axis=source.quantizedDimension,
            minimum=_floats(source.min),
            maximum=_floats(source.max),
            details=None if source.details is None else (source.detailsType, source.details),
        )

    def _op(self, label: str, source: Any, pick: Any) -> Op:
        code, custom, version = self._pick(self.origin.operator_codes, source.opcodeIndex, f"{label}: operator code")
        if source.largeCustomOptionsOffset > 1:
            raise ModelFileError(
                f"{label} {code} keeps its options behind the flatbuffer", "not supported for custom ops"
            )
        return Op(
            code=code,
            inputs=[None if position == -1 else pick(position) for position in _ints(source.inputs)],
            outputs=[pick(position) for position in _ints(source.outputs)],
            options=options_from_schema(
                source.builtinOptionsType, source.builtinOptions, source.builtinOptions2Type, source.builtinOptions2
            ),
            version=version,
            custom_code=custom,
            intermediates=[pick(position) for position in _ints(source.intermediates)],
            extras=_named(
                source, "customOptions", "customOptionsFormat", "mutatingVariableInputs", "debugMetadataIndex"
            ),
        )

    def _signature(self, source: Any, graphs: list[Graph]) -> Signature:
        key = _text(source.signatureKey)
        graph: Graph = self._pick(graphs, source.subgraphIndex, f"signature {key!r}: subgraph")

        def tensors(entries: Any) -> dict[str, Tensor]:
            return {
                _text(entry.name): self._pick(graph.tensors, entry.tensorIndex, f"signature {key!r}: tensor")
                for entry in entries or []
            }

        return Signature(key, graph, tensors(source.inputs), tensors(source.outputs))


def _named(source: Any, *names: str) -> dict[str, Any]:
    """Return the fields among ``names`` that say something, for the writer to put back unread."""
    blank = type(source)()
    fields = {name: getattr(source, name) for name in names if hasattr(source, name)}
    return {
        name: value
        for name, value in fields.items()
        if value is not None and (not np.isscalar(value) or value != getattr(blank, name))
    }
