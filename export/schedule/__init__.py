"""Interpolation schedules of Integrated Gradients: nodes and weights on [0, 1], fitted to a model at export."""

from .fit import LENGTHS, Fit, fit, static_rules
from .paths import GRIDS, Path, path
from .rules import RULES, Rule

__all__ = ["GRIDS", "LENGTHS", "RULES", "Fit", "Path", "Rule", "fit", "path", "static_rules"]
