"""Sparse constants as dense ones: the schema's ``SparsityParameters``, read into plain data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert.schema_py_generated import DimensionType
from numpy.typing import NDArray

from ..errors import ModelFileError
from .graph import Tensor

_HINT = "the file is damaged or was written by a broken converter; convert it again with dense weights"


def is_sparse(tensor: Tensor) -> bool:
    """Whether a constant is stored as its non-zero entries and where they are."""
    return tensor.is_constant and "sparsity" in tensor.extras


def densified(tensor: Tensor) -> Tensor:
    """Return a sparse constant as a dense one; raises :class:`ModelFileError` where its indices make no sense.

    The format is that of TACO (Kjolstad et al., OOPSLA 2017): a tree of levels, one for each dimension in the order
    they are traversed, then one for each dimension that is cut into blocks. A dense level has every index, a sparse
    one lists those below each node of the level above.
    """
    try:
        data = _dense(tensor)
    except (ValueError, IndexError, AttributeError, TypeError, OverflowError) as error:
        raise ModelFileError(f"constant {tensor!r} has sparsity that makes no sense: {error}", _HINT) from error
    extras = {name: value for name, value in tensor.extras.items() if name != "sparsity"}
    return replace(tensor, data=data, buffer=None, extras=extras)


def _dense(tensor: Tensor) -> NDArray[Any]:
    sparsity, shape, rank = tensor.extras["sparsity"], tensor.shape, len(tensor.shape)
    assert tensor.data is not None
    values = tensor.data.view(np.uint8).view(tensor.dtype)
    order = np.asarray(sparsity.traversalOrder, np.int64)
    blocked = np.asarray([] if sparsity.blockMap is None else sparsity.blockMap, np.int64)
    if sorted(order) != list(range(rank + len(blocked))) or len(order) != len(sparsity.dimMetadata):
        raise ValueError(f"levels {order.tolist()} for {rank} dimensions and {len(blocked)} of blocks")
    room = max(int(np.prod(shape, dtype=object)), 1)
    places = np.zeros((1, rank + len(blocked)), np.int64)
    for level, dimension in zip(sparsity.dimMetadata, order, strict=True):
        places = _below(places, level, dimension, room)
    for block, dimension in enumerate(blocked):
        size = next(
            level.denseSize for level, at in zip(sparsity.dimMetadata, order, strict=True) if at == rank + block
        )
        places[:, dimension] = places[:, dimension] * size + places[:, rank + block]
    if len(places) != len(values):
        raise ValueError(f"{len(values)} values at {len(places)} places")
    zero = tensor.quantization.zero_point[0] if tensor.is_quantized and tensor.quantization else 0
    dense = np.full(shape, zero, tensor.dtype)
    if (places < 0).any():
        raise ValueError("an index below 0")
    dense[tuple(places[:, :rank].T)] = values
    return dense


def _below(places: NDArray[np.int64], level: Any, dimension: int, room: int) -> NDArray[np.int64]:
    """Return the places one level down, each once for every index that the level has below it."""
    if level.format == DimensionType.DENSE:
        counts = np.full(len(places), level.denseSize, np.int64)
        if level.denseSize * len(places) > room or level.denseSize < 1:
            raise ValueError(f"a dimension of {level.denseSize}")
        indices = np.tile(np.arange(level.denseSize), len(places))
    else:
        segments = np.asarray(level.arraySegments.values, np.int64)
        indices = np.asarray(level.arrayIndices.values, np.int64)
        counts = np.diff(segments)
        if len(counts) != len(places) or segments[0] or (counts < 0).any() or segments[-1] != len(indices):
            raise ValueError(f"{len(segments)} segments of {len(indices)} indices below {len(places)} places")
        if len(indices) > room:
            raise ValueError(f"{len(indices)} indices")
    deeper = np.repeat(places, counts, 0)
    deeper[:, dimension] = indices
    return deeper
