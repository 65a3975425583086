"""Throw damaged and lying files at WhyLite: ``python -m tests.fuzz TARGET --runs 1000 --seed 1 --findings out/fuzz``.

Run ``n`` of seed ``s`` is the same input in every run of the program, whatever came before; ``--only n`` repeats one.
Exit code 0 where everything held, 1 where there are findings; each is written to a folder of its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads do not survive the fork, and their stacks count as memory

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .isolation import Outcome, isolated
from .targets import TARGETS, Case

SECONDS = 90.0
MEMORY = 6 << 30


def case_of(target: str, seed: int, number: int) -> Case:
    """Return input ``number`` of a seed."""
    return TARGETS[target](random.Random(f"{target} {seed} {number}"))


def hunt(
    target: str, seed: int, numbers: Sequence[int], findings: Path | None = None
) -> list[tuple[int, Case, Outcome]]:
    """Judge inputs one by one, each in its own process, and return them with what they did."""
    results = []
    for number in numbers:
        case = case_of(target, seed, number)
        outcome = isolated(case.judge, SECONDS, MEMORY)
        results.append((number, case, outcome))
        if outcome.finding and findings is not None:
            _keep(findings / f"{target}-{seed}-{number}", case, outcome)
    return results


def _keep(folder: Path, case: Case, outcome: Outcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in case.files.items():
        (folder / name).write_bytes(data)
    (folder / "finding.txt").write_text(f"{case.recipe}\n{outcome.kind}\n\n{outcome.detail}\n", "utf-8", "replace")


def table(results: Sequence[tuple[int, Case, Outcome]], seconds: float) -> str:
    """Return what came of all runs: outcomes by kind, the slowest, the largest."""
    outcomes = [outcome for _, _, outcome in results]
    counts = Counter((outcome.finding, outcome.kind) for outcome in outcomes)
    lines = [f"{len(outcomes)} runs in {seconds:.0f} s, {len(outcomes) / seconds:.1f} a second"]
    for finding in (False, True):
        for (found, kind), count in counts.most_common():
            if found == finding:
                lines.append(f"  {'FINDING ' if finding else '        '}{count:>7}  {kind}")
    noise = Counter(line for outcome in outcomes for line in outcome.noise)
    lines += [f"  warning {count:>7}  {line}" for line, count in noise.most_common(20)]
    slowest, largest = (max(results, key=lambda r: getattr(r[2], what)) for what in ("seconds", "bytes"))
    lines.append(f"  slowest {slowest[2].seconds:7.2f} s (run {slowest[0]}: {slowest[1].recipe}, {slowest[2].kind})")
    lines.append(f"  largest {largest[2].bytes >> 20:7} MiB (run {largest[0]}: {largest[1].recipe}, {largest[2].kind})")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the fuzzer from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="RUN", help="one run, with all that it said")
    parser.add_argument("--list", metavar="KIND", help="also name the runs whose outcome contains this")
    parser.add_argument("--findings", type=Path, default=Path("out/fuzz"), help="default: %(default)s")
    options = parser.parse_args(argv)
    numbers = range(options.runs) if options.only is None else [options.only]
    begin = time.monotonic()
    results = hunt(options.target, options.seed, numbers, options.findings)
    print(table(results, time.monotonic() - begin))
    for number, case, outcome in results:
        if options.list and options.list in outcome.kind:
            print(f"run {number}: {case.recipe}: {outcome.detail.splitlines()[0] if outcome.detail else outcome.kind}")
    found = [(number, case, outcome) for number, case, outcome in results if outcome.finding]
    for number, case, outcome in found:
        print(
            f"\nrun {number}: {case.recipe}\n{outcome.kind}"
            + (f"\n{outcome.detail}" if options.only is not None else "")
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
