"""What waits for the link: results before explanations, and explanations dropped first when there is no room."""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from edge.latency import NANOSECONDS, clock
from edge.link.thinning import HEAD, Uncoded
from edge.wire.codes import Thinned
from edge.wire.records import Input, Map, Record, Result

ROOM = 256 * 1024  # bytes of records that may wait, maps apart
MAP_ROOM = 1024 * 1024  # bytes of maps; the newest of each kind may wait whatever its size
STALE = 2 * NANOSECONDS  # a map that has waited longer gives way to a newer one of its kind
_PILE = 2
_CROWDED = 0.5  # seconds of link time


class Lane(enum.IntEnum):
    """In the order in which they leave."""

    RESULT = 0
    REST = 1
    FINER = 2  # better versions of maps that have left


@dataclass(eq=False)
class Parcel:
    """Something that waits, since when, and how large it is in memory and on the wire.

    A map has ``pieces`` once it is coded, which is when its turn has come (``begun``). ``thinned`` says what its
    version lacks, ``finer`` whether a better one is to follow, ``sent`` how many bytes the one before had.
    """

    content: Record | Uncoded
    lane: Lane
    size: int
    wire_bytes: int
    since: int
    begun: bool = False
    pieces: deque[Map | Input] = field(default_factory=deque)
    thinned: Thinned | None = None
    finer: bool = False
    sent: int = 0


class Outbox:
    """A queue in three lanes, bounded in bytes, and on a slow link in time.

    Not for several threads at once. ``dropped`` counts by record code what had to go: the oldest maps, of the records
    the oldest first, and results only when no other is left. ``thinned`` counts by ``codes.Thinned`` the maps that left
    with less than they had.
    """

    def __init__(self, room: int = ROOM, map_room: int = MAP_ROOM) -> None:
        self.dropped: Counter[int] = Counter()
        self.thinned: Counter[int] = Counter()
        self._room, self._map_room = room, map_room
        self._lanes: tuple[deque[Parcel], ...] = tuple(deque() for _ in Lane)
        self._bytes = self._map_bytes = self._wire_bytes = 0
        self._kinds: Counter[tuple[int, int]] = Counter()  # of the maps in the lane of the rest

    def __len__(self) -> int:
        return sum(map(len, self._lanes))

    @property
    def bytes(self) -> int:
        """Roughly how much memory is taken."""
        return self._bytes + self._map_bytes

    def piled_up(self, kind: tuple[int, int]) -> bool:
        """Whether several maps of a kind wait."""
        return self._kinds[kind] > _PILE

    def crowded(self, rate: float | None) -> bool:
        """Whether to slow down, for those who can: half a second of link time waits, or a quarter of the room."""
        late = rate is not None and self._wire_bytes > _CROWDED * rate
        return late or self._bytes > self._room // 4 or self._map_bytes > self._map_room // 4

    def put(self, content: Record | Uncoded) -> None:
        """Add a record or a map, and drop what there is no room for."""
        if isinstance(content, Uncoded):
            for older in [parcel for parcel in self._waiting(Lane.FINER) if _kind(parcel) == content.kind]:
                self.drop(older)
            self._enter(Parcel(content, Lane.REST, HEAD + content.values.nbytes, content.wire_bytes, clock()))
            while self._map_bytes > self._map_room and (old := self._least_wanted_map()) is not None:
                self.drop(old)
            return
        lane = Lane.RESULT if isinstance(content, Result) else Lane.REST
        size = HEAD + 4 * len(content.scores) if isinstance(content, Result) else 4 * HEAD
        self._enter(Parcel(content, lane, size, HEAD, clock()))
        while self._bytes > self._room:
            rest = (parcel for parcel in self._lanes[Lane.REST] if not isinstance(parcel.content, Uncoded))
            self.drop(next(rest, None) or self._lanes[Lane.RESULT][0])

    def next(self, *, results_only: bool = False, patient: bool = False) -> Parcel | None:
        """Return what is to leave next; ``patient`` keeps maps that have become stale, which are dropped otherwise."""
        if not patient:
            self._drop_stale()
        parcel = next((lane[0] for lane in self._lanes[: 1 if results_only else None] if lane), None)
        if parcel is not None:
            parcel.begun = True
        return parcel

    def take(self, parcel: Parcel) -> Record:
        """Remove and return the next record of the parcel that ``next`` gave; a map must have been coded."""
        if not isinstance(parcel.content, Uncoded):
            self._leave(parcel)
            return parcel.content
        record = parcel.pieces.popleft()
        if not parcel.pieces:
            self._leave(parcel)
            if parcel.finer and not self._kinds[parcel.content.kind]:
                self._enter(replace(parcel, lane=Lane.FINER, wire_bytes=0, begun=False, finer=False))
            else:
                self._count_thinned(parcel)
        return record

    def drop(self, parcel: Parcel) -> None:
        """Drop a parcel, and count it; of a better version that is to follow, what the one before lacks."""
        self._leave(parcel)
        if parcel.lane is Lane.FINER:
            self._count_thinned(parcel)
        else:
            content = parcel.content
            self.dropped[content.head.code if isinstance(content, Uncoded) else content.code] += 1

    def clear(self) -> int:
        """Drop everything, counted; return how many records and maps that was."""
        count = len(self)
        for lane in self._lanes:
            while lane:
                self.drop(lane[0])
        return count

    def _waiting(self, lane: Lane) -> Iterator[Parcel]:
        """Give the maps of a lane that have not begun to leave, the oldest first."""
        return (parcel for parcel in self._lanes[lane] if isinstance(parcel.content, Uncoded) and not parcel.begun)

    def _least_wanted_map(self) -> Parcel | None:
        """Return the map to drop first: a better version of one that has left, or the oldest that has a newer one."""
        older = (parcel for parcel in self._waiting(Lane.REST) if self._kinds[_kind(parcel)] > 1)
        return next(self._waiting(Lane.FINER), None) or next(older, None)

    def _drop_stale(self) -> None:
        now = clock()
        while (parcel := next(self._waiting(Lane.REST), None)) is not None:
            if now - parcel.since < STALE or self._kinds[_kind(parcel)] == 1:
                return
            self.drop(parcel)

    def _count_thinned(self, parcel: Parcel) -> None:
        if parcel.thinned is not None:
            self.thinned[parcel.thinned] += 1

    def _enter(self, parcel: Parcel) -> None:
        self._lanes[parcel.lane].append(parcel)
        self._reckon(parcel, 1)

    def _leave(self, parcel: Parcel) -> None:
        self._lanes[parcel.lane].remove(parcel)
        self._reckon(parcel, -1)

    def _reckon(self, parcel: Parcel, sign: int) -> None:
        self._wire_bytes += sign * parcel.wire_bytes
        if isinstance(parcel.content, Uncoded):
            self._map_bytes += sign * parcel.size
            if parcel.lane is Lane.REST:
                self._kinds[parcel.content.kind] += sign
        else:
            self._bytes += sign * parcel.size


def _kind(parcel: Parcel) -> tuple[int, int]:
    assert isinstance(parcel.content, Uncoded)
    return parcel.content.kind
