"""What waits for the link: results first out, explanations first to go."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.latency import NANOSECONDS
from edge.link import outbox as module
from edge.link.outbox import Outbox
from edge.link.thinning import HEAD, Uncoded, fit, records
from edge.wire.codes import Thinned
from edge.wire.records import Latency, Log, Map, Result


def result(sequence):
    return Result(sequence=sequence, class_index=0, scores=(0.5,) * 4, time=0)


def attribution(sequence, size=1000, method=0):
    head = {"sequence": sequence, "method": method, "class_index": 0, "shape": (size,), "encoding": 0, "steps": 1}
    values = np.random.default_rng(0).normal(size=size).astype(np.float32)
    return Uncoded(Map(**head, scale=1.0, zero_point=0, flags=0, data=b""), values, "auto")


def latency(sequence):
    return Latency(sequence=sequence, phases={})


def take(outbox, chunk=4096, budget=np.inf, finer=False, **how):
    """Take the next record as the link's thread does."""
    parcel = outbox.next(**how)
    if parcel is None:
        return None
    if isinstance(parcel.content, Uncoded) and not parcel.pieces:
        version = fit(parcel.content.values, budget)
        parcel.pieces, parcel.thinned = records(parcel.content, version, chunk), version.thinned
        parcel.finer, parcel.sent = finer, len(version.coded.data)
    return outbox.take(parcel)


def take_all(outbox, **how):
    taken = []
    while (record := take(outbox, **how)) is not None:
        taken.append(record)
    return taken


def names(records):
    return [(type(record).__name__, record.sequence) for record in records]


@pytest.fixture
def now(monkeypatch):
    """The time, in a list, to be set."""
    now = [0]
    monkeypatch.setattr(module, "clock", lambda: now[0])
    return now


def test_nothing_waits_at_first():
    assert Outbox().next() is None
    assert len(Outbox()) == 0
    assert not Outbox().crowded(rate=100.0)


def test_results_leave_first_explanations_after_and_latency_last():
    outbox = Outbox()
    for sequence in (1, 2):
        outbox.put(attribution(sequence))
        outbox.put(latency(sequence))
        outbox.put(result(sequence))
    assert names(take_all(outbox)) == [
        ("Result", 1),
        ("Result", 2),
        ("Map", 1),
        ("Latency", 1),
        ("Map", 2),
        ("Latency", 2),
    ]


def test_a_result_goes_between_the_chunks_of_a_map():
    outbox = Outbox()
    outbox.put(attribution(1))
    first = take(outbox, chunk=400)
    outbox.put(result(2))
    rest = take_all(outbox)
    assert (first.chunk, names(rest)[0]) == (0, ("Result", 2))
    assert [record.chunk for record in rest[1:]] == [1, 2]


def test_results_leave_while_the_rest_has_to_wait():
    outbox = Outbox()
    outbox.put(attribution(1))
    outbox.put(result(1))
    assert names([take(outbox, results_only=True)]) == [("Result", 1)]
    assert take(outbox, results_only=True) is None
    assert names([take(outbox)]) == [("Map", 1)]


def test_the_oldest_map_goes_when_there_is_no_room_and_counts_once():
    outbox = Outbox(map_room=3 * (4000 + HEAD))
    for sequence in range(4):
        outbox.put(attribution(sequence))
    assert outbox.dropped == Counter({Map.code: 1})
    assert [record.sequence for record in take_all(outbox)] == [1, 2, 3]


def test_a_map_that_has_begun_to_leave_goes_on():
    outbox = Outbox(map_room=3 * (4000 + HEAD))
    outbox.put(attribution(0))
    take(outbox, chunk=400)
    for sequence in range(1, 5):
        outbox.put(attribution(sequence))
    remaining = take_all(outbox)
    assert names(remaining)[:3] == [("Map", 0), ("Map", 0), ("Map", 3)]
    assert outbox.dropped[Map.code] == 2


def test_the_newest_map_of_every_kind_stays_however_large():
    outbox = Outbox(map_room=10_000)
    for sequence in range(3):
        for method in (0, 1):
            outbox.put(attribution(sequence, size=3000, method=method))
    assert outbox.dropped == Counter({Map.code: 4})
    assert names(take_all(outbox)) == [("Map", 2), ("Map", 2)]


def test_a_stale_map_gives_way_to_a_newer_one_of_its_kind_unless_somebody_waits(now):
    outbox = Outbox()
    for sequence in range(3):
        outbox.put(attribution(sequence))
    outbox.put(attribution(0, method=1))
    now[0] = module.STALE + 1
    outbox.put(attribution(3))
    assert names([take(outbox, patient=True)]) == [("Map", 0)]
    assert names(take_all(outbox)) == [("Map", 0), ("Map", 3)]  # method 1 has no newer one
    assert outbox.dropped == Counter({Map.code: 2})


