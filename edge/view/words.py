"""What explanations say about themselves, in words."""

from __future__ import annotations

import numpy as np

from ..explanation import Explanation, Flag
from ..manifest import LOGITS, ExplanationHead, Manifest

FLAGS = {
    Flag.VISUAL_AID: "visual aid: no evidence of what the model used",
    Flag.UNFAITHFUL: "unfaithful: a check of its export failed, and it was shipped all the same",
    Flag.NOT_FINITE: "holds values that are no numbers: it says nothing",
    Flag.ZERO_MAP: "the map is zero everywhere",
    Flag.RESIDUAL_OVER_BOUND: "does not add up: residual above 5 % of the logit's change, or the tolerance",
    Flag.SATURATED: "some values were clipped",
    Flag.SMALL_MARGIN: "the two best classes are nearly equal",
    Flag.OUT_OF_RANGE: "the input leaves the calibrated range",
    Flag.DEADLINE: "fewer steps than asked for or needed, or another method, to keep the deadline",
    Flag.CORRECTED: "made to add up: what the steps left unexplained is spread over the map",
    Flag.NOT_AT_INPUT: "explains a layer behind the input",
}


def flags_of(explanation: Explanation) -> list[str]:
    """Return what a reader must know before trusting an explanation, the gravest first."""
    of_another = explanation.class_index != explanation.predicted
    said = FLAGS | ({Flag.ZERO_MAP: f"nothing speaks for it: {FLAGS[Flag.ZERO_MAP]}"} if of_another else {})
    return [words for flag, words in said.items() if flag in explanation.flags]


def subject_of(explanation: Explanation, manifest: Manifest) -> str:
    """Return the class that was explained, and that it is not the answer where one score says yes or no."""
    label = short(manifest.labels[explanation.class_index])
    denied = manifest.yes_no and explanation.class_index != explanation.predicted
    return f"{label}, which the model denies" if denied else label


def figures_of(explanation: Explanation, head: ExplanationHead) -> list[str]:
    """Return what a map amounts to: its sum, where values add up, or what they are in; and what it was made of.

    What a map leaves unexplained, in so many steps, is said of methods that promise to leave nothing.
    """
    said = []
    if head.map_unit == LOGITS:
        with np.errstate(invalid="ignore"):
            said.append(f"sum {signed(float(explanation.map.sum()))}")
    elif head.map_unit:
        said.append(f"values in {head.map_unit}")
    if head.noise is not None:
        said.append(f"mean of {explanation.steps} noisy {'copy' if explanation.steps == 1 else 'copies'}")
    if explanation.residual is not None:
        steps = f" in {explanation.steps} steps" if explanation.steps > 1 else ""
        said.append(f"residual {signed(explanation.residual)}{steps}")
    return said


def signed(value: float, digits: int = 3) -> str:
    """Write a number with its sign, to so many significant digits; a zero without."""
    return f"{value:+.{digits}g}".replace("-", "−") if value else "0"


def short(text: str, most: int = 60) -> str:
    """Return a label or a tensor's name as it fits into a line: cut, and with a mark for what cannot be printed."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(letter if letter.isprintable() else "�" for letter in cut)
