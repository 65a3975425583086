"""What recording costs: ``python -m benchmarks.recording [RECORDING] [--json FILE]``.

Bytes and processor time per window of each format, on a recorded stream or one made here: an answer, two maps of 32x32
quantised to int8, and their durations, as a board sends them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from edge.explanation import Flag
from edge.wire import codecs
from edge.wire.records import Result
from firmware_bridge.maps import Attribution
from firmware_bridge.recording import Reader, open_recorder
from firmware_bridge.recording.convert import convert
from firmware_bridge.recording.mcap_writer import McapWriter, Topic
from firmware_bridge.session import Event, Timing

from .__main__ import describe_machine
from .figures import Figure, Goal, table
from .models import OUT

RATE = 100  # windows a second, for a share of one core
WINDOWS = 500
_SHAPE = (32, 32)
_CHUNKS = 20_000
_BLUR = 3

Timed = list[tuple[float, Event]]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recording", description=__doc__)
    parser.add_argument("recording", nargs="?", type=Path, metavar="RECORDING", help="of a real stream")
    parser.add_argument("--json", type=Path, default=OUT / "recording.json", help="default: %(default)s")
    options = parser.parse_args(argv)
    machine = describe_machine()
    for key, value in machine.items():
        print(f"{key + ':':<10} {value}")
    if options.recording is None:
        name, events = "made here", list(made())
    else:
        with Reader(options.recording) as reader:
            name, events = options.recording.name, list(reader)
    with tempfile.TemporaryDirectory() as folder:
        figures = [*formats(name, events, Path(folder)), memory(name, Path(folder))]
    print("\n" + table(f"recording, {name}", figures))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(
        json.dumps({"machine": machine, "figures": [asdict(figure) for figure in figures]}, indent=1)
    )
    return 0


def made() -> Iterator[tuple[float, Event]]:
    """Yield a stream of windows whose maps are smooth, as attributions are."""
    random = np.random.default_rng(0)
    for sequence in range(WINDOWS):
        when = 1_700_000_000 + sequence / RATE
        yield when, Result(sequence=sequence, class_index=2, scores=(0.125, 0.25, 0.625), time=sequence * 10**7)
        for method in ("gradcam", "integrated_gradients"):
            values = random.normal(size=_SHAPE)
            for _ in range(_BLUR):
                for axis in (0, 1):
                    values = (values + np.roll(values, 1, axis) + np.roll(values, -1, axis)) / 3
            coded = codecs.encode(values.astype(np.float32))
            sent = codecs.decode(coded, _SHAPE)
            yield when, Attribution(sequence, method, 2, sent, coded.scale, None, 16, Flag.NONE, "input")
        phases = {
            name: int(random.integers(10**4, 10**6)) for name in ("capture", "predict", "encode", "queue", "send")
        }
        yield when, Timing(sequence, phases, {"gradcam": 0, "integrated_gradients": 10**6})


def formats(name: str, events: Timed, folder: Path) -> Iterator[Figure]:
    """Yield what one window takes in each format, and what writing and reading it costs."""
    windows = sum(isinstance(event, Result) for _, event in events)
    maps = sum(event.values.nbytes for _, event in events if isinstance(event, Attribution))
    sizes, costs = {}, {}
    for suffix in (".jsonl", ".mcap"):
        path = folder / f"stream{suffix}"
        costs[suffix] = (
            cpu(lambda path=path: write(path, events)) / windows,
            cpu(lambda path=path: read(path)) / windows,
        )
        sizes[suffix] = path.stat().st_size / windows
    costs[".parquet"] = cpu(lambda: convert(folder / "stream.mcap", folder / "tables")) / windows, 0.0
    sizes[".parquet"] = sum(path.stat().st_size for path in (folder / "tables").iterdir()) / windows
    for suffix, size in sizes.items():
        ratio = size / sizes[".jsonl"]
        yield Figure(name, f"bytes of a window, {suffix}", "", size, "B", note=f"{ratio:.2f} of .jsonl")
    yield Figure(name, "bytes of its maps as float32", "", maps / windows, "B")
    for suffix, (writing, reading) in costs.items():
        verb = "converting" if suffix == ".parquet" else "writing"
        yield Figure(
            name, f"{verb} a window, {suffix}, share", "", writing * RATE, note=f"of one core at {RATE} a second"
        )
        if reading:
            yield Figure(
                name, f"reading it, {suffix}", "", 1 / (reading * RATE), note=f"times as fast as {RATE} a second"
            )


def memory(name: str, folder: Path) -> Figure:
    """Return what the recorder's memory grows by with every chunk, up to 7200 an hour at a slow rate."""
    writer, topic = McapWriter(folder / "long.mcap", "benchmark"), Topic("/mark", "Mark", b"{}")

    def go(chunks: int) -> int:
        for i in range(chunks):
            writer.message(topic, i, 0, b"{}")
            writer.flush()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    before = go(100)
    growth = (go(_CHUNKS) - before) / _CHUNKS
    tracemalloc.stop()
    writer.close()
    return Figure(name, "bytes of memory that a chunk leaves", "", max(0.0, growth), goal=Goal(most=1.0))


def write(path: Path, events: Timed) -> None:
    """Record all events."""
    with open_recorder(path) as recorder:
        for when, event in events:
            recorder.write(event, when)


def read(path: Path) -> int:
    """Read all events."""
    with Reader(path) as reader:
        return sum(1 for _ in reader)


def cpu(work: Callable[[], object]) -> float:
    """Return the processor time that something takes, of all threads, in seconds."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


if __name__ == "__main__":
    sys.exit(main())
