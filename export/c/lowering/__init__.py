"""Ops as kernel calls: one function an op, one family a file, registered by being there."""

from . import convolution, dense, quantize, shape, unary
from .registry import LOWERINGS, Lowering

__all__ = ["LOWERINGS", "Lowering", "convolution", "dense", "quantize", "shape", "unary"]
