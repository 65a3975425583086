"""The device runtime: opens a bundle, predicts, explains and streams. Imports nothing heavier than numpy."""

from .bundle import Bundle
from .errors import BundleError, EdgeError, InputError, InterpreterError, LinkError, WhyLiteError
from .explainer import Explainer
from .explanation import Explanation, Flag, Prediction

__all__ = [
    "Bundle",
    "BundleError",
    "EdgeError",
    "Explainer",
    "Explanation",
    "Flag",
    "InputError",
    "InterpreterError",
    "LinkError",
    "Prediction",
    "WhyLiteError",
]
