"""The network: three strided convolutions and a separable one, then an average over time and a linear layer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import keras
from keras import layers

from examples.watch.data import CHANNELS, LABELS, WINDOW

MODEL_PATH = Path(__file__).with_name("model.keras")
# The last feature map, [25, 64]: one position per 0.16 s. GradCAM's target layer.
TARGET_LAYER = "features"


def build() -> keras.Model:
    """Return the untrained network: windows ``[N, 200, 6]`` to probabilities ``[N, 7]``.

    The head is affine after an average over time, so GradCAM's weights are constants of the model; the stride of 8
    leaves 25 positions in the feature map, fine enough to point at a part of one repetition.
    """
    x = window = keras.Input((WINDOW, len(CHANNELS)), name="window")
    x = _convolution(x, layers.Conv1D(24, 9, strides=2, padding="same", use_bias=False), "first")
    x = _convolution(x, layers.Conv1D(32, 7, strides=2, padding="same", use_bias=False), "second")
    x = _convolution(x, layers.Conv1D(48, 7, strides=2, padding="same", use_bias=False), "third")
    x = layers.SpatialDropout1D(0.1)(x)
    x = _convolution(x, layers.SeparableConv1D(64, 5, padding="same", use_bias=False), TARGET_LAYER)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dropout(0.3)(x)
    x = layers.Dense(len(LABELS), name="logits")(x)
    return keras.Model(window, layers.Softmax(name="probabilities")(x), name="watch")


def load(path: Path = MODEL_PATH) -> keras.Model:
    """Return the trained network that comes with the example, or the one at ``path``."""
    return keras.models.load_model(path, compile=False)


def weights_digest(model: keras.Model) -> str:
    """Return the SHA-256 of all weights: a ``.keras`` file holds the time it was written, so its bytes differ."""
    digest = hashlib.sha256()
    for weights in model.get_weights():
        digest.update(weights.tobytes())
    return digest.hexdigest()


def _convolution(x: keras.KerasTensor, layer: layers.Layer, name: str) -> keras.KerasTensor:
    """Convolve, normalise, rectify; the converter folds the three into one op."""
    return layers.ReLU(name=name)(layers.BatchNormalization(momentum=0.97)(layer(x)))
