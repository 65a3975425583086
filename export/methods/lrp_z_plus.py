"""LRP-z+, which shares relevance out among positive contributions alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..vjp import LRP_Z_PLUS, Rules
from ..vjp.lrp_alpha_beta import Z_PLUS
from .relevance import LayerwiseRelevance


@dataclass(frozen=True)
class LRPZPlus(LayerwiseRelevance):
    """Montavon et al. 2017 (arXiv 1512.02479, deep Taylor decomposition): R_i = sum_j z_ij+ / z_j+ R_j.

    That is LRP-alpha-beta with alpha 1 and beta 0, for inputs of both signs as there. Negative contributions are
    dropped: a visual aid (Khakzar et al. 2020, arXiv 2012.00362; Sixt et al. 2020, arXiv 1912.09818).
    """

    name: ClassVar[str] = "lrp_z_plus"
    signed: ClassVar[bool] = False
    signed_twin: ClassVar[str | None] = "lrp_epsilon"
    keeps: ClassVar[str] = "only positive contributions"
    parts: ClassVar[tuple[float, float] | None] = Z_PLUS

    def rules(self) -> Rules:
        """Return the table for the walk."""
        return LRP_Z_PLUS
