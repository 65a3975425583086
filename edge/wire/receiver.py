"""From bytes to records, on either side of the link."""

from __future__ import annotations

from collections.abc import Iterator

from edge.wire.cbor import WireError
from edge.wire.framing import Deframer, FrameCounts
from edge.wire.records import Received
from edge.wire.templates import Decoder


class Receiver:
    """Turns what a port delivers into records. Nothing raised, nothing unbounded, everything lost is counted."""

    def __init__(self) -> None:
        self._deframer = Deframer()
        self._decoder = Decoder()
        self.unknown_records = 0
        self.unknown_keys = 0

    @property
    def counts(self) -> FrameCounts:
        """Frames and bytes so far."""
        return self._deframer.counts

    def feed(self, data: bytes) -> Iterator[Received]:
        """Yield what the frames completed by ``data`` hold."""
        decode = self._decoder.decode
        for payload in self._deframer.feed(data):
            try:
                received = decode(payload)
            except WireError as error:
                self._deframer.reject(payload, error.fault)
                continue
            if received.record is None:
                self.unknown_records += 1
            elif received.unknown_keys:
                self.unknown_keys += received.unknown_keys
            yield received

    def restart(self) -> None:
        """Begin anew after the port was lost."""
        self._deframer.restart()
