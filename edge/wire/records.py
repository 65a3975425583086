"""The records of the link. ``wire.cddl`` is the contract; a record is declared here once and registered by that.

Every record is a CBOR map. Key 0 is the record's code and key 1 the number of the frame, which counts up by one with
every frame that a side puts on the wire, so that the other side can tell what was lost on the way from what was never
sent. Unknown records and unknown keys are skipped and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, ClassVar, NamedTuple, get_args, get_type_hints

from edge.wire import cbor
from edge.wire.cbor import Fault, WireError
from edge.wire.kinds import MAX_FLOATS, Kind, array, boolean, data, float32, float32s, integer, table, text, uint

PROTOCOL = 1  # raised when an old host would misread a new board
MAX_CHUNK = 4096  # bytes of map in one MAP record
MAX_CHUNKS = 4096
MAX_WINDOW_CHUNK = 512  # bytes of a window in one WINDOW record: a microcontroller has to hold a whole frame of it
MAX_LABEL = 64  # bytes of UTF-8
MAX_MESSAGE = 512

CODE, NUMBER = 0, 1  # keys of every record
FRAME_NUMBER = uint(4)


@dataclass(frozen=True)
class Key:
    """The integer key of a field, and its type."""

    key: int
    kind: Kind


class Record:
    """Base of all records; a subclass states its code and is known from then on."""

    code: ClassVar[int]
    registry: ClassVar[dict[int, type[Record]]] = {}

    def __init_subclass__(cls, code: int) -> None:
        if code in Record.registry:
            raise TypeError(f"records {Record.registry[code].__name__} and {cls.__name__} have the same code {code}")
        cls.code = code
        Record.registry[code] = cls


@dataclass(frozen=True, kw_only=True)
class Session(Record, code=1):
    """Who is talking: sent first, repeated every few seconds and on request, so that a host can join at any time."""

    protocol: Annotated[int, Key(2, uint(1))]
    session: Annotated[bytes, Key(3, data(8, 8))]
    time: Annotated[int, Key(4, uint(8))]
    clock_hz: Annotated[int, Key(5, uint(8))]
    board: Annotated[str, Key(6, text(MAX_LABEL))]
    software: Annotated[str, Key(7, text(MAX_LABEL))]
    runtime: Annotated[str, Key(8, text(MAX_LABEL))]
    model: Annotated[str, Key(9, text(MAX_LABEL))]
    model_digest: Annotated[bytes, Key(10, data(32, 32))]
    input_shape: Annotated[tuple[int, ...], Key(11, array(uint(4), 8))]
    methods: Annotated[tuple[str, ...], Key(12, array(text(MAX_LABEL), 32))]
    labels: Annotated[tuple[str, ...], Key(13, array(text(MAX_LABEL), MAX_FLOATS))]
    layers: Annotated[tuple[str, ...], Key(14, array(text(MAX_LABEL), 32))] = ()
    clock: Annotated[str, Key(15, text(MAX_LABEL))] = ""

    @property
    def emulated(self) -> bool:
        """Whether its clock counts instructions of an emulator: time there passes as it likes."""
        return self.clock.startswith("emulated ")


@dataclass(frozen=True, kw_only=True)
class Result(Record, code=2):
    """The answer to one window, and the true class where the source knows it."""

    sequence: Annotated[int, Key(2, uint(4))]
    class_index: Annotated[int, Key(3, uint(2))]
    scores: Annotated[tuple[float, ...], Key(4, float32s)]
    time: Annotated[int, Key(5, uint(8))]
    truth: Annotated[int | None, Key(6, uint(2))] = None
    captured: Annotated[int | None, Key(7, uint(8))] = None


@dataclass(frozen=True, kw_only=True)
class Map(Record, code=3):
    """One chunk of the attribution of one window; how ``data`` is coded stands in ``edge/wire/codecs.py``."""

    sequence: Annotated[int, Key(2, uint(4))]
    method: Annotated[int, Key(3, uint(1))]
    class_index: Annotated[int, Key(4, uint(2))]
    shape: Annotated[tuple[int, ...], Key(5, array(uint(4), 4))]
    encoding: Annotated[int, Key(6, uint(1))]
    deflated: Annotated[bool, Key(7, boolean)] = False
    scale: Annotated[float, Key(8, float32)]
    zero_point: Annotated[int, Key(9, integer(-128, 127))]
    residual: Annotated[float | None, Key(10, float32)] = None
    steps: Annotated[int, Key(11, uint(4))]
    flags: Annotated[int, Key(12, uint(2))]
    chunk: Annotated[int, Key(13, integer(0, MAX_CHUNKS - 1))] = 0
    chunks: Annotated[int, Key(14, integer(1, MAX_CHUNKS))] = 1
    data: Annotated[bytes, Key(15, data(0, MAX_CHUNK))]
    full_shape: Annotated[tuple[int, ...], Key(16, array(uint(4), 4))] = ()


@dataclass(frozen=True, kw_only=True)
class Latency(Record, code=4):
    """How long each phase of one window took, in ticks of the session's clock; explaining, per method."""

    sequence: Annotated[int, Key(2, uint(4))]
    phases: Annotated[dict[int, int], Key(3, table(uint(1), uint(8), 32))]
    methods: Annotated[dict[int, int], Key(4, table(uint(1), uint(8), 32))] = field(default_factory=dict)
    valid: Annotated[bool, Key(5, boolean)] = True
    warm_up: Annotated[bool, Key(6, boolean)] = False


