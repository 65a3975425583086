"""The report of a bundle: one HTML file that opens offline, with inputs, their maps, and what was measured of them."""

from .page import attached, make
from .rounding import comparison

__all__ = ["attached", "comparison", "make"]
