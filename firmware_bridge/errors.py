"""Errors of the host's side of the link."""

from __future__ import annotations

from edge.errors import WhyLiteError


class BridgeError(WhyLiteError):
    """Base of the errors of the package ``firmware_bridge``."""


class RecordingError(BridgeError):
    """A recording cannot be read or written, or is none."""
