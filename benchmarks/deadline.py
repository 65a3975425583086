"""What a deadline costs: ``python -m benchmarks.deadline BUNDLE INPUTS.npz [--against CHECKOUT] [--json FILE]``.

Windows are explained by all methods of a bundle, at deadlines from half to four times what a window takes without one,
on one processor, alone and beside a program that never rests: the part of the explanations that were made, of the
windows that were late, the worst lateness, and the part of the time there was that was used. What comes with the answer
is left out. ``--against`` runs another checkout of this project in turn with this one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .__main__ import describe_machine
from .models import OUT, ROOT

TIMES = (0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
_HOG = "import os; os.sched_setaffinity(0, {%d})\nwhile True: pass"
_RUN = Path(__file__).with_name("deadline_run.py")


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deadline", description=__doc__)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="what `whylite export` wrote (.why)")
    parser.add_argument("inputs", type=Path, metavar="INPUTS.npz", help="windows: x [N, ...]")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout, to compare")
    parser.add_argument("--windows", type=int, default=200, help="of each run (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=50.0, help="of them in a second (default: %(default)s)")
    parser.add_argument("--tolerance", type=float, default=0.0, help="of Integrated Gradients, for refinement")
    parser.add_argument("--json", type=Path, default=OUT / "deadline.json", help="default: %(default)s")
    options = parser.parse_args(argv)
    machine = describe_machine()
    for key, value in machine.items():
        print(f"{key + ':':<10} {value}")
    trees = {"this": ROOT} | ({"other": options.against.resolve()} if options.against else {})
    job = {"rate": options.rate, "windows": options.windows, "tolerance": options.tolerance}
    job["processor"] = max(os.sched_getaffinity(0))
    (free,) = _runs(options, ROOT, job | {"deadlines": [0]})
    print(f"\n{options.bundle.name}: a window takes {free['median']:.2f} ms, alone and without a deadline")
    print(f"  {'deadline':<12}{'beside':<9}{'checkout':<10}{'made':>6}{'late':>8}{'worst':>11}{'used':>7}  by method")
    rows = []
    for times in TIMES:
        for beside in ("nothing", "a hog"):
            with _hog(job["processor"] if beside == "a hog" else None):
                for name, tree in trees.items():
                    (found,) = _runs(options, tree, job | {"deadlines": [times * free["median"]]})
                    rows.append({"times": times, "beside": beside, "checkout": name} | found)
                    print(_line(rows[-1]), flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"machine": machine, "free": free, "rows": rows}, indent=1))
    return 0


def _runs(options: argparse.Namespace, tree: Path, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a job finds in a process of its own, with the ``edge`` of a checkout."""
    command = [sys.executable, str(_RUN), str(options.bundle), str(options.inputs), json.dumps(job)]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@contextmanager
def _hog(processor: int | None) -> Iterator[None]:
    """Keep a processor busy; None keeps none."""
    if processor is None:
        yield
        return
    with subprocess.Popen([sys.executable, "-c", _HOG % processor]) as process:
        try:
            yield
        finally:
            process.kill()


def _line(row: dict[str, Any]) -> str:
    asked = {method: part for method, part in row["made"].items() if row["costs"].get(method, 1.0)}
    made = sum(asked.values()) / max(1, len(asked))
    each = ", ".join(f"{method} {part:.0%}" for method, part in asked.items())
    return (
        f"  {row['times']:<12g}{row['beside']:<9}{row['checkout']:<10}{made:>6.0%}{row['late']:>8.1%}"
        f"{row['worst']:>8.2f} ms{row['used']:>7.0%}  {each}"
    )


if __name__ == "__main__":
    sys.exit(main())
