"""Errors of the explanation compiler."""

from __future__ import annotations

from edge.errors import WhyLiteError


class ExportError(WhyLiteError):
    """Base of the errors of the package ``export``."""


class ModelFileError(ExportError):
    """A file is not a readable TFLite model: damaged, truncated or inconsistent."""


class UnsupportedModelError(ExportError):
    """A sound model that cannot be explained: an op, type, head or layer without a rule."""


class CalibrationError(ExportError):
    """Calibration data has the wrong shape, type or values, or is missing where it is needed."""


class MemoryLimitError(ExportError):
    """Explaining takes more memory than it was allowed, or the limit is no size."""


class CheckFailedError(ExportError):
    """The compiled explanation did not pass a check that decides whether it may ship."""


UNFORESEEN = (ArithmeticError, AssertionError, AttributeError, LookupError, StopIteration, TypeError, ValueError)
"""What code that trusts a model raises where the model is not as any converter writes it."""


def unforeseen(what: str, error: BaseException) -> UnsupportedModelError:
    """Return the error to raise ``from`` such an ``error``, whose stack says more than its words."""
    return UnsupportedModelError(
        f"{what}: {type(error).__name__}: {error}"[:1000],
        "no converter is known to write such a model; if one did, report the model",
    )
