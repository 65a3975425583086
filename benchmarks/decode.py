"""How fast Python reads the link, layer by layer, and what writing costs: ``python -m benchmarks.decode``.

MB/s are bytes on the wire, delimiters and all. Each figure is the best of many short runs, as other work on the machine
can only slow it down.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from edge.explanation import Explanation
from edge.wire import cbor, records
from edge.wire.framing import Deframer, frame
from edge.wire.receiver import Receiver
from edge.wire.records import Latency, Map, Result, encode
from tests.link import chunks

from .__main__ import describe_machine
from .figures import Figure, Goal, table
from .models import OUT

_FRAMES = 256  # in one run
_RUNS = 200
_READ = 4096  # bytes that a port hands over at once
_GOAL, _SHARE = Goal(least=200), Goal(most=3)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and write the JSON; 0 whatever the goals say."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__)
    parser.add_argument("--json", type=Path, default=OUT / "decode.json", help="default: %(default)s")
    options = parser.parse_args(argv)
    print(f"{describe_machine()['processor']}, {describe_machine()['cores']}")
    figures = [*decoding(), *encoding()]
    print(table("the link in Python", figures))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps([asdict(figure) | {"verdict": figure.verdict} for figure in figures], indent=1))
    return 0


def decoding() -> list[Figure]:
    """Return how fast frames are decoded: chunks of large maps of 1 and 4 KiB, and maps of one chunk, all different."""
    figures = []
    for what, sent in (
        ("1 KiB chunks", _chunks(1024)),
        ("4 KiB chunks", _chunks(4096)),
        ("32x32 maps, each another", _maps()),
    ):
        payloads = [encode(record, 10_000 + number) for number, record in enumerate(sent)]
        stream = b"".join(map(frame, payloads))
        reads = [stream[at : at + _READ] for at in range(0, len(stream), _READ)]
        deframer, receiver = Deframer(), Receiver()
        layers: dict[str, Callable[[], object]] = {
            "frames": lambda reads=reads, deframer=deframer: _drain(deframer, reads),
            "records": lambda reads=reads, receiver=receiver: _drain(receiver, reads),
            "CBOR by the careful way": lambda payloads=payloads: [cbor.loads(payload) for payload in payloads],
            "records by the careful way": lambda payloads=payloads: [records.decode(payload) for payload in payloads],
        }
        for layer, run in layers.items():
            seconds = _best(run)
            note = f"{seconds / len(payloads) * 1e6:.1f} us and {len(stream) / len(payloads):.0f} B a frame"
            rate = len(stream) / seconds / 1e6
            figures.append(
                Figure("link", f"{what}: {layer}", "MB/s", rate, note=note, goal=_GOAL if layer == "records" else None)
            )
    return figures


def encoding() -> list[Figure]:
    """Return what a 32x32 explanation costs the sender: a RESULT, a MAP and a LATENCY, to the last byte."""
    explanations = [
        Explanation(np.ones(4, np.float32), 1, method="gradcam", map=values, residual=0.5, steps=8)
        for values in np.random.default_rng(0).normal(size=(_FRAMES, 32, 32)).astype(np.float32)
    ]
    maps = _maps()
    result = Result(sequence=70_000, class_index=1, scores=(0.25, 0.5, 0.125, 0.125), time=1 << 40)
    latency = Latency(sequence=70_000, phases=dict.fromkeys(range(6), 1 << 20), methods={0: 1 << 22})

    def everything() -> None:
        for number, explanation in enumerate(explanations):
            for record in (result, *chunks(70_000, explanation, 0, "int8"), latency):
                frame(encode(record, number))

    coded = _best(lambda: [chunks(70_000, explanation, 0, "int8") for explanation in explanations])
    framed = _best(lambda: [frame(encode(record, 70_000)) for record in maps])
    total = _best(everything)
    share = total / _FRAMES * 100 * 100
    return [
        Figure("link", "32x32 map: quantised, deflated, cut", "us", coded / _FRAMES * 1e6),
        Figure("link", "32x32 map: record and frame", "us", framed / _FRAMES * 1e6),
        Figure("link", "result, map and latency to bytes", "us", total / _FRAMES * 1e6),
        Figure("link", "100 of them a second, of one core", "%", share, goal=_SHARE, note="without writing the port"),
    ]


def _chunks(size: int) -> list[Map]:
    """Return the chunks of maps of 256 x 256 values, of so many bytes each."""
    random = np.random.default_rng(1)
    per_map = 65_536 // size
    whole = Map(
        sequence=0, method=1, class_index=3, shape=(256, 256), encoding=0, scale=0.5, zero_point=0, residual=0.25,
        steps=32, flags=8, chunks=per_map, data=b"",
    )  # fmt: skip
    return [
        replace(whole, sequence=70_000 + i // per_map, chunk=i % per_map, data=random.bytes(size))
        for i in range(_FRAMES)
    ]


def _maps() -> list[Map]:
    """Return maps that fit in one frame, with everything that differs from one to the next."""
    random = np.random.default_rng(2)
    made = []
    for i in range(_FRAMES):
        values = (random.normal(size=(32, 32)) * random.uniform(0.1, 9)).astype(np.float32)
        explanation = Explanation(
            np.ones(4, np.float32), int(random.integers(10)), method="gradcam", map=values, residual=0.5, steps=i % 40
        )
        made += chunks(70_000 + i, explanation, i % 2, "int8")
    return made


def _drain(receiver: Deframer | Receiver, reads: Sequence[bytes]) -> None:
    for read in reads:
        for _ in receiver.feed(read):
            pass


def _best(run: Callable[[], object]) -> float:
    """Return the shortest of many runs, in seconds."""
    shortest = float("inf")
    for _ in range(_RUNS):
        begin = time.perf_counter()
        run()
        shortest = min(shortest, time.perf_counter() - begin)
    return shortest


if __name__ == "__main__":
    sys.exit(main())
