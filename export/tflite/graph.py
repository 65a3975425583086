"""A TFLite model as plain Python: graphs of ops and tensors, with nothing of the file format in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.manifest import quantize

from .options import Options


def opaque_dtype(name: str) -> np.dtype[Any]:
    """Return the stand-in for an element type that numpy lacks (``INT4``, ``STRING``, ...); its data is raw bytes."""
    return np.dtype([(name, np.uint8)])


@dataclass(frozen=True)
class Quantization:
    """Affine quantisation, ``real = scale * (stored - zero_point)``, per tensor or per channel of ``axis``.

    ``minimum`` and ``maximum`` are the converter's notes on the float range; ``details`` is the schema's object for
    custom, blockwise or multi-axis quantisation, carried along unread.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...] = (0,)
    axis: int = 0
    minimum: tuple[float, ...] | None = None
    maximum: tuple[float, ...] | None = None
    details: Any = None

    @property
    def per_channel(self) -> bool:
        """Whether each channel of ``axis`` has a scale of its own."""
        return len(self.scale) > 1

    def along(self, rank: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return scale and zero point, shaped to broadcast over a tensor of ``rank`` dimensions."""
        shape = [1] * rank
        if self.per_channel:
            shape[self.axis] = -1
        scale = np.asarray(self.scale, np.float64).reshape(shape if self.per_channel else ())
        zero = np.asarray(self.zero_point, np.float64)
        return scale, zero.reshape(shape) if zero.size > 1 else zero.reshape(())

    def dequantize(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Return the real values of ``stored`` as float64."""
        scale, zero = self.along(stored.ndim)
        return np.asarray((stored.astype(np.float64) - zero) * scale)

    def quantize(self, real: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return ``real`` as stored values of ``dtype``, as a device stores its inputs; per tensor only."""
        return quantize(np.asarray(real, np.float32), self.scale[0], (self.zero_point or (0,))[0], dtype)


@dataclass(eq=False)
class Tensor:
    """A value in a graph; ``data`` is set for constants only.

    ``shape`` holds the static sizes, ``shape_signature`` -1 where the file declares a dimension dynamic. ``buffer`` is
    the index of the file buffer the tensor came from, so that writing keeps order and sharing; ``extras`` are fields
    of the schema that WhyLite carries along unread (sparsity, variant types, ...).
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    quantization: Quantization | None = None
    data: NDArray[Any] | None = None
    shape_signature: tuple[int, ...] | None = None
    is_variable: bool = False
    buffer: int | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_constant(self) -> bool:
        """Whether the value is known at compile time."""
        return self.data is not None

    @property
    def is_quantized(self) -> bool:
        """Whether the tensor holds integers that stand for real numbers."""
        return self.quantization is not None and bool(self.quantization.scale) and self.dtype.kind in "iu"

    def real(self) -> NDArray[np.float64]:
        """Return a constant's values as real numbers, dequantised where it is quantised."""
        if self.data is None:
            raise ValueError(f"tensor {self.name!r} is not a constant")
        if self.is_quantized and self.quantization is not None:
            return self.quantization.dequantize(self.data)
        return self.data.astype(np.float64)

    def __repr__(self) -> str:
        # Where more than the batch is open, the static sizes are placeholders.
        declared = self.shape_signature or ()
        shape = declared if -1 in declared[1:] else self.shape
        return f"{self.name!r} ({self.dtype} {list(shape)})"


@dataclass(eq=False)
class Op:
    """One operation: a builtin's name (or ``CUSTOM``), what it reads, what it writes, and its options."""

    code: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    options: Options | None = None
    version: int = 1
    custom_code: str | None = None
    intermediates: list[Tensor] = field(default_factory=list)
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> Tensor:
        """The first output, the only one of most ops."""
        return self.outputs[0]

    def input(self, index: int) -> Tensor:
        """Return input ``index``, which must be there."""
        tensor = self.inputs[index]
        if tensor is None:
            raise ValueError(f"{self} has no input {index}")
        return tensor

    def __repr__(self) -> str:
        return f"{self.code} -> {self.outputs[0].name!r}" if self.outputs else self.code


@dataclass(eq=False)
class Graph:
    """A subgraph: ops in execution order. ``tensors`` keeps the file's order and holds every tensor used."""

    name: str
    tensors: list[Tensor] = field(default_factory=list)
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    extras: Mapping[str, Any] = field(default_factory=dict)

    def producers(self) -> dict[Tensor, Op]:
        """Return the op that writes each tensor."""
        return {tensor: op for op in self.ops for tensor in op.outputs}

    def tensor(self, name: str) -> Tensor:
        """Return the tensor called ``name``."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise KeyError(name)

    def copy(self, name: str) -> Graph:
        """Return a graph of its own lists over the same tensors and ops, to be extended without touching this one."""
        return Graph(name, list(self.tensors), list(self.inputs), list(self.outputs), list(self.ops), self.extras)


@dataclass(eq=False)
class Signature:
    """A named entry point: what callers pass and get, by name."""

    key: str
    graph: Graph
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


@dataclass(eq=False)
class Model:
    """A whole TFLite model. ``graphs[0]`` is the primary one.

    ``associated_files`` are what the metadata tools attach behind the model (label lists, vocabularies); ``origin`` is
    the reader's memory of the file's layout.
    """

    graphs: list[Graph]
    signatures: list[Signature] = field(default_factory=list)
    metadata: list[tuple[str, bytes]] = field(default_factory=list)
    description: str = ""
    associated_files: dict[str, bytes] = field(default_factory=dict)
    origin: Any = None


def between(graph: Graph, sources: set[Tensor], target: Tensor) -> list[Op]:
    """Return the ops on any way from ``sources`` to ``target``, in execution order."""
    reached = set(sources)
    forward = []
    for op in graph.ops:
        if any(tensor in reached for tensor in op.inputs if tensor is not None):
            forward.append(op)
            reached.update(op.outputs)
    needed = {target}
    path = []
    for op in reversed(forward):
        if any(tensor in needed and tensor not in sources for tensor in op.outputs):
            path.append(op)
            needed.update(tensor for tensor in op.inputs if tensor is not None and tensor in reached)
    return path[::-1]


def reachable_from(graph: Graph, sources: set[Tensor]) -> set[Tensor]:
    """Return every tensor whose value depends on ``sources``, the sources included."""
    reached = set(sources)
    for op in graph.ops:
        if any(tensor in reached for tensor in op.inputs if tensor is not None):
            reached.update(op.outputs)
    return reached


def iterate_tensors(op: Op) -> Iterator[Tensor]:
    """Yield every tensor an op mentions."""
    yield from (tensor for tensor in op.inputs if tensor is not None)
    yield from op.outputs
    yield from op.intermediates
