"""What ships, of all that was compiled: numerics, batch of steps, and where integration starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.errors import InterpreterError
from edge.manifest import Candidate

from . import choose, fitting
from .errors import UnsupportedModelError
from .numerics import Calibration, Numerics
from .shipped import Shipped

Array = NDArray[np.float32]

_CALIBRATION_SAMPLES = 16  # of integer gradients


class Compile(Protocol):
    """Compiles the methods asked for in some numerics, with their own number of steps a call or another."""

    def __call__(
        self, kind: Numerics, steps: int | None = None, seen: Calibration | None = None, of: bytes | None = None
    ) -> Shipped:
        """Return the result in an interpreter; ``seen`` decides the grids of integer gradients.

        ``of`` is another file of the same graph, such as one with other weights.
        """
        ...


class CompileAgain(Protocol):
    """Compiles once more what ships."""

    def __call__(self, steps: int | None = None, *, of: bytes | None = None) -> Shipped:
        """Return the result with another number of steps a call, or of another file."""
        ...


@dataclass(frozen=True)
class Selected:
    """What ships, and what it was chosen from.

    ``exact`` is the same in exact numerics, ``rows`` what each candidate was worth, ``baseline`` where Integrated
    Gradients starts, ``peaks`` the bytes that each method takes; ``compile_at`` makes what ships once more, with
    another number of steps a call or from another file.
    """

    numerics: Numerics
    shipped: Shipped
    exact: Shipped
    rows: tuple[Candidate, ...]
    baseline: Array
    peaks: dict[str, int]
    compile_at: CompileAgain
    notes: tuple[str, ...]


def select(
    legal: Sequence[Numerics],
    compiled: Compile,
    x: Array,
    baseline: Array | None,
    *,
    auto: bool,
    batch: int | None,
    memory: int | None,
    progress: Callable[[str], None],
) -> Selected:
    """Return the cheapest that is faithful and fits into ``memory``; if not ``auto``, the last of ``legal`` numerics.

    The first of these are exact and what the others are held against. Without a ``baseline`` it is the mean of ``x``.
    """
    progress(f"deriving gradients, numerics {legal[0].name}")
    exact = compiled(legal[0])
    start = baseline if baseline is not None else _mean(exact, x)
    samples = [exact.entered(sample) for sample in x[:_CALIBRATION_SAMPLES]]
    compile_at = partial(compiled, seen=Calibration(samples, start, exact.source.head.classes))
    others, notes = _others(legal[1:], compile_at, x, start, progress, must=not auto)
    candidates = [(legal[0], exact), *others]
    progress(f"measuring numerics {', '.join(kind.name for kind, _ in candidates)}")
    rows = choose.measure(candidates, x, start)
    ranked = [candidates[index] for index in choose.ranking(candidates, rows)] if auto else candidates[-1:]
    fitted = fitting.fit(ranked, compile_at, x, start, batch=batch, limit=memory, progress=progress)
    chosen, shipped = fitted.numerics, fitted.shipped
    if all(shipped is not candidate for _, candidate in candidates):  # it was compiled again, for another batch
        rows = choose.with_fidelity_of(shipped, chosen, exact, rows, x, start)
        exact = shipped if chosen is candidates[0][0] else exact

    def again(steps: int | None = None, *, of: bytes | None = None) -> Shipped:
        usual = max(method.steps_per_call for method in shipped.compiled.values())
        return compile_at(chosen, steps or usual or None, of=of)

    return Selected(chosen, shipped, exact, rows, start, fitted.peaks, again, (*notes, *fitted.notes))


def _others(
    legal: Sequence[Numerics],
    compiled: Callable[[Numerics], Shipped],
    x: Array,
    baseline: Array,
    progress: Callable[[str], None],
    *,
    must: bool,
) -> tuple[list[tuple[Numerics, Shipped]], list[str]]:
    """Return what was compiled in numerics that are not exact, and what is to be said of those left out.

    What does not run here is left out, or raises its error where it ``must``.
    """
    candidates, notes = [], []
    for kind in legal:
        progress(f"deriving gradients, numerics {kind.name}")
        try:
            candidate = compiled(kind)
            choose.check_runs(candidate, x, baseline)
        except (UnsupportedModelError, InterpreterError) as error:
            if must:
                raise
            notes.append(f"numerics {kind.name} left out: {error.cause}")
        else:
            candidates.append((kind, candidate))
    return candidates, notes


def _mean(shipped: Shipped, x: Array) -> Array:
    """Return the mean of what gradients are taken at, over the inputs."""
    total = np.zeros(shipped.entered(x[0])["x"].shape[1:], np.float64)
    for sample in x:
        total += shipped.entered(sample)["x"][0]
    return np.asarray(total / len(x), np.float32)
