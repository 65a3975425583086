"""Ops as kernel calls: one function an op, one family a file, registered by being there."""

from . import convolution, deconvolution, dense, elementwise, gather, matmul, normalize, pooling, quantize, shape, unary
from .registry import LOWERINGS, Lowering

__all__ = [
    "LOWERINGS",
    "Lowering",
    "convolution",
    "deconvolution",
    "dense",
    "elementwise",
    "gather",
    "matmul",
    "normalize",
    "pooling",
    "quantize",
    "shape",
    "unary",
]
