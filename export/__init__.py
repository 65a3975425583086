"""The explanation compiler: a trained TFLite model in, a bundle with explanations as TFLite ops out."""

from .errors import (
    CalibrationError,
    CheckFailedError,
    ExportError,
    MemoryLimitError,
    ModelFileError,
    UnsupportedModelError,
)
from .pipeline import explain
from .verify import Verification, verify

__all__ = [
    "CalibrationError",
    "CheckFailedError",
    "ExportError",
    "MemoryLimitError",
    "ModelFileError",
    "UnsupportedModelError",
    "Verification",
    "explain",
    "verify",
]
