"""Errors of the host's side of the link."""

from __future__ import annotations

from edge.errors import WhyLiteError


class BridgeError(WhyLiteError):
    """Base of the errors of the package ``firmware_bridge``."""


class RecordingError(BridgeError):
    """A recording cannot be read or written, or is none."""


class BoardError(BridgeError):
    """A board is not known, its description is not valid, or it cannot do what was asked of it."""


class FitError(BoardError):
    """Firmware is too large for the board's flash or RAM."""


class BuildError(BridgeError):
    """No C compiler can be had, or it refuses the firmware's sources."""


class EmulatorError(BridgeError):
    """A virtual board cannot be started, or it has died."""


class ProfileError(BridgeError):
    """A profile cannot be made, read or compared."""


class InvalidProfileError(ProfileError):
    """What a board counted cannot be true: no profile comes of it."""


class FlashError(BridgeError):
    """A board cannot be flashed, or a step of flashing it failed."""


class WrongBoardError(FlashError):
    """Another board is connected than the one that was named, or it runs another model after it was flashed."""


class WrongAnswerError(FlashError):
    """A board answers a golden vector with other bytes than those in the bundle."""
