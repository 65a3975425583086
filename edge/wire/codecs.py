"""How the values of an attribution travel: quantised, perhaps only the largest of them, deflated where that pays.

Every coding stands for ``value = scale * (q - zero_point)`` with ``q`` a small integer, and has zero exactly, because
a map is zero where the model did not look.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge.wire.cbor import Fault, WireError

MAX_SIZE = 1 << 20  # values of one map
_COARSENED = 8  # positions that an axis has at least if it is one of space or time and not of channels
_FLOAT32 = np.finfo(np.float32)
_Float = TypeVar("_Float", bound=np.floating[Any])


@dataclass(frozen=True)
class Codec:
    """One coding. ``encode`` takes finite values ``[n]`` and their range, and returns scale, zero point and data.

    ``decode`` takes the data, ``n`` and the zero point and returns ``q [n]``; WireError for data that is not a map's.
    """

    number: int
    name: str
    encode: Callable[[NDArray[np.float64], float, float], tuple[float, int, bytes]]
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


def finite(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return values as a link can carry them: what is not a number is 0, what is infinite the largest float32."""
    return np.clip(np.nan_to_num(values.astype(np.float64)), _FLOAT32.min, _FLOAT32.max)


def encode(values: NDArray[np.float32], name: str = "int8", *, kept: int | None = None, deflate: bool = True) -> Coded:
    """Code a map of any shape, in C order; with ``deflate``, deflated if that is smaller.

    topk keeps ``kept`` values, or a tenth.
    """
    check_size(values.size)
    sound = values.ravel().astype(np.float64)
    low, high = float(sound.min()), float(sound.max())
    saturated = not (math.isfinite(low) and math.isfinite(high))  # one NaN makes both of them NaN
    if saturated:
        sound = finite(values).ravel()
        low, high = float(sound.min()), float(sound.max())
    codec = CODECS[name]
    scale, zero_point, data = codec.encode(_largest(sound, kept) if name == "topk" else sound, low, high)
    if deflate:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        smaller = deflater.compress(data) + deflater.flush()
        if len(smaller) < len(data):
            return Coded(codec.number, True, scale, zero_point, smaller, saturated)
    return Coded(codec.number, False, scale, zero_point, data, saturated)


def check_size(size: int) -> None:
    """Raise WireError where a map of ``size`` values does not fit the link."""
    if not 0 < size <= MAX_SIZE:
        raise WireError(Fault.RECORD, f"a map of {size} values does not fit the link, at most {MAX_SIZE} do")


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


def _affine(values: NDArray[np.float64], low: float, high: float, levels: int) -> tuple[NDArray[np.int8], float, int]:
    """Quantise to ``levels`` steps between the least and the greatest value, zero always among them."""
    low, high = min(0.0, low), max(0.0, high)
    half = (levels + 1) // 2
    scale = float(np.float32((high - low) / levels))
    if scale < _FLOAT32.tiny:  # a map of zeros, or too close to it for a float32
        return np.zeros(values.size, np.int8), 1.0, 0
    zero_point = min(max(round(-half - low / scale), -half), half - 1)
    q = values / scale
    np.rint(q, out=q)
    q += zero_point
    q.clip(-half, half - 1, out=q)
    return q.astype(np.int8), scale, zero_point


def _encode_int8(values: NDArray[np.float64], low: float, high: float) -> tuple[float, int, bytes]:
    q, scale, zero_point = _affine(values, low, high, 255)
    return scale, zero_point, q.tobytes()


def _decode_int8(data: bytes, size: int, zero_point: int) -> NDArray[np.int64]:
    """One signed byte per value."""
    _expect(data, size)
    return np.frombuffer(data, np.int8).astype(np.int64)


def _encode_int4(values: NDArray[np.float64], low: float, high: float) -> tuple[float, int, bytes]:
    q, scale, zero_point = _affine(values, low, high, 15)
    nibbles = np.append(q, np.full(q.size % 2, zero_point, np.int8)).view(np.uint8) & 15
    return scale, zero_point, (nibbles[0::2] | nibbles[1::2] << 4).tobytes()


