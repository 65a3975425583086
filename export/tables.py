"""Tables for the terminal that several commands print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edge.manifest import Check, Measure
from edge.micro import Micro, MicroExplanation, macs_by_part

from .trust.sanity import CLASS, EDGES, RANDOMIZATION


def bound(check: Check) -> str:
    """Return what a check is held to: a limit, or a band where a value may be too low as well."""
    if check.band is not None and check.bound == check.band[0]:
        return f"{check.band[0]:.2g} to {check.band[1]:.2g}"
    return f"{check.bound:.2g}"


def measured(check: Check) -> str:
    """Return what a check measured: of a fidelity as many digits as other tables give it."""
    return f"{check.value:.3f}" if "fidelity" in check.name else f"{check.value:.2g}"


def undecided(methods: Sequence[str], checks: Sequence[Check]) -> list[str]:
    """Return a line that names the methods that some sanity check did not decide about; none where there is none."""
    decided = {check.name for check in checks}
    wanted = (CLASS, RANDOMIZATION, EDGES)
    left = [name for name in methods if any(f"{name} {title}" not in decided for title in wanted)]
    return [f"  sanity checks: not all decided for {', '.join(left)}, see notes"] if left else []


def measures(rows: Sequence[Measure]) -> list[str]:
    """Return a line for each method with what was measured of it and decides nothing; none where nothing was."""
    if not rows:
        return []
    names = list(dict.fromkeys(row.name for row in rows))
    found = {(row.method, row.name): _figure(row) for row in rows}
    width = 2 + max(map(len, [*names, *found.values()]))
    lines = [f"  {'decides nothing':<22}" + "".join(f"{name:>{width}}" for name in names)]
    for method in dict.fromkeys(row.method for row in rows):
        own = (found.get((method, name), "-") for name in names)
        lines += [f"  {method:<22}" + "".join(f"{each:>{width}}" for each in own)]
    return [*lines, "  (means over inputs, their 95 % intervals; more is better, but less sensitivity: docs/trust.md)"]


def micro(found: Micro) -> list[str]:
    """Return what a program in C takes, and how faithful its explanations are."""
    macs = macs_by_part(found.operations)
    title = f"  {'in C':<34}{'MACs':>12}{'fidelity':>10}{'5th pct':>9}{'steps':>7}"
    lines = [title, f"  {'predict':<34}{macs['predict']:>12,}"]
    for own in found.explanations:
        steps = str(own.steps or "")
        alike = ("?" if figure is None else f"{figure:.3f}" for figure in (own.fidelity, own.fidelity_p05))
        figures = "{:>12,}{:>10}{:>9}{:>7}".format(_whole(own, macs), *alike, steps)
        lines.append(f"  {'+ ' + own.method:<34}{figures}")
        if own.steps:
            each = f"{macs['predict']:,} to predict and {macs.get(own.method, 0):,} for the gradient"
            lines.append(f"    {own.steps} x ({each})")
        if own.residual_p50 is not None and own.residual_p90 is not None:
            lines.append(
                f"    leaves {own.residual_p50:.1%} of the logit's change unexplained there, "
                f"up to {own.residual_p90:.1%} in 9 of 10 inputs"
            )
    values, scores = math.prod(found.input.shape), math.prod(found.scores.shape)
    kept = f"  beside the arena firmware keeps window and scores, {-(-(values + scores) // 4) * 4:,} bytes"
    if any(own.steps for own in found.explanations):
        kept += f", and sums of 4 bytes per input value, {4 * values:,}"
    return [
        *lines,
        f"  whylite_{found.identifier}: arena {found.arena:,} bytes, constants {found.constants:,}, "
        f"{found.explaining:,} of them to explain",
        kept,
        f"  {found.reference} takes {found.reference_arena:,} bytes of arena to predict alone",
    ]


def _whole(own: MicroExplanation, macs: Mapping[str, int]) -> int:
    """Return the multiply-accumulates of an explanation; where it takes steps, each predicts too."""
    alone = macs.get(own.method, 0)
    return own.steps * (macs["predict"] + alone) if own.steps else alone


def _figure(row: Measure) -> str:
    interval = "" if row.interval is None else f" [{row.interval[0]:.2f}, {row.interval[-1]:.2f}]"
    return f"{row.value:.2f}{interval}"
