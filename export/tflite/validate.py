"""What must hold in a model beyond well-formed bytes, so that neither we nor an interpreter stumble over it."""

from __future__ import annotations

import math

import numpy as np

from ..errors import ModelFileError
from .graph import Graph, Model, Quantization, Tensor, iterate_tensors

_HINT = "the file is damaged or was written by a broken converter; convert it again"
_MAX_ELEMENTS = 1 << 31  # the schema's indices are 32-bit


def check_model(model: Model, name: str) -> None:
    """Raise :class:`ModelFileError` naming the first tensor, op or signature that is inconsistent."""
    for index, graph in enumerate(model.graphs):
        label = f"{name}: subgraph {index}"
        for position, tensor in enumerate(graph.tensors):
            _check_tensor(f"{label}: tensor {position} {tensor.name!r}", tensor)
        _check_order(label, graph)
    for signature in model.signatures:
        if not all(map(_is_text, (signature.key, *signature.inputs, *signature.outputs))):
            raise ModelFileError(f"{name}: signature {signature.key[:40]!r} has a name that is no text", _HINT)
        graph_inputs, graph_outputs = set(signature.graph.inputs), set(signature.graph.outputs)
        if not (set(signature.inputs.values()) <= graph_inputs and set(signature.outputs.values()) <= graph_outputs):
            raise ModelFileError(
                f"{name}: signature {signature.key!r} names tensors that are no inputs or outputs", _HINT
            )


def _is_text(name: str) -> bool:
    """Whether an interpreter and Python mean the same by a name: no NUL, which ends it in C, and valid UTF-8."""
    return "\0" not in name and not any("\ud800" <= letter <= "\udfff" for letter in name)


def _check_tensor(label: str, tensor: Tensor) -> None:
    if any(size < -1 for size in tensor.shape) or math.prod(max(size, 1) for size in tensor.shape) > _MAX_ELEMENTS:
        raise ModelFileError(f"{label} has the impossible shape {list(tensor.shape)}", _HINT)
    signature = tensor.shape_signature
    if signature and (
        len(signature) != len(tensor.shape)
        or any(s not in (-1, d) for s, d in zip(signature, tensor.shape, strict=True))
    ):
        raise ModelFileError(f"{label} of shape {list(tensor.shape)} declares the signature {list(signature)}", _HINT)
    if tensor.quantization is not None:
        _check_quantization(label, tensor, tensor.quantization)


def _check_quantization(label: str, tensor: Tensor, quantization: Quantization) -> None:
    scale = np.asarray(quantization.scale)
    if not np.isfinite(scale).all() or (scale < 0).any():
        raise ModelFileError(f"{label} has a quantisation scale that is negative or not finite", _HINT)
    if quantization.per_channel and quantization.details is None:
        axis = quantization.axis
        if not 0 <= axis < len(tensor.shape) or tensor.shape[axis] != len(scale):
            raise ModelFileError(
                f"{label} of shape {list(tensor.shape)} has {len(scale)} scales along dimension {axis}", _HINT
            )
    if len(quantization.zero_point) not in (0, 1, len(scale)):
        raise ModelFileError(f"{label} has {len(scale)} scales and {len(quantization.zero_point)} zero points", _HINT)
    if tensor.dtype.kind in "iu" and not tensor.dtype.names:
        limits = np.iinfo(tensor.dtype)
        if any(not limits.min <= zero <= limits.max for zero in quantization.zero_point):
            raise ModelFileError(f"{label} has a zero point outside {tensor.dtype}", _HINT)


def _check_order(label: str, graph: Graph) -> None:
    """Every op reads only what is there when it runs, and each tensor is written once."""
    known = set(graph.tensors)
    written = set(graph.inputs)
    for position, op in enumerate(graph.ops):
        if not op.outputs and not op.inputs:
            continue
        for tensor in op.inputs:
            if tensor is not None and tensor not in written and not _is_there(tensor):
                raise ModelFileError(
                    f"{label}: op {position} {op.code} reads tensor {tensor.name!r} before anything writes it", _HINT
                )
        for tensor in op.outputs:
            if tensor in written or tensor.is_constant:
                raise ModelFileError(
                    f"{label}: op {position} {op.code} writes tensor {tensor.name!r}, which already has a value", _HINT
                )
            written.add(tensor)
        if not known.issuperset(iterate_tensors(op)):
            raise ModelFileError(f"{label}: op {position} {op.code} uses a tensor of another graph", _HINT)
    for tensor in graph.outputs:
        if tensor not in written and not _is_there(tensor):
            raise ModelFileError(f"{label}: output {tensor.name!r} is never written", _HINT)


def _is_there(tensor: Tensor) -> bool:
    """Whether a tensor needs no op to write it: constants, state, and empty tensors, which have no buffer."""
    return tensor.is_constant or tensor.is_variable or 0 in tensor.shape or bool(tensor.dtype.names)
