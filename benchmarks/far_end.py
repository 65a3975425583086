"""The host of a link that is measured: a cable and a real monitor, in a process of their own, asked for what came."""

from __future__ import annotations

import gc
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from edge import vitals
from edge.wire.records import Result
from firmware_bridge.maps import Attribution
from firmware_bridge.monitor import Monitor
from firmware_bridge.nullmodem import NullModem


@dataclass(frozen=True)
class Came:
    """What had come by ``at``, on the clock of all processes; ``delays`` are of the results since the last time."""

    at: float
    wire_bytes: int
    payload_bytes: int
    results: int
    missing: int
    maps: Counter[tuple[int, ...]]
    map_values: int
    dropped: dict[str, int]
    thinned: dict[int, int]
    queued_bytes: int
    link_rate: int | None
    memory: int
    processor: float
    delays: list[int] = field(default_factory=list)


def listen(pipe: Connection, bytes_per_second: float | None, began: bool) -> None:
    """Tell the device's end of a cable, then listen; answer anything that comes over the pipe with ``Came``.

    With ``began`` the pipe first tells when the session's clock began, and delays are kept.
    """
    with NullModem(bytes_per_second) as modem:
        monitor = Monitor(modem.host)
        pipe.send(modem.device)
        start = pipe.recv() if began else None
        delays: list[int] = []
        maps: Counter[tuple[int, ...]] = Counter()
        values = queued = 0
        while True:
            for event in monitor.poll(0.05):
                if isinstance(event, Attribution):
                    maps[event.values.shape] += 1
                    values += event.values.size
                elif isinstance(event, Result) and start is not None:
                    delays.append(time.perf_counter_ns() - start - event.time)
            health = monitor.tracker.account.health
            queued = max(queued, health.queued_bytes if health else 0)
            if pipe.poll():
                if pipe.recv() is None:
                    break
                gc.collect()
                summary = monitor.summary()
                pipe.send(
                    Came(
                        at=time.perf_counter(),
                        wire_bytes=summary.wire_bytes,
                        payload_bytes=summary.payload_bytes,
                        results=summary.windows,
                        missing=summary.missing_results + summary.lost_frames,
                        maps=Counter(maps),
                        map_values=values,
                        dropped=dict(summary.dropped),
                        thinned=dict(health.thinned) if health else {},
                        queued_bytes=queued,
                        link_rate=health.link_rate if health else None,
                        memory=vitals.memory() or 0,
                        processor=time.process_time(),
                        delays=delays,
                    )
                )
                delays = []
        monitor.close()
