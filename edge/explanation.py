"""What the device says about one input: a prediction, and the reason for it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Flag(enum.IntFlag):
    """What a reader of an explanation must know before trusting it; travels with every map."""

    NONE = 0
    RESIDUAL_OVER_BOUND = 1  # completeness residual larger than the bundle's bound
    ZERO_MAP = 2  # nothing speaks for the class: the map is zero everywhere
    SATURATED = 4  # map values were clipped on the way
    SMALL_MARGIN = 8  # the two best classes are nearly equal
    OUT_OF_RANGE = 16  # the input leaves the range seen in calibration
    VISUAL_AID = 32  # the method does not keep the signs of gradients: not evidence
    DEADLINE = 64  # fewer steps or noisy copies than asked for or needed, or another method: less, not late
    NOT_AT_INPUT = 128  # the way to the input is barred: the map is that of a layer behind it
    NOT_FINITE = 256  # the map, or its residual, holds infinities or NaN: it says nothing
    UNFAITHFUL = 512  # the method, or the model it explains, failed a check of its export and was shipped all the same
    CORRECTED = 1024  # the residual has been spread over the map, which sums to the logit's change for no other reason


@dataclass(frozen=True)
class Prediction:
    """Scores of one input.

    ``scores`` is float32 ``[classes]``, dequantised model output (probabilities where the model ends in a softmax; of
    a model with one sigmoid score ``p``, ``[1 - p, p]``); ``class_index`` is the predicted class, the best of them;
    ``latency`` maps a phase ("quantize", "predict", "explain") to nanoseconds of the monotonic clock. ``state`` is what
    the variables of a streaming model held before this step, by which it is explained; empty for other models.
    """

    scores: NDArray[np.float32]
    class_index: int
    latency: Mapping[str, int] = field(default_factory=dict)
    state: Mapping[str, NDArray[Any]] = field(default_factory=dict, kw_only=True, repr=False, compare=False)

    @property
    def predicted(self) -> int:
        """The model's answer: the class with the best score, the first of equals."""
        return int(self.scores.argmax())


@dataclass(frozen=True)
class Explanation(Prediction):
    """A prediction and the attribution of ``class_index``, which need not be the predicted one.

    ``map`` is float32, in the head's ``map_unit``. Class activation maps: the target layer's spatial extent,
    ``[h, w]`` (``[w]`` for a 1-D model), never negative but for HiResCAM and XGradCAM. Saliency and SmoothGrad: the
    model's input shape without the batch, logit per input unit. Input x Gradient and Integrated Gradients: the same
    shape, logit. Guided Backprop and its kin: as saliency. FullGrad: the input's positions, summed over
    channels, logit; as published (``fullgrad_abs``) in no unit of the model's.
    ``layer`` is the tensor the map is about: that of a class activation map, the input of the others, or, where
    ``flags`` say ``NOT_AT_INPUT``, the first tensor that can be reached, whose shape they have then.
    ``residual`` is ``f(x) - f(baseline) - sum(map)`` in logits, of the map as it was before any correction (where
    ``flags`` say ``CORRECTED``), and ``None`` for methods that promise no completeness; ``steps`` is the number of
    gradient evaluations.
    """

    method: str = ""
    map: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    residual: float | None = None
    steps: int = 0
    flags: Flag = Flag.NONE
    layer: str = ""
