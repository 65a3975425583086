"""Records for tests: strategies made from the declared types, and one plain example of each record."""

from __future__ import annotations

import re
import struct

from hypothesis import strategies as st

from edge.wire.records import (
    Ack,
    Error,
    Health,
    Input,
    Latency,
    Log,
    Map,
    Ping,
    Pong,
    Record,
    Request,
    Result,
    Session,
    Settings,
    Spread,
    Window,
    layout,
)

EXAMPLES = (
    Session(
        protocol=1,
        session=bytes(range(8)),
        time=1_000,
        clock_hz=1_000_000_000,
        board="Raspberry Pi Zero 2 W Rev 1.0",
        software="whylite 0.1.0",
        runtime="litert 2.1.0, 1 thread",
        model="watch",
        model_digest=bytes(range(32)),
        input_shape=(128, 6),
        methods=("gradcam", "integrated_gradients"),
        labels=("walk", "run", "Kniebeuge für Anfänger"),
    ),
    Result(sequence=7, class_index=2, scores=(0.125, 0.25, 0.625), time=123_456_789, truth=1),
    Result(sequence=0xFFFFFFFF, class_index=0, scores=(), time=0),
    Map(
        sequence=7,
        method=1,
        class_index=2,
        shape=(4, 2),
        encoding=0,
        scale=0.5,
        zero_point=-128,
        residual=-0.25,
        steps=32,
        flags=8,
        chunk=1,
        chunks=3,
        data=b"\x00\x01\x00\xff\x80\x00\x00\x7f",
    ),
    Map(
        sequence=24,
        method=0,
        class_index=255,
        shape=(300,),
        encoding=2,
        deflated=True,
        scale=1.0,
        zero_point=0,
        steps=1,
        flags=0,
        data=b"",
    ),
    Latency(sequence=7, phases={0: 1_500, 1: 23, 2: 1_234_567, 5: 5_000_000_000}, methods={0: 0, 1: 65_536}),
    Health(
        time=9,
        produced=70_000,
        sent={1: 2, 2: 200},
        dropped={3: 24},
        queued=1,
        queued_bytes=1024,
        stalls=0,
        reconnects=1,
        bad_frames=3,
        memory=45_000_000,
        temperature=52.5,
        throttled=0x50005,
        final=True,
    ),
    Log(time=5, level=30, text="the sensor is warm: 41 °C"),
    Error(time=5, kind="InputError", cause="3 channels instead of 6", hint="check the wiring", sequence=12),
    Request(what=1),
    Result(sequence=8, class_index=0, scores=(1.0,), time=500, captured=24),
    Latency(sequence=8, phases={2: 7}, valid=False, warm_up=True),
    Map(
        sequence=8,
        method=0,
        class_index=0,
        shape=(2, 1),
        encoding=1,
        scale=0.25,
        zero_point=-8,
        steps=1,
        flags=0,
        data=b"\x97",
        full_shape=(4, 2),
    ),
    Health(
        time=10,
        produced=8,
        sent={1: 1},
        dropped={},
        queued=0,
        queued_bytes=0,
        stalls=0,
        reconnects=0,
        bad_frames=0,
        degraded={0: 3, 2: 1},
        thinned={1: 24},
        source={0: 1, 3: 256},
        clock_faults=1,
        governor="schedutil",
        link_rate=92_160,
    ),
    Input(
        sequence=8,
        shape=(2, 2),
        encoding=0,
        deflated=True,
        scale=0.125,
        zero_point=3,
        chunk=1,
        chunks=2,
        data=b"\x00\xff",
        full_shape=(4, 4),
    ),
    Settings(
        rate=12.5, methods=(0, 1), explain=2, inputs=True, deadline=80.0, tolerance=0.0625, alarms=(1, 300), kept=32
    ),
    Settings(methods=(), explain=0),
    Spread(
        time=11,
        phases={2: (100, 1_000, 2_000, 3_000, 70_000)},
        methods={1: (7, 24, 25, 26, 5_000_000_000)},
        warm_up=3,
        rejected=1,
    ),
    Request(
        what=3,
        sequence=7,
        method=1,
        class_index=2,
        rate=0.5,
        methods=(1,),
        explain=3,
        inputs=True,
        acknowledge=True,
    ),
    Ack(request=4, refused="window 7 is no longer kept", hint="ask for a later one", sequence=7),
    Ack(request=5),
    Session(
        protocol=1,
        session=bytes(8),
        time=0,
        clock_hz=1_000_000,
        board="",
        software="",
        runtime="",
        model="",
        model_digest=bytes(32),
        input_shape=(24,),
        methods=("saliency",),
        labels=(),
        layers=("serving_default_input:0",),
        clock="DWT",
    ),
    Window(sequence=300, offset=512, size=1200, data=b"\x00\x7f\x80\xff\x00", truth=6),
    Window(sequence=0, offset=0, size=4, data=bytes(4)),
    Ping(token=0xDEADBEEF),
    Pong(token=23, received=10, sent=4_294_967_296),
)


def records(record: type[Record]) -> st.SearchStrategy[Record]:
    """Any record of one type that the link can carry."""
    fields = {}
    for slot in layout(record):
        values = _of_type(slot.kind.cddl)
        fields[slot.name] = st.just(slot.default) | values if slot.optional else values
    return st.builds(record, **fields)


frame_numbers = st.integers(0, 0xFFFFFFFF)
_float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


def _of_type(cddl: str) -> st.SearchStrategy:
    if found := re.fullmatch(r"\[0\*(\d+) (.*)\]", cddl):
        return st.lists(_of_type(found[2]), max_size=min(5, int(found[1]))).map(tuple)
    if found := re.fullmatch(r"\{0\*(\d+) (.*) => (.*)\}", cddl):
        return st.dictionaries(_of_type(found[2]), _of_type(found[3]), max_size=min(5, int(found[1])))
    if found := re.fullmatch(r"uint \.size (\d)", cddl):
        return st.integers(0, 256 ** int(found[1]) - 1)
    if found := re.fullmatch(r"(-?\d+)\.\.(\d+)", cddl):
        return st.integers(int(found[1]), int(found[2]))
    if found := re.fullmatch(r"tstr \.size \(0\.\.(\d+)\)", cddl):
        return st.text(st.characters(codec="utf-8"), max_size=int(found[1]) // 4)
    if found := re.fullmatch(r"bstr \.size (\d+)", cddl):
        return st.binary(min_size=int(found[1]), max_size=int(found[1]))
    if re.fullmatch(r"bstr \.size \(0\.\.\d+\)", cddl):
        return st.binary(max_size=40)
    if cddl == "float32s":
        return st.lists(_float32, max_size=9).map(lambda values: struct.unpack(f"<{len(values)}f", _packed(values)))
    return {"bool": st.booleans(), "float32": _float32}[cddl]


def _packed(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


any_record = st.one_of(*map(records, Record.registry.values()))
