"""How many steps share a call of Integrated Gradients: as many as are fastest on this machine, found by climbing."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .choose import step_inputs
from .clock import within
from .methods import Role
from .shipped import Shipped

Array = NDArray[np.float32]
Compile = Callable[[int], Shipped]

_MOST = 16  # beyond which nothing was ever gained
_GAIN = 0.98  # what counts as faster; less is noise
_ROUNDS, _PAIR_SECONDS = 15, 1.5
_SECONDS = 6.0  # in which another batch is still tried


def fastest(first: Shipped, compile_at: Compile, x: Array, baseline: Array) -> Shipped:
    """Return ``first`` or the same model with the number of steps per call that takes the least time per step.

    Halves or doubles the number while that helps, compiling (``compile_at(steps)``) only what is tried.
    """
    method = next(name for name, compiled in first.compiled.items() if compiled.steps_per_call)
    deadline = time.monotonic() + _SECONDS
    best = first
    for factor in (0.5, 2.0):
        while 1 <= (size := int(_size(best, method) * factor)) <= _MOST and time.monotonic() < deadline:
            rival = compile_at(size)
            if _time_ratio(rival, best, method, x, baseline) > _GAIN:
                break
            best = rival
        if best is not first:
            break  # what gained by halving will not gain by doubling
    return best


def _size(shipped: Shipped, method: str) -> int:
    return shipped.compiled[method].steps_per_call


def _time_ratio(rival: Shipped, holder: Shipped, method: str, x: Array, baseline: Array) -> float:
    """Return the time of a step of ``rival`` over one of ``holder``: the median of interleaved calls.

    Processor time of this thread, in which an interpreter on one thread does all its work, so that others who are busy
    count less.
    """
    calls = [_step(shipped, method, x, baseline) for shipped in (rival, holder)]
    for call in calls:
        call()
    ratios = []
    for round_ in within(_PAIR_SECONDS, range(_ROUNDS)):
        times = [0.0, 0.0]
        for place in (0, 1) if round_ % 2 else (1, 0):
            begin = time.thread_time()
            calls[place]()
            times[place] = time.thread_time() - begin
        ratios.append(times[0] / times[1])
    return float(np.median(ratios)) * _size(holder, method) / _size(rival, method)


def _step(shipped: Shipped, method: str, x: Array, baseline: Array) -> Callable[[], object]:
    entry = shipped.compiled[method].entry(Role.STEPS, Role.SAMPLES)
    assert entry is not None
    (steps,) = step_inputs(entry, baseline)
    given = {**shipped.entered(x[0]), "class_index": np.zeros(1, np.int32), **steps}
    return lambda: shipped.runtime.call(entry.key, **given)
