"""Keras models, through TensorFlow's converter."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CalibrationError, ExportError, ModelFileError

_REPRESENTATIVE_SAMPLES = 256


def to_tflite(model: Any, calibration: NDArray[np.float32] | None = None) -> bytes:
    """Convert a Keras model, or the file of one, to TFLite with a batch of 1.

    With ``calibration`` (``[N, ...]``, as the model was trained on) the result is int8 throughout, inputs and outputs
    included; without, float32. Raises :class:`ExportError` where TensorFlow is not installed or refuses the model.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ExportError(f"reading a Keras model needs TensorFlow: {error}", "pip install 'whylite[keras]'") from error
    if isinstance(model, (str, Path)):
        try:
            model = tf.keras.models.load_model(model, compile=False)
        except (OSError, ValueError, TypeError) as error:
            raise ModelFileError(
                f"cannot read {model} as a Keras model: {error}", "save it with model.save()"
            ) from error
    shape = tuple(model.input_shape[1:])
    if None in shape:
        raise ExportError(f"the model's input {list(shape)} has an open dimension", "build it with a fixed input shape")
    # A fixed batch keeps the converter from emitting shape arithmetic.
    x = tf.keras.Input(batch_shape=(1, *shape), name="x")
    converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(x, model(x)))
    if calibration is not None:
        if calibration.ndim != len(shape) + 1 or calibration.shape[1:] != shape or not len(calibration):
            raise CalibrationError(
                f"calibration data of shape {list(calibration.shape)} does not fit the model's input {list(shape)}",
                f"its shape must be [N, {', '.join(map(str, shape))}]",
            )
        chosen = np.linspace(0, len(calibration) - 1, min(len(calibration), _REPRESENTATIVE_SAMPLES)).astype(int)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([calibration[k : k + 1].astype(np.float32)] for k in chosen)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    # Keras prints the saved model's signature on its way.
    with contextlib.redirect_stdout(io.StringIO()):
        return bytes(converter.convert())
