"""Interpolation schedules of Integrated Gradients: nodes and weights on [0, 1], fitted to a model at export."""

from .fit import CHOICES, LENGTHS, Fit, fit, static_rules
from .paths import GRIDS, PLACES, Path, path
from .rules import RULES, Rule

__all__ = ["CHOICES", "GRIDS", "LENGTHS", "PLACES", "RULES", "Fit", "Path", "Rule", "fit", "path", "static_rules"]
