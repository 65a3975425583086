"""A ``.tflite`` file as a graph that can be edited and written back."""

from .graph import Graph, Model, Op, Quantization, Signature, Tensor
from .reader import MAX_BYTES, read
from .writer import save, write

__all__ = ["MAX_BYTES", "Graph", "Model", "Op", "Quantization", "Signature", "Tensor", "read", "save", "write"]
