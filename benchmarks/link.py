"""What the link carries and costs: ``python -m benchmarks.link [PART ...] [--json FILE]``.

decode: how fast the host reads frames (see benchmarks/decode.py).
goodput: attributions of a kilobyte, as int8, on throttled cables and on one that is not: bytes of payload that arrive
over what the rate allows. cost: processor time of the link's thread and of posting, at 100 explanations of 32x32 a
second. slow: thinning and the delay of results at 115200 baud. pause: a host that is stopped for a minute. day: a day
of 10 windows a second, as fast as it goes; the growth of memory on both sides, per hour of stream.

Device and host are separate processes and talk over two ptys; goals are printed with the figures.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge import vitals
from edge.explanation import Explanation, Prediction
from edge.latency import Lap, Phase
from edge.link.stream import Stream
from edge.wire.records import PROTOCOL, Session

from .decode import decoding
from .far_end import Came, listen
from .figures import Figure, Goal, table
from .models import OUT

RATES = {"115200": 11_520, "921600": 92_160}
PREDICTION = Prediction(np.array([0.1, 0.2, 0.7], np.float32), 2)
WINDOWS_A_DAY = 864_000
_HOUR = WINDOWS_A_DAY // 24
_SAMPLES = 48
_rng = np.random.default_rng(0)


class Device:
    """The sending side: a stream to a host in another process, which can be asked what came."""

    def __init__(self, rate: float | None, encoding: str, *, delays: bool = False) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self.host = context.Process(target=listen, args=(far, rate, delays), daemon=True)
        self.host.start()
        session = Session(
            protocol=PROTOCOL,
            session=os.urandom(8),
            time=0,
            clock_hz=1_000_000_000,
            board="benchmark",
            software="",
            runtime="",
            model="",
            model_digest=bytes(32),
            input_shape=(32, 32),
            methods=("saliency", "gradcam"),
            labels=("a", "b", "c"),
        )
        self.stream = Stream(self._pipe.recv(), 921600, session, encoding)
        if delays:
            self._pipe.send(self.stream._began)
        self.sequence = 0

    def window(self, *maps: NDArray[np.float32]) -> None:
        """Send a window: its result, an explanation with each method, its latency."""
        self.stream.result(self.sequence, PREDICTION)
        for method, values in zip(("saliency", "gradcam"), maps, strict=False):
            self.stream.explanation(self.sequence, Explanation(PREDICTION.scores, 2, method=method, map=values))
        self.stream.latency(self.sequence, Lap({Phase.PREDICT: 1_000_000}, {"saliency": 5_000_000}))
        self.sequence += 1

    def came(self) -> Came:
        """Ask the host what came."""
        self._pipe.send(True)
        found: Came = self._pipe.recv()
        return found

    def thread_time(self) -> float:
        """Return the processor time of the link's thread, in seconds."""
        ident = self.stream._sender._thread.ident
        assert ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(ident))


@contextmanager
def device(rate: float | None, encoding: str, *, delays: bool = False) -> Iterator[Device]:
    """Give a device that is connected, and say goodbye in the end."""
    made = Device(rate, encoding, delays=delays)
    try:
        yield made
        made.stream.close(patience=2.0)
        made._pipe.send(None)
        made.host.join(10)
    finally:
        made.host.kill()


def goodput(name: str, rate: float | None, seconds: float = 40.0) -> list[Figure]:
    """Saturate a link with attributions of 1,024 incompressible bytes; the first seconds, until it is known, apart."""
    values = _rng.uniform(-1, 1, (32, 32)).astype(np.float32)
    with device(rate, "int8") as sender:
        marks: list[Came] = []
        for span in (seconds / 4, seconds):
            end = time.monotonic() + span
            while time.monotonic() < end:
                if sender.stream.wait_for_room(0.2):
                    sender.window(values)
            marks.append(sender.came())
    first, last = marks
    passed = last.at - first.at
    per_second = {
        what: (getattr(last, what) - getattr(first, what)) / passed for what in ("wire_bytes", "payload_bytes")
    }
    maps = (last.map_values - first.map_values) / passed
    figure = partial(Figure, "goodput", variant=name)
    if rate is None:
        return [figure("payload, MB/s", value=per_second["payload_bytes"] / 1e6)]
    return [
        figure("payload / what the rate allows", value=per_second["payload_bytes"] / rate, goal=Goal(least=0.95)),
        figure("attributions / what the rate allows", value=maps / rate, note="without heads, results, latencies"),
        figure("line in use", value=per_second["wire_bytes"] / rate),
        figure("rate as measured / true rate", value=(last.link_rate or math.nan) / rate),
        figure("missing", value=float(last.missing)),
    ]


