"""Checks that decide whether explanations may ship, made on the very file that ships."""

from .cascade import Cascade
from .checks import run
from .sanity import Sanity, sanity_checks

__all__ = ["Cascade", "Sanity", "run", "sanity_checks"]
