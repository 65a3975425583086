"""The committed vectors as a C program that writes them: each record by the function that a board calls."""

from __future__ import annotations

from edge.wire.records import Record, Session
from tests.edge.test_wire_vectors import RECORDS, VECTORS, value

RUNTIME = "litert 2.1.0, 1 thread"

_HEAD = """
#include <stddef.h>
#include <stdio.h>
#include "whylite_records.h"

static uint32_t put(void *context, const uint8_t *data, uint32_t size) {
  (void)context;
  return (uint32_t)fwrite(data, 1, size < 100u ? size : 100u, stdout);
}

static uint32_t ticks(void *context) {
  (void)context;
  return 0;
}

int main(void) {
  whylite_port port = {.write = put, .ticks = ticks};
  whylite_sender sender = {.port = &port};
"""


def records() -> list[tuple[int, Record, bytes]]:
    """Return number, record and frame of every vector."""
    return [
        (
            vector["number"],
            RECORDS[vector["record"]](**{name: value(plain) for name, plain in vector["fields"].items()}),
            bytes.fromhex(vector["frame"]),
        )
        for vector in VECTORS["records"]
    ]


def program() -> tuple[str, list[bytes], list[str]]:
    """Return C that writes the vectors a board can, their frames, and which it cannot write: record and why."""
    calls, frames, left = [], [], []
    for number, record, frame in records():
        writer = _WRITERS.get(type(record).__name__)
        if writer is None:
            continue
        reason = _unwritable(record)
        if reason:
            left.append(f"{type(record).__name__}: {reason}")
            continue
        calls.append(f"  {{\n    sender.number = {number}u;\n{writer(record)}\n  }}")
        frames.append(frame)
    return _HEAD + "\n".join(calls) + "\n  return 0;\n}\n", frames, left


def _unwritable(record: Record) -> str:
    """Return which field a microcontroller never sends; nothing if there is none."""
    never = {
        "deflated": False, "full_shape": (), "warm_up": False, "temperature": None, "throttled": None, "final": False,
        "degraded": {}, "thinned": {}, "source": {}, "governor": "", "link_rate": None, "rate": None, "deadline": None,
        "tolerance": None, "encoding": 0, "queued": 0, "reconnects": 0,
    }  # fmt: skip
    there = next((name for name, default in never.items() if getattr(record, name, default) != default), "")
    if getattr(record, "runtime", RUNTIME) != RUNTIME:
        return "runtime"
    return there or ("layers" if isinstance(record, Session) and not record.layers else "")


def _text(text: str) -> str:
    return '"' + "".join(f"\\{byte:03o}" for byte in text.encode()) + '"'


def _list(kind: str, entries: list[str]) -> str:
    return f"({kind}[]){{{', '.join(entries) or '0'}}}"


def _bytes(data: bytes) -> str:
    return _list("uint8_t", [str(byte) for byte in data])


def _signed(data: bytes) -> str:
    return _list("int8_t", [str(byte - 256 if byte > 127 else byte) for byte in data])


def _float(number: float) -> str:
    return f"{float(number).hex()}f"


def _tensor(shape: tuple[int, ...], **fields: object) -> str:
    given = {"rank": len(shape), "shape": f"{{{', '.join(map(str, shape)) or 0}}}", **fields}
    return "{" + ", ".join(f".{name} = {entry}" for name, entry in given.items()) + "}"


def _session(r: Record) -> str:
    layers = r.layers or [""] * len(r.methods)  # a board always has them
    explained = ", ".join(
        f"{{.method = {_text(m)}, .layer = {_text(layer)}}}" for m, layer in zip(r.methods, layers, strict=True)
    )
    return f"""    const whylite_explanation explained[] = {{{explained}}};
    const whylite_model model = {{.name = {_text(r.model)}, .digest = {_bytes(r.model_digest)},
      .input = {_tensor(r.input_shape)}, .explanations = explained, .explanation_count = {len(r.methods)},
      .labels = {_list("const char *", [_text(label) for label in r.labels])}, .label_count = {len(r.labels)}}};
    port.clock_hz = {r.clock_hz}u;
    port.board = {_text(r.board)};
    port.clock = {_text(r.clock)};
    whylite_send_session(&sender, &model, {_bytes(r.session)}, {r.time}u);"""


