"""Target micro: one int8 graph that predicts and explains, of ops that TensorFlow Lite Micro has, and C made of it."""

from .again import golden, on_data
from .model import METHODS, MicroModel, build
from .stage import Firmware, admit, compiled

__all__ = ["METHODS", "Firmware", "MicroModel", "admit", "build", "compiled", "golden", "on_data"]
