"""What a device's Integrated Gradients leave of the logit's change, whose int8 logits may be cut off at either end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..c import Explained
from ..clock import within
from ..completeness import Left
from ..methods import IntegratedGradients
from ..shipped import Shipped
from ..tflite.graph import Tensor
from .fidelity import on_device, real
from .model import MicroModel, Stored, stored
from .reference import Reference

Array = NDArray[np.float32]

_SAMPLES, _SECONDS = 16, 20.0
_LISTED = 4  # classes that a note names


@dataclass(frozen=True)
class BaselineLogits:
    """The logits ``[classes]`` that a device's change begins from, and what is to be said of them."""

    values: tuple[float, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Residual:
    """What part of the logit's change is left, the median and in 9 of 10 inputs, None where no input can tell."""

    p50: float | None
    p90: float | None
    notes: tuple[str, ...] = ()


def baseline_logits(built: MicroModel, exact: Shipped, baseline: Stored) -> BaselineLogits:
    """Return the logits at a baseline: int8's, but where these are at an end of their range those of ``exact``.

    A baseline is no input that the model was quantised for. A logit that is cut off there is off by the same amount in
    every residual, of which neither gradients nor steps know.
    """
    device, outputs = Reference(built.file_of_classes()), _outputs(built)
    held = device.run([baseline, np.zeros(1, np.int32)], len(outputs))[outputs.index(built.logits)].ravel()
    in_int8 = real(built.logits, held)
    assert exact.logits is not None
    start = real(built.input, baseline).reshape(exact.source.head.sample_shape).astype(np.float32)
    exactly = exact.runtime.call(exact.logits, **exact.entered(start))["logits"].ravel().astype(np.float64)
    cut = ((held == 127) & (exactly > in_int8)) | ((held == -128) & (exactly < in_int8))
    values = tuple(np.where(cut, exactly, in_int8).tolist())
    if not cut.any():
        return BaselineLogits(values)
    places = np.flatnonzero(cut)
    each = [f"class {place} {exactly[place]:.3g}, in int8 {in_int8[place]:.3g}" for place in places[:_LISTED].tolist()]
    more = f" and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
    note = (
        f"{IntegratedGradients.name} on a microcontroller: at the baseline logits are at an end of their int8 range, "
        f"and exact arithmetic's stand in for them: {'; '.join(each)}{more}"
    )
    return BaselineLogits(values, (note,))


def residual(built: MicroModel, explanation: Explained, model: Shipped, x: Array) -> Residual:
    """Return what an explanation that takes steps leaves, of the class that is predicted of each input.

    Inputs whose own logit is at an end of its int8 range have no part in it: their change is not known, and a device
    tells no residual of them either.
    """
    steps = explanation.steps
    assert steps is not None
    device, outputs, left = Reference(built.file_of_classes()), _outputs(built), Left()
    explain = on_device(built, device, explanation, model)
    place, none, cut_off = outputs.index(built.logits), np.zeros(1, np.int32), 0
    for sample in within(_SECONDS, x[:_SAMPLES]):
        found = device.run([stored(built.input, sample), none], place + 1)
        chosen, held = int(found[0].argmax()), found[place].ravel()
        if held[chosen] in {-128, 127}:  # as firmware has it
            cut_off += 1
            continue
        change = float(real(built.logits, held)[chosen]) - steps.baseline_logits[chosen]
        left.add(change - float(explain(sample, chosen).sum(dtype=np.float64)), change)
    told = len(left.residuals)
    said = (
        f"{explanation.method} on a microcontroller: the logit of {cut_off} of {cut_off + told} inputs is at an end of "
        "its int8 range: what their maps leave unexplained is not known"
    )
    notes = (said,) * (cut_off > 0)
    if not told:
        return Residual(None, None, notes)
    p50, p90 = np.quantile(left.of_own, (0.5, 0.9)).tolist()
    return Residual(p50, p90, notes)


def _outputs(built: MicroModel) -> list[Tensor]:
    """Return the outputs of :meth:`MicroModel.file_of_classes`."""
    return list(dict.fromkeys([*built.outputs_of_classes, built.logits]))
