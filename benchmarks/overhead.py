"""What explaining costs: ``python -m benchmarks.overhead [MODEL.tflite ...] [--json FILE]``.

Every entry that WhyLite compiles against one plain inference of the same model, in LiteRT on one thread: how that is
timed and how far to trust it is told in ``benchmarks.timing``. Only ``invoke`` is timed, on a file whose primary
subgraph is the entry, without the Python around signatures.

Without arguments it takes the int8 models of MLPerf Tiny where they lie next to the checkout, and the watch example.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from export import calibration, heads, tflite
from export.errors import UnsupportedModelError
from export.methods import GradCAM, IntegratedGradients, Method, Saliency, Source
from export.numerics import NUMERICS, Calibration, Numerics

from .timing import Ratio, Setting, ratios

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("WHYLITE_SHARED", ROOT.parent / "shared"))
MLPERF_TINY = {
    "ResNet-8": "pretrainedResnet_quant.tflite",
    "VWW": "vww_96_int8.tflite",
    "KWS": "kws_ref_model.tflite",
}
WATCH = "watch"
AGAIN = "plain model again (A/A)"
GRADCAM, STEP_OF_8 = "gradcam, predicted class", "IG step, batch 8"
GOALS = {
    ("ResNet-8", GRADCAM): 1.015,
    ("VWW", GRADCAM): 1.015,
    ("VWW", STEP_OF_8): 2.2,
    ("KWS", STEP_OF_8): 2.2,
}


@dataclass(frozen=True)
class Candidate:
    """A compiled entry as a file of its own; ``steps`` interpolation steps share one run of it."""

    name: str
    numerics: str
    file: bytes
    steps: int = 1


@dataclass(frozen=True)
class Row:
    """One line of the table: a candidate's time per step over one plain inference."""

    model: str
    entry: str
    numerics: str
    ratio: Ratio
    partitions: int
    operators: int
    goal: float | None


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and write the JSON; 2 where a model cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--json", type=Path, default=ROOT / "out/overhead.json", help="default: %(default)s")
    parser.add_argument("--effort", type=int, default=4, help="more takes longer and is surer (default: %(default)s)")
    options = parser.parse_args(argv)
    machine = describe_machine()
    for key, value in machine.items():
        print(f"{key + ':':<10} {value}")
    rows: list[Row] = []
    for name, file in models(options.models):
        found = measure(name, file, options.effort)
        print("\n" + table(name, found), flush=True)
        rows += found
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1))
    print(f"\nwritten to {options.json}")
    return 0