@dataclass(frozen=True, kw_only=True)
class Health(Record, code=5):
    """Counters since the session began; ``sent`` and ``dropped`` by record code. The last one of a session is final."""

    time: Annotated[int, Key(2, uint(8))]
    produced: Annotated[int, Key(3, uint(8))]
    sent: Annotated[dict[int, int], Key(4, table(uint(1), uint(8), 32))]
    dropped: Annotated[dict[int, int], Key(5, table(uint(1), uint(8), 32))]
    queued: Annotated[int, Key(6, uint(4))]
    queued_bytes: Annotated[int, Key(7, uint(4))]
    stalls: Annotated[int, Key(8, uint(4))]
    reconnects: Annotated[int, Key(9, uint(4))]
    bad_frames: Annotated[int, Key(10, uint(4))]
    memory: Annotated[int | None, Key(11, uint(8))] = None
    temperature: Annotated[float | None, Key(12, float32)] = None
    throttled: Annotated[int | None, Key(13, uint(4))] = None
    final: Annotated[bool, Key(14, boolean)] = False
    degraded: Annotated[dict[int, int], Key(15, table(uint(1), uint(8), 32))] = field(default_factory=dict)
    thinned: Annotated[dict[int, int], Key(16, table(uint(1), uint(8), 32))] = field(default_factory=dict)
    source: Annotated[dict[int, int], Key(17, table(uint(1), uint(8), 32))] = field(default_factory=dict)
    clock_faults: Annotated[int, Key(18, uint(4))] = 0
    governor: Annotated[str, Key(19, text(MAX_LABEL))] = ""
    link_rate: Annotated[int | None, Key(20, uint(4))] = None


@dataclass(frozen=True, kw_only=True)
class Log(Record, code=6):
    """A line for people; ``level`` as in Python's logging (10 debug, 20 info, 30 warning, 40 error)."""

    time: Annotated[int, Key(2, uint(8))]
    level: Annotated[int, Key(3, uint(1))]
    text: Annotated[str, Key(4, text(MAX_MESSAGE))]


@dataclass(frozen=True, kw_only=True)
class Error(Record, code=7):
    """Something failed on the board, perhaps at one window; ``kind`` is the name of the error's class."""

    time: Annotated[int, Key(2, uint(8))]
    kind: Annotated[str, Key(3, text(MAX_LABEL))]
    cause: Annotated[str, Key(4, text(MAX_MESSAGE))]
    hint: Annotated[str, Key(5, text(MAX_MESSAGE))]
    sequence: Annotated[int | None, Key(6, uint(4))] = None


