"""LRP-epsilon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..vjp import LRP_EPSILON, Rules
from .relevance import LayerwiseRelevance


@dataclass(frozen=True)
class LRPEpsilon(LayerwiseRelevance):
    """Bach et al. 2015 (PLOS ONE 10(7), LRP): R_i = sum_j z_ij / (z_j + epsilon sign(z_j)) R_j, z_ij = x_i w_ij.

    One rule for all layers; epsilon, which absorbs relevance where contributions cancel, is a hundredth of the root
    mean square of the layer's z. With epsilon 0, and rectifiers without a ceiling, it would be Input x Gradient.
    """

    name: ClassVar[str] = "lrp_epsilon"
    signed: ClassVar[bool] = True

    def rules(self) -> Rules:
        """Return the table for the walk."""
        return LRP_EPSILON
