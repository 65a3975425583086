"""Whether Integrated Gradients adds up at the schedule that is used unless another is asked for."""

from __future__ import annotations

from edge.integrate import RESIDUAL_BOUND
from edge.manifest import Check, Schedule

from ..completeness import FEWEST, Left
from .findings import Findings


def completeness(method: str, usual: Schedule, left: Left, said: str = "") -> Findings:
    """Return whether what the ``usual`` schedule leaves is little enough; a note where too few inputs say so."""
    name, count = f"{method} completeness", len(left.residuals)
    if count < FEWEST:
        return Findings(notes=(f"{name} was not decided: too few inputs to measure it on, {count} of {FEWEST}",))
    value = left.completeness
    detail = (
        "95th percentile of residual over the logit's change, or over the median change where that is larger; "
        f"{usual.steps} steps, {usual.rule}{said}"
    )
    return Findings((Check(name, value, RESIDUAL_BOUND, value <= RESIDUAL_BOUND, count, detail, method),))
