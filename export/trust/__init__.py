"""Checks that decide whether explanations may ship, made on the very file that ships."""

from .cascade import Cascade
from .checks import run
from .completeness import completeness
from .findings import Findings
from .measuring import Measures, measures
from .sanity import Sanity, sanity_checks

__all__ = ["Cascade", "Findings", "Measures", "Sanity", "completeness", "measures", "run", "sanity_checks"]
