"""What a caller asks of an explainer, refused where there is no such class, time, number or input."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError
from .manifest import ExplanationHead, Manifest
from .refine import Goal

_STEPS_LIMIT = 1024  # gradients that are kept at once


def class_of(index: object, classes: int) -> int:
    """Return a class's index; :class:`InputError` for what is none, True and 1.0 included."""
    if isinstance(index, bool) or not isinstance(index, Integral) or not 0 <= int(index) < classes:
        raise InputError(f"there is no class {index!r}", f"classes are whole numbers from 0 to {classes - 1}")
    return int(index)


def explained_class(index: object, manifest: Manifest) -> int:
    """Return the index of a class that maps can be of; :class:`InputError` for the "no" of a yes/no model too."""
    found = class_of(index, len(manifest.labels))
    if manifest.yes_no and not found:
        no, yes = manifest.labels
        raise InputError(
            f"{manifest.name!r} has one score, that of {yes!r}: there is no map of {no!r}",
            "explain class 1; what is negative in a signed map speaks against it",
        )
    return found


def check_deadline(milliseconds: object) -> None:
    """Raise :class:`InputError` for what is no time."""
    if milliseconds is None:
        return
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, Real) or not float(milliseconds) >= 0:
        raise InputError(f"a deadline of {milliseconds!r} ms is no time", "pass a number, 0 or more, or leave it out")


def numbers(x: ArrayLike) -> NDArray[np.float32]:
    """Return an input as float32, infinite where that cannot hold it; :class:`InputError` for what are no numbers."""
    try:
        given = np.asarray(x)
    except ValueError as error:
        raise InputError("the input's rows are not all of one length", "pass an array") from error
    if given.dtype.kind not in "fiub":
        raise InputError(f"the input is {given.dtype}, not numbers", "pass float values")
    with np.errstate(over="ignore"):
        return np.asarray(given, np.float32)


def refinement(head: ExplanationHead, tolerance: object, max_steps: object, steps: object) -> Goal | None:
    """Return what a refinement by ``head`` is to reach, None where no tolerance is asked for.

    Raises :class:`InputError` for what cannot be asked of it; ``steps`` are those of a schedule, which rule it out.
    """
    if tolerance is None:
        if max_steps is not None:
            raise InputError("max_steps is a limit to what a tolerance asks for", "pass a tolerance, or steps")
        return None
    if head.each is None:
        cause = f"{head.method!r} of this bundle cannot take steps until a tolerance is met"
        hint = "export it with --refine" if head.schedules else "leave the tolerance away: it takes no such steps"
        raise InputError(cause, hint)
    if isinstance(tolerance, bool) or not isinstance(tolerance, Real) or not 0 < float(tolerance) < math.inf:
        raise InputError(f"a tolerance of {tolerance!r} is none", "pass a part of the logit's change, such as 0.02")
    if steps is not None:
        raise InputError("steps and a tolerance are asked for at once", "leave one of them away")
    if max_steps is None:
        return Goal(float(tolerance))
    if isinstance(max_steps, bool) or not isinstance(max_steps, Integral) or not 1 <= int(max_steps) <= _STEPS_LIMIT:
        raise InputError(f"{max_steps!r} steps at the most are no limit", f"pass 1 to {_STEPS_LIMIT}")
    return Goal(float(tolerance), int(max_steps))
