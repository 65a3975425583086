"""Files that others give: ordinary ones only, and what they promise is held against what is there before it is taken.

Nothing in them is unpickled.
"""

from __future__ import annotations

import errno
import lzma
import math
import os
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

ARRAY_LIMIT = 8 << 30
"""Bytes that one array of a file may take."""

_CHUNK = 1 << 20
_DAMAGED = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError),
    *(ValueError, TypeError, KeyError, IndexError, SyntaxError, OverflowError, RecursionError, MemoryError),
    *(NotImplementedError, RuntimeError, tokenize.TokenError),  # headers are Python
)


def open_ordinary(path: str | Path) -> BinaryIO:
    """Open a file for reading; ``OSError`` also for a folder, pipe or device, from which there may be no end."""
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - it is returned
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, "that is no name of a file") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no ordinary file")
    return file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe nobody writes to would keep it waiting


def read_bytes(path: str | Path, limit: int) -> bytes:
    """Return what an ordinary file holds; ``OSError`` where it cannot be read or holds more than ``limit`` bytes."""
    with open_ordinary(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"it is larger than {limit >> 20} MiB")
        data = file.read(size + 1)  # takes memory for all it might read, so not ``limit``: a small board has less
    if len(data) > size:
        raise OSError(errno.EBUSY, "it grew while it was read")
    return data


def read_arrays(path: str | Path, wanted: Collection[str]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Return those arrays of an ``.npz`` that are wanted and there, and the names of all.

    ``OSError`` where the file cannot be read, ``ValueError`` saying why where it is no sound ``.npz`` of numbers.
    """
    with open_ordinary(path) as file:
        if file.read(6) == b"\x93NUMPY":
            raise ValueError("it is a single array, not an .npz file")
        try:
            with zipfile.ZipFile(file) as archive:
                entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
                arrays = {}
                for name in wanted:
                    if name in entries:
                        with archive.open(entries[name]) as member:
                            arrays[name] = _read_array(member, entries[name].file_size)
                return arrays, list(entries)
        except _TooLargeError:
            raise
        except _DAMAGED as error:  # the words of numpy and zipfile would advise to allow unpickling
            raise ValueError("it is not a readable .npz file of numbers") from error


def read_array(path: str | Path) -> NDArray[Any]:
    """Return the array of an ``.npy`` file; ``OSError`` and ``ValueError`` as in :func:`read_arrays`."""
    with open_ordinary(path) as file:
        try:
            return _read_array(file, os.fstat(file.fileno()).st_size)
        except _TooLargeError:
            raise
        except _DAMAGED as error:
            raise ValueError("it is not a readable .npy file of numbers") from error


class _TooLargeError(ValueError):
    """An array of more bytes than anybody needs."""


def _read_array(file: IO[bytes], size: int) -> NDArray[Any]:
    """Return the array in a stream of ``size`` bytes, which must be what its header says."""
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, fortran, dtype = read_header(file)
    count = math.prod(shape)
    if dtype.hasobject or min(shape, default=0) < 0 or count * dtype.itemsize != size - file.tell():
        raise ValueError("an array's size does not match its header")
    if size > ARRAY_LIMIT:
        raise _TooLargeError(f"an array of {size / 2**30:.0f} GiB is more than anybody needs here")
    array = np.empty(count, dtype)
    room = array.view(np.uint8)
    while len(room):
        part = np.frombuffer(file.read(min(len(room), _CHUNK)), np.uint8)
        if not len(part):
            raise EOFError
        room[: len(part)] = part
        room = room[len(part) :]
    file.read(1)  # the end, where an archive compares checksums
    return array.reshape(shape, order="F" if fortran else "C")
