"""A ``.tflite`` file as a graph that can be edited and written back."""

from .graph import Graph, Model, Op, Quantization, Signature, Tensor
from .reader import read
from .writer import save, write

__all__ = ["Graph", "Model", "Op", "Quantization", "Signature", "Tensor", "read", "save", "write"]
