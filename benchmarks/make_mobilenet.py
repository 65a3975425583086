"""Write an int8 MobileNet v2 of 1000 classes at 224 pixels, with random weights: ``... make_mobilenet FILE``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

_PIXELS = 224


def main(path: str) -> None:
    """Build, fit the batch normalisation to the random weights, quantise, write."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    network = keras.applications.MobileNetV2(weights=None, input_shape=(_PIXELS, _PIXELS, 3), classes=1000)

    def images(count: int) -> np.ndarray:
        return random.uniform(-1, 1, (count, _PIXELS, _PIXELS, 3)).astype(np.float32)

    # As it is initialised, activations shrink from layer to layer until float32 cannot tell them from zero.
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    network(images(16), training=True)

    def samples() -> Iterator[list[np.ndarray]]:
        yield from ([images(1)] for _ in range(8))

    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    Path(path).write_bytes(converter.convert())


if __name__ == "__main__":
    main(sys.argv[1])
