"""What explaining costs: ``python -m benchmarks [MODEL.tflite ...] [--json FILE] [--effort N] [--skip PART]``.

Time, memory, size and export time of what WhyLite compiles, and Integrated Gradients by others on the same models.
Without models it takes the int8 models of MLPerf Tiny where they lie next to the checkout, the watch example's, and a
MobileNet v2 made on the spot.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from edge.bundle import Bundle

from . import exports, overhead, peers
from .figures import Figure, table
from .models import KWS, OUT, RESNET, VWW, models
from .overhead import STEP

PARTS = ("export", "overhead", "peers")
PEERED = (RESNET, VWW, KWS)
_HALF_GOAL = 1.8


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--json", type=Path, default=OUT / "benchmarks.json", help="default: %(default)s")
    parser.add_argument("--effort", type=int, default=4, help="more takes longer and is surer (default: %(default)s)")
    parser.add_argument("--skip", action="append", default=[], choices=PARTS, help="may be repeated")
    options = parser.parse_args(argv)
    machine, begin = describe_machine(), time.monotonic()
    for key, value in machine.items():
        print(f"{key + ':':<10} {value}")
    found: list[Figure] = []
    for name, path in models(options.models):
        figures: list[Figure] = []
        shipped: Bundle | None = None
        if "export" not in options.skip:
            try:
                exported, figures = exports.measure(name, path)
                shipped = exported.bundle
            except RuntimeError as error:
                print(f"\n{name}: export ended with {error}")
        if "overhead" not in options.skip:
            figures += overhead.measure(name, path.read_bytes(), options.effort, shipped and shipped.manifest.numerics)
        if "peers" not in options.skip and (name in PEERED or options.models):
            figures += peers.measure(name, path, shipped)
        print("\n" + table(name, figures), flush=True)
        found += figures
    print("\n" + "\n".join(summary(found)))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    rows = [asdict(figure) | {"verdict": figure.verdict} for figure in found]
    options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
    print(f"{time.monotonic() - begin:.0f} s; written to {options.json}")
    return 0


def summary(figures: Sequence[Figure]) -> list[str]:
    """Return what became of the goals, over all models."""
    judged = [figure for figure in figures if figure.goal is not None]
    met = [figure for figure in judged if figure.verdict.endswith(" MET") and not figure.verdict.endswith("NOT MET")]
    lines = [f"{len(met)} of {len(judged)} goals met"]
    lines += [f"  {f.model}: {f.what}: {f.value:.4g}, {f.verdict}" for f in judged if f not in met]
    steps = [figure.value for figure in judged if figure.what == STEP]
    if steps:
        low = sum(value <= _HALF_GOAL for value in steps)
        verdict = "MET" if 2 * low >= len(steps) else "NOT MET"
        lines.append(f"{STEP} <= {_HALF_GOAL} on at least half: on {low} of {len(steps)}, {verdict}")
    return lines


def describe_machine() -> dict[str, Any]:
    """Return what the ratios depend on: how much cheaper than floats a processor finds integers above all."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    flags = set(re.findall(r"\w+", (re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.MULTILINE) or [""])[0]))
    dot = sorted(flags & {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"})
    return {
        "processor": model[1] if model else platform.processor() or platform.machine(),
        "cores": f"{os.cpu_count()}, load {os.getloadavg()[0]:.1f} at the start",
        "integers": f"dot products by {', '.join(dot)}" if dot else "no dot products",
        "runtime": f"LiteRT {metadata.version('ai-edge-litert')}, XNNPACK, 1 thread",
    }


if __name__ == "__main__":
    sys.exit(main())
