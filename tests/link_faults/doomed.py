"""Devices that are killed where they are told to be: ``python -m tests.link_faults.doomed PORT``, one phase per line.

Each life is a process of its own with a stream of its own, forked because that takes milliseconds. It ends itself by
SIGKILL when the first frame of the stated phase is about to be written, half written, or written.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import numpy as np

from edge.explanation import Explanation, Prediction
from edge.latency import Lap, Phase
from edge.link import outbox, sender
from edge.link.stream import Stream, introduction
from edge.wire.framing import unframe
from edge.wire.port import Port
from edge.wire.records import MAX_CHUNK, Health, Latency, Map, Record, Result, Session, decode
from tests.edge.test_stream import Manifest

WINDOWS = 6
_KILLED_AT = 3  # the window in which most of them die

# how much of the frame is written, and which one it is
PHASES: dict[str, tuple[str, Callable[[Record], bool]]] = {
    "before SESSION": ("before", lambda record: isinstance(record, Session)),
    "in SESSION": ("half", lambda record: isinstance(record, Session)),
    "after SESSION": ("after", lambda record: isinstance(record, Session)),
    "in HEALTH": ("half", lambda record: isinstance(record, Health)),
    "in RESULT": ("half", lambda record: isinstance(record, Result) and record.sequence == _KILLED_AT),
    "between RESULT and MAP": ("after", lambda record: isinstance(record, Result) and record.sequence == _KILLED_AT),
    "in MAP": ("half", lambda record: isinstance(record, Map) and record.chunk == 1),
    "between two chunks": ("after", lambda record: isinstance(record, Map) and record.chunk == 1),
    "before LATENCY": ("before", lambda record: isinstance(record, Latency) and record.sequence == _KILLED_AT),
    "before goodbye": ("before", lambda record: isinstance(record, Health) and record.final),
    "in goodbye": ("half", lambda record: isinstance(record, Health) and record.final),
    "after goodbye": ("after", lambda record: isinstance(record, Health) and record.final),
}
TORN = tuple(phase for phase, (when, _) in PHASES.items() if when == "half")


def scores(life: int, sequence: int) -> np.ndarray:
    """Return what life and window can be told from."""
    return np.array([life / 4096, sequence / 4096], np.float32)


def values(life: int, sequence: int) -> np.ndarray:
    """Return the map of a window, three chunks of it."""
    return np.random.default_rng((life, sequence)).uniform(-1, 1, 3 * MAX_CHUNK).astype(np.float32)


def live(port: str, life: int, phase: str) -> None:
    """Send a few windows, and die on the way."""
    when, is_last = PHASES[phase]

    class DoomedPort(Port):
        def write(self, data: bytes, patience: float) -> int:
            begins = data[:1] == b"\x00" and any(data)  # zeros alone are padding, there to measure the link's rate
            if not begins or not is_last(decode(unframe(data[1:-1])).record):
                return super().write(data, patience)
            rest = {"before": b"", "half": data[: len(data) // 2], "after": data}[when]
            while rest:
                rest = rest[super().write(rest, patience) :]
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

    sender.Port, outbox.STALE = DoomedPort, float("inf")  # of what was sent nothing is dropped, however long it takes
    session = introduction(Manifest(name=f"{life}"), ("saliency",), "litert")
    with Stream(port, 921600, session, "int8") as stream:
        for sequence in range(WINDOWS):
            prediction = Prediction(scores(life, sequence), 1)
            stream.result(sequence, prediction)
            stream.explanation(
                sequence, Explanation(prediction.scores, 1, {}, method="saliency", map=values(life, sequence))
            )
            stream.latency(sequence, Lap({Phase.PREDICT: 1000 + sequence}, {}))
        stream.close(patience=600)


def main() -> None:
    """Live as often as told, and say how each life ended."""
    for life, phase in enumerate(sys.stdin):
        child = os.fork()
        if child == 0:
            live(sys.argv[1], life, phase.strip())
            os._exit(0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
