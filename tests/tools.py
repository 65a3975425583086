"""Programs of the system that tests call, which no package of PyPI has: where one is missing, a test is left out.

Not under CI, which installs them (see ``.ci/packages``): there it fails.
"""

from __future__ import annotations

import os
import shutil

import pytest

GCC = "arm-none-eabi-gcc"
QEMU = "qemu-system-arm"


def needs(*programs: str) -> pytest.MarkDecorator:
    """Mark a test that calls these programs."""
    away = _lacking(*programs)
    return pytest.mark.skipif(bool(away), reason=away)


def require(*programs: str) -> None:
    """End the test that runs if one of these programs is not there."""
    if away := _lacking(*programs):
        pytest.skip(away)


def _lacking(*programs: str) -> str:
    away = [] if os.environ.get("CI") else [program for program in programs if shutil.which(program) is None]
    return f"not installed: {', '.join(away)}" if away else ""