@dataclass(frozen=True, kw_only=True)
class Input(Record, code=8):
    """One chunk of what the model was given for one window; coded and cut as a MAP."""

    sequence: Annotated[int, Key(2, uint(4))]
    shape: Annotated[tuple[int, ...], Key(5, array(uint(4), 4))]
    encoding: Annotated[int, Key(6, uint(1))]
    deflated: Annotated[bool, Key(7, boolean)] = False
    scale: Annotated[float, Key(8, float32)]
    zero_point: Annotated[int, Key(9, integer(-128, 127))]
    chunk: Annotated[int, Key(13, integer(0, MAX_CHUNKS - 1))] = 0
    chunks: Annotated[int, Key(14, integer(1, MAX_CHUNKS))] = 1
    data: Annotated[bytes, Key(15, data(0, MAX_CHUNK))]
    full_shape: Annotated[tuple[int, ...], Key(16, array(uint(4), 4))] = ()


@dataclass(frozen=True, kw_only=True)
class Settings(Record, code=9):
    """How the board is working now: sent after each SESSION and whenever that changes."""

    rate: Annotated[float | None, Key(2, float32)] = None
    methods: Annotated[tuple[int, ...], Key(3, array(uint(1), 32))]
    explain: Annotated[int, Key(4, uint(1))]
    inputs: Annotated[bool, Key(5, boolean)] = False
    deadline: Annotated[float | None, Key(6, float32)] = None
    tolerance: Annotated[float | None, Key(7, float32)] = None
    alarms: Annotated[tuple[int, ...], Key(8, array(uint(2), 4096))] = ()
    kept: Annotated[int, Key(9, uint(4))] = 0


@dataclass(frozen=True, kw_only=True)
class Spread(Record, code=10):
    """What the board's phases and methods took over the whole run: count, p50, p95, p99 and maximum, in ticks."""

    time: Annotated[int, Key(2, uint(8))]
    phases: Annotated[dict[int, tuple[int, ...]], Key(3, table(uint(1), array(uint(8), 5), 32))]
    methods: Annotated[dict[int, tuple[int, ...]], Key(4, table(uint(1), array(uint(8), 5), 32))]
    warm_up: Annotated[int, Key(5, uint(4))] = 0
    rejected: Annotated[int, Key(6, uint(4))] = 0


@dataclass(frozen=True, kw_only=True)
class Request(Record, code=16):
    """Host to board: send a record of code ``what`` now, or change how the board works; what is absent stays."""

    what: Annotated[int, Key(2, uint(1))] = 0
    sequence: Annotated[int | None, Key(3, uint(4))] = None
    method: Annotated[int | None, Key(4, uint(1))] = None
    class_index: Annotated[int | None, Key(5, uint(2))] = None
    rate: Annotated[float | None, Key(6, float32)] = None
    methods: Annotated[tuple[int, ...] | None, Key(7, array(uint(1), 32))] = None
    explain: Annotated[int | None, Key(8, uint(1))] = None
    inputs: Annotated[bool | None, Key(9, boolean)] = None
    acknowledge: Annotated[bool, Key(10, boolean)] = False


@dataclass(frozen=True, kw_only=True)
class Ping(Record, code=17):
    """Host to board: answer with a PONG at once."""

    token: Annotated[int, Key(2, uint(4))]


@dataclass(frozen=True, kw_only=True)
class Pong(Record, code=18):
    """Board to host: when the PING with this token came in and when this left, in ticks of the session's clock."""

    token: Annotated[int, Key(2, uint(4))]
    received: Annotated[int, Key(3, uint(8))]
    sent: Annotated[int, Key(4, uint(8))]


