"""Records that wait for the link: results before explanations, and explanations dropped first when there is no room."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from edge.latency import clock
from edge.wire.records import Input, Map, Record, Result

ROOM = 256 * 1024  # bytes of records that may wait


@dataclass(eq=False)
class Parcel:
    """Records that are of use only together, such as the chunks of one map, and when they were handed in."""

    records: deque[Record]
    size: int
    since: int
    begun: bool = False


class Outbox:
    """A queue in two lanes, one for results and one for everything else, with one bound on the bytes of both.

    Not for several threads at once. ``dropped`` counts by record code what had to go: the oldest maps first, then the
    oldest of the rest, and results only when nothing else is left.
    """

    def __init__(self, room: int = ROOM) -> None:
        self.dropped: Counter[int] = Counter()
        self.bytes = 0
        self._room = room
        self._results: deque[Parcel] = deque()
        self._rest: deque[Parcel] = deque()

    def __len__(self) -> int:
        return sum(len(parcel.records) for lane in (self._results, self._rest) for parcel in lane)

    @property
    def crowded(self) -> bool:
        """Whether a quarter of the room is taken: the time to slow down, for those who can."""
        return self.bytes > self._room // 4

    def put(self, *records: Record) -> None:
        """Add records that are of use only together."""
        parcel = Parcel(deque(records), sum(map(_size, records)), clock())
        (self._results if isinstance(records[0], Result) else self._rest).append(parcel)
        self.bytes += parcel.size
        while self.bytes > self._room:
            self._drop_one()

    def take(self) -> tuple[Record, int] | None:
        """Remove the next record to send and return it with the nanoseconds it has waited."""
        lane = self._results or self._rest
        if not lane:
            return None
        parcel = lane[0]
        parcel.begun = True
        record = parcel.records.popleft()
        taken = _size(record)
        parcel.size -= taken
        self.bytes -= taken
        if not parcel.records:
            lane.popleft()
        return record, clock() - parcel.since

    def clear(self) -> int:
        """Drop everything, counted; return how many records that was."""
        count = len(self)
        while self._results or self._rest:
            self._drop_one()
        return count

    def _drop_one(self) -> None:
        lane = self._rest or self._results
        maps = (parcel for parcel in lane if not parcel.begun and isinstance(parcel.records[0], Map | Input))
        others = (parcel for parcel in lane if not parcel.begun)
        unwanted = next(maps, None) or next(others, lane[0])
        lane.remove(unwanted)
        self.bytes -= unwanted.size
        # one map is one loss, however many chunks it has
        self.dropped[unwanted.records[0].code] += 1


def _size(record: Record) -> int:
    """Estimate the bytes of a record, in memory and on the wire."""
    if isinstance(record, Map | Input):
        return 96 + len(record.data)
    return 96 + 4 * len(record.scores) if isinstance(record, Result) else 256
