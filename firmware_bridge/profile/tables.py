"""A profile as plain text of at most 100 columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edge.latency import duration
from firmware_bridge.profile.compare import Comparison
from firmware_bridge.profile.document import NANOSECONDS, PREDICT, Energy, Fit, MemoryCost, PartCost, Profile, Spread

_OPERATION = "  {:>3}  {:<24} {:<26} {:>12} {:>13} {:>6} {:>7}"
_PART = "  {:<40} {:>14} {:>9} {:>13} {:>9} {:>8}"


def table(profile: Profile) -> str:
    """Return everything that a profile says."""
    made = f"; {profile.toolchain} {profile.optimize}" if profile.toolchain else ""
    core = f" ({profile.core})" if profile.core else ""
    lines = [
        f"{profile.model} on {profile.board}{core}{made}",
        f"{profile.unit} by {profile.counter}; windows: {profile.windows}, medians",
        "",
        *_parts(profile),
        *_operations(profile),
        *_latency(profile),
    ]
    if profile.memory is not None:
        lines += ["", *_memory(profile.memory), "", *_fits(profile.fits)]
    if profile.energy is not None:
        lines += ["", *_energy(profile.energy)]
    return "\n".join(lines)


def _parts(profile: Profile) -> Iterator[str]:
    yield _PART.format("", profile.unit, "to plain", "MACs", "per MAC", "stack")
    for part in profile.parts:
        name = part.name if part.name == PREDICT else f"{PREDICT} + {part.name}"
        name += f", {part.steps} steps" if part.steps else ""
        whole = part.count.median + (0 if part.name == PREDICT else profile.parts[0].count.median)
        macs = part.macs if part.macs is None or part.name == PREDICT else part.macs + (profile.parts[0].macs or 0)
        stack = "" if part.stack is None else f"{part.stack:,} B"
        yield _PART.format(
            name[:40], f"{whole:,.0f}", f"{part.ratio:.4f}", _count(macs), _per(whole, macs), stack
        ).rstrip()
    for part in profile.parts:
        if not part.count.constant:
            yield f"  {part.name}: {_range(part.count)} {profile.unit}, as the windows have it"
    for part in profile.parts:
        if part.other is not None and part.other.median > 0.01 * part.count.median:
            yield f"  {part.name}: {part.other.median:,.0f} of them outside of kernels"


def _operations(profile: Profile) -> Iterator[str]:
    if not profile.operations:
        return
    yield ""
    yield _OPERATION.format("", "op", "kernel", "MACs", profile.unit, "share", "per MAC")
    before = ""
    total = 0.0
    for place, cost in enumerate(profile.operations):
        if cost.part != before:
            part = profile.part(cost.part)
            total = _once(part) if part is not None else 0.0
            before = cost.part
            yield f"  {titled(profile, cost.part)}"
        share = f"{cost.count.median / total:.1%}" if total else ""
        count = f"{cost.count.median:,.0f}" + ("" if cost.count.constant else "~")
        kernel = cost.kernel.removeprefix("whylite_")
        yield _OPERATION.format(
            place, cost.code[:24], kernel[:26], _count(cost.macs), count, share, _per(cost.count.median, cost.macs)
        ).rstrip()
    if any(not cost.count.constant for cost in profile.operations):
        yield "  ~ not the same for every window"


def titled(profile: Profile, name: str) -> str:
    """Return what to call operations of a part: those of one step, where it takes many."""
    part = profile.part(name)
    return f"{name}, one step of {part.steps}" if part is not None and part.steps else name


def _once(part: PartCost) -> float:
    """Return what a part takes of which operations can be shares: one step of many."""
    return part.count.median / max(1, part.steps)


def _latency(profile: Profile) -> Iterator[str]:
    if profile.unit != NANOSECONDS:
        return
    row = "  {:<28} {:>9} {:>9} {:>9} {:>9} {:>9}"
    yield ""
    yield row.format("phase", "mean", "p50", "p95", "p99", "most")
    for name, seen in profile.latency.items():
        yield row.format(name[:28], *map(duration, (seen.mean, seen.p50, seen.p95, seen.p99, seen.max)))


def _memory(memory: MemoryCost) -> Iterator[str]:
    yield (
        f"  arena  {memory.arena:>9,} B, explanations included; {memory.reference} to predict alone "
        f"{memory.reference_arena:,} B ({memory.arena / max(1, memory.reference_arena):.2f})"
    )
    if not memory.sources:
        yield f"  flash  {memory.flash:>9,} B and RAM {memory.ram:,} B, about: it was built elsewhere"
        return
    yield f"  flash  {memory.flash:>9,} B, RAM {memory.ram:,} B with {memory.stack:,} B set aside for the stack"
    yield "         " + ", ".join(f"{name} {size:,}" for name, size in memory.sections.items())
    row = "         {:<22} {:>9} {:>10} {:>9}"
    yield row.format("bytes by source", "code", "constants", "RAM")
    for source in memory.sources:
        yield row.format(source.name, f"{source.code:,}", f"{source.constants:,}", f"{source.ram:,}")


def _fits(fits: Sequence[Fit]) -> Iterator[str]:
    row = "  {:<24} {:<7} {:>24} {:>24}"
    yield row.format("board", "fits", "flash, of", "RAM, of")
    for fit in fits:
        yield row.format(
            fit.board[:24],
            ("yes" if fit.fits else "NO") + ("" if fit.exact else " *"),
            f"{fit.flash:,} / {fit.flash_there:,}",
            f"{fit.ram:,} / {fit.ram_there:,}",
        )
    if not all(fit.exact for fit in fits):
        yield "  * about: without what its SDK takes; code of another core is larger or smaller by some kB"


def _energy(energy: Energy) -> Iterator[str]:
    for name, joules in energy.joules.items():
        yield f"  {name}: {joules * 1e6:,.3g} µJ"
    yield f"  {'measured with' if energy.measured else 'an estimate from'} {energy.source}"


def comparison(compared: Comparison, before: str, after: str) -> str:
    """Return what has changed from one profile to another; the names are those of their files."""
    row = "  {:<24} {:<34} {:>14} {:>14} {:>8}"
    lines = [f"{compared.model} on {compared.board}: {compared.unit} of {after} over {before}", ""]
    lines.append(row.format("", "", "before", "after", "ratio"))
    for change in compared.changes:
        numbers = [_count(value) for value in (change.before, change.after)]
        ratio = "" if change.ratio is None else f"{change.ratio:.4f}"
        lines.append(row.format(change.part[:24], change.what[:34], *numbers, ratio).rstrip())
    return "\n".join([*lines, *(f"  note: {note}" for note in compared.notes)])


def _count(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}"


def _per(count: float, macs: int | None) -> str:
    return f"{count / macs:.2f}" if macs else ""


def _range(counts: Spread) -> str:
    return f"{counts.least:,.0f} to {counts.most:,.0f}"