def cost(seconds: float = 20.0) -> list[Figure]:
    """Send 100 explanations of 32x32 a second over a cable with room for all."""
    values = (_rng.normal(size=(8, 32, 32)) * np.exp(_rng.normal(size=(8, 32, 32)))).astype(np.float32)
    with device(None, "auto") as sender:
        for moment in ("warm-up", "measured"):
            begin, before = time.monotonic(), sender.thread_time()
            count = int(seconds * 100) if moment == "measured" else 200
            for i in range(count):
                time.sleep(max(0.0, begin + i / 100 - time.monotonic()))
                sender.window(values[i % 8])
        share = (sender.thread_time() - before) / (count / 100)
        posting = _posting(sender, values[0])
        came = sender.came()
    figure = partial(Figure, "cost", variant="")
    return [
        figure("link's thread / one core", value=share, note=f"{came.results} results"),
        figure("posting / one core", value=100 * posting),
        figure("both / one core", value=share + 100 * posting, goal=Goal(most=0.03)),
    ]


def _posting(sender: Device, values: NDArray[np.float32]) -> float:
    """Return the processor time of handing in one window, in seconds."""
    taken = []
    for _ in range(200):
        start = time.thread_time()
        sender.window(values)
        taken.append(time.thread_time() - start)
        time.sleep(0.005)
    return float(np.median(taken))


def slow(seconds: float = 90.0) -> list[Figure]:
    """Send 10 windows a second with maps of 32x32x3 and 8x8 over 115200 baud, which could carry three."""
    values = (_rng.normal(size=(32, 32, 3)) * np.exp(_rng.normal(size=(32, 32, 3)))).astype(np.float32)
    small = np.abs(_rng.normal(size=(8, 8))).astype(np.float32)
    with device(RATES["115200"], "auto", delays=True) as sender:
        figures, memory = [], []
        for part in ("first 30 s", f"next {seconds - 30:.0f} s"):
            begin = time.monotonic()
            span = 30 if part.startswith("first") else seconds - 30
            for i in range(int(10 * span)):
                time.sleep(max(0.0, begin + i / 10 - time.monotonic()))
                sender.window(values, small)
                memory.append(vitals.memory() or 0)
            came = sender.came()
            p50, p95, most = np.quantile(np.asarray(came.delays) / 1e9, (0.5, 0.95, 1.0))
            figure = partial(Figure, "slow", variant=part)
            figures += [
                figure("delay of results, median, ms", value=p50 * 1e3),
                figure("delay of results, p95, ms", value=p95 * 1e3),
                figure("delay of results, longest, ms", value=most * 1e3),
            ]
        sender.stream.close(5.0)
        time.sleep(3.0)
        came = sender.came()
        figure = partial(Figure, "slow", variant="")
        return [
            *figures,
            figure("results that did not arrive", value=float(sender.sequence - came.results), goal=Goal(most=0.0)),
            figure("maps dropped / maps", value=came.dropped.get("Map", 0) / (2 * sender.sequence)),
            *(
                figure(f"thinned: {name} / maps", value=came.thinned.get(code, 0) / (2 * sender.sequence))
                for code, name in enumerate(("fewer bits", "largest only", "coarser"))
            ),
            figure("most that waited", value=float(came.queued_bytes), unit="B"),
            figure("memory, last third over first third", value=_thirds(memory)),
            figure("rate as measured / true rate", value=(came.link_rate or math.nan) / RATES["115200"]),
        ]


