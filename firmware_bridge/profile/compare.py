"""Two profiles of one model on one board, held against each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from firmware_bridge.errors import ProfileError
from firmware_bridge.profile.document import OperationCost, PartCost, Profile


@dataclass(frozen=True)
class Change:
    """One figure in both; None where one of them lacks it. ``ratio`` is after over before."""

    part: str
    what: str
    before: float | None
    after: float | None
    ratio: float | None


@dataclass(frozen=True)
class Comparison:
    """What has changed; ``notes`` say what else is not the same, and may be why."""

    model: str
    board: str
    unit: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def compare(before: Profile, after: Profile) -> Comparison:
    """Return after over before, in total, per part and per operation; ProfileError where that says nothing."""
    for what, left, right in (
        ("models", before.digest, after.digest),
        ("boards", before.board, after.board),
        ("units", before.unit, after.unit),
    ):
        if left != right:
            names = (before.model, after.model) if what == "models" and before.model != after.model else (left, right)
            raise ProfileError(
                f"the profiles are of different {what}: {names[0][:64]} and {names[1][:64]}",
                "compare two builds of one model on one board",
            )
    changes = [*_parts(before, after), *_operations(before, after), *_memory(before, after)]
    return Comparison(before.model, before.board, before.unit, tuple(changes), tuple(_notes(before, after)))


def _change(part: str, what: str, before: float | None, after: float | None) -> Change:
    return Change(part, what, before, after, after / before if before and after is not None else None)


def _median(cost: PartCost | OperationCost | None) -> float | None:
    return None if cost is None else cost.count.median


def _parts(before: Profile, after: Profile) -> Iterator[Change]:
    for name in dict.fromkeys(part.name for part in (*before.parts, *after.parts)):
        yield _change(name, "in total", _median(before.part(name)), _median(after.part(name)))


def _operations(before: Profile, after: Profile) -> Iterator[Change]:
    """Yield operations that are the same call in both programs: of one part, the n-th of its op."""
    left, right = _numbered(before), _numbered(after)
    for key in dict.fromkeys([*left, *right]):
        one, other = left.get(key), right.get(key)
        kernels = list(dict.fromkeys(cost.kernel.removeprefix("whylite_") for cost in (one, other) if cost))
        yield _change(key[0], f"{key[1]} {' -> '.join(kernels)}", _median(one), _median(other))


def _numbered(profile: Profile) -> dict[tuple[str, str, int], OperationCost]:
    seen: dict[tuple[str, str], int] = {}
    found = {}
    for cost in profile.operations:
        number = seen.get((cost.part, cost.code), 0)
        seen[cost.part, cost.code] = number + 1
        found[cost.part, cost.code, number] = cost
    return found


def _memory(before: Profile, after: Profile) -> Iterator[Change]:
    if before.memory is not None and after.memory is not None:
        for name in ("arena", "flash", "ram"):
            yield _change("bytes", name, getattr(before.memory, name), getattr(after.memory, name))


def _notes(before: Profile, after: Profile) -> Iterator[str]:
    for what in ("whylite", "toolchain", "optimize", "counter", "windows"):
        left, right = getattr(before, what), getattr(after, what)
        if left != right:
            yield f"{what}: {left} before, {right} after"
    for name, profile in (("before", before), ("after", after)):
        if any(not part.count.constant for part in profile.parts):
            yield f"{name}, counts differ from window to window: these are medians"
