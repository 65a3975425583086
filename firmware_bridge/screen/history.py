"""What the screen keeps of what came: the last windows with their explanations, and what happened besides."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from edge.wire.records import Error, Log, Result, Session
from firmware_bridge import lines
from firmware_bridge.maps import Attribution, InputWindow
from firmware_bridge.session import Event, LinkChange, Mark, Timing, Tracker

KEPT = 2000  # entries
MAX_BYTES = 64 << 20  # of maps and inputs; older windows keep their answers alone


@dataclass(eq=False)
class Window:
    """One window of a session: its answer, and what else has come of it; ``maps`` by method and class."""

    result: Result
    session: bytes | None
    maps: dict[tuple[str, int], Attribution] = field(default_factory=dict)
    input: InputWindow | None = None
    timing: Timing | None = None

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        parts: list[Attribution | InputWindow] = [*self.maps.values(), *([self.input] if self.input else [])]
        return sum(part.values.nbytes for part in parts)

    def forget(self) -> None:
        """Let go of the arrays."""
        self.maps, self.input = {}, None


@dataclass(frozen=True, eq=False)
class Note:
    """Something that happened between two windows, in words; ``bad`` if it is no good."""

    text: str
    bad: bool = False


Entry = Window | Note


class History:
    """Windows and notes in the order in which they came, in bounded memory."""

    def __init__(self) -> None:
        self.entries: deque[Entry] = deque(maxlen=KEPT)
        self.came = 0  # entries ever; the last one has the number came - 1
        self._windows: dict[int, Window] = {}  # of the session that is on, by sequence
        self._heavy: OrderedDict[Window, int] = OrderedDict()  # bytes of those with arrays, by age
        self._bytes = 0  # of them all
        self.session: bytes | None = None  # that is on

    @property
    def first(self) -> int:
        """The number of the oldest entry that is kept."""
        return self.came - len(self.entries)

    def take(self, event: Event, tracker: Tracker) -> None:
        """Enter one event."""
        match event:
            case Session():
                if event.session != self.session:
                    self.session = event.session
                    self._windows.clear()
                    self._add(Note(lines.line(event, tracker)))
            case Result():
                window = Window(event, self.session)
                self._windows[event.sequence] = window
                self._add(window)
            case Attribution() | InputWindow() | Timing():
                if (found := self._windows.get(event.sequence)) is not None:
                    self._complete(found, event)
            case Error() | Mark() | Log() | LinkChange():
                bad = isinstance(event, Error) or (isinstance(event, LinkChange) and not event.up)
                self._add(Note(lines.line(event, tracker), bad or (isinstance(event, Log) and event.level >= 30)))

    def _add(self, entry: Entry) -> None:
        if len(self.entries) == KEPT:
            oldest = self.entries[0]
            if isinstance(oldest, Window):
                self._bytes -= self._heavy.pop(oldest, 0)
                if self._windows.get(oldest.result.sequence) is oldest:
                    del self._windows[oldest.result.sequence]
        self.entries.append(entry)
        self.came += 1

    def _complete(self, window: Window, event: Attribution | InputWindow | Timing) -> None:
        if isinstance(event, Timing):
            window.timing = event
            return
        if isinstance(event, Attribution):
            window.maps[event.method, event.class_index] = event
        else:
            window.input = event
        self._bytes += window.nbytes - self._heavy.get(window, 0)
        self._heavy[window] = window.nbytes
        while self._bytes > MAX_BYTES and len(self._heavy) > 1:
            lightened, nbytes = self._heavy.popitem(last=False)
            self._bytes -= nbytes
            lightened.forget()


class Selection:
    """Which entry is selected, and which rows of the list are seen: its tail unless a person has gone elsewhere."""

    def __init__(self) -> None:
        self.number: int | None = None  # None: follow the tail
        self.frozen: tuple[int, Sequence[Entry]] | None = None

    def entries(self, history: History) -> tuple[int, Sequence[Entry]]:
        """Return what the list shows, and the number of its first entry."""
        return self.frozen or (history.first, history.entries)

    def pause(self, history: History) -> None:
        """Stand still, or go on; what comes meanwhile is kept all the same."""
        if self.frozen is not None:
            self.frozen = None
        else:
            self.frozen = history.first, tuple(history.entries)

    def move(self, history: History, by: int) -> None:
        """Go some entries down (or up, if negative); beyond the last one the list follows the tail again."""
        first, entries = self.entries(history)
        last = first + len(entries) - 1
        if not entries or (self.number is None and by >= 0):
            return
        at = (last if self.number is None else max(self.number, first)) + by
        self.number = None if at > last else max(first, at)

    def select(self, history: History, entry: Entry) -> None:
        """Go to an entry, if the list still has it."""
        first, entries = self.entries(history)
        self.number = next((first + i for i, other in enumerate(entries) if other is entry), self.number)

    def selected(self, history: History) -> Entry | None:
        """Return the entry that is selected; None while the tail is followed."""
        if self.number is None:
            return None
        first, entries = self.entries(history)
        self.number = min(max(self.number, first), first + len(entries) - 1)
        return entries[self.number - first]

    def rows(self, history: History, count: int) -> tuple[int, list[Entry]]:
        """Return the ``count`` entries to be seen, and the number of the first: the selected one is among them."""
        first, entries = self.entries(history)
        end = first + len(entries)
        if self.number is not None:
            end = min(end, max(self.number + 1 + count // 2, first + count))
        begin = max(first, end - count)
        return begin, [entries[i] for i in range(begin - first, end - first)]
