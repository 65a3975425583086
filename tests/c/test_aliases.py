"""Tensors that are bytes of one another, as slices and reshapes are: nothing is written over what is still read."""

import numpy as np

from export.tflite import Tensor
from export.tflite import options as tables
from export.tflite.ops import INT32

from .graphs import Sketch
from .harness import Case
from .reference import assert_as_reference

GRAPHS = 60
PAIRS = {"ADD": tables.AddOptions, "SUB": tables.SubOptions, "MUL": tables.MulOptions}
PAIRS |= {"MAXIMUM": tables.MaximumMinimumOptions, "MINIMUM": tables.MaximumMinimumOptions}


class Sharing(Sketch):
    """A graph on one grid, of ops that read the same tensors, and parts of them, over and over."""

    def __init__(self, seed: int, *shape: int) -> None:
        super().__init__(seed)
        shape = shape or (1, *self.rng.integers(2, 5, 2).tolist(), 4)
        self.there = [self.input(*shape, grid=self.grid(-4, -3))]

    def op(self, code, inputs, shape, options=None, version=1) -> Tensor:
        grid = self.there[0].quantization
        self.there.append(self.builder.op(code, inputs, tuple(shape), options, quantization=grid, version=version))
        return self.there[-1]

    def any(self) -> Tensor:
        return self.there[int(self.rng.integers(len(self.there)))]

    def numbers(self, values) -> Tensor:
        return self.builder.constant(np.array(values), INT32)

    def slice(self, x, begin, size) -> Tensor:
        return self.op("SLICE", [x, self.numbers(begin), self.numbers(size)], size, tables.SliceOptions())

    def part(self, x: Tensor) -> Tensor:
        """A slice along one axis, mostly the first of more than one entry: such a one is not copied."""
        long = [axis for axis, size in enumerate(x.shape) if size > 1] or [0]
        axis = long[0] if self.rng.random() < 0.7 else long[int(self.rng.integers(len(long)))]
        size, begin = list(x.shape), [0] * 4
        size[axis] = int(self.rng.integers(1, x.shape[axis] + 1))
        begin[axis] = int(self.rng.integers(x.shape[axis] - size[axis] + 1))
        return self.slice(x, begin, size)

    def pair(self) -> Tensor:
        """Two tensors value by value: any two that can be, two parts of one, or one and a row or all of it."""
        code = str(self.rng.choice(list(PAIRS)))
        left = self.any()
        kind = self.rng.integers(4)
        if kind == 0 and left.shape[1] > 1:
            size = (1, left.shape[1] - 1, *left.shape[2:])
            left, right = self.slice(left, [0, 1, 0, 0], size), self.slice(left, [0, 0, 0, 0], size)
        elif kind == 1:
            right = self.slice(left, [0, int(self.rng.integers(left.shape[1])), 0, 0], (1, 1, *left.shape[2:]))
        elif kind == 2:
            right = self.op("RESHAPE", [left, self.numbers(left.shape)], left.shape, tables.ReshapeOptions(left.shape))
        else:
            fits = [each for each in self.there if _broadcast(left, each) is not None]
            right = fits[int(self.rng.integers(len(fits)))]
        if self.rng.random() < 0.5:
            left, right = right, left
        return self.op(code, [left, right], _broadcast(left, right), PAIRS[code]())

    def moved(self) -> Tensor:
        """A tensor's part, or it after a RELU, a pool, a pad, a transposition, or behind itself."""
        x, kind = self.any(), self.rng.integers(6)
        _, height, width, depth = x.shape
        if kind == 0:
            return self.op("RELU", [x], x.shape)
        if kind == 1:
            options = tables.Pool2DOptions(tables.Padding.VALID, 1, 1, 1, 1 + (height > 1))
            return self.op("MAX_POOL_2D", [x], (1, height - (height > 1), width, depth), options)
        if kind == 2 and height < 9:
            pads = self.numbers([[0, 0], [1, 0], [0, 0], [0, 0]])
            return self.op("PAD", [x, pads], (1, height + 1, width, depth), tables.PadOptions(), 2)
        if kind == 3:
            return self.op(
                "TRANSPOSE", [x, self.numbers([0, 2, 1, 3])], (1, width, height, depth), tables.TransposeOptions()
            )
        if kind == 4 and height < 6:
            fits = [each for each in self.there if each.shape[2:] == x.shape[2:] and each.shape[1] < 6]
            other = fits[int(self.rng.integers(len(fits)))]
            shape = (1, height + other.shape[1], width, depth)
            return self.op("CONCATENATION", [x, other], shape, tables.ConcatenationOptions(1))
        return self.part(x)


def _broadcast(left: Tensor, right: Tensor) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(left.shape, right.shape)
    except ValueError:
        return None


def shared(seed: int) -> Case:
    sketch = Sharing(seed)
    count = int(sketch.rng.integers(3, 9))
    made = [sketch.pair() if sketch.rng.random() < 0.6 else sketch.moved() for _ in range(count)]
    outputs = [made[-1], *(each for each in made[:-1] if sketch.rng.random() < 0.2)]
    return Case(sketch.done(*outputs), (sketch.values(sketch.there[0], 4),))


def over_its_row() -> Case:
    sketch = Sharing(1, 1, 2, 3, 4)
    x = sketch.there[0]
    row = sketch.slice(x, [0, 0, 0, 0], (1, 1, 3, 4))
    return Case(sketch.done(sketch.op("ADD", [x, row], x.shape, tables.AddOptions())), (sketch.values(x, 4),))


def differences() -> Case:
    sketch = Sharing(2, 1, 5, 1, 4)
    x = sketch.there[0]
    later, sooner = (sketch.slice(x, [0, begin, 0, 0], (1, 4, 1, 4)) for begin in (1, 0))
    return Case(
        sketch.done(sketch.op("SUB", [later, sooner], later.shape, tables.SubOptions())), (sketch.values(x, 4),)
    )


def test_nothing_is_written_over_what_another_operand_still_reads(tmp_path):
    assert_as_reference([over_its_row(), differences(), *map(shared, range(GRAPHS))], tmp_path)
