"""From the candidates to what ships: the cheapest that fits into memory, at its fastest batch of steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge.errors import InterpreterError

from . import batches, memory
from .errors import MemoryLimitError
from .numerics import Numerics
from .shipped import Shipped

Array = NDArray[np.float32]
Compile = Callable[[Numerics, int], Shipped]
"""Compiles in some numerics with so many steps a call."""


@dataclass(frozen=True)
class Fitted:
    """What ships, and the bytes that each of its methods takes at its peak: empty, with a note, where nobody knows."""

    numerics: Numerics
    shipped: Shipped
    peaks: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def peak(self) -> int:
        """The most memory that any method takes."""
        return max(self.peaks.values(), default=0)


def fit(
    ranked: Sequence[tuple[Numerics, Shipped]],
    compile_at: Compile,
    x: Array,
    baseline: Array,
    *,
    batch: int | None,
    limit: int | None,
    progress: Callable[[str], None],
) -> Fitted:
    """Return the first of the ``ranked`` candidates that fits into ``limit`` bytes, with the batch that suits it.

    ``batch`` leaves the number of steps per call as it is. Raises :class:`MemoryLimitError` that says the least memory
    with which it can be done, where that is more than ``limit``.
    """
    if limit is not None and not memory.measurable():
        raise MemoryLimitError("memory cannot be measured on this system", "export on Linux, or leave the limit away")
    least: Fitted | None = None
    for numerics, candidate in ranked:
        shipped = candidate
        if batch is None and _steps(shipped) > 1:
            progress(f"timing batches of steps, numerics {numerics.name}")
            shipped = batches.fastest(shipped, partial(compile_at, numerics), x, baseline)
        progress(f"measuring memory, numerics {numerics.name}")
        fitted = _measured(numerics, shipped, limit)
        while limit is not None and fitted.peak > limit and batch is None and _steps(fitted.shipped) > 1:
            shipped = compile_at(numerics, _steps(fitted.shipped) // 2)
            fitted = _measured(numerics, shipped, limit)
        if limit is None or fitted.peak <= limit:
            return fitted
        if least is None or fitted.peak < least.peak:
            least = fitted
    assert least is not None
    assert limit is not None
    steps = _steps(least.shipped)
    at = f" and {steps} step{'s' if steps > 1 else ''} a call" if steps else ""
    raise MemoryLimitError(
        f"explaining does not fit into {memory.spoken(limit)}: the least it takes is {memory.spoken(least.peak)}, "
        f"with numerics {least.numerics.name}{at}",
        "allow that much (--memory), ask for fewer methods, or for --numerics auto and no --batch",
    )


def _measured(numerics: Numerics, shipped: Shipped, limit: int | None) -> Fitted:
    if not memory.measurable():
        return Fitted(numerics, shipped, {}, ("memory was not measured: only Linux tells a process's peak",))
    try:
        return Fitted(numerics, shipped, memory.measured(shipped))
    except InterpreterError as error:
        if limit is not None:
            raise
        return Fitted(numerics, shipped, {}, (error.cause,))


def _steps(shipped: Shipped) -> int:
    return max(method.steps_per_call for method in shipped.compiled.values())
