"""How the values of an attribution travel: quantised, perhaps only the largest of them, deflated where that pays.

Every coding stands for ``value = scale * (q - zero_point)`` with ``q`` a small integer, and has zero exactly, because
a map is zero where the model did not look.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.wire.cbor import Fault, WireError

MAX_SIZE = 1 << 20  # values of one map
_FLOAT32 = np.finfo(np.float32)


@dataclass(frozen=True)
class Codec:
    """One coding. ``encode`` takes finite values ``[n]`` and returns scale, zero point and data.

    ``decode`` takes the data, ``n`` and the zero point and returns ``q [n]``; WireError for data that is not a map's.
    """

    number: int
    name: str
    encode: Callable[[NDArray[np.float64]], tuple[float, int, bytes]]
    decode: Callable[[bytes, int, int], NDArray[np.int64]]


@dataclass(frozen=True)
class Coded:
    """A coded map; ``saturated`` where it held values that are not finite and that no coding can carry."""

    encoding: int
    deflated: bool
    scale: float
    zero_point: int
    data: bytes
    saturated: bool


def encode(values: NDArray[np.float32], name: str = "int8") -> Coded:
    """Code a map of any shape, in C order; deflated if that is smaller."""
    flat = np.asarray(values, np.float64).ravel()
    if not 0 < flat.size <= MAX_SIZE:
        raise WireError(Fault.RECORD, f"a map of {flat.size} values does not fit the link, at most {MAX_SIZE} do")
    finite = np.clip(np.nan_to_num(flat, nan=0.0), _FLOAT32.min, _FLOAT32.max)
    codec = CODECS[name]
    scale, zero_point, data = codec.encode(finite)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    smaller = deflater.compress(data) + deflater.flush()
    deflated = len(smaller) < len(data)
    return Coded(
        codec.number, deflated, scale, zero_point, smaller if deflated else data, not np.array_equal(flat, finite)
    )


def decode(coded: Coded, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the map, float32 ``shape``; WireError if the data is not one of that shape."""
    size = math.prod(shape)
    if not 0 < size <= MAX_SIZE:
        raise WireError(Fault.RECORD, f"a map of shape {shape} has no or more than {MAX_SIZE} values")
    codec = next((codec for codec in CODECS.values() if codec.number == coded.encoding), None)
    if codec is None:
        raise WireError(Fault.RECORD, f"map encoding {coded.encoding} is not known here")
    data = _inflate(coded.data, 5 * size) if coded.deflated else coded.data
    levels = codec.decode(data, size, coded.zero_point) - coded.zero_point
    values: NDArray[np.float32] = np.clip(coded.scale * levels, _FLOAT32.min, _FLOAT32.max).astype(np.float32)
    return values.reshape(shape)


def _inflate(data: bytes, limit: int) -> bytes:
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        plain = inflater.decompress(data, limit + 1)
    except zlib.error as error:
        raise WireError(Fault.RECORD, f"a map does not inflate: {error}") from error
    if len(plain) > limit or not inflater.eof or inflater.unused_data:
        raise WireError(Fault.RECORD, "a map inflates to less or more than its shape")
    return plain


def _affine(values: NDArray[np.float64], levels: int) -> tuple[NDArray[np.int64], float, int]:
    """Quantise to ``levels`` steps between the smallest and the largest value, zero always among them."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    half = (levels + 1) // 2
    scale = float(np.float32((high - low) / levels))
    if scale < _FLOAT32.tiny:  # a map of zeros, or too close to it for a float32
        return np.zeros(values.size, np.int64), 1.0, 0
    zero_point = int(np.clip(np.rint(-half - low / scale), -half, half - 1))
    return np.clip(np.rint(values / scale) + zero_point, -half, half - 1).astype(np.int64), scale, zero_point


def _encode_int8(values: NDArray[np.float64]) -> tuple[float, int, bytes]:
    q, scale, zero_point = _affine(values, 255)
    return scale, zero_point, q.astype(np.int8).tobytes()


def _decode_int8(data: bytes, size: int, zero_point: int) -> NDArray[np.int64]:
    """One signed byte per value."""
    _expect(data, size)
    return np.frombuffer(data, np.int8).astype(np.int64)


def _encode_int4(values: NDArray[np.float64]) -> tuple[float, int, bytes]:
    q, scale, zero_point = _affine(values, 15)
    nibbles = np.append(q, [zero_point] * (q.size % 2)).astype(np.uint8) & 15
    return scale, zero_point, (nibbles[0::2] | nibbles[1::2] << 4).tobytes()


def _decode_int4(data: bytes, size: int, zero_point: int) -> NDArray[np.int64]:
    """Two values per byte, two's complement, the first in the low half."""
    _expect(data, (size + 1) // 2)
    pairs = np.frombuffer(data, np.uint8).astype(np.int64)
    nibbles = np.stack([pairs & 15, pairs >> 4], axis=1).ravel()[:size]
    return (nibbles ^ 8) - 8


def _encode_topk(values: NDArray[np.float64]) -> tuple[float, int, bytes]:
    """Keep the tenth of the values that is largest in magnitude."""
    kept = np.sort(np.argsort(-np.abs(values), kind="stable")[: -(-values.size // 10)])
    peak = float(np.abs(values[kept]).max())
    scale = float(np.float32(peak / 127))
    if scale < _FLOAT32.tiny:
        return 1.0, 0, b""
    q = np.clip(np.rint(values[kept] / scale), -127, 127).astype(np.int8)
    return scale, 0, kept.astype(_index(values.size)).tobytes() + q.tobytes()


def _decode_topk(data: bytes, size: int, zero_point: int) -> NDArray[np.int64]:
    """``k`` ascending positions, little-endian, of 2 bytes (4 in a map above 65,536), then ``k`` signed bytes."""
    index = _index(size)
    k, rest = divmod(len(data), index.itemsize + 1)
    positions = np.frombuffer(data[: k * index.itemsize], index).astype(np.int64)
    if rest or (k and positions[-1] >= size) or (np.diff(positions) <= 0).any():
        raise WireError(Fault.RECORD, f"the positions of a sparse map of {size} values are not ascending within it")
    q = np.full(size, zero_point, np.int64)
    q[positions] = np.frombuffer(data[k * index.itemsize :], np.int8)
    return q


def _index(size: int) -> np.dtype[np.unsignedinteger]:
    return np.dtype("<u2") if size <= 1 << 16 else np.dtype("<u4")


def _expect(data: bytes, count: int) -> None:
    if len(data) != count:
        raise WireError(Fault.RECORD, f"a map has {len(data)} bytes of data where its shape needs {count}")


CODECS = {
    codec.name: codec
    for codec in (
        Codec(0, "int8", _encode_int8, _decode_int8),
        Codec(1, "int4", _encode_int4, _decode_int4),
        Codec(2, "topk", _encode_topk, _decode_topk),
    )
}