@dataclass(frozen=True, kw_only=True)
class Ack(Record, code=19):
    """Board to host: what became of the REQUEST or WINDOW in frame ``request``; ``refused``: why it was not done."""

    request: Annotated[int, Key(2, uint(4))]
    refused: Annotated[str, Key(3, text(MAX_MESSAGE))] = ""
    hint: Annotated[str, Key(4, text(MAX_MESSAGE))] = ""
    sequence: Annotated[int | None, Key(5, uint(4))] = None


@dataclass(frozen=True, kw_only=True)
class Window(Record, code=20):
    """Host to board: one chunk of a window to be answered, of ``size`` bytes in all, as the model stores its input."""

    sequence: Annotated[int, Key(2, uint(4))]
    offset: Annotated[int, Key(3, uint(4))]
    size: Annotated[int, Key(4, uint(4))]
    data: Annotated[bytes, Key(5, data(0, MAX_WINDOW_CHUNK))]
    truth: Annotated[int | None, Key(6, uint(2))] = None


class Received(NamedTuple):
    """What one frame held. ``record`` is None where its code is unknown here."""

    number: int
    code: int
    record: Record | None
    unknown_keys: int = 0


@dataclass(frozen=True)
class Slot:
    """A declared field: its name, its key, also as CBOR has it, and its type, and whether it may be absent."""

    name: str
    key: int
    start: bytes
    kind: Kind
    optional: bool
    default: Any


_layouts: dict[int, tuple[Slot, ...]] = {}


def layout(record: type[Record]) -> tuple[Slot, ...]:
    """Return the declared fields of a record, in the order of their keys."""
    known = _layouts.get(record.code)
    if known is None:
        known = _layouts[record.code] = tuple(sorted(_slots(record), key=lambda slot: slot.key))
    return known


def _slots(record: Any) -> Iterator[Slot]:
    hints = get_type_hints(record, include_extras=True)
    for declared in fields(record):
        _, key = get_args(hints[declared.name])
        default = declared.default if declared.default_factory is MISSING else declared.default_factory()
        yield Slot(declared.name, key.key, cbor.integer(key.key), key.kind, default is not MISSING, default)


def encode(record: Record, number: int) -> bytes:
    """Return the payload of a record in frame ``number``; a field that holds its default is left out."""
    parts = [*map(cbor.integer, (CODE, record.code, NUMBER, number & 0xFFFFFFFF))]
    for slot in layout(type(record)):
        value = getattr(record, slot.name)
        if not slot.optional or value != slot.default:
            parts += slot.start, slot.kind.pack(value)
    return cbor.start(cbor.MAP, len(parts) // 2) + b"".join(parts)


def decode(payload: bytes) -> Received:
    """Return what a payload holds; WireError where it is not CBOR of the link's kind or breaks a record's rules."""
    values = cbor.loads(payload)
    code, number = (_head(values, key, limit) for key, limit in ((CODE, 1 << 8), (NUMBER, 1 << 32)))
    record = Record.registry.get(code)
    if record is None:
        return Received(number, code, None)
    arguments = {}
    for slot in layout(record):
        if slot.key in values:
            try:
                arguments[slot.name] = slot.kind.unpack(values.pop(slot.key))
            except WireError as error:
                raise WireError(error.fault, f"{record.__name__}.{slot.name}: {error.cause}") from error
        elif not slot.optional:
            raise WireError(Fault.RECORD, f"{record.__name__} lacks {slot.name}")
    return Received(number, code, record(**arguments), len(values))


def _head(values: dict[int, Any], key: int, limit: int) -> int:
    value = values.pop(key, None)
    if type(value) is not int or not 0 <= value < limit:
        raise WireError(Fault.RECORD, f"key {key} of a record is missing or out of range")
    return value


def clip(message: str, limit: int = MAX_MESSAGE) -> str:
    """Return ``message`` cut to ``limit`` bytes of UTF-8."""
    return message.encode(errors="replace")[:limit].decode(errors="ignore")
