"""Frames on a byte stream: ``0x00 | COBS(payload | CRC-32, little-endian) | 0x00``."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from cobs import cobs

from edge.wire.cbor import Fault, WireError

MAX_PAYLOAD = 65536  # bytes of CBOR in one frame
_CRC = struct.Struct("<I")
_RESIDUE = 0x2144DF1C  # CRC-32 of anything with its own CRC-32 behind it
_DELIMITER = b"\x00"
_MAX_ENCODED = MAX_PAYLOAD + _CRC.size + (MAX_PAYLOAD + _CRC.size) // 254 + 1


def frame(payload: bytes) -> bytes:
    """Return the bytes to write for one payload, delimiters included."""
    if len(payload) > MAX_PAYLOAD:
        raise WireError(Fault.LENGTH, f"a payload of {len(payload)} bytes is over the limit of {MAX_PAYLOAD}")
    body: bytes = cobs.encode(payload + _CRC.pack(zlib.crc32(payload)))
    return _DELIMITER + body + _DELIMITER


def unframe(body: bytes) -> bytes:
    """Return the payload of what stood between two delimiters; WireError if it is not whole."""
    if len(body) > _MAX_ENCODED:
        raise WireError(Fault.LENGTH, f"a frame of {len(body)} bytes")
    try:
        content: bytes = cobs.decode(body)
    except cobs.DecodeError as error:
        raise WireError(Fault.COBS, f"not COBS: {error}") from error
    if not _CRC.size < len(content) <= MAX_PAYLOAD + _CRC.size:
        raise WireError(Fault.LENGTH, f"a frame of {len(content)} bytes")
    if zlib.crc32(content) != _RESIDUE:
        raise WireError(Fault.CRC, f"the checksum of a frame of {len(content)} bytes does not match")
    return content[: -_CRC.size]


@dataclass
class FrameCounts:
    """What came over a link, in bytes and frames; ``bad`` by fault."""

    wire_bytes: int = 0
    payload_bytes: int = 0
    frames: int = 0
    bad: dict[Fault, int] = field(default_factory=dict)
    skipped_bytes: int = 0  # of bad frames, and before the first delimiter after joining

    @property
    def bad_frames(self) -> int:
        """How many frames arrived and were not delivered."""
        return sum(self.bad.values())


class Deframer:
    """Cuts a byte stream into payloads; bounded memory, whatever arrives, and in step again at the next delimiter."""

    def __init__(self) -> None:
        self.counts = FrameCounts()
        self._pending = bytearray()
        self._overlong = 0  # bytes of a frame already given up
        self._joined = False  # before the first delimiter: the tail of a frame that began before we listened

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the payloads completed by ``data``. Consume all of it before the next call."""
        counts = self.counts
        counts.wire_bytes += len(data)
        *bodies, rest = data.split(_DELIMITER)
        if bodies:
            bodies[0] = self._completed(bodies[0])
        for body in bodies:
            if body:
                try:
                    payload = unframe(body)
                except WireError as error:
                    self._give_up(error.fault, len(body))
                    continue
                counts.frames += 1
                counts.payload_bytes += len(payload)
                self._joined = True
                yield payload
            else:
                self._joined = True
        self._keep(rest)

    def restart(self) -> None:
        """Begin anew after the port was lost: what is pending will never be completed."""
        if self.pending_bytes:
            self._give_up(Fault.LENGTH, self._forget())
        self._joined = False

    @property
    def pending_bytes(self) -> int:
        """Bytes of a frame that has begun and not ended."""
        return len(self._pending) + self._overlong

    def reject(self, payload: bytes, fault: Fault) -> None:
        """Count a frame as bad after all: its checksum was right and its content was not."""
        self.counts.frames -= 1
        self.counts.payload_bytes -= len(payload)
        self._give_up(fault, len(payload))

    def _completed(self, end: bytes) -> bytes:
        """Return the body whose last bytes have come; nothing where it was too long to keep."""
        if not self.pending_bytes:
            return end
        self._keep(end)
        body = bytes(self._pending)
        if self._overlong:
            self._give_up(Fault.LENGTH, self._forget())
            return b""
        self._pending.clear()
        return body

    def _keep(self, data: bytes) -> None:
        self._pending += data
        if len(self._pending) > _MAX_ENCODED:
            self._overlong += len(self._pending)
            self._pending.clear()

    def _forget(self) -> int:
        """Drop what is pending and return how many bytes that was."""
        size = self.pending_bytes
        self._pending.clear()
        self._overlong = 0
        return size

    def _give_up(self, fault: Fault, size: int) -> None:
        self.counts.skipped_bytes += size
        if self._joined:
            self.counts.bad[fault] = self.counts.bad.get(fault, 0) + 1
        self._joined = True
