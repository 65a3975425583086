"""Integrated Gradients as a device sums it, in its integers and floats: the firmware's whylite_integrate.c in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..c import Explained
from ..tflite.graph import Tensor
from .model import ONE, MicroModel, Stored, interpolated
from .reference import Reference

_BITS = 24  # of the largest product, so that 32 hold 127 times what is left of it


@dataclass(frozen=True)
class Attribution:
    """``scale`` (float32) times ``values`` (int8, the map's shape) are logits."""

    values: Stored
    scale: np.float32


def attribution(built: MicroModel, device: Reference, own: Explained, x: Stored, class_index: int) -> Attribution:
    """Return what a device gives for the input ``x``, as it is stored, of a class.

    ``device`` runs the model's :meth:`MicroModel.file_of_classes`; ``own`` has steps.
    """
    steps, place = own.steps, built.outputs_of_classes.index(own.map)
    assert steps is not None
    sums = np.zeros(built.input.shape, np.int64)
    for node, weight in zip(steps.nodes, steps.weights, strict=True):
        point = interpolated(x, steps.baseline, node)
        gradient = device.run([point, np.asarray([class_index], np.int32)], place + 1)[place].reshape(sums.shape)
        sums += weight * (gradient.astype(np.int64) - _grid(own.map)[1])
    products = sums * (x.astype(np.int64) - steps.baseline)
    largest = int(np.abs(products).max())
    unit = np.float32(own.units[class_index] if own.units else 1)
    step = _grid(built.input)[0] * (_grid(own.map)[0] * unit) / np.float32(ONE)
    scale = step * _real(largest) / np.float32(127) if largest else np.float32(1)
    return Attribution(_quantized(products, largest).reshape(own.shape), scale)


def _grid(tensor: Tensor) -> tuple[np.float32, int]:
    assert tensor.quantization is not None
    return np.float32(tensor.quantization.scale[0]), (tensor.quantization.zero_point or (0,))[0]


def _real(value: int) -> np.float32:
    """Return 64 bits as a float by way of 32."""
    return np.float32(value >> 32) * np.float32(1 << 32) + np.float32(value & 0xFFFFFFFF)


def _quantized(products: NDArray[np.int64], largest: int) -> Stored:
    """Return products, whose greatest magnitude is ``largest``, on 255 levels, rounded to nearest, ties away from 0."""
    shift = max(0, largest.bit_length() - _BITS)
    span = max(1, largest >> shift)
    scaled = (products >> shift) * 127
    levels = (np.abs(scaled) + span // 2) // span
    return np.asarray(np.where(scaled < 0, -levels, levels), np.int8)
