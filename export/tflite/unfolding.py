"""How much a flatbuffer describes. Offsets can be shared, so a small hostile file can unfold to terabytes of tables."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from ..errors import ModelFileError

# What a file may unfold to. Files by converters stay below their own size; files with several entry points into one
# network share their weights and most tables, hence the factor. The allowance lets small files have many of them.
_UNFOLDING = 64
_ALLOWANCE = 4 << 20
_TABLE_COST = 512
_NUMBER_COST = 8
# The type enumeration of each union field of the schema.
_UNIONS = {
    "BuiltinOptions": schema.BuiltinOptions,
    "BuiltinOptions2": schema.BuiltinOptions2,
    "Details": schema.QuantizationDetails,
    "ArraySegments": schema.SparseIndexVector,
    "ArrayIndices": schema.SparseIndexVector,
}
# Vectors of bytes, which stay where they are.
_BYTES = {(schema.Buffer, "Data"), (schema.Operator, "CustomOptions"), (schema.CustomQuantization, "Custom")}


def check_unfolding(root: Any, size: int) -> None:
    """Raise :class:`ModelFileError` where the model ``root`` of a file of ``size`` bytes unfolds to far more than it.

    Looks at every table as often as it is pointed to, but at no number, and stops where the budget is spent.
    """
    _Walk(root, _UNFOLDING * size + _ALLOWANCE).visit(root)


@dataclass(frozen=True)
class _Fields:
    """The accessors of a table class, by what they lead to."""

    tables: tuple[str, ...]  # a table, a string or a number
    table_vectors: tuple[str, ...]
    number_vectors: tuple[str, ...]
    unions: tuple[str, ...]


class _Walk:
    def __init__(self, root: Any, budget: int) -> None:
        self.root = root
        self.budget = budget

    def visit(self, table: Any) -> None:
        fields = _fields(type(table).__name__)
        self._spend(_TABLE_COST)
        for name in fields.number_vectors:
            cost = 1 if (type(table), name) in _BYTES else _NUMBER_COST
            self._spend(cost * getattr(table, name + "Length")())
        for name in fields.table_vectors:
            item = getattr(table, name)
            for position in range(getattr(table, name + "Length")()):
                self.visit(item(position))
        for name in fields.unions:
            self._visit_union(table, name)
        for name in fields.tables:
            value = getattr(table, name)()
            if isinstance(value, bytes):
                self._spend(len(value))
            elif hasattr(value, "_tab"):
                self.visit(value)
        if isinstance(table, (schema.Tensor, schema.Metadata)):
            self._spend(self._buffer_size(table.Buffer()))  # whoever reads it reads all of it
        elif isinstance(table, schema.Buffer):
            self._spend(table.Size())  # bytes behind the flatbuffer

    def _visit_union(self, table: Any, name: str) -> None:
        content, kind = getattr(table, name)(), getattr(table, name + "Type")()
        cls = next((member for member, code in vars(_UNIONS[name]).items() if code == kind), None)
        if content is None or cls is None or not hasattr(schema, cls):
            return
        typed = getattr(schema, cls)()
        typed.Init(content.Bytes, content.Pos)
        self.visit(typed)

    def _buffer_size(self, index: int) -> int:
        if not 0 <= index < self.root.BuffersLength():
            return 0
        buffer = self.root.Buffers(index)
        return int(buffer.DataLength()) + int(buffer.Size())

    def _spend(self, amount: int) -> None:
        self.budget -= amount
        if self.budget < 0:
            raise ModelFileError(
                "its tables describe far more than the file can hold",
                "the file is damaged or was made to exhaust memory; convert or download it again",
            )


@functools.cache
def _fields(table: str) -> _Fields:
    """Sort the accessors of a generated table class by the names of the helpers that accompany them."""
    cls = getattr(schema, table)
    names = {
        name
        for name, value in vars(cls).items()
        if inspect.isfunction(value) and name != "Init" and not name.endswith(("Length", "AsNumpy", "IsNone"))
    }
    vectors = {name for name in names if hasattr(cls, name + "Length")}
    numbers = {name for name in vectors if hasattr(cls, name + "AsNumpy")}
    unions = {name for name in names if name in _UNIONS}
    rest = names - vectors - unions
    return _Fields(*(tuple(sorted(group)) for group in (rest, vectors - numbers, numbers, unions)))
