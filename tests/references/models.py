"""Where the real models and images lie that tests read in place, next to the checkout; none is part of the project."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(os.environ.get("WHYLITE_SHARED", Path(__file__).parents[3] / "shared"))
ABSENT = f"the folder of real models is absent: {SHARED} (set WHYLITE_SHARED to where it is)"

RESNET_FLOAT = "mlperf_tiny/pretrainedResnet.tflite"
RESNET_INT8 = "mlperf_tiny/pretrainedResnet_quant.tflite"
VWW_FLOAT = "mlperf_tiny/vww_96_float.tflite"
VWW_INT8 = "mlperf_tiny/vww_96_int8.tflite"
KWS_INT8 = "mlperf_tiny/kws_ref_model.tflite"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=ABSENT)
"""For tests that read real models: skips them only where the folder as a whole is absent."""


def shared_model(name: str) -> Path:
    """Return the path of a real model; skips the test where there are none."""
    if not SHARED.is_dir():
        pytest.skip(ABSENT)
    return SHARED / "models" / name


def every_shared_model() -> list[Any]:
    """Return one test parameter per real model file, or one skipped parameter where there are none."""
    if not SHARED.is_dir():
        return [pytest.param(None, marks=needs_shared, id="absent")]
    files = sorted((SHARED / "models").rglob("*.tflite"))
    assert files, f"{SHARED} is there and holds no model"
    return [pytest.param(path, id=path.stem) for path in files]


def shared_images() -> list[Path]:
    """Return the photographs; skips the test where there are none."""
    if not SHARED.is_dir():
        pytest.skip(ABSENT)
    return sorted(path for path in (SHARED / "data" / "images").iterdir() if path.suffix in {".bmp", ".jpg"})
