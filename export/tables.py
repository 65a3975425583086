"""Tables for the terminal that several commands print."""

from __future__ import annotations

from collections.abc import Sequence

from edge.bundle import Measure


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


def _figure(row: Measure) -> str:
    interval = "" if row.interval is None else f" [{row.interval[0]:.2f}, {row.interval[-1]:.2f}]"
    return f"{row.value:.2f}{interval}"