def _result(r: Record) -> str:
    scores = _list("float", [_float(score) for score in r.scores])
    return f"""    const whylite_model model = {{.scores = {{.size = {4 * len(r.scores)}, .type = WHYLITE_FLOAT32}}}};
    const whylite_result result = {{.sequence = {r.sequence}u, .class_index = {r.class_index},
      .truth = {-1 if r.truth is None else r.truth}, .time = {r.time}u,
      .captured = {"UINT64_MAX" if r.captured is None else f"{r.captured}u"}}};
    whylite_send_result(&sender, &result, &model, (const int8_t *){scores});"""


def _map(r: Record) -> str:
    is_map = type(r).__name__ == "Map"
    grid = _tensor(r.shape, scale=_float(r.scale), zero_point=r.zero_point)
    more = (
        f""", .method = {r.method}, .class_index = {r.class_index}, .complete = {str(r.residual is not None).lower()},
      .residual = {_float(r.residual or 0)}, .steps = {r.steps}u, .flags = {r.flags}"""
        if is_map
        else ""
    )
    return f"""    const whylite_tensor tensor = {grid};
    const whylite_map map = {{.code = {"WHYLITE_MAP_CHUNK" if is_map else "WHYLITE_INPUT"}, .tensor = &tensor,
      .sequence = {r.sequence}u{more}}};
    whylite_send_chunk(&sender, &map, {r.chunk}, {r.chunks}, {_signed(r.data)}, {len(r.data)});"""


def _table(entries: dict[int, int]) -> tuple[int, str]:
    return sum(1 << key for key in entries), "{" + ", ".join(f"[{k}] = {v}u" for k, v in entries.items()) + "}"


def _latency(r: Record) -> str:
    (phases_known, phases), (methods_known, methods) = _table(r.phases), _table(r.methods)
    return f"""    const whylite_latency latency = {{.sequence = {r.sequence}u,
      .phases = {{{phases_known}, {phases}}}, .methods = {{{methods_known}, {methods if r.methods else "{0}"}}},
      .valid = {str(r.valid).lower()}}};
    whylite_send_latency(&sender, &latency);"""


def _health(r: Record) -> str:
    counts = "\n".join(
        [
            "    for (int i = 0; i < WHYLITE_CODES; i++) { sender.sent[i] = sender.dropped[i] = 0; }",
            *(f"    sender.sent[{code}] = {n}u;" for code, n in r.sent.items()),
            *(f"    sender.dropped[{code}] = {n}u;" for code, n in r.dropped.items()),
        ]
    )
    return f"""{counts}
    sender.stalls = {r.stalls}u;
    const whylite_health health = {{.time = {r.time}u, .produced = {r.produced}u, .bad_frames = {r.bad_frames}u,
      .memory = {r.memory or 0}u, .clock_faults = {r.clock_faults}u}};
    whylite_send_health(&sender, &health);"""


def _log(r: Record) -> str:
    return f"    whylite_send_log(&sender, {r.time}u, {r.level}, {_text(r.text)});"


def _sequence(r: Record) -> str:
    return "NULL" if r.sequence is None else f"&(uint32_t){{{r.sequence}u}}"


def _error(r: Record) -> str:
    texts = ", ".join(map(_text, (r.kind, r.cause, r.hint)))
    return f"    whylite_send_error(&sender, {r.time}u, {texts}, {_sequence(r)});"


def _settings(r: Record) -> str:
    return f"""    const whylite_settings settings = {{.methods = {_bytes(bytes(r.methods))},
      .method_count = {len(r.methods)}, .explain = {r.explain}, .inputs = {str(r.inputs).lower()},
      .alarms = {_list("uint16_t", [str(alarm) for alarm in r.alarms])}, .alarm_count = {len(r.alarms)},
      .kept = {r.kept}u}};
    whylite_send_settings(&sender, &settings);"""


def _pong(r: Record) -> str:
    return f"    whylite_send_pong(&sender, {r.token}u, {r.received}u, {r.sent}u);"


def _ack(r: Record) -> str:
    refused, hint = (_text(r.refused), _text(r.hint)) if r.refused else ("NULL", "NULL")
    return f"    whylite_send_ack(&sender, {r.request}u, {refused}, {hint}, {_sequence(r)});"


_WRITERS = {
    "Session": _session,
    "Result": _result,
    "Map": _map,
    "Latency": _latency,
    "Health": _health,
    "Log": _log,
    "Error": _error,
    "Input": _map,
    "Settings": _settings,
    "Pong": _pong,
    "Ack": _ack,
}

WRITTEN = tuple(_WRITERS)
"""The records that a microcontroller sends."""
