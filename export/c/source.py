"""A planned program as C11 text."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..tflite.graph import Tensor
from .program import C_TYPE, CMSIS_NN, PREDICT, Argument, Buffer, Call, Constant, Parameters, Part

_WIDTH = 120
ENUMERATOR = {"int8": "WHYLITE_INT8", "uint8": "WHYLITE_UINT8", "int32": "WHYLITE_INT32", "float32": "WHYLITE_FLOAT32"}


def constant(value: Constant) -> str:
    """Return the definition of an array in flash."""
    arrays = {macro: _array(value.name, data) for macro, data in value.packed.items()}
    return variants(_array(value.name, value.data), arrays)


def variants(plain: str, others: Mapping[str, str]) -> str:
    """Return text for each of some macros, or ``plain``."""
    for macro, other in others.items():
        plain = f"#if {macro}\n{other}\n#else\n{plain}\n#endif"
    return plain


def scratch(size: int) -> str:
    """Return the macro for what kernels work in, of which CMSIS-NN has its own behind an arena of ``size`` bytes."""
    return variants(
        "#define SCRATCH(offset) (arena + (offset))", {CMSIS_NN: f"#define SCRATCH(offset) (arena + {size})"}
    )


def _array(name: str, data: np.ndarray) -> str:
    numbers = [number(each) for each in data.ravel().tolist()]
    columns = (_WIDTH - 2) // (max(map(len, numbers)) + 1)
    body = "\n".join("  " + ",".join(numbers[i : i + columns]) + "," for i in range(0, len(numbers), columns))
    return f"static const {C_TYPE[data.dtype.name]} {name}[{data.size}] WHYLITE_ALIGNED = {{\n{body}\n}};"


def number(value: float) -> str:
    """Return a number as a C literal."""
    if isinstance(value, float):
        return f"{np.float32(value)!s}f" if np.float32(value) != int(value) else f"{int(value)}.0f"
    return "INT32_MIN" if value == -(1 << 31) else str(value)


class Names:
    """The constant structs of a program by their text, so that equal ones are written once."""

    def __init__(self) -> None:
        self.definitions: dict[str, str] = {}

    def argument(self, value: Argument) -> str:
        """Return what stands for an argument in a call."""
        if isinstance(value, Buffer):
            return f"SCRATCH({value.offset})" if value.cmsis_nn else f"arena + {value.offset}"
        if isinstance(value, Constant):
            return value.name
        if isinstance(value, Parameters):
            return f"&{self._defined(value)}"
        return "NULL" if value is None else number(value)

    def _defined(self, value: Parameters) -> str:
        fields = ", ".join(f".{name} = {self._field(field)}" for name, field in value.fields.items())
        name = f"parameters_{len(self.definitions)}"  # no array is called that, whatever a kind of struct is
        return self.definitions.setdefault(f"{value.kind}|{fields}", name)

    def _field(self, value: int | float | Constant | None) -> str:
        if isinstance(value, Constant):
            return value.name
        return "NULL" if value is None else number(value)

    def text(self) -> str:
        """Return the definitions of all structs that calls refer to."""
        lines = []
        for key, name in self.definitions.items():
            kind, fields = key.split("|", 1)
            lines += textwrap.wrap(f"static const {kind} {name} = {{{fields}}};", _WIDTH, subsequent_indent="  ")
        return "\n".join(lines)


def function(part: Part, names: Names, first: int, classes: int) -> str:
    """Return the function that runs a part; ``first`` is the index of its first call among all calls."""
    explains = part.name != PREDICT
    lines = [f"static void {c_name(part.name)}(int8_t *arena{', int32_t class_index' if explains else ''}) {{"]
    if not part.calls:
        lines.append("  (void)arena;")
    if explains and part.class_index is None:
        lines.append("  (void)class_index;")
    if part.class_index is not None and not part.decided:
        lines += _choice(part.class_index, classes)
    if len(lines) == 1 and not part.calls:
        lines.append("  (void)arena;")  # all is where it should be already
    for number_, call in enumerate(part.calls, 1):
        lines.append(f"  {_call(call, names)}")
        lines.append(f"  WHYLITE_OPERATION({first + number_ - 1});")
        if part.class_index is not None and number_ == part.decided:
            lines += _choice(part.class_index, classes)
    return "\n".join([*lines, "}"])


def _choice(index: Buffer, classes: int) -> list[str]:
    return [
        f"  if (class_index >= 0 && class_index < {classes}) {{",
        f"    whylite_put_int32(arena + {index.offset}, class_index);",
        "  }",
    ]


def _call(call: Call, names: Names) -> str:
    arguments = ", ".join(names.argument(argument) for argument in call.arguments)
    return f"{call.kernel}({arguments});"


def tensor(value: Tensor, buffer: Buffer, shape: tuple[int, ...] | None = None) -> str:
    """Return the initialiser of a ``whylite_tensor``, which may say another shape of as many values."""
    quantization = value.quantization if value.is_quantized else None
    scale = quantization.scale[0] if quantization else 1.0
    zero = (quantization.zero_point or (0,))[0] if quantization else 0
    shape = sample_shape(value) if shape is None else _in_four(shape)
    sizes = ", ".join(map(str, shape or (0,)))
    size = int(np.prod(value.shape)) * value.dtype.itemsize
    return (
        f"{{.offset = {buffer.offset}, .size = {size}, .scale = {number(float(scale))}, .zero_point = {zero}, "
        f".type = {ENUMERATOR[value.dtype.name]}, .rank = {len(shape)}, .shape = {{{sizes}}}}}"
    )


def sample_shape(value: Tensor) -> tuple[int, ...]:
    """Return a tensor's shape without the batch, in at most four dimensions."""
    return _in_four(value.shape[1:] if value.shape[:1] == (1,) and len(value.shape) > 1 else value.shape)


def _in_four(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 4:
        shape = (shape[0] * shape[1], *shape[2:])
    return shape


def text(value: str) -> str:
    """Return a text as a C string literal of ASCII, whatever is in it."""
    return '"' + "".join(_escaped(value.encode(errors="surrogateescape"))) + '"'


def _escaped(data: bytes) -> Iterator[str]:
    for byte in data:
        plain = 32 <= byte < 127 and byte not in b'"\\?'
        yield chr(byte) if plain else f"\\{byte:03o}"


def comment(value: str) -> str:
    """Return a text as it can stand in a C comment: one line of ASCII that neither ends it nor begins one in it."""
    return re.sub(r"(?<=\*)(?=/)|(?<=/)(?=\*)", " ", text(value)[1:-1])


def c_name(name: str) -> str:
    """Return a text as an identifier of C."""
    kept = "".join(c if c.isascii() and c.isalnum() else "_" for c in name).strip("_").lower()
    return kept if kept and not kept[0].isdigit() else f"m{kept}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines of a C comment, in columns."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        " *   " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
