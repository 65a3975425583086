"""Calibration data: real inputs, as the float the model was trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge.bundle import ZIP_ERRORS

from .errors import CalibrationError
from .tflite.graph import Tensor

_HINT = "pass an .npz with x, float of shape [N, ...] as the model was trained on, and optionally y, class indices [N]"


def read(path: str | Path) -> NDArray[np.float32]:
    """Return ``x`` of a calibration file; raises :class:`CalibrationError` for a file that has none."""
    path = Path(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise CalibrationError(f"{path.name} is a single array, not an .npz file", _HINT)
        with loaded as arrays:
            if "x" not in arrays:
                raise CalibrationError(f"{path.name} has no array x, only {', '.join(arrays) or 'nothing'}", _HINT)
            return np.asarray(arrays["x"])
    except OSError as error:
        raise CalibrationError(f"cannot read {path}: {error.strerror or error}", _HINT) from error
    except (*ZIP_ERRORS,) as error:  # numpy's own words would advise to allow unpickling
        raise CalibrationError(f"{path.name} is not a readable .npz file of numbers", _HINT) from error


def check(x: ArrayLike, input_tensor: Tensor) -> NDArray[np.float32]:
    """Return calibration inputs as float32 ``[N, ...]``; raises :class:`CalibrationError` where they do not fit."""
    try:
        array: NDArray[Any] = np.asarray(x)
    except ValueError as error:
        raise CalibrationError("calibration samples are not all of one shape", _HINT) from error
    wanted = input_tensor.shape[1:]
    if array.dtype.kind not in "fiu":
        raise CalibrationError(f"calibration data is {array.dtype}, not numbers", _HINT)
    if array.ndim != len(wanted) + 1 or array.shape[1:] != wanted:
        raise CalibrationError(
            f"calibration data of shape {list(array.shape)} does not fit input {input_tensor!r}",
            f"its shape must be [N, {', '.join(map(str, wanted))}]",
        )
    if not len(array):
        raise CalibrationError("calibration data holds no sample", _HINT)
    with np.errstate(over="ignore"):  # what float32 cannot hold is found below
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array).reshape(len(array), -1).all(1)).sum())
        raise CalibrationError(f"{bad} of {len(array)} calibration samples hold values that are not finite", _HINT)
    return array


def synthetic(input_tensor: Tensor, count: int) -> NDArray[np.float32]:
    """Return random inputs that cover the input's representable range, for checks that need no real data."""
    random = np.random.default_rng(0)
    shape = (count, *input_tensor.shape[1:])
    grid = input_tensor.quantization
    if not input_tensor.is_quantized or grid is None:
        return random.normal(size=shape).astype(np.float32)
    limits = np.iinfo(input_tensor.dtype)
    return grid.dequantize(random.integers(limits.min, limits.max + 1, shape)).astype(np.float32)
