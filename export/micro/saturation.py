"""Whether maps run into the ends of their int8 grids on inputs that the grids were not made from."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edge.manifest import Check

from ..clock import within
from ..errors import CalibrationError
from ..tflite.graph import Tensor
from .model import MicroModel, Stored, stored
from .reference import Reference

Array = NDArray[np.float32]

SATURATED_BOUND = 0.05
"""Part of a map's values, on average over inputs like those that the grids were made from."""
NOISE_BOUND = 0.25
"""The same over noise, which may be louder than any input, so that it decides nothing."""
_FEWEST = 8

_SAMPLES, _SECONDS = 16, 10.0


def parted(x: Array, tensor: Tensor) -> tuple[Array, Array]:
    """Return the inputs that grids are made from, and those held back to measure on.

    Raises :class:`CalibrationError` where there are not enough for both that differ as the int8 input ``tensor`` stores
    them.
    """
    once = np.stack(list({stored(tensor, sample).tobytes(): sample for sample in x}.values()))
    if len(once) < _FEWEST:
        raise CalibrationError(
            f"target micro needs {_FEWEST} different calibration inputs, and there are {len(once)}: half make grids "
            "of maps, the others show whether they saturate; those that int8 stores alike are one",
            "give more, like those of the device, or none: then they are random",
        )
    return once[::2][:_SAMPLES], once[1::2][:_SAMPLES]


def checks(built: MicroModel, x: Array, what: str) -> list[Check]:
    """Return, for each explanation, the part of its maps' values at an end of the grid, on inputs ``[N, ...]``."""
    return _checks(built, (stored(built.input, sample) for sample in x[:_SAMPLES]), what, SATURATED_BOUND)


def notes(built: MicroModel) -> list[str]:
    """Return what is to be said of maps on noise over all that an input can store, which real ones need not reach."""
    noise = np.random.default_rng(0).integers(-128, 128, (_SAMPLES, *built.input.shape), np.int8)
    return [
        f"{check.method} on a microcontroller: {check.value:.0%} of a map's values saturate on noise over all that the "
        "input can store: calibration inputs must be as loud as those of the device"
        for check in _checks(built, noise, "noise", NOISE_BOUND)
        if not check.passed
    ]


def _checks(built: MicroModel, given: Iterable[Stored], what: str, bound: float) -> list[Check]:
    run, outputs = Reference(built.file()), built.graph.outputs
    rows = []
    for x in within(_SECONDS, given):
        found = run.run([x], len(outputs))
        rows.append([at_an_end(own.map, found[outputs.index(own.map)]) for own in built.explanations])
    detail = "part of the values of a map of the predicted class that are at an end of its int8 grid, mean over inputs"
    return [
        Check(f"{own.method} saturated, {what}", share, bound, share <= bound, len(rows), detail, own.method)
        for own, share in zip(built.explanations, np.mean(rows, 0).tolist(), strict=True)
    ]


def at_an_end(tensor: Tensor, values: NDArray[np.int8]) -> float:
    """Return the part of a map's values that are at an end of the grid; -128 as the zero point is a value of 0."""
    assert tensor.quantization is not None
    rectified = (tensor.quantization.zero_point or (0,))[0] == -128
    return float(np.mean((values == 127) | ((values <= -127) & (not rectified))))