def _decode_int4(data: bytes, size: int, zero_point: int) -> NDArray[np.int64]:
    """Two values per byte, two's complement, the first in the low half."""
    _expect(data, (size + 1) // 2)
    pairs = np.frombuffer(data, np.uint8).astype(np.int64)
    nibbles = np.stack([pairs & 15, pairs >> 4], axis=1).ravel()[:size]
    return (nibbles ^ 8) - 8


def _largest(values: NDArray[np.float64], kept: int | None) -> NDArray[np.float64]:
    """Return values with only the largest in magnitude left."""
    kept = -(-values.size // 10) if kept is None else min(kept, values.size)
    left = np.zeros_like(values)
    places = np.argpartition(np.abs(values), values.size - kept)[values.size - kept :]
    left[places] = values[places]
    return left


def _encode_topk(values: NDArray[np.float64], low: float, high: float) -> tuple[float, int, bytes]:
    """Code what is not zero."""
    (positions,) = np.nonzero(values)
    scale = float(np.float32(max(-low, high) / 127))
    if scale < _FLOAT32.tiny:
        return 1.0, 0, b""
    steps = np.diff(positions, prepend=-1) - 1
    bridges = steps // 256  # entries of value 0 on the way to one that is farther than a byte can say
    last = np.cumsum(bridges + 1) - 1
    gaps = np.full(last[-1] + 1, 255, np.uint8)
    gaps[last] = steps % 256
    q = np.zeros(gaps.size, np.int8)
    q[last] = np.clip(np.rint(values[positions] / scale), -127, 127)
    return scale, 0, gaps.tobytes() + q.tobytes()


def _decode_topk(data: bytes, size: int, zero_point: int) -> NDArray[np.int64]:
    """``k`` bytes that say how many positions to skip before each entry, then the ``k`` entries as signed bytes."""
    k, odd = divmod(len(data), 2)
    positions = np.cumsum(np.frombuffer(data[:k], np.uint8).astype(np.int64) + 1) - 1
    if odd or (k and positions[-1] >= size):
        raise WireError(Fault.RECORD, f"the entries of a sparse map of {size} values are not all within it")
    q = np.full(size, zero_point, np.int64)
    q[positions] = np.frombuffer(data[k:], np.int8)
    return q


def coarsen(values: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    """Return means over blocks of ``block`` positions along each axis that has at least eight, such as ``[h, w]``.

    Blocks are evened out: along ``n`` positions they have ``ceil(n / ceil(n / block))``, and the last may have fewer.
    """
    for axis, size in enumerate(values.shape):
        if size >= _COARSENED:
            starts = np.arange(0, size, -(-size // -(-size // block)))
            counts = np.diff(starts, append=size)
            shape = [-1 if other == axis else 1 for other in range(values.ndim)]
            values = np.add.reduceat(values, starts, axis=axis) / counts.reshape(shape)
    return values


def enlarge(values: NDArray[_Float], full_shape: tuple[int, ...]) -> NDArray[_Float]:
    """Return a coarser map at its full shape: every value as often as it stands for one."""
    for axis, (size, full) in enumerate(zip(values.shape, full_shape, strict=True)):
        block = -(-full // size)
        values = values.repeat(block, axis=axis).take(range(full), axis=axis) if block > 1 else values
    return values


def check_full_shape(shape: tuple[int, ...], full_shape: tuple[int, ...]) -> None:
    """Raise WireError where a map of ``shape`` cannot be one of ``full_shape`` made coarser."""
    fits = len(shape) == len(full_shape) and 0 < math.prod(full_shape) <= MAX_SIZE
    if not fits or any(s < 1 or -(-f // -(-f // s)) != s for s, f in zip(shape, full_shape, strict=True)):
        raise WireError(Fault.RECORD, f"a map of shape {shape} is none of shape {full_shape} made coarser")


def _expect(data: bytes, count: int) -> None:
    if len(data) != count:
        raise WireError(Fault.RECORD, f"a map has {len(data)} bytes of data where its shape needs {count}")


CODECS = {
    codec.name: codec
    for codec in (
        Codec(0, "int8", _encode_int8, _decode_int8),
        Codec(1, "int4", _encode_int4, _decode_int4),
        Codec(3, "topk", _encode_topk, _decode_topk),  # 2 was the same with positions of two bytes
    )
}
