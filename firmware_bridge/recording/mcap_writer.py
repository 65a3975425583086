"""MCAP files, chunk by chunk, in constant memory and whole up to the last chunk at any time (https://mcap.dev/spec).

The writer of the package ``mcap`` keeps an index entry per chunk in memory until the end: with two chunks a second that
is 0.13 GB a day. Here the entries wait in a file without a name. How a record looks in bytes is that package's part.
"""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    Message,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

from firmware_bridge.errors import RecordingError
from firmware_bridge.recording.growing import GrowingFile, stopped

MAGIC = b"\x89MCAP0\r\n"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Topic:
    """A channel of JSON messages: its name, and the name and text of its JSON schema."""

    name: str
    schema_name: str
    schema: bytes


class McapWriter:
    """Writes a new file at ``path``; RecordingError where that is there, or the disk takes no more."""

    def __init__(self, path: Path, library: str) -> None:
        self._path = path
        self._file = GrowingFile(path, "xb")
        with ExitStack() as undo:
            undo.callback(path.unlink)
            undo.callback(self._file.close)
            self._file.append(MAGIC + _bytes(Header(profile="", library=library)))
            try:
                self._index = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115  closed by `close`
            except OSError as error:
                raise stopped(path, error) from error
            undo.pop_all()
        self._metadata_index = RecordBuilder()
        self._channels: dict[Topic, Channel] = {}
        self._schemas: dict[Topic, Schema] = {}
        self._announced = 0  # of the channels
        self._chunk = RecordBuilder()
        self._messages: dict[int, MessageIndex] = {}  # of the chunk, by channel
        self._counts = Statistics(
            attachment_count=0,
            channel_count=0,
            channel_message_counts={},
            chunk_count=0,
            message_count=0,
            message_end_time=0,
            message_start_time=0,
            metadata_count=0,
            schema_count=0,
        )

    def message(self, topic: Topic, when: int, sequence: int, data: bytes) -> None:
        """Add a message of Unix time ``when`` (nanoseconds) to the chunk that is being collected."""
        channel = self._channel(topic).id
        index = self._messages.setdefault(channel, MessageIndex(channel, []))
        index.records.append((when, self._chunk.count))
        Message(channel_id=channel, log_time=when, data=data, publish_time=when, sequence=sequence).write(self._chunk)

    def metadata(self, name: str, values: dict[str, str]) -> None:
        """Write names and values for people and tools."""
        data, place = _bytes(Metadata(name, values)), self._file.size
        self._file.append(data)
        MetadataIndex(place, len(data), name).write(self._metadata_index)
        self._counts.metadata_count += 1

    def flush(self) -> None:
        """Write the messages that wait as one chunk; none are lost from then on, whatever becomes of the program."""
        if not self._messages:
            return
        messages, self._messages = self._messages, {}
        plain = self._chunk.end()
        times = [when for index in messages.values() for when, _ in index.records]
        chunk = Chunk(
            compression="zstd",
            data=zstandard.compress(plain),
            message_start_time=min(times),
            message_end_time=max(times),
            uncompressed_crc=zlib.crc32(plain),
            uncompressed_size=len(plain),
        )
        head = self._new_channels()
        body = _bytes(chunk)
        start = self._file.size + len(head)
        indices, offsets = RecordBuilder(), {}
        for channel, index in messages.items():
            offsets[channel] = start + len(body) + indices.count
            index.write(indices)
        tail = indices.end()
        self._file.append(head + body + tail)
        self._announced = len(self._channels)
        self._remember(chunk, start, len(body), offsets, len(tail))
        self._count(messages, chunk)

    def finish(self) -> None:
        """Write what waits and the summary of the whole file; without that it can be read from its beginning only."""
        self.flush()
        end = self._file.size
        try:
            self._file.append(_bytes(DataEnd(data_section_crc=0)))
            self._summarise()
        except RecordingError:
            self._file.cut(end)
            raise

    def close(self) -> None:
        """Close the file."""
        self._index.close()
        self._file.close()

    def _channel(self, topic: Topic) -> Channel:
        known = self._channels.get(topic)
        if known is None:
            number = len(self._channels) + 1
            self._schemas[topic] = Schema(id=number, name=topic.schema_name, encoding="jsonschema", data=topic.schema)
            known = Channel(id=number, topic=topic.name, message_encoding="json", metadata={}, schema_id=number)
            self._channels[topic] = known
        return known

    def _new_channels(self) -> bytes:
        """Return the channels that the file does not have yet; outside of chunks, so that no chunk needs another."""
        new = list(self._channels)[self._announced :]
        return b"".join(_bytes(self._schemas[topic]) + _bytes(self._channels[topic]) for topic in new)

    def _remember(self, chunk: Chunk, start: int, length: int, offsets: dict[int, int], index_length: int) -> None:
        entry = ChunkIndex(
            chunk_start_offset=start,
            chunk_length=length,
            compression=chunk.compression,
            compressed_size=len(chunk.data),
            uncompressed_size=chunk.uncompressed_size,
            message_start_time=chunk.message_start_time,
            message_end_time=chunk.message_end_time,
            message_index_offsets=offsets,
            message_index_length=index_length,
        )
        try:
            self._index.write(_bytes(entry))
        except OSError as error:
            raise stopped(self._path, error) from error

    def _count(self, messages: dict[int, MessageIndex], chunk: Chunk) -> None:
        counts = self._counts
        first = counts.message_start_time if counts.chunk_count else chunk.message_start_time
        counts.message_start_time = min(first, chunk.message_start_time)
        counts.message_end_time = max(counts.message_end_time, chunk.message_end_time)
        counts.chunk_count += 1
        counts.schema_count = counts.channel_count = len(self._channels)
        for channel, index in messages.items():
            counts.message_count += len(index.records)
            counts.channel_message_counts[channel] = counts.channel_message_counts.get(channel, 0) + len(index.records)

    def _summarise(self) -> None:
        start, checksum, offsets = self._file.size, 0, RecordBuilder()
        for opcode, pieces in self._groups():
            group = self._file.size
            for piece in pieces:
                self._file.append(piece)
                checksum = zlib.crc32(piece, checksum)
            SummaryOffset(opcode, group, self._file.size - group).write(offsets)
        footer = _bytes(Footer(start, self._file.size, 0))[:-4]
        piece = offsets.end() + footer
        self._file.append(piece + struct.pack("<I", zlib.crc32(piece, checksum)) + MAGIC)

    def _groups(self) -> Iterator[tuple[Opcode, Iterable[bytes]]]:
        yield Opcode.SCHEMA, map(_bytes, self._schemas.values())
        yield Opcode.CHANNEL, map(_bytes, self._channels.values())
        yield Opcode.STATISTICS, [_bytes(self._counts)]
        yield Opcode.CHUNK_INDEX, self._chunk_index()
        yield Opcode.METADATA_INDEX, [self._metadata_index.end()]

    def _chunk_index(self) -> Iterator[bytes]:
        try:
            self._index.seek(0)
            while block := self._index.read(_BLOCK):
                yield block
        except OSError as error:
            raise stopped(self._path, error) from error


def _bytes(record: McapRecord) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    data: bytes = builder.end()
    return data
