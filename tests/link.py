"""The far end of a link for tests: reads what a device sends, says what a host says."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.link.stream import uncoded_input, uncoded_map
from edge.link.thinning import Version, records
from edge.wire import codecs
from edge.wire.framing import frame
from edge.wire.port import Port
from edge.wire.receiver import Receiver
from edge.wire.records import Received, Record, encode


def chunks(sequence, explanation, method, encoding, size=1024):
    """Return the MAP records of an explanation on a link that has time for all of it."""
    return _chunks(uncoded_map(sequence, explanation, method, encoding), size)


def input_chunks(sequence, x, encoding, size=1024):
    """Return the INPUT records of a window."""
    return _chunks(uncoded_input(sequence, x, encoding), size)


def _chunks(uncoded, size):
    version = Version(codecs.encode(uncoded.values, uncoded.encoding), uncoded.values.shape)
    return list(records(uncoded, version, size))


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until the condition holds; fail if it never does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.01)


class FarEnd:
    """A plain host on one port: everything received, in order."""

    def __init__(self, url: str) -> None:
        self.port = Port(url)
        self.receiver = Receiver()
        self.received: list[Received] = []
        self._number = 0

    @property
    def records(self) -> list[Record | None]:
        return [received.record for received in self.received]

    def of(self, kind: type[Record]) -> list[Record]:
        return [record for record in self.records if isinstance(record, kind)]

    def say(self, record: Record) -> None:
        """Send a record, all of it: a port may take a part at a time."""
        rest = frame(encode(record, self._number))
        self._number += 1
        while rest:
            taken = self.port.write(rest, 60.0)
            assert taken, "nobody reads"
            rest = rest[taken:]

    def listen(self, until: Callable[[], object], seconds: float = 60.0) -> None:
        """Read until the condition holds; fail if it never does."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, f"waited {seconds} s in vain, up to {[r.code for r in self.received[-9:]]}"
            self.port.wait(0.05)
            self.received += self.receiver.feed(self.port.read())

    def listen_for(self, kind: type[Record], count: int = 1, seconds: float = 60.0) -> list[Record]:
        self.listen(lambda: len(self.of(kind)) >= count, seconds)
        return self.of(kind)

    def close(self) -> None:
        self.port.close()