def test_maps_never_push_records_out_and_results_go_last():
    outbox = Outbox(room=2000)
    outbox.put(Log(time=0, level=20, text="hello"))
    outbox.put(latency(1))
    for sequence in range(30):
        outbox.put(attribution(sequence))
        outbox.put(result(sequence))
    assert outbox.dropped[Log.code] == outbox.dropped[Latency.code] == 1
    assert outbox.dropped[Result.code] > 0
    left = [record for record in take_all(outbox) if isinstance(record, Result)]
    assert left[-1].sequence == 29  # the newest stay
    assert len(left) == 30 - outbox.dropped[Result.code]


def test_a_finer_map_follows_when_nothing_else_waits():
    outbox = Outbox()
    outbox.put(attribution(1))
    outbox.put(latency(1))
    first = take(outbox, budget=100, finer=True)
    outbox.put(result(2))
    rest = take_all(outbox)
    assert names(rest) == [("Result", 2), ("Latency", 1), ("Map", 1)]
    assert len(first.data) <= 100 < len(rest[-1].data)
    assert not outbox.thinned


def test_a_newer_map_takes_the_place_of_a_finer_one(now):
    outbox = Outbox()
    outbox.put(attribution(1))
    take(outbox, budget=100, finer=True)
    outbox.put(attribution(2, method=1))
    outbox.put(attribution(2))
    assert outbox.thinned == Counter({Thinned.LARGEST_ONLY: 1})
    assert names(take_all(outbox)) == [("Map", 2), ("Map", 2)]
    assert not outbox.dropped  # for what was left out was not all of it


def test_a_map_is_not_made_finer_when_the_next_one_waits_already():
    outbox = Outbox()
    outbox.put(attribution(1))
    outbox.put(attribution(2))
    take(outbox, budget=100, finer=True)
    assert names(take_all(outbox)) == [("Map", 2)]
    assert outbox.thinned.total() == 1


def test_it_is_crowded_by_link_time_or_by_room():
    outbox = Outbox()
    for sequence in range(10):
        outbox.put(attribution(sequence))
    assert not outbox.crowded(rate=None)
    assert not outbox.crowded(rate=30_000)
    assert outbox.crowded(rate=11_520)
    assert Outbox(map_room=100).crowded(rate=None) is False
    full = Outbox(map_room=10_000)
    full.put(attribution(1))
    assert full.crowded(rate=None)


def test_clearing_counts_everything():
    outbox = Outbox()
    outbox.put(attribution(0))
    take(outbox, budget=100, finer=True)
    outbox.put(result(1))
    outbox.put(attribution(1, method=1))
    assert outbox.clear() == 3
    assert outbox.next() is None
    assert outbox.bytes == 0
    assert outbox.dropped == Counter({Result.code: 1, Map.code: 1})
    assert outbox.thinned.total() == 1


@given(st.lists(st.sampled_from(["result", "map", "other map", "latency", "take", "wait"]), max_size=80))
@settings(max_examples=300, deadline=None)
def test_nothing_disappears_and_results_outlive_the_rest(steps):
    outbox = Outbox(room=1000, map_room=6000)
    put, taken, now = Counter(), Counter(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "clock", lambda: now)
        for sequence, step in enumerate(steps):
            before = Counter(outbox.dropped)
            match step:
                case "result":
                    outbox.put(result(sequence))
                    put[Result.code] += 1
                case "map" | "other map":
                    outbox.put(attribution(sequence, size=400, method=int(step == "map")))
                    put[Map.code] += 1
                case "latency":
                    outbox.put(latency(sequence))
                    put[Latency.code] += 1
                case "wait":
                    now += NANOSECONDS
                case "take":
                    record = take(outbox, chunk=300)
                    if record is not None:
                        taken[record.code] += not isinstance(record, Map) or record.chunk == record.chunks - 1
            assert 0 <= outbox.bytes <= 7000
            if outbox.dropped[Result.code] > before[Result.code]:
                assert not any(isinstance(parcel.content, Latency) for lane in outbox._lanes for parcel in lane)
        waiting = Counter(
            record.code
            for record in take_all(outbox, chunk=300)
            if not isinstance(record, Map) or record.chunk == record.chunks - 1
        )
        assert put == taken + waiting + outbox.dropped
        assert outbox.bytes == 0
