"""A graph as a sequence of kernel calls on buffers of one arena, with nothing of C's text in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tflite.graph import Tensor

ALIGNMENT = 16
"""Of the arena, in bytes."""
ALIGNED = 4
"""Of what lies in it: tensors begin at multiples of it, so that a word of four values can be read at once."""

C_TYPE = {
    "int8": "int8_t",
    "uint8": "uint8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "float32": "float",
}
"""What a type of numbers is called in C."""

PREDICT = "predict"

CMSIS_NN = "WHYLITE_CMSIS_NN"
"""The macro that has CMSIS-NN's kernels called in place of ours."""


@dataclass(eq=False)
class Buffer:
    """A run of bytes in the arena.

    ``alive`` says from which to which step it holds something, in each part of the program: what predicting leaves to
    an explanation is alive from the explanation's step -1 on. ``offset`` is the planner's answer. A part of another
    buffer, ``begin`` bytes into ``whole``, lives as long as that does. ``cmsis_nn`` are the bytes that are needed in
    its place where the kernel is CMSIS-NN's: they lie behind all buffers, and are not planned.
    """

    name: str
    size: int
    alive: dict[str, tuple[int, int]] = field(default_factory=dict)
    offset: int = -1
    whole: Buffer | None = None
    begin: int = 0
    cmsis_nn: int = 0

    def touch(self, part: str, step: int) -> None:
        """Extend the buffer's life in a part to a step."""
        first, last = self.alive.get(part, (step, step))
        self.alive[part] = (min(first, step), max(last, step))

    def meets(self, other: Buffer) -> bool:
        """Whether both hold something at one time."""
        return any(
            first <= other.alive[part][1] and other.alive[part][0] <= last
            for part, (first, last) in self.alive.items()
            if part in other.alive
        )


@dataclass(frozen=True, eq=False)
class Constant:
    """Numbers in flash; C has them in the array type of ``data``.

    ``packed`` are the same numbers as the instruction set wants them that a macro stands for.
    """

    name: str
    data: NDArray[Any]
    packed: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes, of the larger of all variants of ours."""
        return max(self.data.nbytes, *(data.nbytes for macro, data in self.packed.items() if macro != CMSIS_NN), 0)


@dataclass(frozen=True)
class Parameters:
    """A constant struct of a kernel: the C type, and its fields by name."""

    kind: str
    fields: Mapping[str, int | float | Constant | None]


Argument = Buffer | Constant | Parameters | int | None
"""What a kernel is given; None is the null pointer."""


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a kernel, a function of ``whylite_<family>.h``; ``code`` is the op of the model that it does."""

    code: str
    family: str
    kernel: str
    arguments: tuple[Argument, ...]
    macs: int = 0


@dataclass(frozen=True)
class Part:
    """Predicting, or what an explanation adds to it.

    ``calls`` up to ``decided`` find the class, which is in ``class_index`` after them and may be another from then on.
    An explanation's ``map`` is its own: each part makes it anew, also where another explains by the same tensor.
    """

    name: str
    calls: tuple[Call, ...]
    class_index: Buffer | None = None
    decided: int = 0
    map: Buffer | None = None


@dataclass(frozen=True)
class Program:
    """All parts, predicting first, then explanations as they were asked for, with the buffers of the model's ends.

    ``ends`` are the tensors that callers write or read of predicting.
    """

    parts: tuple[Part, ...]
    buffers: tuple[Buffer, ...]
    ends: Mapping[Tensor, Buffer]

    @property
    def constants(self) -> list[Constant]:
        """Return every constant that a call refers to, once, in the order of the calls."""
        return constants_of(self.parts)

    @property
    def explaining(self) -> int:
        """Return how many bytes of constants only explanations read."""
        predicting = set(constants_of(self.parts[:1]))
        return sum(constant.size for constant in self.constants if constant not in predicting)

    @property
    def cmsis_nn(self) -> int:
        """Return how many bytes CMSIS-NN's kernels work in, behind the arena."""
        largest = max((buffer.cmsis_nn for buffer in self.buffers), default=0)
        return -(-largest // ALIGNMENT) * ALIGNMENT

    @property
    def families(self) -> list[str]:
        """Return the families of kernels that the calls need, sorted."""
        return sorted({call.family for part in self.parts for call in part.calls})


def constants_of(parts: Sequence[Part]) -> list[Constant]:
    """Return every constant that a call of some parts refers to, once, in the order of the calls."""
    found: dict[Constant, None] = {}
    for call in (call for part in parts for call in part.calls):
        for argument in call.arguments:
            if isinstance(argument, Constant):
                found[argument] = None
            elif isinstance(argument, Parameters):
                found |= {value: None for value in argument.fields.values() if isinstance(value, Constant)}
    return list(found)


def size_of(tensor: Tensor) -> int:
    """Return how many bytes a tensor takes."""
    return int(np.prod(tensor.shape, dtype=np.int64)) * tensor.dtype.itemsize


def places_of(buffers: Sequence[Buffer]) -> int:
    """Return how large an arena is in which planned buffers lie."""
    end = max((buffer.offset + buffer.size for buffer in buffers), default=0)
    return -(-end // ALIGNMENT) * ALIGNMENT