def models(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Yield the models to measure by name, and say which of the usual ones are absent."""
    if paths:
        yield from ((path.stem, path.read_bytes()) for path in paths)
        return
    for name, file in MLPERF_TINY.items():
        path = SHARED / "models/mlperf_tiny" / file
        if path.is_file():
            yield name, path.read_bytes()
        else:
            print(f"\n{name}: absent, {path} is not there (set WHYLITE_SHARED)")
    yield WATCH, watch_model()


def watch_model() -> bytes:
    """Return the watch example's model in int8, converted if it was not yet."""
    path = ROOT / "out/watch_int8.tflite"
    if not path.is_file():
        from examples.watch import convert

        convert.main(["-o", str(path.parent)])
    return path.read_bytes()


def candidates(file: bytes) -> Iterator[Candidate]:
    """Yield what WhyLite compiles for a model, one file each; an op without a rule leaves a method out."""
    quantised = any(tensor.is_quantized for tensor in tflite.read(file).graphs[0].tensors)
    numerics = [NUMERICS[name] for name in (("deq", "hybrid", "mixed", "int8") if quantised else ("f32",))]
    exact = numerics[0]
    yield from _compiled(file, GradCAM(), exact, {"gradcam": GRADCAM, "gradcam_class": "gradcam, any class"})
    for kind in numerics:
        yield from _compiled(file, Saliency(), kind, {"saliency": "saliency"})
        for batch in (1, 4, 8):
            names = {"integrated_gradients": f"IG step, batch {batch}"}
            yield from _compiled(file, IntegratedGradients(batch), kind, names, batch)


def _compiled(
    file: bytes, method: Method, numerics: Numerics, names: dict[str, str], steps: int = 1
) -> Iterator[Candidate]:
    model = tflite.read(file)
    graph = model.graphs[0]
    try:
        head = heads.find(graph)
        source = Source(graph, head, numerics.store, numerics.integer_forward, numerics.integer_backward)
        entries = method.build(source).entries
    except UnsupportedModelError as error:
        print(f"{method.name}: {error.cause.splitlines()[0]}")
        return
    for entry in entries:
        if entry.key in names:
            if not isinstance(method, GradCAM):
                x = calibration.synthetic(graph, head, 4)
                seen = Calibration([{"x": one[None]} for one in x], np.zeros(x.shape[1:], np.float32), head.classes)
                numerics.finish(entry.graph, entry.inputs, entry.outputs, seen)
            alone = tflite.write(tflite.Model([entry.graph], origin=model.origin))
            yield Candidate(names[entry.key], numerics.name, alone, steps)


def measure(name: str, file: bytes, effort: int) -> list[Row]:
    """Return a row for each candidate of a model, and first one for the model itself.

    What adds a per cent is told from noise by many fresh instances, what multiplies by a few.
    """
    found = [Candidate(AGAIN, "", file), *candidates(file)]
    close = [candidate for candidate in found if candidate.name == AGAIN or candidate.name.startswith("gradcam")]
    far = [candidate for candidate in found if candidate not in close]
    timed = _time(file, close, instances=8 * effort, rounds=10) | _time(file, far, instances=1 + effort, rounds=20)
    return [
        Row(
            name,
            candidate.name,
            candidate.numerics,
            timed[candidate].per(candidate.steps),
            *operators(ready(candidate.file)),
            _goal(name, candidate, timed),
        )
        for candidate in found
    ]


def _time(file: bytes, found: Sequence[Candidate], *, instances: int, rounds: int) -> dict[Candidate, Ratio]:
    def set_up() -> Setting:
        return ready(file).invoke, {str(index): ready(c.file).invoke for index, c in enumerate(found)}

    timed = ratios(set_up, instances=instances, rounds=rounds)
    return {candidate: timed[str(index)] for index, candidate in enumerate(found)}


def _goal(name: str, candidate: Candidate, timed: dict[Candidate, Ratio]) -> float | None:
    """Return the bound for a candidate; of several numerics it counts for the cheapest, which `export` may choose."""
    rivals = [other for other in timed if other.name == candidate.name]
    cheapest = min(rivals, key=lambda other: timed[other].median)
    return GOALS.get((name, candidate.name)) if candidate is cheapest else None


def ready(file: bytes) -> Interpreter:
    """Return an interpreter on one thread whose inputs hold something."""
    interpreter = Interpreter(model_content=file, num_threads=1)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for port in interpreter.get_input_details():
        shape, dtype = port["shape"], np.dtype(port["dtype"])
        if port["name"] in {"alphas", "weights"}:
            value = (np.arange(shape[0]) + 0.5) / shape[0]
        elif dtype == np.int32:  # the class
            value = np.zeros(shape)
        else:
            value = rng.normal(0, 1, shape) if dtype.kind == "f" else rng.integers(0, 100, shape)
        interpreter.set_tensor(port["index"], value.astype(dtype))
    interpreter.invoke()
    return interpreter


def operators(interpreter: Interpreter) -> tuple[int, int]:
    """Return in how many parts the delegate runs the graph, and how many ops the graph has."""
    details = interpreter._get_ops_details()
    partitions = sum(op["op_name"] == "DELEGATE" for op in details)
    return partitions, len(details) - partitions


def table(name: str, rows: Sequence[Row]) -> str:
    """Return the rows of one model as text."""
    plain = rows[0].ratio.reference_us
    lines = [
        f"{name}: {plain:.1f} us a plain inference",
        f"  {'':<26} {'numerics':<9} {'ratio':>7} {'quartiles':>17} {'us':>9} {'parts':>5} {'ops':>4}  goal",
    ]
    for row in rows:
        ratio = row.ratio
        goal = "" if row.goal is None else f"<= {row.goal:g} {'met' if ratio.median <= row.goal else 'NOT MET'}"
        spread = f"{ratio.low:.4g} .. {ratio.high:.4g}"
        lines.append(
            f"  {row.entry:<26} {row.numerics:<9} {ratio.median:>7.4g} {spread:>17} {ratio.candidate_us:>9.1f} "
            f"{row.partitions:>5} {row.operators:>4}  {goal}".rstrip()
        )
    return "\n".join(lines)


def describe_machine() -> dict[str, Any]:
    """Return what the ratios depend on: how much cheaper than floats a processor finds integers above all."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    flags = set(re.findall(r"\w+", (re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.MULTILINE) or [""])[0]))
    dot = sorted(flags & {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"})
    return {
        "processor": model[1] if model else platform.processor() or platform.machine(),
        "integers": f"dot products by {', '.join(dot)}" if dot else "no dot products",
        "runtime": f"LiteRT {metadata.version('ai-edge-litert')}, XNNPACK, 1 thread",
    }


if __name__ == "__main__":
    sys.exit(main())
