"""MCAP files read from first to last byte, in bounded memory, whatever is in them (https://mcap.dev/spec).

The reader of the package ``mcap`` takes chunks of 4 GiB, takes a cut one for whole, and ends at the first damaged one.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

import lz4.frame
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk

from firmware_bridge.recording.damage import Damage
from firmware_bridge.recording.mcap_writer import MAGIC

_LARGEST = 1 << 26  # bytes of one record, compressed or not; writers make chunks of a few MiB
_HEAD = struct.Struct("<BQ")  # operation, length
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_READ = (Opcode.CHUNK, Opcode.CHANNEL, Opcode.MESSAGE)
_DAMAGED = (  # RuntimeError is lz4's
    *(McapError, struct.error, KeyError, ValueError, OverflowError, RuntimeError),
    zstandard.ZstdError,
)


def messages(file: BinaryIO, damage: Damage) -> Iterator[tuple[str, int, bytes]]:
    """Yield topic, log time (nanoseconds) and data of every JSON message, in the order of the file.

    What cannot be read is left out and counted; a file that was not finished ends where it ends.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(len(MAGIC))
    channels: dict[int, Channel] = {}
    while (start := file.tell()) < size:
        head = file.read(_HEAD.size)
        opcode, length = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, size)
        if opcode == Opcode.DATA_END:
            return
        if length > size - file.tell() or (opcode in _READ and length > _LARGEST):
            damage.add(f"byte {start}, and what follows")
            return
        if opcode not in _READ:
            file.seek(length, os.SEEK_CUR)
            continue
        content = file.read(length)
        try:
            inside = list(_inside(content)) if opcode == Opcode.CHUNK else [(opcode, memoryview(content))]
        except _DAMAGED:
            damage.add(f"byte {start}")
            continue
        for kind, data in inside:
            try:
                if kind == Opcode.CHANNEL:
                    channel = Channel.read(ReadDataStream(BytesIO(data)))
                    channels[channel.id] = channel
                elif kind == Opcode.MESSAGE:
                    number, _, when, _ = _MESSAGE.unpack_from(data)
                    yield channels[number].topic, when, bytes(data[_MESSAGE.size :])
            except _DAMAGED:
                damage.add(f"byte {start}")


def _inside(content: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield operation and content of every record in a chunk."""
    plain = memoryview(_plain(Chunk.read(ReadDataStream(BytesIO(content)))))
    place = 0
    while place < len(plain):
        opcode, length = _HEAD.unpack_from(plain, place)
        place += _HEAD.size + length
        yield opcode, plain[place - length : place]


def _plain(chunk: Chunk) -> bytes:
    """Return what a chunk holds; ValueError where it is damaged or too large."""
    size = chunk.uncompressed_size
    if size > _LARGEST:
        raise ValueError("the chunk is too large")
    match chunk.compression:
        case "zstd":
            if zstandard.frame_content_size(chunk.data) > size:
                raise ValueError("the chunk holds more than it says")
            plain = zstandard.decompress(chunk.data, max_output_size=size)
        case "lz4":
            plain = lz4.frame.LZ4FrameDecompressor().decompress(chunk.data, max_length=size)
        case "":
            plain = chunk.data
        case _:
            raise ValueError(f"compression {chunk.compression} is not known")
    if len(plain) != size or (chunk.uncompressed_crc and zlib.crc32(plain) != chunk.uncompressed_crc):
        raise ValueError("the chunk is not what was written")
    return plain
