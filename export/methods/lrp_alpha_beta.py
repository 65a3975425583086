"""LRP-alpha-beta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..vjp import LRP_ALPHA_BETA, Rules
from ..vjp.lrp_alpha_beta import ALPHA_BETA
from .relevance import LayerwiseRelevance


@dataclass(frozen=True)
class LRPAlphaBeta(LayerwiseRelevance):
    """Bach et al. 2015 (PLOS ONE 10(7), LRP): R_i = sum_j (alpha z_ij+ / z_j+ - beta z_ij- / z_j-) R_j, 2 and 1.

    Contributions z_ij = x_i w_ij are positive where x_i and w_ij have the same sign, so that one rule does for inputs
    of both signs too; z_j includes what is of its sign of the bias. The rule keeps signs but weighs positive ones
    double, which partly has the effect of leaving out the others (Sixt et al. 2020, arXiv 1912.09818).
    """

    name: ClassVar[str] = "lrp_alpha_beta"
    signed: ClassVar[bool] = True
    parts: ClassVar[tuple[float, float] | None] = ALPHA_BETA

    def rules(self) -> Rules:
        """Return the table for the walk."""
        return LRP_ALPHA_BETA
