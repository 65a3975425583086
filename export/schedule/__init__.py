"""Interpolation schedules of Integrated Gradients: nodes and weights on [0, 1], fitted to a model at export."""

from .fit import CHOICES, LENGTHS, LONGER, Fit, fit, lengthened, static_rules
from .paths import GRIDS, PLACES, Path, path
from .rules import RULES, Rule

__all__ = [
    "CHOICES",
    "GRIDS",
    "LENGTHS",
    "LONGER",
    "PLACES",
    "RULES",
    "Fit",
    "Path",
    "Rule",
    "fit",
    "lengthened",
    "path",
    "static_rules",
]
