"""Errors that say what happened, where, and what to do about it."""

from __future__ import annotations


class WhyLiteError(Exception):
    """Base of every error that WhyLite raises on purpose.

    ``cause`` says what is wrong and names the file, op, tensor or port; ``hint`` says what can be done.
    """

    def __init__(self, cause: str, hint: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.cause}\n  hint: {self.hint}" if self.hint else self.cause


class EdgeError(WhyLiteError):
    """Base of the errors of the package ``edge``."""


class BundleError(EdgeError):
    """A ``.why`` bundle cannot be read, is damaged, or lacks what was asked of it."""


class InputError(EdgeError):
    """An input window, data file or source does not fit the model."""


class InterpreterError(EdgeError):
    """No TFLite interpreter can be had, or the one there is refuses the model."""


class LinkError(EdgeError):
    """The serial port cannot be opened or was lost."""
