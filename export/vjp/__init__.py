"""Vector-Jacobian products: one short rule per op, and the walk that strings them together."""

from . import activation, arithmetic, convolution, dense, normalization, pooling, recurrent, resize, shape
from .backward import GRADIENT, Rules, backward, rule
from .lrp_alpha_beta import LRP_ALPHA_BETA, LRP_Z_PLUS
from .lrp_epsilon import LRP_EPSILON

__all__ = [
    "GRADIENT",
    "LRP_ALPHA_BETA",
    "LRP_EPSILON",
    "LRP_Z_PLUS",
    "Rules",
    "activation",
    "arithmetic",
    "backward",
    "convolution",
    "dense",
    "normalization",
    "pooling",
    "recurrent",
    "resize",
    "rule",
    "shape",
]
