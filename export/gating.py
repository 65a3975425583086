"""Checks that stop an export: what is said of those that failed, and what to try."""

from __future__ import annotations

from collections.abc import Sequence

from edge.manifest import Check

from .errors import CheckFailedError

_ANYHOW = "--allow-unfaithful ships it marked all the same"


def stop_if_failed(checks: Sequence[Check], *, allow: bool) -> None:
    """Raise :class:`CheckFailedError` where a check of arithmetic failed, or one of what maps depend on."""
    failed = _failed(checks, allow)
    if not failed:
        return
    if all(check.band is not None for check in failed):
        raise CheckFailedError(
            f"maps do not depend on what they are said to explain: {_measured(failed)}",
            f"{_without(failed, checks)}, or take another --layer, or calibration inputs like those of the device; "
            f"{_ANYHOW}",
        )
    raise CheckFailedError(
        f"the compiled explanation does not hold: {_measured(failed)}", f"report the model; {_ANYHOW}"
    )


def stop_if_incomplete(checks: Sequence[Check], lost: float | None, *, allow: bool) -> None:
    """Raise :class:`CheckFailedError` where maps do not add up; ``lost`` is what the numerics alone leave of it."""
    failed = _failed(checks, allow)
    if not failed:
        return
    blamed = "" if lost is None else f"; the numerics alone leave {lost:.1%}, which no schedule takes away"
    exact = "" if lost is None else "exact numerics (--numerics f32 or deq), "
    raise CheckFailedError(
        f"maps leave too much of the logit's change unexplained: {_measured(failed)}{blamed}",
        f"try {exact}--baseline mean, or more calibration inputs; {_ANYHOW}",
    )


def stop_if_unlike(checks: Sequence[Check], *, allow: bool) -> None:
    """Raise :class:`CheckFailedError` where what a microcontroller computes is not like exact arithmetic."""
    failed = _failed(checks, allow)
    if not failed:
        return
    raise CheckFailedError(
        f"what the microcontroller computes in int8 is not like exact arithmetic: {_measured(failed)}",
        f"{_without(failed, checks)}, or take calibration inputs like those of the device; {_ANYHOW}",
    )


def _failed(checks: Sequence[Check], allow: bool) -> list[Check]:
    """Return the checks that stop an export, none where it is allowed all the same."""
    return [] if allow else [check for check in checks if check.gating and not check.passed]


def _measured(failed: Sequence[Check]) -> str:
    return "; ".join(f"{check.name}: {check.value:.3g}, bound {check.bound:.3g} ({check.detail})" for check in failed)


def _without(failed: Sequence[Check], checks: Sequence[Check]) -> str:
    """Return the advice to export only those methods that passed, by name."""
    out = list(dict.fromkeys(check.method for check in failed))
    held = [name for name in dict.fromkeys(check.method for check in checks if check.gating and check.band) if name]
    passed = [name for name in held if name not in out]
    if not passed:
        return "choose another --method"
    return f"leave --method {', '.join(out)} out ({', '.join(passed)} passed)"
