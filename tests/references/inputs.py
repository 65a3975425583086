"""Real inputs for the real models: crops of photographs, and the features of recorded words."""

from __future__ import annotations

import functools
import wave
from pathlib import Path

import numpy as np
import tensorflow as tf

from .crops import square_crops
from .models import SHARED, shared_images

_RATE = 16_000


@functools.cache
def photographs(size: int, count: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    """Return random square crops of the photographs, float32 ``[count, size, size, 3]`` of 0..255 times ``scale``."""
    return square_crops(shared_images(), size, count, scale, seed)


@functools.cache
def words(count: int, seed: int = 0) -> np.ndarray:
    """Return MLPerf Tiny's key-word features of shifted and mixed recordings, float32 ``[count, 49, 10, 1]``.

    Ten cepstral coefficients of 40 mel bands, windows of 30 ms every 20 ms, as the benchmark's training script has it.
    """
    folder = SHARED / "data/micro/tensorflow/lite/micro/examples/micro_speech/testdata"
    recordings = [_samples(path) for path in sorted(folder.glob("*_1000ms.wav"))]
    noise = _samples(folder / "noise_1000ms.wav")
    rng = np.random.default_rng(seed)
    features = []
    for index in range(count):
        shifted = np.roll(recordings[index % len(recordings)], rng.integers(-3000, 3000))
        mixed = shifted + np.roll(noise, rng.integers(0, _RATE)) * rng.uniform(0, 0.3)
        features.append(_cepstrum((mixed * rng.uniform(0.5, 1)).astype(np.float32)))
    return np.stack(features)[..., None].astype(np.float32)


def _samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert file.getframerate() == _RATE
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32)
    return samples / np.abs(samples).max()


def _cepstrum(samples: np.ndarray) -> np.ndarray:
    spectrum = tf.abs(tf.signal.stft(samples, 480, 320))
    bands = tf.signal.linear_to_mel_weight_matrix(40, spectrum.shape[-1], _RATE, 20.0, 4000.0)
    logarithms = tf.math.log(tf.tensordot(spectrum, bands, 1) + 1e-6)
    return tf.signal.mfccs_from_log_mel_spectrograms(logarithms)[..., :10].numpy()


def pearson(measured: np.ndarray, expected: np.ndarray) -> float:
    """Return the correlation of two maps."""
    return float(np.corrcoef(np.ravel(measured), np.ravel(expected))[0, 1])
