"""The table of lowerings, and what one is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ...errors import UnsupportedModelError
from ...tflite.graph import Op, Tensor
from ..arithmetic import grid
from ..program import C_TYPE, Argument, Buffer, Constant

Lowering = Callable[[Op, "Unit"], None]

LOWERINGS: dict[str, Lowering] = {}
"""Lowerings by the name of the op. The docstring of each says what of the op it takes; docs list it."""


def lowering(*codes: str) -> Callable[[Lowering], Lowering]:
    """Register the lowering of ops."""

    def register(function: Lowering) -> Lowering:
        for code in codes:
            if code in LOWERINGS:
                raise TypeError(f"{code} has two lowerings")
            LOWERINGS[code] = function
        return function

    return register


class Unit(ABC):
    """What a lowering writes to: the calls of one op."""

    @abstractmethod
    def value(self, tensor: Tensor) -> Buffer | Constant:
        """Return where a tensor's value is: in the arena or in flash."""

    @abstractmethod
    def constant(
        self, values: ArrayLike, dtype: DTypeLike, label: str, packed: Mapping[str, np.ndarray] | None = None
    ) -> Constant:
        """Return numbers as a constant in flash; equal ones are kept once.

        ``packed`` are the same as an instruction set wants them, by the macro that stands for it.
        """

    @abstractmethod
    def scratch(self, size: int, cmsis_nn: int = 0) -> Buffer | None:
        """Return so many bytes that are the op's own while it runs, or None for none.

        ``cmsis_nn`` is how many there are where the kernel is CMSIS-NN's.
        """

    @abstractmethod
    def view(self, output: Tensor, source: Tensor, begin: int = 0) -> bool:
        """Let ``output`` be the bytes of ``source`` from ``begin`` on, and return True.

        False where that cannot be: where ``source`` is in flash, or ``begin`` is no multiple of 4.
        """

    @abstractmethod
    def in_place(self, output: Tensor, source: Tensor) -> bool:
        """Let ``output`` be written over ``source`` if nothing reads that any more, and return whether it will be.

        For kernels that read each value before they write to its place, and what they read beside it in the same order
        if that has the same bytes: an operand that shares only some of them with ``source``, or fewer, is refused. To
        be called before ``value(output)``.
        """

    @abstractmethod
    def call(self, family: str, kernel: str, *arguments: Argument, macs: int = 0) -> None:
        """Call ``kernel``, a function of ``whylite_<family>.h``."""


def refuse(op: Op, why: str, hint: str = "leave it out of what runs on the microcontroller") -> UnsupportedModelError:
    """Return the refusal to compile an op to C."""
    return UnsupportedModelError(f"op {op!r} cannot be compiled to C: {why}", hint)


def int8(op: Op, *tensors: Tensor) -> None:
    """Refuse an op on anything but int8."""
    for tensor in tensors:
        if tensor.dtype != np.int8:
            raise refuse(op, f"tensor {tensor!r} is not int8", "convert the model with full integer quantisation")


def constant(op: Op, tensor: Tensor) -> np.ndarray:
    """Return the values of an operand that must be known at compile time."""
    if tensor.data is None:
        raise refuse(op, f"operand {tensor!r} is not a constant", "fold it, or compute it outside of the model")
    return tensor.data


def on_grid(op: Op, tensor: Tensor, scale: float, zero: int) -> None:
    """Refuse an op whose arithmetic is made for another grid than a tensor's."""
    if grid(tensor) != (scale, zero):
        raise refuse(op, f"{tensor!r} is not on the grid {scale:g}, {zero}", "convert the model again")


def integers(op: Op, place: int) -> list[int]:
    """Return a constant operand of whole numbers."""
    values = constant(op, op.input(place))
    if values.dtype.kind not in "iu" or not values.size:
        raise refuse(op, f"operand {op.input(place)!r} are no whole numbers")
    return [int(value) for value in values.ravel()]


def axis_of(op: Op, axis: int, rank: int) -> int:
    """Return an axis, which may be counted from the end, as counted from the front."""
    if not -rank <= axis < rank:
        raise refuse(op, f"axis {axis} is not among {rank}")
    return axis % rank


def stored(op: Op, *tensors: Tensor) -> None:
    """Refuse an op on tensors of another type than the first, or of one that C is not given."""
    for tensor in tensors:
        if tensor.dtype != tensors[0].dtype or tensor.dtype.name not in C_TYPE:
            raise refuse(op, f"tensor {tensor!r} is of another type than it takes")


def one_image(op: Op, tensor: Tensor) -> tuple[int, int, int]:
    """Return the height, width and channels of one image; a batch of several is refused."""
    if len(tensor.shape) != 4 or tensor.shape[0] != 1:
        raise refuse(op, f"{tensor!r} is not one image")
    _, height, width, channels = tensor.shape
    return height, width, channels


def expect(op: Op, tensor: Tensor, shape: Sequence[int]) -> None:
    """Refuse an op where a tensor is not declared with the shape it must have: C would write over what is beside it."""
    if tensor.shape != tuple(shape):
        raise refuse(op, f"{tensor!r} should be {list(shape)}", "the file is damaged; convert the model again")
