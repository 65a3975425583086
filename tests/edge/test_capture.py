"""Windows as a run takes them: stored ones when it asks, live ones in time or not at all; and what befalls a source."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from edge import capture
from edge.capture import DEPTH, Live, Stored, open_source
from edge.errors import InputError
from edge.samples import Cutter, Samples, Signal
from edge.sources import Fault, Feed, Ready, Skipped, Window
from edge.wire.codes import SourceFault
from tests.edge.windows import LONG, Model, taken


def ready(value):
    return Ready(np.array([value], np.float32))


def until(condition):
    limit = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.001)


class World:
    """A live source in the hands of a test: gives what it is told to, breaks, notes openings and closings."""

    def __init__(self):
        self.items, self.opened, self.closed, self.gone = [], 0, 0, False

    def connect(self):
        if self.gone:
            raise InputError("it is unplugged", "plug it in")
        self.opened += 1
        try:
            yield None
            while not self.gone:
                time.sleep(0.001)
                yield self.items.pop(0) if self.items else None
            raise InputError("it is unplugged", "plug it in")
        finally:
            self.closed += 1

    def live(self, **options):
        return Live("world:", Feed(self.connect, live=True, **options))


@pytest.fixture
def world():
    return World()


def test_stored_windows_come_when_asked_and_end_without_a_fault():
    def feed():
        yield None
        yield from map(ready, range(3))

    source = Stored("stored:", Feed(feed))
    assert not source.live
    found = taken(source)
    assert [(w.sequence, float(w.x[0])) for w in found] == [(0, 0), (1, 1), (2, 2)]
    assert not source.faults
    assert source.take(LONG) is None


def test_a_stored_source_repeats_with_numbers_that_go_on(tmp_path):
    np.savez(tmp_path / "x.npz", x=[[5.0], [6.0]], y=[2, 0])
    source = open_source(f"npz:{tmp_path / 'x.npz'}", Model(), repeat=True)
    found = [w for w in (source.take(LONG) for _ in range(9)) if w]
    assert [w.sequence for w in found] == list(range(len(found)))
    assert [float(w.x[0]) for w in found[:5]] == [5, 6, 5, 6, 5]
    assert [w.truth for w in found[:3]] == [2, 0, 2]
    assert not source.ended
    source.close()
    assert source.ended


def test_a_source_that_gives_nothing_does_not_repeat_for_ever():
    def feed():
        yield None
        yield Fault(SourceFault.BAD_INPUT, "all of it is bad")

    source = Stored("stored:", Feed(feed), repeat=True)
    assert [item.kind for item in taken(source)] == [SourceFault.BAD_INPUT]


def test_a_source_shorter_than_a_window_does_not_repeat_for_ever(tmp_path):
    (tmp_path / "short.csv").write_text("1\n2\n3\n")
    source = open_source(f"csv:{tmp_path / 'short.csv'}", Model((8,)), repeat=True)
    assert source.take(LONG) is None
    assert source.ended


def test_a_stored_source_of_nothing_but_garbage_gives_up_the_turn_in_time():
    def feed():
        yield None
        while True:
            yield Fault(SourceFault.BAD_INPUT, "bad")

    source = Stored("stored:", Feed(feed))
    assert isinstance(source.take(0.01), Fault)
    assert source.take(0.01) is None
    assert source.faults[SourceFault.BAD_INPUT] > 2  # and told once
    assert not source.ended


def test_what_cannot_be_opened_is_said_at_once(world):
    world.gone = True
    with pytest.raises(InputError, match="unplugged"):
        world.live(retry=True)
    with pytest.raises(InputError, match="unplugged"):
        Stored("stored:", Feed(world.connect))


def test_live_windows_wait_for_a_while_and_the_oldest_are_lost_and_counted(world):
    source = world.live()
    world.items += [ready(i) for i in range(DEPTH + 3)]
    until(lambda: not world.items and source.faults[SourceFault.LOST_WINDOW] == 3)
    first = source.take(LONG)
    assert (first.kind, "nobody took it" in first.cause) == (SourceFault.LOST_WINDOW, True)
    assert [source.take(LONG).sequence for _ in range(DEPTH)] == [3, 4, 5, 6]
    assert source.take(0.0) is None
    assert source.faults == {SourceFault.LOST_WINDOW: 3}
    source.close()
    assert world.closed == 1


def test_a_take_ends_when_its_time_is_over_or_something_comes(world):
    source = world.live()
    begun = time.monotonic()
    assert source.take(0.05) is None
    assert time.monotonic() - begun >= 0.05
    threading.Timer(0.05, world.items.append, [ready(4)]).start()
    window = source.take(LONG)
    assert isinstance(window, Window)
    assert window.capture >= 0
    source.close()
    assert time.monotonic() - begun < LONG


def test_waking_ends_the_take_of_another_thread_or_the_next_one(world):
    source = world.live()
    source.wake()
    assert source.take(LONG) is None
    threading.Timer(0.05, world.items.append, [ready(4)]).start()
    assert isinstance(source.take(LONG), Window)  # one call ends one take
    threading.Timer(0.05, source.wake).start()
    begun = time.monotonic()
    assert source.take(LONG) is None
    assert time.monotonic() - begun < LONG / 2
    source.close()
    source.wake()  # too late, and harmless


def test_waking_works_inside_a_signal_handler(world):
    source = world.live()
    before = signal.signal(signal.SIGUSR1, lambda *_: source.wake())
    try:
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGUSR1]).start()
        assert source.take(LONG) is None
    finally:
        signal.signal(signal.SIGUSR1, before)
        source.close()


def test_the_end_of_a_live_source_is_told():
    def feed():
        yield None
        yield ready(1)

    source = Live("pipe:", Feed(feed, live=True))
    window, fault = taken(source)
    assert float(window.x[0]) == 1
    assert (fault.kind, fault.cause) == (SourceFault.ENDED, "pipe: has come to its end")
    assert source.ended
    source.close()


def test_a_source_that_is_lost_is_opened_again(world):
    source = world.live(retry=True)
    world.gone = True
    fault = source.take(LONG)
    assert (fault.kind, fault.cause, fault.hint) == (SourceFault.STALLED, "it is unplugged", "plug it in")
    world.gone = False
    until(lambda: world.opened == 2)
    assert source.take(0.02) is None  # not before it gives something
    world.items.append(ready(7))
    assert source.take(LONG).kind is SourceFault.REOPENED
    assert float(source.take(LONG).x[0]) == 7
    assert (world.opened, world.closed) == (2, 1)
    assert source.faults == {SourceFault.STALLED: 1, SourceFault.REOPENED: 1}
    source.close()
    assert world.closed == 2


def test_no_window_reaches_across_the_time_it_was_lost(world):
    feed = Feed(world.connect, live=True, retry=True, signal=Signal(1))
    source = Live("world:", feed, Cutter(feed.signal, (4,), None))
    world.items.append(Samples(np.full((3, 1), 1.0)))
    until(lambda: not world.items)
    world.gone = True
    assert source.take(LONG).kind is SourceFault.STALLED
    world.gone = False
    world.items.append(Samples(np.full((5, 1), 2.0)))
    assert source.take(LONG).kind is SourceFault.REOPENED
    assert source.take(LONG).x.tolist() == [2, 2, 2, 2]
    source.close()


def test_a_source_that_is_not_to_be_opened_again_has_ended(world):
    source = world.live(retry=False)
    world.gone = True
    (fault,) = taken(source)
    assert (fault.kind, fault.cause) == (SourceFault.ENDED, "it is unplugged")
    assert (world.opened, world.closed) == (1, 1)
    source.close()


def test_silence_that_lasts_too_long_is_a_stall_and_ends_or_is_retried(world):
    source = world.live(stall=0.05, retry=True)
    assert source.take(LONG).kind is SourceFault.STALLED
    until(lambda: world.opened >= 3)
    assert source.faults.keys() == {SourceFault.STALLED}  # it can be opened, and is as silent as before
    source.close()
    (fault,) = taken(closed := world.live(stall=0.05))
    assert fault.kind is SourceFault.ENDED
    assert "nothing for 0.05 s" in fault.cause
    closed.close()


def test_what_waits_is_not_silent_while_nobody_asks_it(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(capture, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def feed():
        yield None
        for value in range(3):
            now[0] += 4
            yield None
            now[0] += 0.5
            yield ready(value)
        while True:
            now[0] += 1
            yield None

    source = Stored("pipe:", Feed(feed, live=True, waits=True, stall=5.0))
    found = []
    while not source.ended:
        found.append(source.take(0.0))
        now[0] += 100
    kinds = [type(item) for item in found if item is not None]
    assert kinds == [Window, Window, Window, Fault]
    assert source.faults == {SourceFault.ENDED: 1}


def test_of_each_kind_one_fault_is_told_in_a_while_and_all_are_counted(world, monkeypatch):
    source = world.live()
    world.items += [Fault(SourceFault.BAD_INPUT, f"line {i}") for i in range(50)]
    assert source.take(LONG).cause == "line 0"
    until(lambda: source.faults[SourceFault.BAD_INPUT] == 50)
    assert source.take(0.0) is None
    monkeypatch.setattr(capture, "QUIET", 0.0)
    world.items.append(Fault(SourceFault.BAD_INPUT, "line 50"))
    assert source.take(LONG).cause == "line 50"
    source.close()


def test_a_mistake_of_the_reader_reaches_whoever_takes():
    def feed():
        yield None
        raise ZeroDivisionError

    source = Live("broken:", Feed(feed, live=True))
    until(lambda: not source._reader.is_alive())
    assert not source.ended
    with pytest.raises(ZeroDivisionError):
        source.take(LONG)
    source.close()


def test_what_is_skipped_on_purpose_is_no_silence():
    def feed():
        yield None
        for number in range(8):
            time.sleep(0.05)
            yield ready(number) if number == 7 else Skipped()

    source = Live("live:", Feed(feed, live=True, stall=0.1))
    assert [type(item) for item in taken(source)] == [Window, Fault]
    assert source.faults == {SourceFault.ENDED: 1}
