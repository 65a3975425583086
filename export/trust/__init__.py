"""Checks that decide whether explanations may ship, made on the very file that ships."""

from .cascade import Cascade
from .checks import run
from .findings import Findings
from .sanity import sanity_checks

__all__ = ["Cascade", "Findings", "run", "sanity_checks"]
