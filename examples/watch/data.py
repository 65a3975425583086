"""The smartwatch recordings: found, verified, split by subject and cut into windows.

140 recordings of seven shoulder exercises by ten people, on either wrist, six channels at 50 Hz, published with the
PyPI package ``seglearn`` 1.2.5 (BSD licence; Burns et al. 2018, "Shoulder physiotherapy exercise recognition: machine
learning the inertial signals from a smartwatch", Physiological Measurement 39, arXiv:1802.01489).
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.errors import WhyLiteError
from edge.samples.preprocessing import Preprocessing

DISTRIBUTION = "seglearn"
MEMBER = "seglearn/data/watch_dataset.npy"
SHA256 = "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537"

LABELS = ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
EXERCISES = {
    "PEN": "pendulum",
    "ABD": "abduction",
    "FEL": "forward elevation",
    "IR": "internal rotation",
    "ER": "external rotation",
    "TRAP": "trapezius extension",
    "ROW": "upright row",
}
CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")
UNITS = ("g", "g", "g", "rad/s", "rad/s", "rad/s")

RATE_HZ = 50
WINDOW = 200  # samples, 4 s: two repetitions of the quickest exercise, one and a half of the slowest

# Set before any model was trained. No choice of any kind was made on the test subjects.
TEST_SUBJECTS = (8, 9, 10)
TRAIN_SUBJECTS = (1, 2, 3, 4, 5, 6, 7)

# What one unit of the model's input is: the root mean square of each sensor over the training subjects, rounded. One
# figure per sensor and no offset, so that turning or mirroring the watch commutes with the scaling, a zero input means
# "no acceleration, no rotation", and one int8 scale serves both sensors.
ACCELERATION_UNIT_G = 0.7
ROTATION_UNIT_RAD_S = 1.7
SCALE: NDArray[np.float32] = np.repeat(np.array([ACCELERATION_UNIT_G, ROTATION_UNIT_RAD_S], np.float32), 3)

PREPROCESSING = Preprocessing(rate=RATE_HZ, channels=CHANNELS, scale=tuple(SCALE.tolist()))


class WatchDataError(WhyLiteError):
    """The recordings are missing or are not the ones this example was written for."""


@dataclass(frozen=True)
class Recording:
    """One set of repetitions: ``signal`` is float32 ``[T, 6]`` in g and rad/s, ``side`` is "left" or "right"."""

    signal: NDArray[np.float32]
    label: int
    subject: int
    side: str


@dataclass(frozen=True)
class Windows:
    """Windows cut from recordings.

    ``x`` is float32 ``[N, 200, 6]``, the input the model is trained on (the signal divided by ``SCALE``); ``y``,
    ``subject`` are int64 ``[N]``; ``start_s`` float32 ``[N]`` is where in its recording a window begins.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    subject: NDArray[np.int64]
    start_s: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.y)


def dataset_path() -> Path:
    """Return where the recordings lie, without importing the package that carries them (it needs pandas)."""
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        raise WatchDataError(
            f"the smartwatch recordings are not here: package {DISTRIBUTION!r} is not installed",
            f"pip install --no-deps {DISTRIBUTION}==1.2.5",
        ) from None
    return Path(str(distribution.locate_file(MEMBER)))


def load(path: Path | None = None) -> list[Recording]:
    """Read every recording from ``path`` (default: from the installed package), after checking its SHA-256.

    Raises ``WatchDataError`` when the file is missing or is not byte for byte the one this example knows.
    """
    path = dataset_path() if path is None else path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WatchDataError(f"cannot read the smartwatch recordings: {error}", f"reinstall {DISTRIBUTION}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise WatchDataError(
            f"{path} is not the data set this example knows: SHA-256 {digest}, expected {SHA256}",
            f"pip install --no-deps --force-reinstall {DISTRIBUTION}==1.2.5",
        )
    fields = _unpickle(content)
    return [
        Recording(np.asarray(signal, np.float32), int(label), int(subject), "right" if side else "left")
        for signal, label, subject, side in zip(
            fields["X"], fields["y"], fields["subject"], fields["side"], strict=True
        )
    ]


def of_subjects(recordings: Iterable[Recording], subjects: Sequence[int]) -> list[Recording]:
    """Return the recordings of ``subjects``."""
    return [recording for recording in recordings if recording.subject in subjects]


def cut(recordings: Iterable[Recording], hop: int = WINDOW) -> Windows:
    """Cut every recording into windows ``hop`` samples apart; the default leaves no two windows overlapping."""
    pieces = [
        (recording.signal[start : start + WINDOW], recording.label, recording.subject, start)
        for recording in recordings
        for start in range(0, len(recording.signal) - WINDOW + 1, hop)
    ]
    signals, labels, subjects, starts = zip(*pieces, strict=True)
    return Windows(
        x=to_input(np.stack(signals)),
        y=np.array(labels, np.int64),
        subject=np.array(subjects, np.int64),
        start_s=(np.array(starts) / RATE_HZ).astype(np.float32),
    )


def calibration(recordings: Iterable[Recording], count: int = 200) -> Windows:
    """Return windows spread evenly over everything the training subjects did, and nobody else."""
    windows = cut(of_subjects(recordings, TRAIN_SUBJECTS), hop=RATE_HZ)
    chosen = np.linspace(0, len(windows) - 1, count).astype(int)
    return Windows(windows.x[chosen], windows.y[chosen], windows.subject[chosen], windows.start_s[chosen])


def to_input(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn a signal ``[..., 6]`` in g and rad/s into the model's input."""
    return (signal / SCALE).astype(np.float32)


def to_signal(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn the model's input ``[..., 6]`` back into g and rad/s."""
    return (x * SCALE).astype(np.float32)


def _unpickle(content: bytes) -> dict[str, Any]:
    """Read the pickled dictionary in an ``.npy`` file.

    numpy can only read such a file with ``allow_pickle``, which runs whatever the pickle says. The digest already
    vouches for the bytes; this reader can, besides, build nothing but arrays.
    """
    file = io.BytesIO(content)
    np.lib.format.read_magic(file)
    np.lib.format.read_array_header_1_0(file)
    fields: dict[str, Any] = _ArraysOnly(file).load().item()
    return fields


class _ArraysOnly(pickle.Unpickler):
    """An unpickler for numpy arrays: every other name is refused."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): _empty_array,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("_codecs", "encode"): _latin1,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of an array")
        return allowed[module, name]


def _empty_array(_type: type, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    return np.ndarray(shape, dtype)


def _latin1(text: str, _encoding: str) -> bytes:
    """How protocol 2 spells bytes."""
    return text.encode("latin1")
