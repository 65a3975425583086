"""Windows stored in a ``.npz``: ``x`` [N, ...] as the model was trained on it, and perhaps ``y`` [N], the classes."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import InputError
from edge.files import read_arrays
from edge.sources import Feed, Item, Model, Ready

_SAVE = "save it with numpy.savez(file, x=..., y=...)"


@dataclass(frozen=True)
class Options:
    """There is nothing to choose: windows are stored whole, as the model was trained on them."""


@dataclass(frozen=True)
class StoredWindows:
    """``x``, float32 ``[N, ...]``, and the classes ``y``, ``[N]``, where the file has them."""

    x: NDArray[np.float32]
    y: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.x)


def open(location: str, options: Options, model: Model) -> Feed:
    """Read the file ``location``; its windows come in its order."""
    stored = read(location, model.input_shape, len(model.labels))

    def windows() -> Generator[Item]:
        yield None
        for index, x in enumerate(stored.x):
            yield Ready(np.ascontiguousarray(x), None if stored.y is None else int(stored.y[index]))

    return Feed(windows, raw=False)


def read(location: str, shape: tuple[int, ...], classes: int) -> StoredWindows:
    """Read the file ``location``; InputError where it is no such file or does not fit the model."""
    arrays = _read(Path(location))
    x, y = arrays["x"], arrays.get("y")
    wanted = ", ".join(["N", *map(str, shape)])
    if x.dtype.kind not in "fiu":
        raise InputError(f"{location}: x is of type {x.dtype}, and the model takes float32 [{wanted}]", _SAVE)
    if x.ndim and not len(x):
        raise InputError(f"{location}: x {list(x.shape)} holds no windows", f"save at least one: float32 [{wanted}]")
    if not x.ndim or x.shape[1:] != shape:
        raise InputError(
            f"{location}: x is {x.dtype} {list(x.shape)}, and the model takes float32 [{wanted}]",
            "cut and scale the windows as for training",
        )
    integers = x if x.dtype.kind in "iu" else None
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinity then, and refused
        x = x.astype(np.float32)
    if integers is not None and (x.astype(np.float64) != integers).any():
        raise InputError(f"{location}: x holds integers that float32 cannot", "ids must be below 2**24")
    if not np.isfinite(x).all():
        raise InputError(
            f"{location}: window {_first_bad(x)} holds NaN or infinity, or more than float32 can",
            "leave such windows out",
        )
    if y is None:
        return StoredWindows(x, None)
    if y.dtype.kind not in "iu" or y.shape != x.shape[:1] or (y < 0).any() or (y >= classes).any():
        raise InputError(
            f"{location}: y is {y.dtype} {list(y.shape)}, and {len(x)} class indices below {classes} are wanted",
            "save y as integers, one per window, or leave it out",
        )
    return StoredWindows(x, y.astype(np.int64))


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        arrays, names = read_arrays(path, ("x", "y"))
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}", "check the path") from error
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}", _SAVE) from error
    if "x" not in arrays:
        raise InputError(f"{path} has no array 'x'", f"it has {', '.join(names) or 'nothing'}; {_SAVE}")
    return arrays


def _first_bad(x: NDArray[Any]) -> int:
    return int(np.flatnonzero(~np.isfinite(x.reshape(len(x), -1)).all(axis=1))[0])
