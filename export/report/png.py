"""Pictures as PNG files of few bytes, made without anything but numpy and zlib."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOUR, _PALETTE = 0, 2, 3  # colour types
_SUB = 1  # the filter that stores each pixel's difference from the one to its left


def photograph(pixels: NDArray[np.uint8]) -> bytes:
    """Return grey ``[h, w]`` or coloured ``[h, w, 3]`` pixels as a PNG."""
    planes = pixels.reshape(*pixels.shape[:2], -1)
    rows = np.concatenate([planes[:, :1], np.diff(planes, axis=1)], axis=1)  # modulo 256
    return _file(rows, _GREY if planes.shape[2] == 1 else _COLOUR, _SUB)


def indexed(places: NDArray[np.uint8], palette: NDArray[np.uint8]) -> bytes:
    """Return ``[h, w]`` places in a ``palette`` ``[n, 4]`` of red, green, blue and opacity as a PNG."""
    used, found = np.unique(places, return_inverse=True)
    colours = palette[used]
    parts = [(b"PLTE", colours[:, :3].tobytes()), (b"tRNS", colours[:, 3].tobytes())]
    return _file(found.reshape(*places.shape, 1).astype(np.uint8), _PALETTE, 0, parts)


def _file(
    rows: NDArray[np.uint8], colour_type: int, filter_type: int, parts: Sequence[tuple[bytes, bytes]] = ()
) -> bytes:
    height, width, _ = rows.shape
    filters = np.full((height, 1), filter_type, np.uint8)
    lines = np.concatenate([filters, rows.reshape(height, -1)], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *parts, (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
