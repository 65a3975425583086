"""What a bundle says of itself: the ports of its model, explanations, schedules, checks, measures, candidates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import BundleError
from .micro import Micro
from .samples.preprocessing import Preprocessing

FORMAT = 1
LOGITS, LOGITS_PER_INPUT_UNIT, NO_UNIT = "logits", "logits per input unit", "no unit of the model's"
"""What a map's values may be in; only those in logits may be added up."""


def quantize(real: NDArray[Any], scale: float, zero_point: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return real values as the integers that stand for them, rounded to nearest (ties to even) and clipped.

    The one way in which inputs become a model's, at export as on the device.
    """
    limits = np.iinfo(dtype)
    stored = np.divide(real, np.float32(scale), dtype=np.float32)
    np.rint(stored, out=stored)
    stored += zero_point
    np.maximum(stored, limits.min, out=stored)  # np.clip would take longer than all the rest
    np.minimum(stored, limits.max, out=stored)
    return np.asarray(stored.astype(dtype))


@dataclass(frozen=True)
class Port:
    """A model input or output: its name in the signature, shape without the batch, and how numbers are stored.

    ``scale`` is None where numbers are stored as they are, such as float32 or ids. ``minimum`` and ``maximum`` are the
    range of real values seen in calibration, ``limits`` the smallest and largest id that a look-up table has. An input
    that is not ``batched`` has no batch dimension.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None = None
    zero_point: int = 0
    minimum: float | None = None
    maximum: float | None = None
    limits: tuple[int, ...] | None = None
    batched: bool = True

    def quantize(self, real: NDArray[np.float32]) -> NDArray[Any]:
        """Return real values as the stored numbers, rounded to nearest and clipped, with the batch dimension if any."""
        real = real[None] if self.batched else real
        if self.scale is None:
            return np.asarray(real, self.dtype)
        return quantize(real, self.scale, self.zero_point, np.dtype(self.dtype))

    def real(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return stored numbers as float32 where they stand for such, and else as they are."""
        return stored if self.scale is None else self.dequantize(stored)

    def dequantize(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Return stored numbers as float32."""
        if self.scale is None:
            return np.asarray(stored, np.float32)
        return np.asarray((stored.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale))


@dataclass(frozen=True)
class Schedule:
    """Integrated-Gradients nodes and weights on [0, 1], and what they were worth on the calibration inputs.

    ``residual_p50`` and ``residual_p90`` are quantiles of ``|f(x) - f(x') - sum(map)| / |f(x) - f(x')|``, ``error_p50``
    and ``error_p90`` of the Euclidean distance to the map of a dense integration, relative to the size of that.
    ``completeness`` is the 95th percentile of the former, over the median of ``|f(x) - f(x')|`` where that is larger;
    None where too few inputs decide.
    ``rule`` names how nodes and weights were chosen. Where ``intervals`` is given, they are chosen anew for each input,
    from the outputs at the ends of so many intervals (``edge.nuig``), at ``place`` in the part that is each step's, and
    those here are uniform.
    """

    steps: int
    nodes: tuple[float, ...]
    weights: tuple[float, ...]
    residual_p50: float | None = None
    residual_p90: float | None = None
    rule: str = ""
    error_p50: float | None = None
    error_p90: float | None = None
    intervals: int = 0
    place: float = 1.0
    completeness: float | None = None

    @property
    def probes(self) -> int:
        """How many forward passes it takes to choose the steps, beside those at the ends of the path."""
        return max(self.intervals - 1, 0)


@dataclass(frozen=True)
class Noise:
    """What SmoothGrad adds to the copies of an input.

    Normal noise whose deviation is ``level`` times that input's range, of ``samples`` copies unless another number is
    asked for, from ``numpy.random.default_rng(seed)``: copy by copy, so that fewer of them are the first of more.
    """

    level: float
    samples: int
    seed: int


@dataclass(frozen=True)
class ExplanationHead:
    """One explanation method of the bundle.

    ``predicted`` is the signature that picks the predicted class itself and returns the scores too, ``chosen`` the
    one that takes a class; ``unit`` is what their output ``map`` is multiplied by to be in ``map_unit``, one of
    :data:`LOGITS`, :data:`LOGITS_PER_INPUT_UNIT` and :data:`NO_UNIT`, or empty in bundles that do not say.
    ``map_shape`` is the map's shape without dimensions of size 1 along which the model has no extent. ``stored_input``
    says whether they read the input as the model stores it (int8) or as float32. ``front`` is None for a map of the
    input (or of a chosen layer); where the way to the input is barred, the map is that of ``layer``, the first tensor
    that can be reached, and ``front`` the signature that leads from the input to it. ``each`` is the signature that
    gives gradient and logits at one interpolation step, with ``each_unit`` in place of ``unit``, where steps may be
    chosen on the way (``edge.refine``). ``cost_ratio`` is the measured time of an explanation over that of a plain
    prediction, on the machine that exported; ``peak_memory`` the bytes by which loading the model, predicting and
    explaining made a process grow there, at the most. ``noise`` is given where a map is a mean over noisy copies of the
    input, ``steps_per_call`` of which share a call then.
    """

    method: str
    layer: str
    map_shape: tuple[int, ...]
    chosen: str
    predicted: str | None = None
    unit: float = 1.0
    signed: bool = True
    stored_input: bool = False
    steps_per_call: int = 0
    schedules: tuple[Schedule, ...] = ()
    front: str | None = None
    each: str | None = None
    each_unit: float = 1.0
    cost_ratio: float | None = None
    peak_memory: int | None = None
    noise: Noise | None = None
    map_unit: str = ""


@dataclass(frozen=True)
class Check:
    """One check made at export: what was measured, the bound it was held to, and on how many inputs.

    ``method`` is the one it is about, empty where it is about the whole model. Where the bound comes from a null
    distribution, ``band`` are its 5th and 95th percentiles and ``seeds`` what its random numbers came from. A check
    that is not ``gating`` is of a visual aid: it may fail and the method is shipped all the same, as what it is.
    """

    name: str
    value: float
    bound: float
    passed: bool
    samples: int
    detail: str = ""
    method: str = ""
    band: tuple[float, ...] | None = None
    seeds: tuple[int, ...] = ()
    gating: bool = True


@dataclass(frozen=True)
class Measure:
    """A figure of one method that is reported and bounds nothing, with its 95 % confidence interval if it has one.

    ``reference`` is what the same figure is where there is nothing to explain, such as for a random order of values.
    """

    name: str
    method: str
    value: float
    samples: int
    interval: tuple[float, ...] | None = None
    reference: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Candidate:
    """What one method was worth under one choice of numerics when the choice was made.

    ``cost_ratio`` is its time over a prediction's (per interpolation step, for Integrated Gradients); ``fidelity`` and
    ``fidelity_p05`` are the median and 5th percentile of the rank correlation with exact arithmetic, ``lost`` what the
    numerics alone leave of the logit's change, as ``Schedule.completeness``: None but for Integrated Gradients.
    ``sign_agreement`` and ``top_overlap`` are medians too, and decide nothing: which part of the exact map's values
    keep their sign, and which part of its largest tenth by magnitude is in the other's.
    """

    numerics: str
    method: str
    cost_ratio: float
    fidelity: float
    fidelity_p05: float
    lost: float | None = None
    sign_agreement: float | None = None
    top_overlap: float | None = None


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds. ``model_digest`` is the SHA-256 of the model file that was exported.

    ``recurrent`` models keep state from run to run; each input is predicted and explained from zero state. Where the
    model streams, from one step to the next, ``states`` are its variables (of full shape), ``state`` is the signature
    that reads them, and ``scores`` the one that predicts in a given state and leaves none behind.

    ``yes_no`` models have one output, the sigmoid score of class 1; class 0, of label 0, has what is left of 1. The
    answer is class 1 above one half; what is explained is the logit of class 1, whatever the answer.

    ``preprocessing`` is how raw values of a sensor become the model's input; None where nobody said. ``micro`` is what
    there is for microcontrollers, None where it was exported for another target.
    """

    name: str
    model_digest: str
    kind: str
    input: Port
    output: Port
    labels: tuple[str, ...]
    predict: str
    logits: str | None
    heads: tuple[ExplanationHead, ...]
    numerics: str
    target: str
    baseline: str
    runtime: str
    checks: tuple[Check, ...] = ()
    measures: tuple[Measure, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    notes: tuple[str, ...] = ()
    states: tuple[Port, ...] = ()
    state: str | None = None
    scores: str | None = None
    created_by: str = ""
    recurrent: bool = False
    yes_no: bool = False
    preprocessing: Preprocessing | None = None
    micro: Micro | None = None
    format: int = FORMAT
    members: dict[str, str] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, without the batch."""
        return self.input.shape

    def place(self, class_index: int) -> int:
        """Return which of the model's outputs a class is explained by."""
        return 0 if self.yes_no else class_index

    def head(self, method: str) -> ExplanationHead:
        """Return the head of ``method``; :class:`BundleError` listing what there is."""
        for head in self.heads:
            if head.method == method:
                return head
        there = ", ".join(head.method for head in self.heads)
        raise BundleError(f"bundle {self.name!r} has no method {method!r}", f"it explains by {there}; export it again")
