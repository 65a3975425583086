"""What waits for the link: results first out, explanations first to go."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.outbox import Outbox
from edge.wire.records import Latency, Log, Map, Result


def result(sequence):
    return Result(sequence=sequence, class_index=0, scores=(0.5,) * 4, time=0)


def chunks(sequence, count=1, size=1000):
    head = {"sequence": sequence, "method": 0, "class_index": 0, "shape": (count * size,), "encoding": 0, "steps": 1}
    data = bytes(size)
    return [Map(**head, scale=1.0, zero_point=0, flags=0, chunk=i, chunks=count, data=data) for i in range(count)]


def latency(sequence):
    return Latency(sequence=sequence, phases={})


def take_all(outbox):
    taken = []
    while (entry := outbox.take()) is not None:
        taken.append(entry[0])
    return taken


def is_last(record):
    return not isinstance(record, Map) or record.chunk == record.chunks - 1


def names(records):
    return [(type(record).__name__, record.sequence) for record in records]


def test_nothing_waits_at_first():
    assert Outbox().take() is None
    assert len(Outbox()) == 0
    assert not Outbox().crowded


def test_results_leave_first_explanations_after_and_latency_last():
    outbox = Outbox()
    for sequence in (1, 2):
        outbox.put(*chunks(sequence))
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
    outbox.put(*chunks(1, count=3))
    first, _ = outbox.take()
    outbox.put(result(2))
    rest = take_all(outbox)
    assert (first.chunk, names(rest)[0]) == (0, ("Result", 2))
    assert [record.chunk for record in rest[1:]] == [1, 2]


def test_waiting_is_measured():
    outbox = Outbox()
    outbox.put(result(1))
    _, waited = outbox.take()
    assert 0 <= waited < 1e9


def test_the_oldest_map_goes_when_there_is_no_room_and_counts_once():
    outbox = Outbox(room=10_000)
    for sequence in range(4):
        outbox.put(*chunks(sequence, count=3))
    assert outbox.dropped == Counter({Map.code: 1})
    assert {record.sequence for record in take_all(outbox)} == {1, 2, 3}


def test_a_map_that_has_begun_to_leave_goes_on():
    outbox = Outbox(room=10_000)
    outbox.put(*chunks(0, count=3))
    outbox.take()
    for sequence in range(1, 5):
        outbox.put(*chunks(sequence, count=3))
    remaining = take_all(outbox)
    assert names(remaining)[:2] == [("Map", 0), ("Map", 0)]
    assert outbox.dropped[Map.code] == 2


def test_latencies_and_logs_go_after_the_maps_and_before_results():
    outbox = Outbox(room=2000)
    outbox.put(Log(time=0, level=20, text="hello"))
    outbox.put(latency(1))
    outbox.put(*chunks(1))
    for sequence in range(14):
        outbox.put(result(sequence))
    assert outbox.dropped == Counter({Map.code: 1, Log.code: 1})
    for sequence in range(14, 30):
        outbox.put(result(sequence))
    assert outbox.dropped[Latency.code] == 1
    assert outbox.dropped[Result.code] > 0
    left = take_all(outbox)
    assert all(isinstance(record, Result) for record in left)
    assert left[-1].sequence == 29  # the newest stay


def test_a_map_larger_than_the_room_is_dropped_alone():
    outbox = Outbox(room=10_000)
    outbox.put(result(1))
    outbox.put(*chunks(1, count=20))
    assert names(take_all(outbox)) == [("Result", 1)]
    assert outbox.dropped == Counter({Map.code: 1})


def test_clearing_counts_everything():
    outbox = Outbox()
    outbox.put(result(1))
    outbox.put(*chunks(1, count=3))
    outbox.clear()
    assert outbox.take() is None
    assert outbox.bytes == 0
    assert outbox.dropped == Counter({Result.code: 1, Map.code: 1})


@given(st.lists(st.sampled_from(["result", "map", "latency", "take"]), max_size=80))
@settings(max_examples=300, deadline=None)
def test_nothing_disappears_and_results_outlive_maps(steps):
    outbox = Outbox(room=6000)
    put, taken = Counter(), Counter()
    for sequence, step in enumerate(steps):
        before = Counter(outbox.dropped)
        match step:
            case "result":
                outbox.put(result(sequence))
                put[Result.code] += 1
            case "map":
                outbox.put(*chunks(sequence, count=2))
                put[Map.code] += 1
            case "latency":
                outbox.put(latency(sequence))
                put[Latency.code] += 1
            case "take":
                entry = outbox.take()
                if entry is not None:
                    taken[entry[0].code] += is_last(entry[0])
        assert 0 <= outbox.bytes <= 6000
        if outbox.dropped[Result.code] > before[Result.code]:
            assert len(outbox) * 112 <= 6000  # nothing but results is left
    waiting = Counter(record.code for record in take_all(outbox) if is_last(record))
    assert put == taken + waiting + outbox.dropped
    assert outbox.bytes == 0