def _thirds(memory: Sequence[int]) -> float:
    third = len(memory) // 3
    return float(np.mean(memory[-third:]) / np.mean(memory[third : 2 * third]))


def pause(seconds: float = 60.0) -> list[Figure]:
    """Stop the host for a minute at 20 windows a second, and let it go on."""
    values = _rng.normal(size=(32, 32)).astype(np.float32)
    with device(None, "auto") as sender:
        before = vitals.memory() or 0
        for part, span in (("before", 5.0), ("stopped", seconds), ("after", 10.0)):
            assert sender.host.pid is not None
            if part != "before":
                os.kill(sender.host.pid, signal.SIGSTOP if part == "stopped" else signal.SIGCONT)
            begin = time.monotonic()
            for i in range(int(20 * span)):
                time.sleep(max(0.0, begin + i / 20 - time.monotonic()))
                sender.window(values)
            if part == "stopped":
                grown = (vitals.memory() or 0) - before
        came = sender.came()
    figure = partial(Figure, "pause", variant=f"{seconds:.0f} s")
    made = sender.sequence
    return [
        figure("results that did not arrive / made", value=(made - came.results) / made),
        figure("results missing and not counted", value=float(came.missing - came.dropped.get("Result", 0))),
        figure("maps dropped / made", value=came.dropped.get("Map", 0) / made),
        figure("maps neither here nor counted", value=float(made - came.maps.total() - came.dropped.get("Map", 0))),
        figure("memory of the device grew by", value=float(grown), unit="B"),
    ]


def day(windows: int = WINDOWS_A_DAY) -> list[Figure]:
    """Replay a day of windows with a result, a map of 16x16 and a latency each, and watch both sides' memory."""
    values = (_rng.normal(size=(16, 16, 16)) * np.exp(_rng.normal(size=(16, 16, 16)))).astype(np.float32)
    with device(None, "auto") as sender:
        begin = time.monotonic()
        seen: list[tuple[int, int, int]] = []
        for i in range(windows):
            while not i % 16 and not sender.stream.wait_for_room(1.0):
                pass
            sender.window(values[i % 16])
            if i % (windows // _SAMPLES) == windows // _SAMPLES - 1:
                seen.append((i, vitals.memory() or 0, sender.came().memory))
                print(f"    {i + 1:,} windows, {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
        passed = time.monotonic() - begin
        sender.stream.close(20.0)
        time.sleep(1.0)
        came = sender.came()
    hours, device_memory, host_memory = np.asarray(seen[_SAMPLES // 4 :], np.float64).T
    slopes = [float(np.polyfit(hours / _HOUR, memory, 1)[0]) for memory in (device_memory, host_memory)]
    figure = partial(Figure, "day", variant="")
    return [
        figure("times faster than real time", value=windows / 10 / passed, goal=Goal(least=1.0)),
        figure("results that did not arrive", value=float(windows - came.results), goal=Goal(most=0.0)),
        figure("maps neither here nor counted", value=windows - came.maps.total() - came.dropped.get("Map", 0.0)),
        figure("device: memory per hour of stream, B", value=slopes[0], note=f"of {device_memory[-1] / 1e6:.1f} MB"),
        figure("host: memory per hour of stream, B", value=slopes[1], note=f"of {host_memory[-1] / 1e6:.1f} MB"),
    ]


PARTS = {
    "decode": decoding,
    "goodput": lambda: [figure for name, rate in [*RATES.items(), ("pty", None)] for figure in goodput(name, rate)],
    "cost": cost,
    "slow": slow,
    "pause": pause,
    "day": day,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables and write the JSON; 0 whatever the goals say."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.link", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--json", type=Path, default=OUT / "link.json", help="default: %(default)s")
    options = parser.parse_args(argv)
    begin = time.monotonic()
    rows = []
    for name, part in PARTS.items():
        if not options.parts or name in options.parts:
            figures = part()
            print(table(f"\n{name}, load {os.getloadavg()[0]:.1f}", figures), flush=True)
            rows += [asdict(figure) | {"verdict": figure.verdict} for figure in figures]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(rows, indent=1))
    print(f"\n{time.monotonic() - begin:.0f} s; written to {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
